/**
 * The one runner of the manager's loops. Changes of the view mark keys of the planners that care; a round asks each
 * planner with marked keys for its steps, on the view as the planners before it will have left it, writes all of them in
 * batched transactions under the leader's fence and waits until the view shows them: a service's tasks are made, given
 * their addresses and nodes in one write.
 *
 * INVARIANTS
 * - Planners run one after the other and see each other's steps, so no two transactions of a leader conflict.
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
import { apart, batchesOf } from './batches.ts';
import { Outlook, reversed } from './outlook.ts';
import type { Plan } from './step.ts';

/** One manager loop: pure decisions plus, where it pays, state that follows the view and can be rebuilt from it. */
export interface Planner {
  readonly name: string;
  /** Rebuilds what is kept from the view and returns every key there is. At the start and in the full pass. */
  reset(view: View, now: number): Iterable<string>;
  /** Follows one change; returns the keys that must be looked at again. Called after the view holds the change. */
  changed(transition: Transition, view: View, now: number): Iterable<string>;
  /** A planner before it in the round has just decided on this change: the keys to look at for it in the same round. */
  foreseen(transition: Transition, view: View): Iterable<string>;
  /** Before the round ends: where `foreseen` let what is kept follow, the way back, from after to before. */
  restored?(transition: Transition): void;
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

/** Who was told of a change that is not written yet. */
interface Told {
  readonly planner: Planner;
  readonly transition: Transition;
}

export class Runner {
  readonly #options: RunnerOptions;
  readonly #lines: readonly Line[];
  readonly #loop: Loop<'round'>;
  readonly #abort = new AbortController();
  readonly #outlook = new Outlook();
  #unlisten: (() => void) | undefined;
  /** Halved by each conflict, so that a batch with one contended object cannot hold up the rest for ever. */
  #limit = MAX_OPS;
  /** Time the planners took in this round, ms. */
  #planning = 0;
  /** A write was broken off: it may have been done, though the view does not show it yet. */
  #unsure = false;

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
    this.#unlisten = view.onChange((transitions, revision) =>
      this.#follow(transitions, revision, clock.now()),
    );
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
    this.#outlook.reset(view);
    for (const { planner, dirty } of this.#lines)
      for (const key of planner.reset(this.#outlook.view, clock.now())) dirty.add(key);
  }

  #follow(transitions: readonly Transition[], revision: number, now: number): void {
    this.#outlook.follow(transitions, revision);
    for (const { planner, dirty } of this.#lines)
      for (const transition of transitions)
        for (const key of planner.changed(transition, this.#outlook.view, now)) dirty.add(key);
    this.#loop.mark('round');
  }

  /** After a long round it rests, so that a flood of small changes is planned for in few rounds, not one each. */
  async #round(): Promise<Requeue | void> {
    const { clock } = this.#options;
    if (this.#unsure) await this.#catchUp();
    this.#planning = 0;
    const requeue = await this.#runLines();
    const rest = Math.min(MAX_REST_MS, REST_FACTOR * this.#planning);
    if (rest >= 1) await sleep(clock, rest, this.#abort.signal);
    return requeue;
  }

  async #runLines(): Promise<Requeue | void> {
    const { clock } = this.#options;
    const taken = new Map<Line, ReadonlySet<string>>();
    try {
      await this.#write(this.#plan(taken));
    } catch (error) {
      for (const [{ dirty }, keys] of taken) for (const key of keys) dirty.add(key);
      await this.#handle(error);
    }
    if (this.#abort.signal.aborted) return;
    if (this.#lines.some(({ dirty }) => dirty.size > 0)) return { after: 0 };
    const next = Math.min(...this.#lines.flatMap(({ due }) => [...due.values()]));
    if (Number.isFinite(next)) return { after: Math.max(0, next - clock.now()) };
  }

  /** The operations of all planners, step by step; `taken` is told the keys that were looked at for them. */
  #plan(taken: Map<Line, ReadonlySet<string>>): readonly (readonly Op[])[] {
    const began = this.#options.clock.monotonic();
    const planned: (readonly Op[])[] = [];
    const told: Told[] = [];
    try {
      for (const line of this.#lines) planned.push(...this.#planLine(line, taken, told));
    } finally {
      for (const { planner, transition } of told.reverse()) planner.restored?.(reversed(transition));
      this.#outlook.restore();
    }
    this.#planning = this.#options.clock.monotonic() - began;
    return planned;
  }

  #planLine(line: Line, taken: Map<Line, ReadonlySet<string>>, told: Told[]): readonly (readonly Op[])[] {
    const now = this.#options.clock.now();
    const { planner, dirty, due } = line;
    const { view } = this.#outlook;
    for (const [key, at] of due) if (at <= now) dirty.add(key);
    if (dirty.size === 0) return [];
    const keys = new Set(dirty);
    dirty.clear();
    for (const key of keys) due.delete(key);
    taken.set(line, keys);
    const { steps, wake } = planner.plan(view, keys, now);
    for (const { key, at } of wake) due.set(key, at);
    const { planned, skipped } = apart(steps, now);
    // A planner that touches one object twice is not wrong, but the second step must see the first.
    if (skipped) for (const key of keys) dirty.add(key);
    const later = this.#lines.slice(this.#lines.indexOf(line) + 1);
    for (const transition of this.#outlook.foresee(planned.flat(), now))
      for (const { planner, dirty } of later) {
        told.push({ planner, transition });
        for (const key of planner.foreseen(transition, view)) dirty.add(key);
      }
    return planned;
  }

  async #write(planned: readonly (readonly Op[])[]): Promise<void> {
    const { store, view, fence } = this.#options;
    let revision = 0;
    try {
      for (const ops of batchesOf(planned, this.#limit)) {
        if (this.#abort.signal.aborted) return;
        revision = await store.transact(ops, fence);
      }
      this.#limit = Math.min(MAX_OPS, this.#limit * 2);
    } finally {
      await view.reached(revision, this.#abort.signal); // also what was written before a batch that failed
    }
  }

  async #handle(error: unknown): Promise<void> {
    const { clock, onDeposed } = this.#options;
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
    this.#unsure = true;
    throw error;
  }

  /** By a linearizable read: where the store does not answer, the round is tried again, and nothing planned. */
  async #catchUp(): Promise<void> {
    const { store, view } = this.#options;
    const { signal } = this.#abort;
    await view.reached((await store.snapshot(signal)).revision, signal);
    this.#unsure = false;
  }

  /** Whoever won against us has written; the view shows it in a moment. */
  async #nextChange(patience: Promise<void>): Promise<void> {
    let off = () => {};
    const change = new Promise<void>((resolve) => (off = this.#options.view.onChange(() => resolve())));
    await Promise.race([change, patience]);
    off();
  }
}
