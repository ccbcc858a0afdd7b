/**
 * The one runner of the manager's loops. Changes of the view mark keys of the planners that care; a round asks each
 * planner with marked keys for its steps, writes them in batched transactions under the leader's fence and waits
 * until the view shows them.
 *
 * INVARIANTS
 * - Planners run one after the other and see each other's writes, so no two transactions of a leader conflict.
 * - A mark is lost only once the view shows what was decided about it; a failed write brings all its keys back.
 * - A write whose fate is unknown is waited for by a linearizable read before anything is planned again.
 * Cost: what the planners do for the marked keys; nothing for what did not change.
 */
import { type Clock, sleep } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import { Loop, type Requeue } from '../kit/loop.ts';
import { isCode } from '../model/errors.ts';
import { type Fence, MAX_OPS, type Op, type Store } from '../store/store.ts';
import type { LiveView, Transition, View } from '../store/view.ts';
import { opsOf, type Plan, type Step } from './step.ts';

/** One manager loop: pure decisions plus, where it pays, state that follows the view and can be rebuilt from it. */
export interface Planner {
  readonly name: string;
  /** Rebuilds what is kept from the view and returns every key there is. At the start and in the full pass. */
  reset(view: View, now: number): Iterable<string>;
  /** Follows one change; returns the keys that must be looked at again. Called after the view holds the change. */
  changed(transition: Transition, view: View, now: number): Iterable<string>;
  plan(view: View, keys: ReadonlySet<string>, now: number): Plan;
}

export interface RunnerOptions {
  readonly store: Pick<Store, 'transact' | 'snapshot'>;
  readonly view: LiveView;
  readonly clock: Clock;
  readonly log: Log;
  readonly planners: readonly Planner[];
  readonly fence: Fence | undefined;
  /** Called once when another leader exists; the runner does nothing more after it. */
  readonly onDeposed: () => void;
}

const FULL_PASS_MS = 300_000;
const CONFLICT_WAIT_MS = 50;
const REST_FACTOR = 4;
const MAX_REST_MS = 100;

interface Line {
  readonly planner: Planner;
  readonly dirty: Set<string>;
  readonly due: Map<string, number>;
}

export class Runner {
  readonly #options: RunnerOptions;
  readonly #lines: readonly Line[];
  readonly #loop: Loop<'round'>;
  readonly #abort = new AbortController();
  #unlisten: (() => void) | undefined;
  /** Halved by each conflict, so that a batch with one contended object cannot hold up the rest for ever. */
  #limit = MAX_OPS;
  /** Time the planners took in this round, ms. */
  #planning = 0;

  constructor(options: RunnerOptions) {
    this.#options = options;
    this.#lines = options.planners.map((planner) => ({ planner, dirty: new Set(), due: new Map() }));
    this.#loop = new Loop<'round'>({
      name: 'manager',
      clock: options.clock,
      log: options.log,
      reconcile: () => this.#round(),
      backoff: { base: 100, cap: 5_000 },
      full: { interval: FULL_PASS_MS, keys: () => (this.#reset(), ['round'] as const) },
    });
  }

  start(): this {
    const { view, clock } = this.#options;
    this.#unlisten = view.onChange((transitions) => this.#follow(transitions, clock.now()));
    this.#reset();
    this.#loop.mark('round');
    this.#loop.start();
    return this;
  }

  async stop(): Promise<void> {
    this.#unlisten?.();
    this.#abort.abort();
    await this.#loop.stop();
  }

  #reset(): void {
    const { view, clock } = this.#options;
    for (const { planner, dirty } of this.#lines)
      for (const key of planner.reset(view, clock.now())) dirty.add(key);
  }

