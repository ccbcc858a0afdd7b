/**
 * One run for all who ask for the same at the same time. Each hears the progress from where it joined; the run is
 * canceled when the last of them has gone.
 */
import { SkeinError } from '../model/errors.ts';

interface Run<P, T> {
  readonly result: Promise<T>;
  readonly abort: AbortController;
  readonly listeners: Set<(progress: P) => void>;
}

export class SharedRuns<P, T> {
  readonly #runs = new Map<string, Run<P, T>>();

  async run(
    key: string,
    work: (signal: AbortSignal, progress: (p: P) => void) => Promise<T>,
    listener: (progress: P) => void,
    signal?: AbortSignal,
  ): Promise<T> {
    const run = this.#runs.get(key) ?? this.#begin(key, work);
    const own = (progress: P) => listener(progress); // one entry a caller, also when two pass the same function
    run.listeners.add(own);
    let onAbort = () => {};
    const left = new Promise<never>((_, reject) => {
      onAbort = () => reject(new SkeinError('canceled', 'canceled'));
      if (signal?.aborted) onAbort();
      else signal?.addEventListener('abort', onAbort, { once: true });
    });
    try {
      return await (signal ? Promise.race([run.result, left]) : run.result);
    } finally {
      signal?.removeEventListener('abort', onAbort);
      run.listeners.delete(own);
      if (run.listeners.size === 0 && this.#runs.get(key) === run) {
        this.#runs.delete(key);
        run.abort.abort();
      }
    }
  }

  #begin(key: string, work: (signal: AbortSignal, progress: (p: P) => void) => Promise<T>): Run<P, T> {
    const abort = new AbortController();
    const listeners = new Set<(progress: P) => void>();
    const result = work(abort.signal, (progress) => {
      for (const listener of listeners) listener(progress);
    });
    result.catch(() => undefined); // every caller may have left
    const run: Run<P, T> = { result, abort, listeners };
    this.#runs.set(key, run);
    return run;
  }
}
