/** A map of what can be read again, bounded: where it is full, what was put in first makes room. */
export class Remembered<K, V> extends Map<K, V> {
  readonly #limit: number;

  constructor(limit: number) {
    super();
    this.#limit = limit;
  }

  override set(key: K, value: V): this {
    super.delete(key); // put in anew, it is the youngest
    super.set(key, value);
    if (this.size > this.#limit) super.delete(this.keys().next().value!);
    return this;
  }
}
