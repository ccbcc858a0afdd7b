/**
 * The view of the cluster, kept true by snapshot and watch, with the indexes the managers ask for.
 *
 * INVARIANTS
 * - Between two turns of the event loop the view holds whole batches only; listeners run after all of a batch is in.
 * - A batch costs what it changes: no index is rebuilt, however much else exists.
 * - Maps and sets handed out are live: whoever awaits while iterating takes a copy first.
 */
import { backoff } from '../kit/backoff.ts';
import { type Clock, sleep } from '../kit/clock.ts';
import { type Log, silentLog } from '../kit/log.ts';
import { isCode, SkeinError } from '../model/errors.ts';
import type { NetworkId, NodeId, ServiceId } from '../model/ids.ts';
import {
  type Cluster,
  type Id,
  type Kind,
  KINDS,
  type Network,
  type Objects,
  type Task,
} from '../model/objects.ts';
import { type NamedKind, nameOf } from './codec.ts';
import type { AnyObject, Batch, Change, Store } from './store.ts';
import type { MutableView, Transition } from './view.ts';

type Listener = (transitions: readonly Transition[], revision: number) => void;
type Stored = Objects[Kind];

interface Waiter {
  readonly revision: number;
  readonly wake: () => void;
}

export interface FollowOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

const RETRY = { base: 100, cap: 2000 };
const NO_TASKS: ReadonlySet<Task> = new Set();

export class Cache implements MutableView {
  readonly #log: Log;
  readonly #objects = new Map<Kind, Map<string, Stored>>(KINDS.map((kind) => [kind, new Map()]));
  readonly #names = new Map<string, Stored>();
  readonly #byService = new Map<string, Set<Task>>();
  readonly #byNode = new Map<string, Set<Task>>();
  readonly #byNetwork = new Map<string, Set<Task>>();
  readonly #listeners = new Set<Listener>();
  #waiters: Waiter[] = [];
  #revision = 0;
  #ingress: Network | undefined;

  constructor(log: Log = silentLog) {
    this.#log = log;
  }

  get revision(): number {
    return this.#revision;
  }

  get cluster(): Cluster | undefined {
    return this.#map('cluster').values().next().value;
  }

  get ingress(): Network | undefined {
    return this.#ingress;
  }

  get<K extends Kind>(kind: K, id: Id<K>): Objects[K] | undefined {
    return this.#map(kind).get(id);
  }

  all<K extends Kind>(kind: K): ReadonlyMap<Id<K>, Objects[K]> {
    return this.#map(kind) as unknown as ReadonlyMap<Id<K>, Objects[K]>;
  }

  byName<K extends NamedKind>(kind: K, name: string): Objects[K] | undefined {
    return this.#names.get(`${kind}/${name}`) as Objects[K] | undefined;
  }

  tasksOfService(id: ServiceId): ReadonlySet<Task> {
    return this.#byService.get(id) ?? NO_TASKS;
  }

  tasksOfNode(id: NodeId): ReadonlySet<Task> {
    return this.#byNode.get(id) ?? NO_TASKS;
  }

  tasksOfNetwork(id: NetworkId): ReadonlySet<Task> {
    return this.#byNetwork.get(id) ?? NO_TASKS;
  }

