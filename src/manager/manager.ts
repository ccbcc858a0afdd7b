/**
 * The manager's loops for the time of one leadership: orchestrate (with restart and update), allocate, schedule,
 * reap. They decide which tasks exist, where, with which addresses. The daemon starts one `lead` a leadership; the
 * dispatcher and the CA stand beside it.
 */
import type { Clock } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import { newId, newMac, type RandomBytes } from '../model/ids.ts';
import type { Fence, Store } from '../store/store.ts';
import type { LiveView } from '../store/view.ts';
import { allocate } from './allocator/loop.ts';
import { orchestrate } from './orchestrator/loop.ts';
import { reap } from './reaper/loop.ts';
import { Runner } from './runner.ts';
import { schedule } from './scheduler/loop.ts';
import type { Ids } from './task.ts';

export interface ManagerOptions {
  readonly store: Pick<Store, 'transact' | 'snapshot'>;
  /** Must have reached the revision of the election, or a new leader may act on an old picture. */
  readonly view: LiveView;
  readonly clock: Clock;
  readonly log: Log;
  readonly random: RandomBytes;
}

export class Manager {
  readonly #options: ManagerOptions;
  readonly #ids: Ids;

  constructor(options: ManagerOptions) {
    this.#options = options;
    this.#ids = { task: () => newId(options.random), mac: () => newMac(options.random) };
  }

  /** Runs the loops until the signal aborts or another leader is found to exist; resolves when all is quiet. */
  async lead(fence: Fence | undefined, signal: AbortSignal): Promise<void> {
    const { store, view } = this.#options;
    try {
      if (fence) await view.reached(fence.createRevision, signal);
      else await view.reached((await store.snapshot(signal)).revision, signal);
    } catch (error) {
      if (signal.aborted) return;
      throw error;
    }
    const over = Promise.withResolvers<void>();
    signal.addEventListener('abort', () => over.resolve(), { once: true });
    if (signal.aborted) return;
    const runner = this.#runner(fence, over.resolve).start();
    await over.promise;
    await runner.stop();
  }

  #runner(fence: Fence | undefined, onDeposed: () => void): Runner {
    const { store, view, clock, log } = this.#options;
    const planners = [orchestrate(this.#ids), allocate(this.#ids), schedule(), reap()];
    return new Runner({ store, view, clock, log, planners, fence, onDeposed });
  }
}
