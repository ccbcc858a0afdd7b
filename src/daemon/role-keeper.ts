/**
 * Keeps a node what its cluster says it is. Owns the manager's half, which comes and goes with the role; the agent's
 * half beside it, and with it every container and connection, does not notice.
 *
 * INVARIANTS
 * - At most one manager's half exists, and none that has been let go is started again.
 * - A step that waits (for a quorum, for another manager) is given up when the managers say another role, and when they
 *   have removed this one's member: there is nothing to wait for.
 */
import { Loop, type Requeue } from '../kit/loop.ts';
import type { Clock } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import { SkeinError } from '../model/errors.ts';
import { nextRoleStep, type RoleState, type RoleStep } from './role-plan.ts';

/** A manager's half. */
export interface Half {
  close(): Promise<void>;
}

export interface RoleKeeperOptions<H extends Half> {
  /** What is so now, read again each time. */
  look(): Omit<RoleState, 'serving'>;
  /** Called when `look` may say something else; returns how to stop that. */
  onChange(listener: () => void): () => void;
  certify(signal: AbortSignal): Promise<void>;
  /** A half that nobody has started yet. */
  open(): H;
  /** Resolves when it serves. */
  serve(half: H, signal: AbortSignal): Promise<void>;
  /** Removes what a manager left on the disk. No half exists any more. */
  clear(): Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
}

const RETRY = { base: 250, cap: 5000 };

export class RoleKeeper<H extends Half> {
  readonly #options: RoleKeeperOptions<H>;
  readonly #loop: Loop<'role'>;
  readonly #waiting = new Set<PromiseWithResolvers<void>>();
  #half: H | undefined;
  #serving = false;
  #error = '';
  /** One step after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  /** Ends the wait to serve, while there is one. */
  #wait: AbortController | undefined;
  #off: (() => void) | undefined;

  constructor(options: RoleKeeperOptions<H>) {
    this.#options = options;
    this.#loop = new Loop<'role'>({
      name: 'role',
      clock: options.clock,
      log: options.log,
      reconcile: (_key, signal) => this.#reconcile(signal),
      backoff: RETRY,
    });
  }

  /** While it serves. */
  get manager(): H | undefined {
    return this.#serving ? this.#half : undefined;
  }

  /** It exists, be it without a quorum. */
  get half(): H | undefined {
    return this.#half;
  }

  /** Why this node is not what it should be; empty when it is, or is on its way. */
  get error(): string {
    return this.#error;
  }

  /** A half that begins in a way of its own, in the place of the one there is; the loop waits meanwhile. */
  async begin(start: (half: H) => Promise<void>): Promise<void> {
    this.#wait?.abort();
    try {
      await this.#exclusive(() => this.#serve(start));
    } finally {
      this.#error = '';
      this.#loop.mark('role');
    }
  }

  start(): void {
    this.#off = this.#options.onChange(() => this.look());
    this.#loop.mark('role');
    this.#loop.start();
  }

  /** Something may have changed. */
  look(): void {
    const { told, certified, expelled } = this.#options.look();
    if (expelled || (told !== undefined && told !== certified)) this.#wait?.abort();
    this.#loop.mark('role');
  }

  /** Resolves when the node is what its certificate says; rejects when the next attempt at it fails, or nobody waits any more. */
  async settled(signal: AbortSignal): Promise<void> {
    if (this.#next() === 'nothing') return;
    const waiting = Promise.withResolvers<void>();
    const give = () => waiting.reject(new SkeinError('canceled', 'the wait was given up'));
    if (signal.aborted) give();
    signal.addEventListener('abort', give, { once: true });
    this.#waiting.add(waiting);
    try {
      await waiting.promise;
    } finally {
      signal.removeEventListener('abort', give);
      this.#waiting.delete(waiting);
    }
  }

  /** Lets go of the manager's half; its store runs on. */
  async stop(): Promise<void> {
    this.#off?.();
    this.#wait?.abort();
    await this.#loop.stop();
    this.#settle(new SkeinError('canceled', 'this node leaves its cluster, or its daemon ends'));
    await this.#closeHalf();
  }

  #next(): RoleStep {
    return nextRoleStep({ ...this.#options.look(), serving: this.#serving });
  }

  #reconcile(signal: AbortSignal): Promise<Requeue | void> {
    return this.#exclusive(() => this.#step(signal));
  }

  async #step(signal: AbortSignal): Promise<Requeue | void> {
    const step = this.#next();
    if (step === 'nothing') return this.#settle();
    try {
      await this.#executors[step](signal);
      this.#error = '';
      return { after: 0 };
    } catch (error) {
      this.#error = SkeinError.from(error).message;
      this.#settle(error);
      throw error;
    }
  }

  readonly #executors: Record<Exclude<RoleStep, 'nothing'>, (signal: AbortSignal) => Promise<void>> = {
    certify: (signal) => this.#options.certify(signal),
    serve: async (signal) => {
      const wait = (this.#wait = new AbortController());
      const given = AbortSignal.any([signal, wait.signal]);
      try {
        await this.#serve((half) => this.#options.serve(half, given));
      } finally {
        this.#wait = undefined;
      }
    },
    clear: async () => {
      await this.#closeHalf();
      await this.#options.clear();
    },
  };

  async #serve(start: (half: H) => Promise<void>): Promise<void> {
    await this.#closeHalf();
    this.#half = this.#options.open();
    try {
      await start(this.#half);
      this.#serving = true;
    } catch (error) {
      await this.#closeHalf();
      throw error;
    }
  }

  async #closeHalf(): Promise<void> {
    this.#serving = false;
    await this.#half?.close();
    this.#half = undefined;
  }

  #exclusive<T>(act: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(act);
    this.#turn = result.catch(() => {});
    return result;
  }

  #settle(error?: unknown): void {
    for (const { resolve, reject } of this.#waiting)
      if (error === undefined) resolve();
      else reject(error as Error);
    this.#waiting.clear();
  }
}
