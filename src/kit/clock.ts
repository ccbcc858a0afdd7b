/** Time as an input. Loops and planners never read the clock of the machine; tests give a virtual one. */
export interface Clock {
  /** Milliseconds since the epoch, whole. It may be set while we run, by hours and backwards too. */
  now(): number;
  /** Milliseconds since some moment, with fractions; nobody sets it. What lasted how long is measured by it. */
  monotonic(): number;
  /** Runs `fn` once after `ms`, never before it returns; the returned function cancels it. */
  after(ms: number, fn: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, fn) {
    if (ms <= 0) {
      const next = setImmediate(fn); // a timer takes a millisecond at least
      return () => clearImmediate(next);
    }
    const timer = setTimeout(fn, Math.min(ms, 0x7fffffff));
    return () => clearTimeout(timer);
  },
};

/** Resolves after `ms`, or at once when the signal aborts: whoever waits looks at the signal afterwards. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      cancel();
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const cancel = clock.after(ms, done);
    signal?.addEventListener('abort', done, { once: true });
  });
}

/** Clocks of hosts that somebody cares for agree much better, and what one tells another arrives much sooner. */
export const SKEW_MS = 5_000;

/**
 * When what began at `since` has taken `ms`. A beginning that is still to come was written by another clock, or this one
 * was set back: how long ago it was nobody knows, and to wait for it may be to wait for hours. It is over now.
 */
export const overAt = (since: number, ms: number, now: number): number =>
  isToCome(since, now) ? now : since + ms;

/** Whether what began at `since` had begun by then; what is still to come had, by the same rule. */
export const hadBegun = (since: number, by: number, now: number): boolean =>
  since <= by || isToCome(since, now);

const isToCome = (since: number, now: number): boolean => since > now + SKEW_MS;

/** ISO 8601 with nine digits, as Docker prints times. */
export const timestamp = (ms: number): string => `${new Date(ms).toISOString().slice(0, -1)}000000Z`;

/** A clock that moves only when told to. Timers due at the same time run in the order they were set. */
export class VirtualClock implements Clock {
  #start: number;
  #elapsed = 0;
  #next = 0;
  #timers: { at: number; order: number; fn: () => void }[] = [];

  constructor(start = Date.UTC(2026, 0, 1)) {
    this.#start = start;
  }

  now(): number {
    return this.#start + this.#elapsed;
  }

  monotonic(): number {
    return this.#elapsed;
  }

  /** Somebody sets the clock, ahead or (below 0) back. */
  set(byMs: number): void {
    this.#start += byMs;
  }

  after(ms: number, fn: () => void): () => void {
    const timer = { at: this.#elapsed + ms, order: this.#next++, fn };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((t) => t !== timer);
    };
  }

  /** Moves time on by `ms`, running every timer that falls due on its way; lets promises settle after each. */
  async advance(ms: number): Promise<void> {
    const end = this.#elapsed + ms;
    for (;;) {
      await settle();
      const due = this.#timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at || a.order - b.order)[0];
      if (!due) break;
      this.#timers = this.#timers.filter((t) => t !== due);
      this.#elapsed = Math.max(this.#elapsed, due.at);
      due.fn();
    }
    this.#elapsed = end;
    await settle();
  }
}

const settle = async (): Promise<void> => {
  for (let i = 0; i < 4; i++) await new Promise<void>((resolve) => setImmediate(resolve));
};
