/**
 * The one loop shape of Skein: keys are marked dirty by whoever sees a change, each key is reconciled by reading
 * reality again, failures come back after a backoff, and a full pass marks everything dirty now and then.
 *
 * INVARIANTS
 * - One key is never reconciled twice at once; marked during its run, it runs once more after it.
 * - A mark is never lost: it is either waiting, or its reconcile starts after the mark.
 * - `stop()` resolves only when nothing runs any more; after it nothing starts.
 */
import { type BackoffPolicy, backoff } from './backoff.ts';
import type { Clock } from './clock.ts';
import type { Log } from './log.ts';

export interface LoopOptions<K> {
  readonly name: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Brings one key closer to what should be. Throws to be tried again after a backoff. */
  reconcile(key: K, signal: AbortSignal): Promise<Requeue | void>;
  /** How many keys may be worked on at once; 1 unless given. */
  readonly concurrency?: number;
  readonly backoff?: BackoffPolicy;
  /** Every `interval` ms all keys that `keys()` gives are marked: the periodic full pass. */
  readonly full?: {
    readonly interval: number;
    /** 0 to 1: each pass comes by so much of `EARLIER` sooner, so that nodes begun together do not work together. */
    random?(): number;
    keys(): Iterable<K> | Promise<Iterable<K>>;
  };
}

/** Asks for the key to be reconciled again `after` ms although nothing failed. */
export interface Requeue {
  readonly after: number;
}

const EARLIER = 0.25;

export class Loop<K> {
  readonly #options: LoopOptions<K>;
  readonly #waiting = new Set<K>();
  readonly #running = new Set<K>();
  readonly #failures = new Map<K, number>();
  readonly #timers = new Map<K, () => void>();
  readonly #abort = new AbortController();
  #cancelFull: (() => void) | undefined;
  #started = false;
  #idle: (() => void)[] = [];

  constructor(options: LoopOptions<K>) {
    this.#options = options;
  }

  start(): this {
    this.#started = true;
    if (this.#options.full) this.#scheduleFull();
    this.#pump();
    return this;
  }

  /** Marks a key dirty. Cheap, synchronous, may be called before `start` and from inside `reconcile`. */
  mark(key: K): void {
    if (this.#abort.signal.aborted) return;
    this.#timers.get(key)?.();
    this.#timers.delete(key);
    this.#waiting.add(key);
    this.#pump();
  }

  /** Marks `key` dirty after `ms`, in place of an earlier timer; a key that waits already stays as it is. */
  markAfter(key: K, ms: number): void {
    if (this.#abort.signal.aborted || this.#waiting.has(key)) return;
    this.#timers.get(key)?.();
    this.#timers.set(
      key,
      this.#options.clock.after(ms, () => this.mark(key)),
    );
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    this.#cancelFull?.();
    for (const cancel of this.#timers.values()) cancel();
    this.#timers.clear();
    this.#waiting.clear();
    if (this.#running.size > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  #pump(): void {
    if (!this.#started) return;
    const limit = this.#options.concurrency ?? 1;
    for (const key of this.#waiting) {
      if (this.#running.size >= limit) return;
      if (this.#running.has(key)) continue;
      this.#waiting.delete(key);
      this.#running.add(key);
      void this.#run(key);
    }
  }

  async #run(key: K): Promise<void> {
    const { reconcile, log, name } = this.#options;
    const { signal } = this.#abort;
    try {
      const requeue = await reconcile(key, signal);
      this.#failures.delete(key);
      if (requeue && !signal.aborted) this.markAfter(key, requeue.after);
    } catch (error) {
      if (!signal.aborted) {
        const failures = (this.#failures.get(key) ?? 0) + 1;
        this.#failures.set(key, failures);
        const wait = backoff(this.#options.backoff ?? { base: 100, cap: 30_000 }, failures);
        log.warn('reconcile failed, will try again', {
          loop: name,
          key,
          failures,
          'retry.ms': wait,
          err: error,
        });
        this.markAfter(key, wait);
      }
    } finally {
      this.#running.delete(key);
      if (this.#running.size === 0 && signal.aborted) for (const resolve of this.#idle) resolve();
      this.#pump();
    }
  }

  #scheduleFull(): void {
    const { full, clock, log, name } = this.#options;
    if (!full) return;
    const interval = full.interval * (1 - EARLIER * (full.random?.() ?? 0));
    this.#cancelFull = clock.after(interval, () => {
      void (async () => {
        try {
          for (const key of await full.keys()) this.mark(key);
        } catch (error) {
          log.warn('full pass failed', { loop: name, err: error });
        }
        if (!this.#abort.signal.aborted) this.#scheduleFull();
      })();
    });
  }
}
