/**
 * This node's containers and images for the Engine API (`EngineBackend` of api/, by shape: agent does not import api).
 * Reads containerd each time and keeps nothing; works outside a cluster too.
 */
import type { ContainerArchives } from '../containerd/archive.ts';
import type { ExecConfig, ExecProcess } from '../containerd/process.ts';
import type {
  ContainerInfo,
  ContainerRuntime,
  ImageInfo,
  ImageStore,
  LogLine,
  LogQuery,
  RegistryAuth,
  RemovedImage,
  VolumeStore,
} from '../containerd/runtime.ts';
import type { Clock } from '../kit/clock.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId, InterfaceAddress, NetworkId, TaskId } from '../model/ids.ts';
import { containerIdOf, type HashText } from '../model/names.ts';
import type { NetworkItem } from '../model/network-view.ts';
import type { NodeDescription } from '../model/objects.ts';
import type { HostPort } from '../model/spec.ts';
import { isTerminal } from '../model/task-state.ts';
import type { TaskItem } from '../rpc/messages.ts';
import type { Assignments } from './assignments.ts';
import { healthCheckOf, type HealthReport, healthReport } from './health-plan.ts';
import type { RestartReport } from './restart-plan.ts';
import { pruneImages } from './image-prune.ts';
import type { HostFacts } from './node-facts.ts';
import { TaskFiles } from './task-files.ts';
import type { ClusterPlace } from './cluster-place.ts';
import { ContainerControl } from './container-control.ts';
import type { Standalone } from './standalone.ts';

export interface EngineOptions {
  readonly runtime: ContainerRuntime;
  readonly standalone: Standalone;
  readonly clock: Clock;
  /** Of the cluster this node is in now, if any. */
  readonly assignments: () => Assignments | undefined;
  readonly place: () => Pick<ClusterPlace, 'stands' | 'network'> | undefined;
  readonly hash: HashText;
  readonly id: string;
  readonly dataRoot: string;
  readonly skeinVersion: string;
  readonly description: () => NodeDescription;
  readonly host: HostFacts;
  /** What an operator should hear of this node, in words. */
  readonly warnings: () => readonly string[];
  /** Asks the registry whether it takes these credentials. */
  readonly login: (auth: RegistryAuth, signal: AbortSignal) => Promise<{ readonly identityToken: string }>;
}

export interface NetworkContainer {
  readonly containerId: ContainerId | undefined;
  readonly taskId: TaskId | undefined;
  readonly name: string;
  readonly mac: string;
  readonly address: string;
}

export interface ContainerNetwork {
  readonly networkId: NetworkId;
  readonly name: string;
  readonly address: InterfaceAddress;
  readonly mac: string;
  readonly gateway: string;
  readonly aliases: readonly string[];
}

export class AgentEngine {
  /** What a user does to the containers. */
  readonly control: ContainerControl;
  readonly #options: EngineOptions;
  readonly #files: TaskFiles;

  constructor(options: EngineOptions) {
    this.#options = options;
    this.#files = new TaskFiles(options.dataRoot);
    this.control = new ContainerControl(options);
  }

  get images(): ImageStore {
    return this.#options.runtime.images;
  }

