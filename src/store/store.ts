/**
 * The replicated store of the cluster, as the managers see it: objects by kind and id, one revision counter,
 * compare-and-swap transactions and a watch that starts at a revision and misses nothing after it.
 *
 * Callers: the manager loops (batched transactions), the API's control functions, the dispatcher (status reports).
 * If it lies about versions, two writers overwrite each other; if watch skips a revision, a loop never converges.
 * Two implementations pass `store.contract.ts`: etcd (real) and memory (tests on a virtual clock).
 *
 * The store fills in `version` (the revision of the last change, never part of the stored value), `createdAt` and
 * `updatedAt`. Names of services, networks, secrets and configs are unique by kind; the store keeps the index.
 */
import type { Id, Kind, Meta, Objects } from '../model/objects.ts';

/** What a writer gives: the object without what the store keeps. */
export type Draft<K extends Kind> = Omit<Objects[K], keyof Meta>;

export type Op = { [K in Kind]: CreateOp<K> | UpdateOp<K> | DeleteOp<K> }[Kind];

export interface CreateOp<K extends Kind> {
  readonly op: 'create';
  readonly kind: K;
  readonly object: Draft<K>;
}

/** Replaces the object if it still has `version`; otherwise the whole transaction fails with `out-of-sequence`. */
export interface UpdateOp<K extends Kind> {
  readonly op: 'update';
  readonly kind: K;
  readonly object: Draft<K>;
  readonly version: number;
}

/** Deletes the object; with `version` only if it still has that one. Deleting what is gone is no error. */
export interface DeleteOp<K extends Kind> {
  readonly op: 'delete';
  readonly kind: K;
  readonly id: Id<K>;
  readonly version?: number;
}

/** Proof of leadership: a transaction with a fence fails with `failed-precondition` once another leader exists. */
export interface Fence {
  readonly key: string;
  readonly createRevision: number;
}

export type Change = {
  [K in Kind]:
    | { readonly type: 'put'; readonly kind: K; readonly object: Objects[K] }
    | { readonly type: 'delete'; readonly kind: K; readonly id: Id<K> };
}[Kind];

/** All changes of one revision, together: a watcher never sees half a transaction. */
export interface Batch {
  readonly revision: number;
  readonly changes: readonly Change[];
}

export type AnyObject = { [K in Kind]: { readonly kind: K; readonly object: Objects[K] } }[Kind];

/** More operations than this in one transaction are refused; loops cut their batches to it. */
export const MAX_OPS = 200;

export interface Store {
  /** Every object as of one revision. */
  snapshot(
    signal?: AbortSignal,
  ): Promise<{ readonly revision: number; readonly objects: readonly AnyObject[] }>;

  /** A linearizable read of one object. */
  get<K extends Kind>(kind: K, id: Id<K>): Promise<Objects[K] | undefined>;

  /**
   * All or nothing; returns the new revision. Errors: `already-exists` (id or name), `out-of-sequence` (version, or
   * an update of what is gone), `failed-precondition` (fence), `unavailable` (no quorum, may be retried).
   */
  transact(ops: readonly Op[], fence?: Fence): Promise<number>;

  /**
   * Changes after `revision`, in order, for as long as the signal lasts; reconnects by itself. Throws
   * `out-of-sequence` when the revision was compacted away: take a new snapshot and start again.
   */
  watch(revision: number, signal: AbortSignal): AsyncIterable<Batch>;

  close(): Promise<void>;
}

/** Leadership of the managers. */
export interface Election {
  /**
   * Calls `lead` each time this process becomes leader; the signal given aborts as soon as leadership may be lost,
   * and leadership is given up when `lead` settles. Returns when `signal` aborts.
   */
  campaign(
    self: string,
    lead: (fence: Fence, signal: AbortSignal) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void>;
  /** Who leads now (the `self` of its campaign), and again at each change; undefined while nobody does. */
  observe(signal: AbortSignal): AsyncIterable<string | undefined>;
}
