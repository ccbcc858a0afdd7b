/**
 * api/: the Docker Engine API, the only way in for any client. This file is what it needs from the rest of Skein;
 * daemon/ wires it. Routes convert HTTP to these calls and the answers back to Docker's JSON, nothing else.
 *
 * Every call throws SkeinError for a "no" that the client must see; http-error.ts maps each code to one status.
 * Swarm's own refusals ("This node is already part of a swarm. ...") are 503 in Docker: throw them as `unavailable`.
 * A message that starts with `rpc error: code = X desc = ` gets the status Docker gives to that gRPC code.
 *
 * `ClusterBackend` exists on managers only; without one the API itself answers 503 in Docker's two wordings.
 * One node or service more costs the lists one more entry; nothing here is kept between requests.
 */
import type {
  ContainerInfo,
  ImageInfo,
  ImageStore,
  LogLine,
  LogQuery,
  RegistryAuth,
  RemovedImage,
  VolumeStore,
} from '../containerd/runtime.ts';
import type { ContainerId, InterfaceAddress, NetworkId, NodeId, ServiceId, TaskId } from '../model/ids.ts';
import type { ContainerArchives } from '../containerd/archive.ts';
import type { ExecConfig, ExecProcess } from '../containerd/process.ts';
import type { NetworkItem } from '../model/network-view.ts';
import type {
  Cluster,
  Config,
  Network,
  Node,
  NodeDescription,
  Secret,
  Service,
  Task,
} from '../model/objects.ts';
import type {
  ConfigSpec,
  HostPort,
  NetworkSpec,
  NodeRole,
  NodeSpec,
  SecretSpec,
  ServiceSpec,
  SwarmSpec,
} from '../model/spec.ts';
import type { EventLog } from '../kit/event-log.ts';
import type { ExplainQuestion } from '../rpc/explain.ts';
import type { LogRecord, LogsAsked } from '../rpc/messages.ts';
import type { TraceEvent, TraceQuery } from '../rpc/trace-messages.ts';
import type { LiveView } from '../store/view.ts';
import type { ContainerControl } from './container-control.ts';
import type { ExecInstances } from './exec-instances.ts';

export interface SwarmInitRequest {
  readonly listenAddr: string;
  readonly advertiseAddr: string;
  readonly dataPathAddr: string;
  readonly dataPathPort: number;
  readonly addressPools: readonly string[];
  readonly subnetSize: number;
  readonly forceNewCluster: boolean;
  readonly availability: string;
  readonly spec: SwarmSpec;
}

export interface SwarmJoinRequest {
  readonly listenAddr: string;
  readonly advertiseAddr: string;
  readonly dataPathAddr: string;
  readonly remoteAddrs: readonly string[];
  readonly joinToken: string;
  readonly availability: string;
}

export interface LocalSwarmState {
  readonly state: 'inactive' | 'pending' | 'active' | 'error' | 'locked';
  readonly nodeId: NodeId | undefined;
  readonly nodeAddr: string;
  readonly controlAvailable: boolean;
  readonly error: string;
  readonly managers: readonly { readonly nodeId: NodeId; readonly addr: string }[];
}

/** This node's membership. Implemented by daemon/. */
export interface SwarmBackend {
  state(): LocalSwarmState;
  init(request: SwarmInitRequest): Promise<NodeId>;
  join(request: SwarmJoinRequest): Promise<void>;
  leave(force: boolean): Promise<void>;
}

/** The cluster, on a manager. Implemented by manager/control. Changes resolve when this manager's view shows them. */
export interface ClusterBackend {
  /** Reads come from here; its changes feed `/events`. */
  readonly view: LiveView;
  /** Node id of the leader, if known. */
  leader(): NodeId | undefined;
  updateSwarm(
    version: number,
    spec: SwarmSpec,
    rotate: { workerToken: boolean; managerToken: boolean },
  ): Promise<Cluster>;
  createService(
    spec: ServiceSpec,
    registryAuth: string | undefined,
  ): Promise<{ id: ServiceId; warnings: string[] }>;
  updateService(
    ref: string,
    version: number,
    spec: ServiceSpec,
    options: { registryAuth?: string; registryAuthFrom?: 'spec' | 'previous-spec'; rollback: boolean },
  ): Promise<{ warnings: string[] }>;
  removeService(ref: string): Promise<void>;
  updateNode(ref: string, version: number, spec: NodeSpec): Promise<void>;
  removeNode(ref: string, force: boolean): Promise<void>;
  createNetwork(spec: NetworkSpec): Promise<NetworkId>;
  removeNetwork(ref: string): Promise<void>;
  readonly secrets: PayloadBackend<SecretSpec, Secret>;
  readonly configs: PayloadBackend<ConfigSpec, Config>;
  /** By id, unambiguous id prefix or name; throws `not-found` in Docker's words ("service x not found"). */
  service(ref: string): Service;
  task(ref: string): Task;
  /** Whether the task is as its service says now: an update would not replace it. */
  isUpToDate(task: Task): boolean;
  node(ref: string): Node;
  network(ref: string): Network;
  /** Lines of many tasks from many nodes, as they come; a dead node ends nothing and hangs nothing. */
  logs(request: Omit<LogsAsked, 'id'>, signal: AbortSignal): AsyncIterable<LogRecord>;
  /** Packets of a service's connections, from all nodes; what a node cannot give is said, and hangs nothing. */
  trace(query: TraceQuery, signal: AbortSignal): AsyncIterable<TraceEvent>;
}

