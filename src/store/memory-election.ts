/** Leadership among several campaigns in one process, over a MemoryStore, which also checks the fences. */
import { type Log, silentLog } from '../kit/log.ts';
import type { Election, Fence } from './store.ts';
import type { MemoryStore } from './memory.ts';

export class MemoryElection implements Election {
  readonly #store: MemoryStore;
  readonly #key: string;

  readonly #log: Log;

  constructor(store: MemoryStore, options: { readonly key?: string; readonly log?: Log } = {}) {
    this.#store = store;
    this.#key = options.key ?? 'leader';
    this.#log = options.log ?? silentLog;
  }

  async campaign(
    self: string,
    lead: (fence: Fence, signal: AbortSignal) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    while (!signal.aborted) {
      const fence = this.#store.claim(this.#key, self);
      if (fence) await this.#lead(fence, lead, signal);
      else await this.#store.nextCommit(signal);
    }
  }

  async *observe(signal: AbortSignal): AsyncIterable<string | undefined> {
    let shown: string | undefined;
    for (let first = true; !signal.aborted; first = false) {
      const leader = this.#store.leader(this.#key)?.self;
      if (first || leader !== shown) yield (shown = leader);
      else await this.#store.nextCommit(signal);
    }
  }

  /** Tests: takes the leadership away, as an expired lease does. */
  depose(): void {
    const leader = this.#store.leader(this.#key);
    if (leader) this.#store.resign(leader.fence);
  }

  async #lead(
    fence: Fence,
    lead: (fence: Fence, signal: AbortSignal) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    const lost = new AbortController();
    const off = this.#store.onCommit(() => {
      if (this.#store.leader(this.#key)?.fence.createRevision !== fence.createRevision) lost.abort();
    });
    try {
      await lead(fence, AbortSignal.any([signal, lost.signal]));
    } catch (error) {
      this.#log.error('leading failed, will campaign again', { err: error });
      await new Promise((resolve) => setImmediate(resolve));
    } finally {
      off();
      this.#store.resign(fence);
    }
  }
}
