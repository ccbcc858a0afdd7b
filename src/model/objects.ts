/**
 * The stored objects and who writes which part of them.
 *
 * - `spec` is the user's; only the API writes it.
 * - `Task.desiredState` is written by the manager loops alone, `Task.status` by the agent that runs it (through the
 *   dispatcher) once the task is assigned, by the manager before that.
 * - everything else is written by the one loop named at the field.
 *
 * Times are ISO 8601 strings in UTC with nanosecond precision, as Docker prints them.
 */
import type {
  Cidr,
  ClusterId,
  ConfigId,
  ContainerId,
  InterfaceAddress,
  Ipv4,
  Mac,
  NetworkId,
  NodeId,
  SecretId,
  ServiceId,
  TaskId,
  Vni,
} from './ids.ts';
import type {
  ConfigSpec,
  EndpointSpec,
  GenericResource,
  Labels,
  NetworkSpec,
  NodeRole,
  NodeSpec,
  PortSpec,
  SecretSpec,
  ServiceSpec,
  SwarmSpec,
  TaskSpec,
} from './spec.ts';
import type { TaskState } from './task-state.ts';

/** Kept by the store: the revision that created the object and the one that last changed it. */
export interface Meta {
  /** Docker's `Version.Index`: the store's revision of the last change of this object. */
  readonly version: number;
  /** What is older than what, whatever the clocks of the managers showed when it was made. */
  readonly createRevision: number;
  readonly createdAt: string;
  readonly updatedAt: string;
}

export interface Cluster extends Meta {
  readonly id: ClusterId;
  readonly spec: SwarmSpec;
  /** Pools from which networks without a subnet get theirs, and the mask length of each. */
  readonly addressPools: readonly Cidr[];
  readonly subnetSize: number;
  readonly dataPathPort: number;
  readonly joinTokens: Readonly<Record<NodeRole, string>>;
  readonly ca: ClusterCa;
}

export interface ClusterCa {
  /** PEM. Trust root of every connection between nodes. */
  readonly certificate: string;
  /** PEM, PKCS#8. Managers only: no rpc message carries it, a new manager reads it in the store. */
  readonly key: string;
  /** PEM. Second root, for etcd's peers; only managers are given it, so a worker opens nothing of the store. */
  readonly etcdCertificate: string;
  /** PEM, PKCS#8. */
  readonly etcdKey: string;
}

export interface NodeDescription {
  readonly hostname: string;
  readonly platform: { readonly architecture: string; readonly os: string };
  readonly resources: {
    readonly nanoCpus: number;
    readonly memoryBytes: number;
    /** As the node's owner names them; absent: none. */
    readonly generic?: readonly GenericResource[];
  };
  readonly engine: {
    readonly version: string;
    readonly labels: Labels;
    readonly plugins: readonly { readonly type: string; readonly name: string }[];
  };
  /** MAC of the link that carries the data path address; the ingress endpoint takes it where it is unique. */
  readonly uplinkMac: Mac;
}

export type NodeState = 'unknown' | 'down' | 'ready' | 'disconnected';

export interface Node extends Meta {
  readonly id: NodeId;
  readonly spec: NodeSpec;
  readonly description: NodeDescription | undefined;
  /** Written by the leader's dispatcher. `addr` is the node's address as the managers see it. */
  readonly status: { readonly state: NodeState; readonly message: string; readonly addr: Ipv4 };
  /** VXLAN tunnel endpoint: where other nodes send this node's overlay packets. */
  readonly dataPathAddr: Ipv4;
  /** Present on managers; `addr` is `ip:port` of the control listener. `leader` is not stored, see election. */
  readonly manager:
    | { readonly addr: string; readonly etcdName: string; readonly etcdPeerUrl: string }
    | undefined;
  /** This node's ingress endpoint; written by the allocator. */
  readonly attachments: readonly Attachment[];
  /** PEM of the node's current certificate. */
  readonly certificate: string | undefined;
}

/** One stand on one overlay network: of a task, or (ingress) of a node. Written by the allocator, never changed. */
export interface Attachment {
  readonly networkId: NetworkId;
  readonly address: InterfaceAddress;
  readonly mac: Mac;
  readonly aliases: readonly string[];
}

export interface VirtualIp {
  readonly networkId: NetworkId;
  readonly address: InterfaceAddress;
}

