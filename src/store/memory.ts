/** The store in memory: for tests on a virtual clock. Passes the same contract as etcd. Single process, not kept. */
import { type Clock, timestamp } from '../kit/clock.ts';
import { SkeinError } from '../model/errors.ts';
import type { Id, Kind, Objects } from '../model/objects.ts';
import { anyObject, checkBatch, decode, encode, idOf, nameOf, refusal } from './codec.ts';
import type { AnyObject, Batch, Change, Draft, Fence, Op, Store } from './store.ts';

interface Row {
  readonly kind: Kind;
  readonly id: string;
  readonly name: string | undefined;
  readonly createdAt: string;
  /** JSON, so that nobody holds a reference into the store. */
  readonly text: string;
  readonly version: number;
  readonly createRevision: number;
}

export interface MemoryStoreOptions {
  readonly clock: Clock;
  /** So many past batches can be watched; older ones count as compacted. */
  readonly history?: number;
}

export class MemoryStore implements Store {
  readonly #clock: Clock;
  readonly #history: number;
  #rows = new Map<string, Row>();
  #names = new Map<string, string>();
  #revision = 1;
  /** Batches of the revisions after `#compacted`, one each, without gaps. */
  #log: Batch[] = [];
  #compacted = 1;
  #available = true;
  readonly #leaders = new Map<string, { readonly self: string; readonly fence: Fence }>();
  readonly #listeners = new Set<() => void>();

  constructor(options: MemoryStoreOptions) {
    this.#clock = options.clock;
    this.#history = options.history ?? 100_000;
  }

  async snapshot(): Promise<{ readonly revision: number; readonly objects: readonly AnyObject[] }> {
    this.#check();
    const objects = [...this.#rows.values()].map((row) =>
      anyObject(row.kind, decode(row.kind, row.text, row)),
    );
    return { revision: this.#revision, objects };
  }

  async get<K extends Kind>(kind: K, id: Id<K>): Promise<Objects[K] | undefined> {
    this.#check();
    const row = this.#rows.get(`${kind}/${id}`);
    return row && decode(kind, row.text, row);
  }

  async transact(ops: readonly Op[], fence?: Fence): Promise<number> {
    checkBatch(ops);
    this.#check();
    if (fence && this.#leaders.get(fence.key)?.fence.createRevision !== fence.createRevision)
      throw refusal.deposed();
    for (const op of ops) this.#checkVersion(op);
    this.#checkNames(ops);
    const present = ops.filter((op) => op.op !== 'delete' || this.#rows.has(`${op.kind}/${op.id}`));
    if (present.length === 0) return this.#revision;
    const revision = this.#revision + 1;
    const rows = present.map((op) =>
      op.op === 'delete' ? undefined : this.#row(op.kind, op.object, revision),
    );
    present.forEach((op) => this.#remove(`${op.kind}/${idOf(op)}`));
    for (const row of rows) if (row) this.#insert(row);
    this.#commit(present.map((op, i) => changeOf(op, rows[i])));
    return revision;
  }

  async *watch(revision: number, signal: AbortSignal): AsyncIterable<Batch> {
    let at = revision;
    while (!signal.aborted) {
      if (at < this.#compacted) throw refusal.compacted(at);
      const batch = this.#log[at - this.#compacted];
      if (!batch) {
        await this.nextCommit(signal);
        continue;
      }
      at = batch.revision;
      yield batch;
    }
  }

  async close(): Promise<void> {
    this.#available = false;
  }

  /** Tests: while not available, every call fails as it does without a quorum. */
  setAvailable(available: boolean): void {
    this.#available = available;
    this.#wake();
  }

  /** Tests: forgets the changes up to `revision`, so that watches from before it must start again. */
  compact(revision = this.#revision): void {
    this.#log = this.#log.slice(Math.max(0, revision - this.#compacted));
    this.#compacted = Math.max(this.#compacted, revision);
    this.#wake();
  }

  /** Elections: becomes leader under `key` if nobody is. */
  claim(key: string, self: string): Fence | undefined {
    if (!this.#available || this.#leaders.has(key)) return undefined;
    const fence = { key, createRevision: this.#revision + 1 };
    this.#leaders.set(key, { self, fence });
    this.#commit([]);
    return fence;
  }

  /** Elections: ends the leadership with this fence, whoever has it; no error if it ended before. */
  resign(fence: Fence): void {
    if (this.#leaders.get(fence.key)?.fence.createRevision !== fence.createRevision) return;
    this.#leaders.delete(fence.key);
    this.#commit([]);
  }

  leader(key: string): { readonly self: string; readonly fence: Fence } | undefined {
    return this.#leaders.get(key);
  }

  /** Calls `listener` after every commit, synchronously. */
  onCommit(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves at the next commit, or when the signal aborts. */
  nextCommit(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        off();
        signal.removeEventListener('abort', done);
        resolve();
      };
      const off = this.onCommit(done);
      signal.addEventListener('abort', done, { once: true });
    });
  }

  #check(): void {
    if (!this.#available) throw new SkeinError('unavailable', 'the store is not available');
  }

  #checkVersion(op: Op): void {
    const row = this.#rows.get(`${op.kind}/${idOf(op)}`);
    if (op.op === 'create' && row) throw refusal.exists(op.kind, row.id);
    if (op.op === 'update' && row?.version !== op.version) throw refusal.stale();
    if (op.op === 'delete' && row && op.version !== undefined && row.version !== op.version)
      throw refusal.stale();
  }

  /** A name that this very transaction frees may be taken by it. */
  #checkNames(ops: readonly Op[]): void {
    const freed = new Set(ops.filter((op) => op.op !== 'create').map((op) => `${op.kind}/${idOf(op)}`));
    const taken = new Set<string>();
    for (const op of ops) {
      const name = op.op === 'delete' ? undefined : nameOf(op.kind, op.object);
      if (name === undefined) continue;
      const key = `${op.kind}/${name}`;
      const owner = this.#names.get(key);
      if (taken.has(key) || (owner !== undefined && !freed.has(`${op.kind}/${owner}`)))
        throw refusal.nameTaken(op.kind, name);
      taken.add(key);
    }
  }

  #row(kind: Kind, object: Draft<Kind>, version: number): Row {
    const now = timestamp(this.#clock.now());
    const before = this.#rows.get(`${kind}/${object.id}`);
    const { createdAt, createRevision } = before ?? { createdAt: now, createRevision: version };
    const text = encode(object, { createdAt, updatedAt: now });
    return { kind, id: object.id, name: nameOf(kind, object), createdAt, text, version, createRevision };
  }

  #insert(row: Row): void {
    this.#rows.set(`${row.kind}/${row.id}`, row);
    if (row.name !== undefined) this.#names.set(`${row.kind}/${row.name}`, row.id);
  }

  #remove(key: string): void {
    const row = this.#rows.get(key);
    if (row?.name !== undefined) this.#names.delete(`${row.kind}/${row.name}`);
    this.#rows.delete(key);
  }

  #commit(changes: readonly Change[]): void {
    this.#revision += 1;
    this.#log.push({ revision: this.#revision, changes });
    if (this.#log.length > 2 * this.#history) this.compact(this.#revision - this.#history);
    this.#wake();
  }

  #wake(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}

function changeOf(op: Op, row: Row | undefined): Change {
  const change = row
    ? { type: 'put', kind: row.kind, object: decode(row.kind, row.text, row) }
    : { type: 'delete', kind: op.kind, id: idOf(op) };
  return change as unknown as Change;
}