  onChange(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  reached(revision: number, signal?: AbortSignal): Promise<void> {
    if (this.#revision >= revision) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const waiter = {
        revision,
        wake: () => {
          signal?.removeEventListener('abort', give);
          resolve();
        },
      };
      const give = () => {
        this.#waiters = this.#waiters.filter((other) => other !== waiter);
        reject(new SkeinError('canceled', `stopped waiting for revision ${revision}`));
      };
      if (signal?.aborted) return give();
      signal?.addEventListener('abort', give, { once: true });
      this.#waiters.push(waiter);
    });
  }

  apply(revision: number, changes: readonly Change[]): void {
    const transitions = new Map<string, Transition>();
    for (const change of changes) {
      const id = change.type === 'put' ? change.object.id : change.id;
      const after = change.type === 'put' ? change.object : undefined;
      const before = this.#set(change.kind, id, after);
      // Twice in one batch: one transition, from before the first to after the last.
      const key = `${change.kind}/${id}`;
      const first = transitions.has(key) ? transitions.get(key)!.before : before;
      if (first || after) transitions.set(key, { kind: change.kind, id, before: first, after } as Transition);
      else transitions.delete(key);
    }
    this.#revision = revision;
    if (transitions.size > 0) this.#tell([...transitions.values()], revision);
    this.#wake();
  }

  /** Replaces everything by a snapshot; listeners see what differs, as one batch. */
  reset(revision: number, objects: readonly AnyObject[]): void {
    const kept = new Set<string>();
    const changes: Change[] = [];
    for (const { kind, object } of objects) {
      kept.add(`${kind}/${object.id}`);
      const known = this.#map(kind).get(object.id);
      // After a restore from a backup one version may name two contents; the time tells them apart.
      if (known?.version !== object.version || known.updatedAt !== object.updatedAt)
        changes.push({ type: 'put', kind, object } as unknown as Change);
    }
    for (const [kind, map] of this.#objects)
      for (const id of map.keys())
        if (!kept.has(`${kind}/${id}`)) changes.push({ type: 'delete', kind, id } as unknown as Change);
    this.apply(revision, changes);
  }

  /**
   * Follows the store until the signal aborts: a snapshot, then every batch; again from a snapshot when the watch
   * cannot go on. `reached(1)` resolves after the first snapshot.
   */
  async follow(store: Pick<Store, 'snapshot' | 'watch'>, options: FollowOptions): Promise<void> {
    const { clock, signal } = options;
    for (let failures = 0; !signal.aborted; ) {
      try {
        const { revision, objects } = await store.snapshot(signal);
        if (signal.aborted) return;
        this.reset(revision, objects);
        failures = 0;
        await this.#applyAll(store.watch(revision, signal));
      } catch (error) {
        if (signal.aborted) return;
        failures += 1;
        if (isCode(error, 'out-of-sequence')) this.#log.info('changes were compacted, reading all again');
        else this.#log.warn('cannot follow the store, will try again', { failures, err: error });
        await sleep(clock, backoff(RETRY, failures), signal);
      }
    }
  }

  async #applyAll(batches: AsyncIterable<Batch>): Promise<void> {
    for await (const { revision, changes } of batches) this.apply(revision, changes);
  }

  #map<K extends Kind>(kind: K): Map<string, Objects[K]> {
    return this.#objects.get(kind) as unknown as Map<string, Objects[K]>;
  }

  /** Puts or (undefined) removes one object in all indexes; returns what was there. */
  #set(kind: Kind, id: string, after: Stored | undefined): Stored | undefined {
    const map = this.#map(kind);
    const before = map.get(id);
    if (before) this.#unindex(kind, before);
    if (after) {
      map.set(id, after);
      this.#index(kind, after);
    } else map.delete(id);
    return before;
  }

  #index(kind: Kind, object: Stored): void {
    const name = nameOf(kind, object);
    if (name !== undefined) this.#names.set(`${kind}/${name}`, object);
    if (kind === 'network' && (object as Network).spec.Ingress) this.#ingress = object as Network;
    if (kind === 'task')
      for (const [index, key] of this.#places(object as Task)) add(index, key, object as Task);
  }

  #unindex(kind: Kind, object: Stored): void {
    const name = nameOf(kind, object);
    // A name may have gone to another object in this very batch: only the own entry is removed.
    if (name !== undefined && this.#names.get(`${kind}/${name}`) === object)
      this.#names.delete(`${kind}/${name}`);
    if (this.#ingress === object)
      this.#ingress = this.#map('network')
        .values()
        .find((other) => other !== object && other.spec.Ingress);
    if (kind === 'task')
      for (const [index, key] of this.#places(object as Task)) remove(index, key, object as Task);
  }

  *#places(task: Task): Iterable<[Map<string, Set<Task>>, string]> {
    yield [this.#byService, task.serviceId];
    if (task.nodeId !== undefined) yield [this.#byNode, task.nodeId];
    for (const { networkId } of task.attachments) yield [this.#byNetwork, networkId];
  }

  #tell(transitions: readonly Transition[], revision: number): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(transitions, revision);
      } catch (error) {
        this.#log.error('a listener of the view failed', { revision, err: error });
      }
    }
  }

  #wake(): void {
    if (this.#waiters.length === 0) return;
    const ready = this.#waiters.filter((waiter) => waiter.revision <= this.#revision);
    this.#waiters = this.#waiters.filter((waiter) => waiter.revision > this.#revision);
    for (const { wake } of ready) wake();
  }
}

function add(index: Map<string, Set<Task>>, key: string, task: Task): void {
  const set = index.get(key);
  if (set) set.add(task);
  else index.set(key, new Set([task]));
}

function remove(index: Map<string, Set<Task>>, key: string, task: Task): void {
  const set = index.get(key);
  if (!set) return;
  set.delete(task);
  if (set.size === 0) index.delete(key);
}
