/**
 * What users may do to the cluster. Implements `ClusterBackend` of api/backend.ts by shape (the manager does not
 * know the API); works on every manager, leader or not. Each call checks against the view, writes one transaction
 * and resolves when the view shows it, so a client reads its own writes.
 *
 * Checks against the view can be overtaken by another manager: the store refuses a taken name or a stale version,
 * and a port that two services got at once goes to the one that the allocator sees first.
 */
import { timestamp, type Clock } from '../../kit/clock.ts';
import { isCode, SkeinError } from '../../model/errors.ts';
import { newId, type NetworkId, type NodeId, type RandomBytes, type ServiceId } from '../../model/ids.ts';
import type { Cluster, Network, Node, Service, Task, UpdateStatus } from '../../model/objects.ts';
import type { NetworkSpec, NodeRole, NodeSpec, ServiceSpec, SwarmSpec } from '../../model/spec.ts';
import type { LogRecord, LogsAsked } from '../../rpc/messages.ts';
import type { TraceEvent, TraceQuery } from '../../rpc/trace-messages.ts';
import type { Op, Store } from '../../store/store.ts';
import type { LiveView } from '../../store/view.ts';
import type { Sealer } from '../secrets/sealer.ts';
import { isJob } from '../job.ts';
import { draftOf, rolledBack } from '../step.ts';
import { isOutdated, nodeOf, replacesTasks } from '../task.ts';
import { withSwarmDefaults } from './initial-objects.ts';
import { findNetwork, findNode, findService, findTask } from './lookup.ts';
import { checkNetworkSpec, checkUnused, standing, stillUsed } from './network-spec.ts';
import { type PayloadOptions, Payloads } from './payloads.ts';
import { inUse, nameTaken, stale, unimplemented } from './refusal.ts';
import { checkDemotion } from '../roles/demotion.ts';
import { roleOf } from '../roles/role.ts';
import { resolveSpec } from './service-context.ts';
import { checkServiceSpec } from './service-spec.ts';
import { checkSwarmSpec } from './swarm-spec.ts';
import { until } from './until.ts';

export interface ControlOptions {
  readonly store: Pick<Store, 'transact'>;
  readonly view: LiveView;
  readonly clock: Clock;
  readonly random: RandomBytes;
  leader(): NodeId | undefined;
  readonly sealer: Sealer;
  /** A new join token for the role, as the CA makes them. */
  newToken(role: NodeRole, cluster: Cluster): string;
  logs(request: Omit<LogsAsked, 'id'>, signal: AbortSignal): AsyncIterable<LogRecord>;
  trace(query: TraceQuery, signal: AbortSignal): AsyncIterable<TraceEvent>;
}

/** How long a write may take to show in the view before the client is told to look again. */
const VISIBLE_MS = 10_000;
/** How long the tasks of a network that is removed may take to stop: a drain, a grace period, and some. */
const LEAVING_MS = 60_000;

export class Control {
  readonly #options: ControlOptions;
  readonly secrets: Payloads<'secret'>;
  readonly configs: Payloads<'config'>;

  constructor(options: ControlOptions) {
    this.#options = options;
    const write: PayloadOptions['write'] = (ops, taken) => this.#write(ops, taken);
    this.secrets = new Payloads('secret', { ...options, write });
    this.configs = new Payloads('config', { ...options, write });
  }

  get view(): LiveView {
    return this.#options.view;
  }

  leader(): NodeId | undefined {
    return this.#options.leader();
  }

  service(ref: string): Service {
    return findService(this.view, ref);
  }

  task(ref: string): Task {
    return findTask(this.view, ref);
  }

  isUpToDate(task: Task): boolean {
    const service = this.view.get('service', task.serviceId);
    return service !== undefined && !isOutdated(task, service, nodeOf(this.view, task));
  }

  node(ref: string): Node {
    return findNode(this.view, ref);
  }

  network(ref: string): Network {
    return findNetwork(this.view, ref);
  }

