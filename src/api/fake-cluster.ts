/** The cluster's control in memory: one change of the view per call, and every task runs at once. */
import type { FakeRuntime } from '../containerd/fake.ts';
import { type Clock, sleep, timestamp } from '../kit/clock.ts';
import { sha256 } from '../kit/sha256.ts';
import { SkeinError } from '../model/errors.ts';
import type {
  Cidr,
  ClusterId,
  InterfaceAddress,
  Ipv4,
  Mac,
  NetworkId,
  NodeId,
  ServiceId,
  TaskId,
  Vni,
} from '../model/ids.ts';
import { containerIdOf, taskName } from '../model/names.ts';
import type { Cluster, Meta, Network, Node, Service, Task } from '../model/objects.ts';
import type { NetworkSpec, NodeRole, NodeSpec, ServiceSpec, SwarmSpec } from '../model/spec.ts';
import type { LogRecord, LogsAsked } from '../rpc/messages.ts';
import type { TraceEvent, TraceQuery } from '../rpc/trace-messages.ts';
import type { Cache } from '../store/cache.ts';
import type { Change } from '../store/store.ts';
import type { ClusterBackend } from './backend.ts';
import { FakePayloads } from './fake-payloads.ts';

const GIB = 1024 ** 3;
export const fakeDescription = (hostname: string): NonNullable<Node['description']> => ({
  hostname,
  platform: { architecture: 'x86_64', os: 'linux' },
  resources: { nanoCpus: 2e9, memoryBytes: 4 * GIB },
  engine: {
    version: '0.1.0',
    labels: {},
    plugins: [
      { type: 'Log', name: 'json-file' },
      { type: 'Network', name: 'overlay' },
    ],
  },
  uplinkMac: '02:00:00:00:00:01' as Mac,
});

export class FakeCluster implements ClusterBackend {
  readonly selfId = 'node1aaaaaaaaaaaaaaaaaaaa' as NodeId;
  readonly view: Cache;
  /** How often each kind of log stream was closed by its reader. */
  readonly closedLogs: string[] = [];
  readonly registryAuth: (string | undefined)[] = [];
  readonly secrets: FakePayloads<'secret'>;
  readonly configs: FakePayloads<'config'>;
  readonly #clock: Clock;
  readonly #runtime: FakeRuntime;
  #ids = 0;

