/**
 * Gives memory back when skeind has nothing to do. V8 keeps what a burst of deploys has made its heap grow by, garbage
 * and freed pages alike, for the next burst: on a node that is there for its containers that memory is theirs. So
 * skeind may be quick in a young generation that lets it (memory.ts), and is small again a few seconds later.
 *
 * INVARIANT: a full collection holds this process, a tenth of a second for a worker of 50 tasks, growing with what is
 * alive. Only a process that has been idle is held, not again and again, and a heap that is large because so much is
 * alive in it (a manager of thousands of services) is left to V8, which collects it in pieces.
 */
import { getHeapStatistics } from 'node:v8';
import { type Clock, sleep } from '../kit/clock.ts';

/** Since the last look. */
export interface HeapLook {
  /** Of the time, how much this process was at work: 0 to 1. */
  readonly busy: number;
  /** Bytes that the heap takes from the machine. */
  readonly committed: number;
  /** Bytes of it that are alive or not yet found to be garbage. */
  readonly used: number;
}

export interface HeapTrimmerOptions {
  readonly clock: Clock;
  readonly look: () => HeapLook;
  readonly collect: () => void;
}

const LOOK_MS = 1_000;
const IDLE = 0.1;
/** So many looks in a row: between the tasks of a deploy there are idle moments too. */
const IDLE_LOOKS = 2;
/** The least time between two collections; twice as long each time that what one gave back was taken again at once. */
const REST_MS = 10_000;
const MAX_REST_MS = 10 * 60_000;
/** Less than this is not worth the pause. */
const WORTH_BYTES = 12 << 20;
const LARGE_BYTES = 128 << 20;

export class HeapTrimmer {
  readonly #options: HeapTrimmerOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #idleLooks = 0;
  /** What was left by the last collection, and when that was. */
  #last = { committed: 0, at: Number.NEGATIVE_INFINITY };
  #restMs = REST_MS;

  constructor(options: HeapTrimmerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await sleep(this.#options.clock, LOOK_MS, signal);
      if (!signal.aborted) this.#look();
    }
  }

  #look(): void {
    const { clock, look, collect } = this.#options;
    const { busy, committed, used } = look();
    this.#idleLooks = busy < IDLE ? this.#idleLooks + 1 : 0;
    const worth = committed - this.#last.committed >= WORTH_BYTES && used < LARGE_BYTES;
    const since = clock.monotonic() - this.#last.at;
    if (!worth || this.#idleLooks < IDLE_LOOKS || since < this.#restMs) return;
    this.#restMs = since < 2 * this.#restMs ? Math.min(2 * this.#restMs, MAX_REST_MS) : REST_MS;
    collect();
    this.#last = { committed: look().committed, at: clock.monotonic() };
  }
}

/** This process's own; undefined where V8 was not told to let it be collected (`NODE_FLAGS`). */
export function ownHeap(): Pick<HeapTrimmerOptions, 'look' | 'collect'> | undefined {
  const { gc } = globalThis;
  if (!gc) return undefined;
  let before = performance.eventLoopUtilization();
  return {
    look() {
      const now = performance.eventLoopUtilization();
      const busy = performance.eventLoopUtilization(now, before).utilization;
      before = now;
      const { total_heap_size: committed, used_heap_size: used } = getHeapStatistics();
      return { busy, committed, used };
    },
    // The kind that gives pages back, too; any other keeps them.
    collect: () => gc({ type: 'major', execution: 'sync', flavor: 'last-resort' }),
  };
}