  logs(request: Omit<LogsAsked, 'id'>, signal: AbortSignal): AsyncIterable<LogRecord> {
    return this.#options.logs(request, signal);
  }

  trace(query: TraceQuery, signal: AbortSignal): AsyncIterable<TraceEvent> {
    return this.#options.trace(query, signal);
  }

  async createService(
    spec: ServiceSpec,
    registryAuth: string | undefined,
  ): Promise<{ id: ServiceId; warnings: string[] }> {
    checkServiceSpec(spec);
    const id = newId<ServiceId>(this.#options.random);
    const object = {
      id,
      spec: resolveSpec(this.view, spec, undefined),
      specVersion: 1,
      previousSpec: undefined,
      previousSpecVersion: undefined,
      endpoint: undefined,
      updateStatus: undefined,
      registryAuth,
      jobStatus: isJob(spec) ? this.#execution(0) : undefined,
    };
    await this.#write([{ op: 'create', kind: 'service', object }], () => nameTaken('service', spec.Name));
    return { id, warnings: [] };
  }

  async updateService(
    ref: string,
    version: number,
    spec: ServiceSpec,
    options: { registryAuth?: string; registryAuthFrom?: 'spec' | 'previous-spec'; rollback: boolean },
  ): Promise<{ warnings: string[] }> {
    const service = this.service(ref);
    if (version !== service.version) throw stale();
    const changed = options.rollback ? this.#rollback(service) : this.#changed(service, spec);
    const kept =
      options.registryAuthFrom === 'previous-spec' ? service.previousRegistryAuth : changed.registryAuth;
    const registryAuth = options.registryAuth ?? kept;
    const jobStatus = service.jobStatus && this.#execution(service.jobStatus.jobIteration + 1);
    const object = { ...draftOf<'service'>(service), ...changed, registryAuth, jobStatus };
    await this.#write([{ op: 'update', kind: 'service', object, version }]);
    return { warnings: [] };
  }

  async removeService(ref: string): Promise<void> {
    await this.#write([{ op: 'delete', kind: 'service', id: this.service(ref).id }]);
  }

  async createNetwork(spec: NetworkSpec): Promise<NetworkId> {
    checkNetworkSpec(this.view, spec);
    const id = newId<NetworkId>(this.#options.random);
    const object = { id, spec: { ...spec, Driver: spec.Driver || 'overlay' }, state: undefined };
    await this.#write([{ op: 'create', kind: 'network', object }], () => nameTaken('network', spec.Name));
    return id;
  }

  /**
   * Waits for tasks that are stopping, as those of a stack that was just removed: what is made next under the same name
   * meets nothing of them.
   */
  async removeNetwork(ref: string): Promise<void> {
    const { view, clock } = this.#options;
    const network = this.network(ref);
    checkUnused(view, network);
    await until(view, clock, LEAVING_MS, () => standing(view, network).length === 0);
    const [user] = standing(view, network);
    if (user) throw stillUsed(network, user);
    checkUnused(view, network);
    await this.#write([{ op: 'delete', kind: 'network', id: network.id }]);
  }

  async updateNode(ref: string, version: number, spec: NodeSpec): Promise<void> {
    const node = this.node(ref);
    if (version !== node.version) throw stale();
    const object = { ...draftOf<'node'>(node), spec: { ...spec, Labels: spec.Labels ?? {} } };
    const ops: Op[] = [{ op: 'update', kind: 'node', object, version }];
    if (node.spec.Role === 'manager' && spec.Role === 'worker') {
      checkDemotion(this.view, node);
      ops.push(this.#aloneWithCluster());
    }
    await this.#write(ops);
  }

  async removeNode(ref: string, force: boolean): Promise<void> {
    const node = this.node(ref);
    if (roleOf(node) === 'manager')
      throw inUse(
        `node ${node.id} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal`,
      );
    if (!force && node.status.state === 'ready')
      throw inUse(`node ${node.id} is not down and can't be removed`);
    await this.#write([{ op: 'delete', kind: 'node', id: node.id }]);
  }

  async updateSwarm(
    version: number,
    spec: SwarmSpec,
    rotate: { workerToken: boolean; managerToken: boolean },
  ): Promise<Cluster> {
    const cluster = this.view.cluster;
    if (!cluster) throw new SkeinError('failed-precondition', 'no cluster is present');
    if (version !== cluster.version) throw stale();
    checkSwarmSpec(spec, cluster.spec);
    const { newToken } = this.#options;
    const joinTokens = {
      worker: rotate.workerToken ? newToken('worker', cluster) : cluster.joinTokens.worker,
      manager: rotate.managerToken ? newToken('manager', cluster) : cluster.joinTokens.manager,
    };
    const object = { ...draftOf<'cluster'>(cluster), spec: withSwarmDefaults(spec), joinTokens };
    await this.#write([{ op: 'update', kind: 'cluster', object, version }]);
    return this.view.cluster!;
  }

  /** Every update of a job runs it again. */
  #execution(jobIteration: number): Service['jobStatus'] {
    return { jobIteration, lastExecution: timestamp(this.#options.clock.now()) };
  }

  /** A new spec: only what replaces tasks makes a new version of it for them. */
  #changed(service: Service, given: ServiceSpec): Partial<Service> {
    checkServiceSpec(given);
    if (given.Name !== service.spec.Name) throw unimplemented('renaming services is not supported');
    if (modeOf(given) !== modeOf(service.spec)) throw unimplemented('service mode change is not allowed');
    const spec = resolveSpec(this.view, given, service.id);
    const replaces = replacesTasks(service.spec, spec);
    return {
      spec,
      specVersion: service.specVersion + (replaces ? 1 : 0),
      previousSpec: service.spec,
      previousSpecVersion: service.specVersion,
      registryAuth: service.registryAuth,
      previousRegistryAuth: service.registryAuth,
      updateStatus: replaces ? undefined : settled(service.updateStatus),
    };
  }

  #rollback(service: Service): Partial<Service> {
    if (!service.previousSpec) throw inUse(`service ${service.id} does not have a previous spec`);
    const spec = resolveSpec(this.view, service.previousSpec, service.id);
    const updateStatus: UpdateStatus = {
      state: 'rollback_started',
      startedAt: timestamp(this.#options.clock.now()),
      message: 'manually requested rollback',
    };
    // As in Docker: a second rollback takes the first one back.
    const previous = {
      previousSpec: service.spec,
      previousSpecVersion: service.specVersion,
      previousRegistryAuth: service.registryAuth,
    };
    return { ...rolledBack(service), ...previous, spec, updateStatus };
  }

  /** Of two demotions at once, each of which would do alone, the second is told to look again. */
  #aloneWithCluster(): Op {
    const { cluster } = this.view;
    if (!cluster) throw new SkeinError('failed-precondition', 'no cluster is present');
    return { op: 'update', kind: 'cluster', object: draftOf<'cluster'>(cluster), version: cluster.version };
  }

  async #write(ops: readonly Op[], taken?: () => SkeinError): Promise<void> {
    const { store, view } = this.#options;
    let revision: number;
    try {
      revision = await store.transact(ops);
    } catch (error) {
      if (isCode(error, 'out-of-sequence')) throw stale();
      if (taken && isCode(error, 'already-exists')) throw taken();
      throw error;
    }
    await view.reached(revision, AbortSignal.timeout(VISIBLE_MS));
  }
}

const modeOf = (spec: ServiceSpec): string => Object.keys(spec.Mode).sort().join();

/** A change that replaces nothing leaves a running update running and takes a finished one's report away. */
const settled = (status: UpdateStatus | undefined): UpdateStatus | undefined =>
  status?.state === 'updating' || status?.state === 'rollback_started' ? status : undefined;