  constructor(clock: Clock, view: Cache, runtime: FakeRuntime) {
    this.#clock = clock;
    this.view = view;
    this.#runtime = runtime;
    const meta = () => this.#meta();
    this.secrets = new FakePayloads('secret', view, () => this.#id('secret'), meta);
    this.configs = new FakePayloads('config', view, () => this.#id('config'), meta);
  }

  leader(): NodeId {
    return this.selfId;
  }

  /** What `swarm init` writes: cluster, ingress network, this node; and a worker beside it. */
  found(spec: SwarmSpec): void {
    this.put('cluster', {
      id: this.#id<ClusterId>('cluster'),
      spec,
      addressPools: ['10.0.0.0/8' as Cidr],
      subnetSize: 24,
      dataPathPort: 4789,
      joinTokens: { worker: 'SWMTKN-1-aaa-worker', manager: 'SWMTKN-1-aaa-manager' },
      ca: { certificate: 'no certificate', key: '', etcdCertificate: '', etcdKey: '' },
      ...this.#meta(),
    });
    this.put('network', this.#network({ Name: 'ingress', Driver: 'overlay', Ingress: true }, '10.0.0'));
    this.put('node', this.#node(this.selfId, 'manager', 1));
    this.put('node', this.#node('node2aaaaaaaaaaaaaaaaaaaa' as NodeId, 'worker', 2));
  }

  put<C extends Extract<Change, { type: 'put' }>>(kind: C['kind'], object: C['object']): void {
    this.view.apply(this.view.revision + 1, [{ type: 'put', kind, object } as Change]);
  }

  #meta(): Meta {
    const now = timestamp(this.#clock.now());
    const version = this.view.revision + 1;
    return { version, createRevision: version, createdAt: now, updatedAt: now };
  }

  #id<T extends string>(kind: string): T {
    return `${kind}${++this.#ids}x`.padEnd(25, '0') as T;
  }

  #node(id: NodeId, role: NodeRole, n: number): Node {
    return {
      id,
      spec: { Labels: {}, Role: role, Availability: 'active' },
      description: fakeDescription(`host${n}`),
      status: { state: 'ready', message: '', addr: `192.0.2.${n}` as Ipv4 },
      dataPathAddr: `192.0.2.${n}` as Ipv4,
      manager: role === 'manager' ? { addr: `192.0.2.${n}:2377`, etcdName: id, etcdPeerUrl: '' } : undefined,
      attachments: [
        {
          networkId: this.view.ingress!.id,
          address: `10.0.0.${n + 1}/24` as InterfaceAddress,
          mac: `02:00:00:00:01:0${n}` as Mac,
          aliases: [],
        },
      ],
      certificate: undefined,
      ...this.#meta(),
    };
  }

  #network(spec: NetworkSpec, prefix: string): Network {
    const vni = 4096 + this.view.all('network').size;
    return {
      id: this.#id<NetworkId>('network'),
      spec,
      state: {
        vni: vni as Vni,
        subnet: `${prefix}.0/24` as Cidr,
        gateway: `${prefix}.1` as Ipv4,
        ipRange: undefined,
      },
      ...this.#meta(),
    };
  }

  async updateSwarm(version: number, spec: SwarmSpec): Promise<Cluster> {
    const cluster = this.view.cluster!;
    this.#check(cluster, version);
    this.put('cluster', { ...cluster, spec, ...this.#meta() });
    return this.view.cluster!;
  }

  #check(object: Meta, version: number): void {
    if (object.version !== version) throw new SkeinError('out-of-sequence', 'update out of sequence');
  }

  async createService(spec: ServiceSpec, registryAuth: string | undefined) {
    if (this.view.byName('service', spec.Name))
      throw new SkeinError(
        'already-exists',
        `rpc error: code = AlreadyExists desc = name conflicts with an existing object: service ${spec.Name} already exists`,
      );
    this.registryAuth.push(registryAuth);
    const ports = spec.EndpointSpec?.Ports ?? [];
    const service: Service = {
      id: this.#id<ServiceId>('service'),
      spec,
      specVersion: 1,
      previousSpec: undefined,
      previousSpecVersion: undefined,
      endpoint: {
        spec: spec.EndpointSpec ?? {},
        ports,
        virtualIps: ports.length
          ? [{ networkId: this.view.ingress!.id, address: '10.0.0.200/24' as InterfaceAddress }]
          : [],
      },
      updateStatus: undefined,
      registryAuth,
      jobStatus: undefined,
      ...this.#meta(),
    };
    this.put('service', service);
    await this.#scale(service);
    return { id: service.id, warnings: [] };
  }

  async #scale(service: Service): Promise<void> {
    const { Replicated } = service.spec.Mode;
    const nodes = [...this.view.all('node').keys()];
    const wanted = Replicated ? (Replicated.Replicas ?? 1) : nodes.length;
    for (let slot = 1; slot <= wanted; slot++) {
      const task = this.#task(service, slot, nodes[(slot - 1) % nodes.length]!);
      this.put('task', task);
      if (task.nodeId === this.selfId) await this.#start(task);
    }
  }

  #task(service: Service, slot: number, nodeId: NodeId): Task {
    const id = this.#id<TaskId>('task');
    const meta = this.#meta();
    const containerId = containerIdOf(id, sha256);
    return {
      id,
      serviceId: service.id,
      slot,
      nodeId,
      spec: service.spec.TaskTemplate,
      specVersion: service.specVersion,
      serviceName: service.spec.Name,
      serviceLabels: service.spec.Labels ?? {},
      endpointSpec: service.spec.EndpointSpec ?? {},
      desiredState: 'running',
      status: {
        timestamp: meta.createdAt,
        state: 'running',
        message: 'started',
        err: '',
        container: { containerId, pid: 100 + slot, exitCode: 0 },
        ports: [],
        health: 'none',
      },
      attachments: [
        {
          networkId: this.view.ingress!.id,
          address: `10.0.0.${10 + slot}/24` as InterfaceAddress,
          mac: `02:00:00:00:02:${slot.toString(16).padStart(2, '0')}` as Mac,
          aliases: [],
        },
      ],
      registryAuth: undefined,
      jobIteration: undefined,
      ...meta,
    };
  }

  async #start(task: Task): Promise<void> {
    const { containerId } = task.status.container!;
    const image = task.spec.ContainerSpec.Image;
    if (!(await this.#runtime.images.get(image))) this.#runtime.images.add(image);
    await this.#runtime.create({
      id: containerId,
      name: taskName(task),
      image,
      spec: task.spec.ContainerSpec,
      limits: undefined,
      hostname: 'host',
      netnsPath: '/run/netns/x',
      files: {},
      labels: {
        'com.docker.swarm.node.id': task.nodeId!,
        'com.docker.swarm.service.id': task.serviceId,
        'com.docker.swarm.service.name': task.serviceName,
        'com.docker.swarm.task.id': task.id,
      },
    });
    await this.#runtime.start(containerId);
  }

