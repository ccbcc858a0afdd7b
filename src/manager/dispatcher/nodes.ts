/**
 * What the dispatcher writes of nodes, and its judgement whether they live. A node is down after three missed
 * heartbeats; a stream that ends and comes back within that time is no event. A new leader gives all of them one
 * period more before it judges.
 */
import { isDeepStrictEqual } from 'node:util';
import { type Clock, sleep } from '../../kit/clock.ts';
import type { Log } from '../../kit/log.ts';
import { isCode } from '../../model/errors.ts';
import type { Ipv4, NodeId } from '../../model/ids.ts';
import type { Node, NodeDescription } from '../../model/objects.ts';
import type { Fence, Store } from '../../store/store.ts';
import type { View } from '../../store/view.ts';

const MISSED = 3;
const DEFAULT_PERIOD_MS = 5000;
const RETRY_MS = 250;

export interface NodesOptions {
  readonly store: Pick<Store, 'get' | 'transact'>;
  readonly view: Pick<View, 'cluster' | 'all'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly fence: Fence | undefined;
  readonly signal: AbortSignal;
  /** The node missed its heartbeats. */
  lost(id: NodeId): void;
}

export class Nodes {
  readonly #options: NodesOptions;
  readonly #seen = new Map<NodeId, number>();
  readonly #startedAt: number;

  constructor(options: NodesOptions) {
    this.#options = options;
    this.#startedAt = options.clock.monotonic();
    options.signal.addEventListener('abort', () => this.#cancel?.(), { once: true });
    this.#schedule();
  }

  #cancel: (() => void) | undefined;

  get periodMs(): number {
    const period = this.#options.view.cluster?.spec.Dispatcher.HeartbeatPeriod;
    return period ? period / 1e6 : DEFAULT_PERIOD_MS;
  }

  seen(id: NodeId): void {
    this.#seen.set(id, this.#options.clock.monotonic());
  }

  ready(id: NodeId, description: NodeDescription, dataPathAddr: Ipv4, addr: Ipv4): Promise<void> {
    this.seen(id);
    return this.#write(id, (node) => ({
      ...node,
      description,
      dataPathAddr,
      status: { state: 'ready', message: '', addr },
    }));
  }

  /** `force`: whatever was heard of it in the meantime. */
  down(id: NodeId, message: string, force = false): Promise<void> {
    return this.#write(id, (node) =>
      !force && this.#isAlive(id) ? node : { ...node, status: { ...node.status, state: 'down', message } },
    );
  }

  #isAlive(id: NodeId): boolean {
    const { clock } = this.#options;
    const seen = this.#seen.get(id) ?? this.#startedAt + this.periodMs;
    return clock.monotonic() - seen < MISSED * this.periodMs;
  }

  /** Looks several times a period, so that "three missed" is not "nearly four". */
  #schedule(): void {
    const { clock, signal } = this.#options;
    if (signal.aborted) return;
    this.#cancel = clock.after(this.periodMs / 5, () => {
      this.#judge();
      this.#schedule();
    });
  }

  #judge(): void {
    const { view, log, lost } = this.#options;
    for (const id of this.#seen.keys()) if (!view.all('node').has(id)) this.#seen.delete(id);
    for (const node of view.all('node').values()) {
      if (node.status.state === 'down' || this.#isAlive(node.id)) continue;
      log.warn('node is down', { 'node.id': node.id });
      lost(node.id);
      void this.down(node.id, 'heartbeat failure');
    }
  }

  /** Changes one node until it is written, the node is gone, or leadership ends. */
  async #write(id: NodeId, change: (node: Node) => Node): Promise<void> {
    const { store, fence, signal, clock, log } = this.#options;
    while (!signal.aborted) {
      try {
        const node = await store.get('node', id);
        if (!node) return;
        const object = change(node);
        if (isDeepStrictEqual(object, node)) return;
        await store.transact([{ op: 'update', kind: 'node', object, version: node.version }], fence);
        return;
      } catch (error) {
        if (isCode(error, 'failed-precondition')) return; // another leads now and judges for itself
        if (!isCode(error, 'out-of-sequence')) {
          log.warn('cannot write a node, will try again', { 'node.id': id, err: error });
          await sleep(clock, RETRY_MS, signal);
        }
      }
    }
  }
}
