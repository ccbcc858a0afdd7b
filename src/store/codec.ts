/** What is stored of an object, and what both stores must agree on: names, the JSON form, which batches are refused. */
import { SkeinError } from '../model/errors.ts';
import type { Kind, Meta, Objects } from '../model/objects.ts';
import { type AnyObject, type Draft, MAX_OPS, type Op } from './store.ts';

/** Kinds whose names are unique. */
export type NamedKind = 'service' | 'network' | 'secret' | 'config';

const NAMED: ReadonlySet<Kind> = new Set<NamedKind>(['service', 'network', 'secret', 'config']);

export const isNamed = (kind: Kind): kind is NamedKind => NAMED.has(kind);

/** The name that must be unique within its kind; undefined for kinds without one. */
export function nameOf(kind: Kind, object: Draft<Kind>): string | undefined {
  return isNamed(kind) ? (object as Draft<NamedKind>).spec.Name : undefined;
}

type Revisions = Pick<Meta, 'version' | 'createRevision'>;

/** The revisions are the store's and never in the value: a caller's copy of them is dropped. */
export function encode(object: Draft<Kind>, times: Omit<Meta, keyof Revisions>): string {
  const { version: _v, createRevision: _c, ...rest } = object as Draft<Kind> & Partial<Meta>;
  return JSON.stringify({ ...rest, ...times });
}

export function decode<K extends Kind>(
  kind: K,
  text: string,
  { version, createRevision }: Revisions,
): Objects[K] {
  try {
    return { ...(JSON.parse(text) as Objects[K]), version, createRevision };
  } catch (cause) {
    throw new SkeinError('internal', `stored ${kind} is not readable: ${String(cause)}`, { cause });
  }
}

/** Pairs a kind with its object; the two come from one place, which the type system cannot see. */
export const anyObject = <K extends Kind>(kind: K, object: Objects[K]): AnyObject =>
  ({ kind, object }) as unknown as AnyObject;

export const idOf = (op: Op): string => (op.op === 'delete' ? op.id : op.object.id);

/** Refuses batches that have no meaning: too long, or two operations on one object. */
export function checkBatch(ops: readonly Op[]): void {
  if (ops.length > MAX_OPS)
    throw new SkeinError(
      'invalid-argument',
      `${ops.length} operations in one transaction, at most ${MAX_OPS}`,
    );
  const seen = new Set<string>();
  for (const op of ops) {
    const key = `${op.kind}/${idOf(op)}`;
    if (seen.has(key))
      throw new SkeinError('invalid-argument', `two operations on ${op.kind} ${idOf(op)} in one transaction`);
    seen.add(key);
  }
}

/** The refusals of a transaction, in one wording for both stores. */
export const refusal = {
  exists: (kind: Kind, id: string) => new SkeinError('already-exists', `${kind} ${id} already exists`),
  nameTaken: (kind: Kind, name: string) =>
    new SkeinError(
      'already-exists',
      `name conflicts with an existing object: ${kind} ${name} already exists`,
    ),
  stale: () => new SkeinError('out-of-sequence', 'update out of sequence'),
  deposed: () => new SkeinError('failed-precondition', 'another manager leads now'),
  compacted: (revision: number) =>
    new SkeinError('out-of-sequence', `changes since revision ${revision} are no longer kept`),
};
