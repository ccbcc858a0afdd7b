/**
 * One term of leadership: the items, the sessions and what each node has applied. A new leader starts a new term
 * from its view; nothing is carried over or stored.
 *
 * INVARIANTS
 * - A session gets a snapshot, then every later change of its topics, in order and once; or it is ended, and the
 *   agent comes back for a snapshot.
 * - A stopping task's agent hears of it only after its drain (drains.ts).
 *
 * Changes are gathered while the last ones are being digested, then each changed topic is encoded once.
 */
import type { Clock } from '../../kit/clock.ts';
import type { Log } from '../../kit/log.ts';
import { SkeinError } from '../../model/errors.ts';
import type { NodeId, TaskId } from '../../model/ids.ts';
import type { Cluster, Config, Secret, Task } from '../../model/objects.ts';
import { Encoded } from '../../rpc/frame.ts';
import type { ManagerAddress, ToAgent } from '../../rpc/messages.ts';
import { Queue } from '../../rpc/queue.ts';
import type { Fence, Store } from '../../store/store.ts';
import type { LiveView, Transition } from '../../store/view.ts';
import { Deltas } from './deltas.ts';
import { Drains } from './drains.ts';
import { Nodes } from './nodes.ts';
import {
  contextOf,
  mustDrain,
  networkPlacements,
  networkTopic,
  nodePlacements,
  payloadPlacements,
  type Placement,
  servicePlacements,
  subscriptions,
  taskPlacements,
  type Topic,
} from './plan.ts';
import { Reports } from './reports.ts';
import { Topics } from './topics.ts';

export interface TermOptions {
  readonly store: Pick<Store, 'get' | 'transact'>;
  readonly view: LiveView;
  readonly clock: Clock;
  readonly log: Log;
  readonly fence: Fence | undefined;
  readonly signal: AbortSignal;
  /** The data of a secret, base64; throws what can not be opened. */
  openSecret(secret: Secret): string;
  managers(): readonly ManagerAddress[];
}

export interface Session {
  readonly nodeId: NodeId;
  readonly queue: Queue<Encoded>;
  topics: Set<Topic>;
}

/**
 * The first change after a quiet time goes out at once; after that changes are gathered for so many times what sending
 * the last ones took, so that a flood of them costs a fifth of the leader's time at most.
 */
const REST_FACTOR = 4;
const REST_MS = { least: 1, most: 50 };
/** An agent this far behind is cheaper served by a fresh snapshot. */
const QUEUE_BYTES = 32 * 1024 * 1024;

export class Term {
  readonly nodes: Nodes;
  readonly reports: Reports;
  readonly #options: TermOptions;
  readonly #topics = new Topics();
  readonly #drains: Drains;
  readonly #sessions = new Map<NodeId, Session>();
  /** Nodes whose subscriptions may have changed since the last flush. */
  readonly #moved = new Set<NodeId>();
  #context;
  #cancelFlush: (() => void) | undefined;
  /** No flush before. */
  #flushFrom = 0;
  #managersChanged = false;

