/**
 * From operations to the one etcd transaction that does them all or none, and from its refusal back to the error the
 * caller must see. Pure.
 *
 * Each guard is one compare of the transaction and one read of its failure branch, in the same order: what the
 * failure branch read, in the very revision of the refusal, tells which guard did not hold.
 */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { SkeinError } from '../../model/errors.ts';
import type { Kind } from '../../model/objects.ts';
import { encode, idOf, nameOf, refusal } from '../codec.ts';
import type { Fence, Op } from '../store.ts';
import type { KeyValue } from './gen/kv_pb.js';
import {
  Compare_CompareResult as Result,
  Compare_CompareTarget as Target,
  type CompareSchema,
  type RequestOpSchema,
  type TxnRequestSchema,
} from './gen/rpc_pb.js';
import { nameKey, objectKey, toBytes } from './keys.ts';

/** What an update or delete must know of the object as it is. */
export interface Known {
  readonly version: number;
  readonly createdAt: string;
  readonly name: string | undefined;
}

type Guard = (
  | { readonly kind: 'absent'; readonly key: string }
  | { readonly kind: 'at'; readonly key: string; readonly version: number }
  | { readonly kind: 'created-at'; readonly key: string; readonly revision: number }
) & { readonly error: SkeinError };

export interface PlannedTxn {
  readonly request: MessageInitShape<typeof TxnRequestSchema>;
  /** The first guard that does not hold, given what the failure branch read of each guard's key. */
  refusalOf(found: readonly (KeyValue | undefined)[]): SkeinError | undefined;
}

/** `known` holds the current state of each object that is updated or deleted; none where it is gone. */
export function planTxn(
  ops: readonly Op[],
  known: ReadonlyMap<string, Known>,
  now: string,
  fence: Fence | undefined,
): PlannedTxn | SkeinError {
  const guards: Guard[] = [];
  const puts = new Map<string, string>();
  const names = planNames(ops, known);
  if (fence)
    guards.push({
      kind: 'created-at',
      key: fence.key,
      revision: fence.createRevision,
      error: refusal.deposed(),
    });
  const deletes = new Set<string>();
  for (const op of ops) {
    const key = objectKey(op.kind, idOf(op));
    const state = known.get(key);
    if (op.op === 'create') {
      guards.push({ kind: 'absent', key, error: refusal.exists(op.kind, op.object.id) });
      puts.set(key, encode(op.object, { createdAt: now, updatedAt: now }));
    } else if (op.op === 'update') {
      if (state?.version !== op.version) return refusal.stale();
      guards.push({ kind: 'at', key, version: op.version, error: refusal.stale() });
      puts.set(key, encode(op.object, { createdAt: state.createdAt, updatedAt: now }));
    } else if (state) {
      if (op.version !== undefined && op.version !== state.version) return refusal.stale();
      guards.push({ kind: 'at', key, version: state.version, error: refusal.stale() });
      deletes.add(key);
    }
  }
  if (names.twice) return refusal.nameTaken(names.twice.kind, names.twice.name);
  for (const [key, claim] of names.claimed) {
    puts.set(key, claim.id);
    if (!names.freed.has(key))
      guards.push({ kind: 'absent', key, error: refusal.nameTaken(claim.kind, claim.name) });
  }
  for (const key of names.freed) if (!names.claimed.has(key)) deletes.add(key);
  return {
    request: {
      compare: guards.map(compare),
      success: [...[...puts].map(put), ...[...deletes].map(remove)],
      failure: guards.map(read),
    },
    refusalOf: (found) => guards.find((guard, i) => !holds(guard, found[i]))?.error,
  };
}

interface Claim {
  readonly kind: Kind;
  readonly name: string;
  readonly id: string;
}

/** Names that the operations take and give up, by index key. An unchanged name is in neither. */
function planNames(ops: readonly Op[], known: ReadonlyMap<string, Known>) {
  const claimed = new Map<string, Claim>();
  const freed = new Set<string>();
  let twice: Claim | undefined;
  for (const op of ops) {
    const before = op.op === 'create' ? undefined : known.get(objectKey(op.kind, idOf(op)))?.name;
    const after = op.op === 'delete' ? undefined : nameOf(op.kind, op.object);
    if (before === after) continue;
    if (before !== undefined) freed.add(nameKey(op.kind, before));
    if (after === undefined) continue;
    const claim = { kind: op.kind, name: after, id: idOf(op) };
    if (claimed.has(nameKey(op.kind, after))) twice = claim;
    claimed.set(nameKey(op.kind, after), claim);
  }
  return { claimed, freed, twice };
}

function compare(guard: Guard): MessageInitShape<typeof CompareSchema> {
  const key = toBytes(guard.key);
  const result = Result.EQUAL;
  switch (guard.kind) {
    case 'absent':
      return { key, result, target: Target.CREATE, targetUnion: { case: 'createRevision', value: 0n } };
    case 'created-at':
      return {
        key,
        result,
        target: Target.CREATE,
        targetUnion: { case: 'createRevision', value: BigInt(guard.revision) },
      };
    case 'at':
      return {
        key,
        result,
        target: Target.MOD,
        targetUnion: { case: 'modRevision', value: BigInt(guard.version) },
      };
  }
}

function holds(guard: Guard, found: KeyValue | undefined): boolean {
  switch (guard.kind) {
    case 'absent':
      return found === undefined;
    case 'created-at':
      return found !== undefined && Number(found.createRevision) === guard.revision;
    case 'at':
      return found !== undefined && Number(found.modRevision) === guard.version;
  }
}

type RequestOp = MessageInitShape<typeof RequestOpSchema>;

const put = ([key, value]: [string, string]): RequestOp => ({
  request: { case: 'requestPut', value: { key: toBytes(key), value: toBytes(value) } },
});
const remove = (key: string): RequestOp => ({
  request: { case: 'requestDeleteRange', value: { key: toBytes(key) } },
});
const read = (guard: Guard): RequestOp => ({
  request: { case: 'requestRange', value: { key: toBytes(guard.key), keysOnly: true } },
});