/** Secrets, or configs. */
export interface PayloadBackend<Spec, Stored> {
  find(ref: string): Stored;
  /** The new id. */
  create(spec: Spec): Promise<string>;
  update(ref: string, version: number, spec: Spec): Promise<void>;
  remove(ref: string): Promise<void>;
}

/** Docker's `State.Health`. */
export interface HealthReport {
  readonly Status: 'starting' | 'healthy' | 'unhealthy';
  readonly FailingStreak: number;
  readonly Log: readonly object[];
}

/** How a user's own container goes on when it ends. */
export interface RestartReport {
  /** Starts that no user asked for. */
  readonly count: number;
  /** It has ended, and is about to be started again. */
  readonly waiting: boolean;
}

/** Containers and images of this node. Implemented by agent/ over containerd. */
export interface EngineBackend {
  readonly images: ImageStore;
  /** Removes those of them that no container and no task of this node needs. */
  pruneImages(images: readonly ImageInfo[]): Promise<readonly RemovedImage[]>;
  readonly volumes: VolumeStore;
  readonly archives: ContainerArchives;
  containers(): Promise<readonly ContainerInfo[]>;
  /** By id, id prefix or name; throws `not-found` ("No such container: x"). */
  container(ref: string): Promise<ContainerInfo>;
  logs(id: ContainerId, query: LogQuery, signal: AbortSignal): AsyncIterable<LogLine>;
  /** Bytes that the container wrote over its image. */
  written(id: ContainerId): Promise<number>;
  /** By its health check; undefined without one. */
  health(container: ContainerInfo): Promise<HealthReport | undefined>;
  /** By its restart policy; undefined without one. */
  restarts(container: ContainerInfo): Promise<RestartReport | undefined>;
  readonly control: ContainerControl;
  /** Starts a command in a running container. */
  exec(id: ContainerId, config: ExecConfig): Promise<ExecProcess>;
  /** Networks that this node's containers stand on, with their endpoints here: for `network inspect`. */
  networkContainers(id: NetworkId): Promise<
    readonly {
      readonly containerId: ContainerId | undefined;
      readonly taskId: TaskId | undefined;
      readonly name: string;
      readonly mac: string;
      readonly address: string;
    }[]
  >;
  info(): Promise<EngineInfo>;
  /** The container's stands, for `inspect`. Without it a manager answers from its view, others with none. */
  containerNetworks?(id: ContainerId): Promise<
    readonly {
      readonly networkId: NetworkId;
      readonly name: string;
      readonly address: InterfaceAddress;
      readonly mac: string;
      readonly gateway: string;
      readonly aliases: readonly string[];
    }[]
  >;
  /** Ports bound on this node, by the containers that they lead to; with what was chosen where it was left open. */
  ports?(): Promise<ReadonlyMap<ContainerId, readonly HostPort[]>>;
  /** The networks of this node, where it is no manager: `network ls` on a worker. */
  networks?(): Promise<readonly NetworkItem[]>;
  /** `docker login`: asks the registry; throws `unauthenticated`. */
  login(auth: RegistryAuth, signal: AbortSignal): Promise<{ readonly identityToken: string }>;
}

export interface EngineInfo {
  /** Stable id of this engine. */
  readonly id: string;
  readonly description: NodeDescription;
  readonly dataRoot: string;
  readonly skeinVersion: string;
  readonly containerd: { readonly version: string; readonly revision: string };
  readonly runc: string;
  readonly kernelVersion: string;
  readonly operatingSystem: string;
  readonly osVersion: string;
  readonly cgroupVersion: '1' | '2';
  /** Each is shown after `WARNING: `. */
  readonly warnings: readonly string[];
}

export interface Backends {
  readonly swarm: SwarmBackend;
  readonly engine: EngineBackend;
  readonly execs: ExecInstances;
  /** What happened here; whoever does something that no loop sees tells it. */
  readonly events: EventLog;
  /** Undefined on a worker and outside a cluster. */
  cluster(): ClusterBackend | undefined;
  readonly role: () => NodeRole | undefined;
  /** The way of a connection without traffic, as `skein explain` prints it. On a manager. */
  explain(question: ExplainQuestion, signal: AbortSignal): Promise<object>;
}