  constructor(options: TermOptions) {
    this.#options = options;
    const { view, clock, signal } = options;
    this.#context = contextOf(view);
    this.#drains = new Drains(clock, (id) => this.#released(id));
    this.nodes = new Nodes({ ...options, lost: (id) => this.#lost(id) });
    this.reports = new Reports(options);
    this.#placeAll();
    this.#topics.clean();
    for (const task of view.all('task').values()) this.#drain(task, view.revision);
    const off = view.onChange((transitions, revision) => this.#changed(transitions, revision));
    signal.addEventListener('abort', () => this.#stop(off), { once: true });
  }

  /** A session of the node takes the place of an earlier one. */
  open(nodeId: NodeId): Session {
    this.#flush();
    this.#sessions.get(nodeId)?.queue.end(new SkeinError('canceled', 'the node has opened another session'));
    const { view } = this.#options;
    const queue = new Queue<Encoded>(QUEUE_BYTES, (message) => message.line.length);
    const session: Session = { nodeId, queue, topics: subscriptions(view, nodeId) };
    this.#sessions.set(nodeId, session);
    this.nodes.seen(nodeId);
    queue.push(
      encoded({ type: 'welcome', heartbeatMs: this.nodes.periodMs, managers: this.#options.managers() }),
    );
    const items = [...session.topics]
      .map((topic) => this.#topics.full(topic))
      .filter(Boolean)
      .join(',');
    queue.push(new Encoded(`{"type":"snapshot","revision":${view.revision},"items":{${items}}}`));
    return session;
  }

  close(session: Session, error?: unknown): void {
    session.queue.end(error);
    if (this.#sessions.get(session.nodeId) === session) this.#sessions.delete(session.nodeId);
  }

  applied(nodeId: NodeId, revision: number): void {
    this.#drains.applied(nodeId, revision);
  }

  /** False when the node has no session now. */
  send(nodeId: NodeId, message: ToAgent): boolean {
    return this.#sessions.get(nodeId)?.queue.push(encoded(message)) ?? false;
  }

  /** The node says goodbye: no waiting for heartbeats. It ends its session itself, once it has the answer. */
  async leave(nodeId: NodeId): Promise<void> {
    this.#drains.forgetNode(nodeId);
    await this.nodes.down(nodeId, 'the node has left the cluster', true);
  }

  #stop(off: () => void): void {
    off();
    this.#cancelFlush?.();
    this.#drains.stop();
    void this.reports.stop();
    for (const { queue } of this.#sessions.values())
      queue.end(new SkeinError('unavailable', 'this manager is not the leader any more'));
    this.#sessions.clear();
  }

  #placeAll(): void {
    const { view } = this.#options;
    for (const node of view.all('node').values()) this.#place('node', node.id);
    for (const task of view.all('task').values()) this.#place('task', task.id);
    for (const network of view.all('network').values()) this.#place('network', network.id);
    for (const service of view.all('service').values()) this.#place('service', service.id);
    for (const secret of view.all('secret').values()) this.#place('secret', secret.id);
    for (const config of view.all('config').values()) this.#place('config', config.id);
  }

  #place(kind: Transition['kind'], id: string): void {
    this.#topics.place(`${kind}/${id}`, this.#placementsOf(kind, id));
  }

  #placementsOf(kind: Transition['kind'], id: string): readonly Placement[] {
    const { view } = this.#options;
    const object = view.get(kind, id as never);
    if (!object) return [];
    switch (kind) {
      case 'node':
        return nodePlacements(object as never, this.#context);
      case 'task':
        return taskPlacements(object as Task, this.#drains.isHeld(id as TaskId));
      case 'network':
        return networkPlacements(object as never);
      case 'service':
        return servicePlacements(object as never, this.#context);
      case 'secret':
        return this.#secretPlacements(object as Secret);
      case 'config':
        return payloadPlacements('config', object as Config, (object as Config).spec.Data);
      default:
        return [];
    }
  }

  /** One that does not open goes to nobody; the tasks that need it say that it is missing. */
  #secretPlacements(secret: Secret): readonly Placement[] {
    const { openSecret, log } = this.#options;
    try {
      return payloadPlacements('secret', secret, openSecret(secret));
    } catch (error) {
      log.error('a secret can not be given to its tasks', { 'secret.id': secret.id, err: error });
      return [];
    }
  }

  #changed(transitions: readonly Transition[], revision: number): void {
    const context = contextOf(this.#options.view);
    const rebuilt =
      context.dataPathPort !== this.#context.dataPathPort || context.ingress !== this.#context.ingress;
    this.#context = context;
    for (const transition of transitions) this.#note(transition, revision);
    if (rebuilt) this.#placeAll();
    else for (const { kind, id } of transitions) this.#place(kind, id);
    this.#soon();
  }

  /** What a transition means beyond the items it makes. */
  #note(transition: Transition, revision: number): void {
    const { before, after, kind } = transition;
    if (kind === 'task') {
      if (transition.after) this.#drain(transition.after, revision);
      else this.#drains.forgetTask(transition.id);
      for (const task of [transition.before, transition.after])
        if (task?.nodeId) this.#moved.add(task.nodeId);
    } else if (kind === 'node') {
      this.#moved.add(transition.id);
      if (transition.after?.status.state !== 'ready') this.#drains.forgetNode(transition.id);
      if (transition.before?.manager?.addr !== transition.after?.manager?.addr) this.#managersChanged = true;
      const session = this.#sessions.get(transition.id);
      if (before && !after && session)
        this.close(session, new SkeinError('permission-denied', 'the node was removed from the cluster'));
    } else if (kind === 'cluster' && period(transition.before) !== period(transition.after)) {
      this.#beatAnew();
    }
  }

  /** Another heartbeat is agreed on as the first one was; who beats as before is not judged by the new one meanwhile. */
  #beatAnew(): void {
    for (const session of [...this.#sessions.values()]) {
      this.nodes.seen(session.nodeId);
      this.close(session, new SkeinError('unavailable', 'the heartbeat period has changed'));
    }
  }

  #drain(task: Task, revision: number): void {
    if (!mustDrain(task)) return this.#drains.forgetTask(task.id);
    if (!this.#drains.isHeld(task.id)) this.#drains.begin(task.id, revision, this.#routersTo(task));
    if (this.#drains.isHeld(task.id)) this.#place('task', task.id);
  }

  /** Ready nodes that may send connections to the task: those that take one of its networks. */
  *#routersTo(task: Task): Iterable<NodeId> {
    const { view } = this.#options;
    const topics = task.attachments.map(({ networkId }) => networkTopic(networkId));
    for (const node of view.all('node').values()) {
      if (node.status.state !== 'ready') continue;
      const taken = this.#sessions.get(node.id)?.topics ?? subscriptions(view, node.id);
      if (topics.some((topic) => taken.has(topic))) yield node.id;
    }
  }

  #released(id: TaskId): void {
    this.#place('task', id);
    this.#soon();
  }

  #lost(id: NodeId): void {
    this.#drains.forgetNode(id);
    const session = this.#sessions.get(id);
    if (session) this.close(session, new SkeinError('unavailable', 'the node missed its heartbeats'));
  }

  #soon(): void {
    const { clock } = this.#options;
    this.#cancelFlush ??= clock.after(Math.max(0, this.#flushFrom - clock.monotonic()), () => this.#flush());
  }

  #flush(): void {
    this.#cancelFlush?.();
    this.#cancelFlush = undefined;
    const { clock } = this.#options;
    const begun = clock.monotonic();
    if (this.#managersChanged) this.#sendManagers();
    if (this.#topics.dirty.size > 0 || this.#moved.size > 0) this.#sendDeltas();
    const rest = REST_FACTOR * (clock.monotonic() - begun);
    this.#flushFrom = clock.monotonic() + Math.min(REST_MS.most, Math.max(REST_MS.least, rest));
  }

  #sendDeltas(): void {
    const { view } = this.#options;
    const dirty = this.#topics.dirty;
    const deltas = new Deltas(this.#topics, view.revision);
    for (const session of this.#sessions.values()) {
      const before = session.topics;
      if (this.#moved.has(session.nodeId)) session.topics = subscriptions(view, session.nodeId);
      const message = deltas.message(before, session.topics, dirty);
      if (message && !session.queue.push(message))
        this.#options.log.warn('a node reads too slowly, it must come back', { 'node.id': session.nodeId });
    }
    this.#moved.clear();
    this.#topics.clean();
  }

  #sendManagers(): void {
    this.#managersChanged = false;
    const message = encoded({ type: 'managers', managers: this.#options.managers() });
    for (const { queue } of this.#sessions.values()) queue.push(message);
  }
}

const period = (cluster: Cluster | undefined): number | undefined => cluster?.spec.Dispatcher.HeartbeatPeriod;

const encoded = (message: ToAgent): Encoded => new Encoded(JSON.stringify(message));
