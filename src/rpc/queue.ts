/** A bounded queue between a producer that must not wait and one consumer that iterates. */
import { SkeinError } from '../model/errors.ts';

export class Queue<T> implements AsyncIterable<T> {
  readonly #limit: number;
  readonly #sizeOf: (value: T) => number;
  #values: T[] = [];
  #size = 0;
  #end: { readonly error: unknown } | undefined;
  #wake: (() => void) | undefined;

  /** `limit` is in what `sizeOf` gives: values unless told otherwise. One value alone always fits. */
  constructor(limit: number, sizeOf: (value: T) => number = () => 1) {
    this.#limit = limit;
    this.#sizeOf = sizeOf;
  }

  get ended(): boolean {
    return this.#end !== undefined;
  }

  /** False, and the queue fails, when the consumer is too far behind. */
  push(value: T): boolean {
    if (this.#end) return false;
    const size = this.#sizeOf(value);
    if (this.#values.length > 0 && this.#size + size > this.#limit) {
      this.#values = [];
      this.end(new SkeinError('resource-exhausted', 'the reader of a stream is too slow'));
      return false;
    }
    this.#values.push(value);
    this.#size += size;
    this.#wake?.();
    return true;
  }

  /** What is queued now, in what `sizeOf` gives. */
  get size(): number {
    return this.#size;
  }

  /** What is queued is still given out, then the iteration ends, with the error if there is one. */
  end(error?: unknown): void {
    this.#end ??= { error };
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    try {
      for (;;) {
        while (this.#values.length > 0) {
          const value = this.#values.shift()!;
          this.#size -= this.#sizeOf(value);
          yield value;
        }
        if (this.#end) {
          if (this.#end.error !== undefined) throw this.#end.error;
          return;
        }
        await new Promise<void>((resolve) => (this.#wake = resolve));
        this.#wake = undefined;
      }
    } finally {
      this.end();
    }
  }
}