  async updateService(ref: string, version: number, spec: ServiceSpec, options: { rollback: boolean }) {
    const service = this.service(ref);
    this.#check(service, version);
    const next = options.rollback && service.previousSpec ? service.previousSpec : spec;
    const changed: Service = {
      ...service,
      spec: next,
      specVersion: service.specVersion + 1,
      previousSpec: service.spec,
      previousSpecVersion: service.specVersion,
      ...this.#meta(),
    };
    await this.#removeTasks(service);
    this.put('service', changed);
    await this.#scale(changed);
    return { warnings: [] };
  }

  async #removeTasks(service: Service): Promise<void> {
    for (const task of [...this.view.tasksOfService(service.id)]) {
      this.view.apply(this.view.revision + 1, [{ type: 'delete', kind: 'task', id: task.id }]);
      if (task.nodeId === this.selfId) await this.#runtime.remove(task.status.container!.containerId);
    }
  }

  async removeService(ref: string): Promise<void> {
    const service = this.service(ref);
    await this.#removeTasks(service);
    this.view.apply(this.view.revision + 1, [{ type: 'delete', kind: 'service', id: service.id }]);
  }

  async updateNode(ref: string, version: number, spec: NodeSpec): Promise<void> {
    const node = this.node(ref);
    this.#check(node, version);
    this.put('node', { ...node, spec, ...this.#meta() });
  }

  async removeNode(ref: string, force: boolean): Promise<void> {
    const node = this.node(ref);
    if (node.status.state === 'ready' && !force)
      throw new SkeinError(
        'failed-precondition',
        `rpc error: code = FailedPrecondition desc = node ${node.id} is not down and can't be removed`,
      );
    this.view.apply(this.view.revision + 1, [{ type: 'delete', kind: 'node', id: node.id }]);
  }

  async createNetwork(spec: NetworkSpec): Promise<NetworkId> {
    const network = this.#network(spec, `10.0.${this.view.all('network').size}`);
    this.put('network', network);
    return network.id;
  }

  async removeNetwork(ref: string): Promise<void> {
    const { id } = this.network(ref);
    this.view.apply(this.view.revision + 1, [{ type: 'delete', kind: 'network', id }]);
  }

  service(ref: string): Service {
    return this.#find('service', ref, (service) => service.spec.Name === ref);
  }

  task(ref: string): Task {
    return this.#find('task', ref, () => false);
  }

  isUpToDate(task: Task): boolean {
    return this.view.get('service', task.serviceId)?.specVersion === task.specVersion;
  }

  node(ref: string): Node {
    return this.#find('node', ref, (node) => node.description?.hostname === ref);
  }

  network(ref: string): Network {
    return this.#find('network', ref, (network) => network.spec.Name === ref);
  }

  #find<K extends 'service' | 'task' | 'node' | 'network'>(
    kind: K,
    ref: string,
    named: (object: { service: Service; task: Task; node: Node; network: Network }[K]) => boolean,
  ): { service: Service; task: Task; node: Node; network: Network }[K] {
    for (const object of this.view.all(kind).values()) {
      const own = object as { service: Service; task: Task; node: Node; network: Network }[K];
      if (own.id.startsWith(ref) || named(own)) return own;
    }
    throw new SkeinError('not-found', `${kind} ${ref} not found`);
  }

  /** Every node is asked and captures nothing until the time is over. */
  async *trace(query: TraceQuery, signal: AbortSignal): AsyncGenerator<TraceEvent> {
    for (const node of this.view.all('node').values())
      yield { type: 'node', node: node.description!.hostname };
    await sleep(this.#clock, query.maxMs, signal);
    yield { type: 'end', why: signal.aborted ? 'canceled' : 'the time is over' };
  }

  /** One line a task; with `follow` it then waits for its reader to go. */
  async *logs(request: Omit<LogsAsked, 'id'>, signal: AbortSignal): AsyncGenerator<LogRecord> {
    try {
      for (const taskId of request.tasks) {
        const data = Buffer.from(`hello from ${taskId}\n`).toString('base64');
        yield { taskId, stream: 'stdout', time: timestamp(this.#clock.now()), data };
      }
      if (request.follow) await sleep(this.#clock, 3_600_000, signal);
    } finally {
      this.closedLogs.push(signal.aborted ? 'aborted' : 'ended');
    }
  }
}