  pruneImages(chosen: readonly ImageInfo[]): Promise<readonly RemovedImage[]> {
    return pruneImages({ images: this.images, assignments: this.#options.assignments() }, chosen);
  }

  get volumes(): VolumeStore {
    return this.#options.runtime.volumes;
  }

  get archives(): ContainerArchives {
    return this.#options.runtime.archives;
  }

  login(auth: RegistryAuth, signal: AbortSignal): Promise<{ readonly identityToken: string }> {
    return this.#options.login(auth, signal);
  }

  containers(): Promise<readonly ContainerInfo[]> {
    return this.#options.runtime.list();
  }

  /** By id, name or id prefix, in this order. */
  async container(ref: string): Promise<ContainerInfo> {
    const wanted = ref.replace(/^\//, '');
    const all = await this.containers();
    const exact = all.find((c) => c.id === wanted) ?? all.find((c) => c.name === wanted);
    if (exact) return exact;
    const matches = wanted === '' ? [] : all.filter((c) => c.id.startsWith(wanted));
    if (matches.length === 1) return matches[0]!;
    if (matches.length > 1)
      throw new SkeinError('invalid-argument', `Multiple IDs found with provided prefix: ${wanted}`);
    throw new SkeinError('not-found', `No such container: ${ref}`);
  }

  logs(id: ContainerId, query: LogQuery, signal: AbortSignal): AsyncIterable<LogLine> {
    return this.#options.runtime.logs(id, query, signal);
  }

  /** By its health check, as Docker shows it; undefined without one, and before it has run. */
  async health(container: ContainerInfo): Promise<HealthReport | undefined> {
    if (!healthCheckOf(container.config.spec.Healthcheck) || container.status === 'created') return undefined;
    const { standalone } = this.#options;
    const { id } = container;
    return healthReport(await (standalone.owns(id) ? standalone.health(id) : this.#files.readHealth(id)));
  }

  restarts(container: ContainerInfo): Promise<RestartReport | undefined> {
    return this.#options.standalone.restarts(container);
  }

  written(id: ContainerId): Promise<number> {
    return this.#options.runtime.written(id);
  }

  exec(id: ContainerId, config: ExecConfig): Promise<ExecProcess> {
    return this.#options.runtime.exec(id, config);
  }

  async networkContainers(id: NetworkId): Promise<readonly NetworkContainer[]> {
    const view = this.#options.assignments()?.networkView();
    if (!view) return [];
    const here = [...view.endpoints.values()].filter(
      (e) => e.networkId === id && e.nodeId === view.self?.nodeId,
    );
    const length = view.networks.get(id)?.subnet.split('/')[1] ?? '32';
    const tasks = here.map(
      (e): NetworkContainer => ({
        containerId: e.taskId && this.#containerOf(e.taskId),
        taskId: e.taskId,
        name: e.name,
        mac: e.mac,
        address: `${e.address}/${length}`,
      }),
    );
    const ingress = view.networks.get(id)?.ingress ? view.self?.ingress : undefined;
    if (!ingress || here.some((e) => e.taskId === undefined)) return tasks;
    return [
      ...tasks,
      {
        containerId: undefined,
        taskId: undefined,
        name: 'ingress-endpoint',
        mac: ingress.mac,
        address: `${ingress.address}/${length}`,
      },
    ];
  }

  async containerNetworks(id: ContainerId): Promise<readonly ContainerNetwork[]> {
    const networks = this.#options.assignments()?.networkView()?.networks;
    if (!networks) return [];
    const task = this.#taskOf(id);
    const ended = task && isTerminal(task.status.state);
    const stands = task ? task.attachments : (this.#options.place()?.stands(id) ?? []);
    return (ended ? [] : stands).map((a) => ({
      networkId: a.networkId,
      name: networks.get(a.networkId)?.name ?? '',
      address: a.address,
      mac: a.mac,
      gateway: networks.get(a.networkId)?.gateway ?? '',
      aliases: a.aliases,
    }));
  }

  async ports(): Promise<ReadonlyMap<ContainerId, readonly HostPort[]>> {
    const attached = (await this.#options.place()?.network.attached()) ?? [];
    return new Map(attached.map(({ spec, hostPorts }) => [spec.id, hostPorts]));
  }

  async networks(): Promise<readonly NetworkItem[]> {
    return [...(this.#options.assignments()?.networkView()?.networks.values() ?? [])];
  }

  async info() {
    const { id, dataRoot, skeinVersion, description, host, runtime, warnings } = this.#options;
    const { containerd, revision, runc } = await runtime.version();
    return {
      id,
      description: description(),
      dataRoot,
      skeinVersion,
      containerd: { version: containerd, revision },
      runc,
      warnings: warnings(),
      ...host,
    };
  }

  #taskOf(id: ContainerId): TaskItem | undefined {
    const tasks = this.#options.assignments()?.tasks.values() ?? [];
    return [...tasks].find((item) => this.#containerOf(item.id) === id);
  }

  #containerOf(taskId: TaskId): ContainerId {
    const attachment = this.#options.assignments()?.attachments.get(taskId);
    return (attachment?.spec.NetworkAttachmentSpec?.ContainerID ??
      containerIdOf(taskId, this.#options.hash)) as ContainerId;
  }
}