  #follow(transitions: readonly Transition[], now: number): void {
    for (const { planner, dirty } of this.#lines)
      for (const transition of transitions)
        for (const key of planner.changed(transition, this.#options.view, now)) dirty.add(key);
    this.#loop.mark('round');
  }

  /** After a long round it rests, so that a flood of small changes is planned for in few rounds, not one each. */
  async #round(): Promise<Requeue | void> {
    const { clock } = this.#options;
    this.#planning = 0;
    const requeue = await this.#runLines();
    const rest = Math.min(MAX_REST_MS, REST_FACTOR * this.#planning);
    if (rest >= 1) await sleep(clock, rest, this.#abort.signal);
    return requeue;
  }

  async #runLines(): Promise<Requeue | void> {
    for (const line of this.#lines) {
      if (this.#abort.signal.aborted) return;
      await this.#runLine(line);
    }
    if (this.#abort.signal.aborted) return;
    if (this.#lines.some(({ dirty }) => dirty.size > 0)) return { after: 0 };
    const next = Math.min(...this.#lines.flatMap(({ due }) => [...due.values()]));
    if (Number.isFinite(next)) return { after: Math.max(0, next - this.#options.clock.now()) };
  }

  async #runLine(line: Line): Promise<void> {
    const { view, clock } = this.#options;
    const now = clock.now();
    for (const [key, at] of line.due) if (at <= now) line.dirty.add(key);
    if (line.dirty.size === 0) return;
    const keys = new Set(line.dirty);
    line.dirty.clear();
    for (const key of keys) line.due.delete(key);
    try {
      const { steps, wake } = line.planner.plan(view, keys, now);
      this.#planning += clock.now() - now;
      for (const { key, at } of wake) line.due.set(key, at);
      await this.#write(steps, line, keys);
    } catch (error) {
      for (const key of keys) line.dirty.add(key);
      await this.#handle(error);
    }
  }

  async #write(steps: readonly Step[], line: Line, keys: ReadonlySet<string>): Promise<void> {
    const { store, view, clock, fence } = this.#options;
    const { batches, skipped } = batchesOf(steps, clock.now(), this.#limit);
    // A planner that touches one object twice is not wrong, but the second step must see the first.
    if (skipped) for (const key of keys) line.dirty.add(key);
    let revision = 0;
    for (const ops of batches) {
      if (this.#abort.signal.aborted) return;
      revision = await store.transact(ops, fence);
    }
    this.#limit = Math.min(MAX_OPS, this.#limit * 2);
    await view.reached(revision, this.#abort.signal);
  }

  async #handle(error: unknown): Promise<void> {
    const { store, view, clock, onDeposed } = this.#options;
    const { signal } = this.#abort;
    if (signal.aborted) return;
    if (isCode(error, 'failed-precondition')) {
      this.#abort.abort();
      onDeposed();
      return;
    }
    if (isCode(error, 'out-of-sequence')) {
      this.#limit = Math.max(1, this.#limit >> 1);
      await this.#nextChange(sleep(clock, CONFLICT_WAIT_MS, signal));
      return;
    }
    await view.reached((await store.snapshot(signal)).revision, signal);
    throw error;
  }

  /** Whoever won against us has written; the view shows it in a moment. */
  async #nextChange(patience: Promise<void>): Promise<void> {
    let off = () => {};
    const change = new Promise<void>((resolve) => (off = this.#options.view.onChange(() => resolve())));
    await Promise.race([change, patience]);
    off();
  }
}

/** Cuts steps into transactions of at most `limit` operations (a larger step goes alone), no object twice. */
export function batchesOf(
  steps: readonly Step[],
  now: number,
  limit: number,
): { batches: Op[][]; skipped: boolean } {
  const batches: Op[][] = [];
  const touched = new Set<string>();
  let skipped = false;
  for (const step of steps) {
    const ops = opsOf(step, now);
    const ids = ops.map((op) => (op.op === 'delete' ? op.id : op.object.id));
    if (ids.some((id) => touched.has(id))) {
      skipped = true;
      continue;
    }
    for (const id of ids) touched.add(id);
    const last = batches.at(-1);
    if (last && last.length + ops.length <= limit) last.push(...ops);
    else batches.push([...ops]);
  }
  return { batches, skipped };
}
