/**
 * What the leader asked of this node that is answered by a stream of its own: each by its id, until it has ended, is
 * canceled, or the session is over.
 */
export class Answers {
  readonly #running = new Map<string, AbortController>();

  /** The same id asked again replaces the first. Rejects as `answer` does, unless it was canceled. */
  async run(
    id: string,
    session: AbortSignal,
    answer: (signal: AbortSignal) => Promise<unknown>,
  ): Promise<void> {
    const abort = new AbortController();
    this.#running.get(id)?.abort();
    this.#running.set(id, abort);
    const signal = AbortSignal.any([session, abort.signal]);
    try {
      await answer(signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      abort.abort();
      if (this.#running.get(id) === abort) this.#running.delete(id);
    }
  }

  cancel(id: string): void {
    this.#running.get(id)?.abort();
  }

  cancelAll(): void {
    for (const abort of this.#running.values()) abort.abort();
    this.#running.clear();
  }
}
