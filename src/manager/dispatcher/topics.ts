/**
 * The items of all topics, kept true object by object, and what changed since the last flush.
 *
 * INVARIANT: after any sequence of `place` calls the items are those that placing the last of each object into an
 * empty table gives. Cost of a change: the items of that object.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Item } from '../../rpc/messages.ts';
import type { Placement, Topic } from './plan.ts';

/** Inner part of a JSON object and of a JSON array, so that fragments of several topics join to one message. */
export interface Fragment {
  readonly put: string;
  readonly gone: string;
}

interface Dirty {
  readonly put: Set<string>;
  readonly gone: Set<string>;
}

export class Topics {
  readonly #items = new Map<Topic, Map<string, Item>>();
  readonly #placed = new Map<string, readonly Placement[]>();
  readonly #full = new Map<Topic, string>();
  #dirty = new Map<Topic, Dirty>();

  /** What `object` (a kind and id) says now; nothing, when it is gone. */
  place(object: string, placements: readonly Placement[]): void {
    const before = this.#placed.get(object) ?? [];
    const now = new Set(placements.map(({ topic, key }) => `${topic} ${key}`));
    for (const old of before) if (!now.has(`${old.topic} ${old.key}`)) this.#delete(old.topic, old.key);
    for (const placement of placements) this.#put(placement);
    if (placements.length > 0) this.#placed.set(object, placements);
    else this.#placed.delete(object);
  }

  get dirty(): ReadonlySet<Topic> {
    return new Set(this.#dirty.keys());
  }

  items(topic: Topic): ReadonlyMap<string, Item> {
    return this.#items.get(topic) ?? new Map<string, Item>();
  }

  /** The whole topic, encoded; kept until the topic changes. */
  full(topic: Topic): string {
    let text = this.#full.get(topic);
    if (text === undefined) {
      text = [...this.items(topic)].map(([key, item]) => entry(key, item)).join(',');
      this.#full.set(topic, text);
    }
    return text;
  }

  /** Keys that a node which leaves the topic may hold: those there now and those that just went. */
  keys(topic: Topic): string[] {
    return [...this.items(topic).keys(), ...(this.#dirty.get(topic)?.gone ?? [])];
  }

  /** What changed in the topic since the last `clean`. */
  delta(topic: Topic): Fragment {
    const dirty = this.#dirty.get(topic);
    const items = this.items(topic);
    return {
      put: [...(dirty?.put ?? [])].map((key) => entry(key, items.get(key)!)).join(','),
      gone: [...(dirty?.gone ?? [])].map((key) => JSON.stringify(key)).join(','),
    };
  }

  clean(): void {
    this.#dirty = new Map();
  }

  #put({ topic, key, item }: Placement): void {
    let items = this.#items.get(topic);
    if (!items) this.#items.set(topic, (items = new Map<string, Item>()));
    const before = items.get(key);
    items.set(key, item);
    this.#full.delete(topic);
    if (before && saysTheSame(before, item)) return;
    const dirty = this.#dirtyOf(topic);
    dirty.gone.delete(key);
    dirty.put.add(key);
  }

  #delete(topic: Topic, key: string): void {
    const items = this.#items.get(topic);
    if (!items?.delete(key)) return;
    if (items.size === 0) this.#items.delete(topic);
    this.#full.delete(topic);
    const dirty = this.#dirtyOf(topic);
    dirty.put.delete(key);
    dirty.gone.add(key);
  }

  #dirtyOf(topic: Topic): Dirty {
    let dirty = this.#dirty.get(topic);
    if (!dirty) this.#dirty.set(topic, (dirty = { put: new Set<string>(), gone: new Set<string>() }));
    return dirty;
  }
}

const entry = (key: string, item: Item): string => `${JSON.stringify(key)}:${JSON.stringify(item)}`;

/** A task's status comes from its agent: echoing it back would double every report. */
function saysTheSame(a: Item, b: Item): boolean {
  if (a.kind !== 'task' || b.kind !== 'task') return isDeepStrictEqual(a, b);
  return isDeepStrictEqual({ ...a.value, status: undefined }, { ...b.value, status: undefined });
}
