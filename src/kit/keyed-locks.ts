/** One piece of work at a time for each key, in the order asked for; what fails holds up nobody behind it. */
export class KeyedLocks<K> {
  /** The end of the last work of each key that has any. */
  readonly #last = new Map<K, Promise<void>>();

  run<T>(key: K, work: () => Promise<T>): Promise<T> {
    const result = (this.#last.get(key) ?? Promise.resolve()).then(work);
    const settled = result.then(
      () => {},
      () => {},
    );
    this.#last.set(key, settled);
    void settled.then(() => {
      if (this.#last.get(key) === settled) this.#last.delete(key);
    });
    return result;
  }
}