export interface ServiceEndpoint {
  readonly spec: EndpointSpec;
  /** `spec.Ports` with every published port filled in. */
  readonly ports: readonly PortSpec[];
  readonly virtualIps: readonly VirtualIp[];
}

export type UpdateState =
  | 'updating'
  | 'paused'
  | 'completed'
  | 'rollback_started'
  | 'rollback_paused'
  | 'rollback_completed';

export interface UpdateStatus {
  readonly state: UpdateState;
  readonly startedAt?: string;
  readonly completedAt?: string;
  readonly message: string;
}

export interface Service extends Meta {
  readonly id: ServiceId;
  readonly spec: ServiceSpec;
  /** Grows with every change of the spec that the update loop must look at; tasks carry the one they are made from. */
  readonly specVersion: number;
  readonly previousSpec: ServiceSpec | undefined;
  readonly previousSpecVersion: number | undefined;
  /** Written by the allocator. */
  readonly endpoint: ServiceEndpoint | undefined;
  /** Written by the update loop. */
  readonly updateStatus: UpdateStatus | undefined;
  /** Registry credentials given with `--with-registry-auth`: base64 of Docker's AuthConfig. Never in an answer. */
  readonly registryAuth: string | undefined;
  /** What the previous spec's images were pulled with. */
  readonly previousRegistryAuth?: string | undefined;
  /** Jobs: which execution this is. */
  readonly jobStatus: { readonly jobIteration: number; readonly lastExecution: string } | undefined;
}

export interface ContainerStatus {
  readonly containerId: ContainerId;
  readonly pid: number;
  readonly exitCode: number;
}

export interface TaskStatus {
  readonly timestamp: string;
  readonly state: TaskState;
  /** What is happening, in a few words: "started", "preparing". */
  readonly message: string;
  /** Why it is not going well, in words a person can act on; shown in the ERROR column of `service ps`. */
  readonly err: string;
  readonly container: ContainerStatus | undefined;
  /** Host-mode ports as bound. */
  readonly ports: readonly PortSpec[];
  /** No health check: running is healthy. */
  readonly health: 'none' | 'starting' | 'healthy' | 'unhealthy';
  /**
   * It runs without a health check, and nothing listens yet on these TCP ports of it that are published in ingress mode.
   * Absent when all are listened on, or were waited for long enough; agents of before ADR 15 do not say it.
   */
  readonly notListening?: readonly number[];
}

export interface Task extends Meta {
  readonly id: TaskId;
  readonly serviceId: ServiceId;
  /** Replicated services: 1..N. Global services: 0, and the node is the slot. */
  readonly slot: number;
  /** Written by the scheduler; for tasks of global services by the orchestrator. */
  readonly nodeId: NodeId | undefined;
  readonly spec: TaskSpec;
  readonly specVersion: number;
  readonly serviceName: string;
  readonly serviceLabels: Labels;
  readonly endpointSpec: EndpointSpec;
  readonly desiredState: TaskState;
  readonly status: TaskStatus;
  readonly attachments: readonly Attachment[];
  readonly registryAuth: string | undefined;
  readonly jobIteration: number | undefined;
  /** When it first was up (manager/task.ts), by its node's clock; written by the dispatcher with that report. */
  readonly startedAt?: string;
  /** What it was given of its node's generic resources; written by the scheduler with the node. */
  readonly genericResources?: readonly GenericResource[];
}

export interface Network extends Meta {
  readonly id: NetworkId;
  readonly spec: NetworkSpec;
  /** Written by the allocator; undefined until then. */
  readonly state: NetworkState | undefined;
}

export interface NetworkState {
  readonly vni: Vni;
  readonly subnet: Cidr;
  readonly gateway: Ipv4;
  readonly ipRange: Cidr | undefined;
}

export interface Secret extends Meta {
  readonly id: SecretId;
  /** Without its data. */
  readonly spec: SecretSpec;
  /** The data, encrypted (manager/secrets). */
  readonly sealed: string;
}

export interface Config extends Meta {
  readonly id: ConfigId;
  readonly spec: ConfigSpec;
}

/** The kinds of stored objects and their types. */
export interface Objects {
  cluster: Cluster;
  node: Node;
  service: Service;
  task: Task;
  network: Network;
  secret: Secret;
  config: Config;
}

export type Kind = keyof Objects;
export const KINDS = [
  'cluster',
  'node',
  'service',
  'task',
  'network',
  'secret',
  'config',
] as const satisfies Kind[];
export type Id<K extends Kind> = Objects[K]['id'];
