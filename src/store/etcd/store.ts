/**
 * The store in etcd: one transaction of ours is one transaction of etcd, one revision of ours one of etcd.
 *
 * An update must carry over `createdAt` and free an old name, which its caller does not give: `#known` remembers both
 * of the objects that passed through here, by version, so that the usual update needs no read before its write.
 */
import { type Clock, timestamp } from '../../kit/clock.ts';
import type { Log } from '../../kit/log.ts';
import { Remembered } from '../../kit/remembered.ts';
import { type ErrorCode, SkeinError } from '../../model/errors.ts';
import { type Id, type Kind, KINDS, type Objects } from '../../model/objects.ts';
import { anyObject, checkBatch, decode, idOf, isNamed, nameOf, refusal } from '../codec.ts';
import type { AnyObject, Batch, Change, Fence, Op, Store } from '../store.ts';
import type { EtcdClient } from './client.ts';
import { type Event, Event_EventType, type KeyValue } from './gen/kv_pb.js';
import type { RangeResponse, TxnResponse } from './gen/rpc_pb.js';
import { kindPrefix, objectKey, parseObjectKey, PREFIX, prefixEnd, toBytes, toText } from './keys.ts';
import { type Known, planTxn } from './txn-plan.ts';
import { watchRange } from './watch.ts';

/** Keys in one answer: 64 MiB at most, secrets and configs being up to 1 MB each, the others a few KB. */
const PAGE: Readonly<Record<Kind, number>> = {
  cluster: 100,
  node: 2000,
  service: 500,
  task: 2000,
  network: 2000,
  secret: 30,
  config: 30,
};
/** Objects remembered; one costs about 200 bytes. */
const MAX_KNOWN = 60_000;
/** What etcd or the way to it says, and what a person is told of it. */
const EXPLAINED: readonly (readonly [code: ErrorCode, said: RegExp, told: (said: string) => string])[] = [
  [
    'unavailable',
    /no leader/,
    // Docker's words, for who asked for a change.
    () =>
      "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.",
  ],
  [
    'unavailable',
    // As grpc-js says it: there is no connection, or it broke while the answer was waited for.
    /No connection established|ECONNRESET|Connection dropped/,
    (said) =>
      `the store of this manager is not to be reached; skeind starts it again where it has ended: see whether the change was made, and try again in a moment (${said})`,
  ],
  [
    'resource-exhausted',
    // etcd takes deletions alone, until somebody has made room and said so.
    /space exceeded/,
    () =>
      "the cluster's store is full (etcd: database space exceeded): nothing but removals is taken; see docs/operations.md, The store is full",
  ],
];
/** An unversioned operation that meets another writer is tried again this often. */
const ATTEMPTS = 5;

export interface EtcdStoreOptions {
  readonly client: EtcdClient;
  readonly clock: Clock;
  readonly log: Log;
}

export class EtcdStore implements Store {
  readonly #client: EtcdClient;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #known = new Remembered<string, Known>(MAX_KNOWN);
  readonly #closed = new AbortController();

  /** The client is shared with the election; `close` of the store ends its watches and leaves the client open. */
  constructor(options: EtcdStoreOptions) {
    this.#client = options.client;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  async snapshot(
    signal?: AbortSignal,
  ): Promise<{ readonly revision: number; readonly objects: readonly AnyObject[] }> {
    const objects: AnyObject[] = [];
    let revision = 0n;
    for (const kind of KINDS) {
      const rangeEnd = prefixEnd(kindPrefix(kind));
      for (let key = toBytes(kindPrefix(kind)), more = true; more; ) {
        const request = { key, rangeEnd, limit: BigInt(PAGE[kind]), revision };
        const page: RangeResponse = await this.#client.kv.range(request, { signal });
        // All further pages are read as of the first one's revision.
        if (revision === 0n) revision = page.header!.revision;
        for (const kv of page.kvs) objects.push(this.#read(kind, kv));
        more = page.more;
        if (more) key = Buffer.concat([page.kvs.at(-1)!.key, Buffer.of(0)]);
      }
    }
    return { revision: Number(revision), objects };
  }

  async get<K extends Kind>(kind: K, id: Id<K>): Promise<Objects[K] | undefined> {
    const { kvs } = await this.#client.kv.range({ key: toBytes(objectKey(kind, id)) });
    return kvs[0] && (this.#read(kind, kvs[0]).object as Objects[K]);
  }

  async transact(ops: readonly Op[], fence?: Fence): Promise<number> {
    checkBatch(ops);
    try {
      return await this.#transact(ops, fence);
    } catch (cause) {
      const { code, message } = SkeinError.from(cause);
      const told = EXPLAINED.find(([of, said]) => of === code && said.test(message))?.[2](message);
      if (told !== undefined) throw new SkeinError(code, told, { cause });
      throw cause;
    }
  }

  async #transact(ops: readonly Op[], fence?: Fence): Promise<number> {
    for (let attempt = 1; ; attempt++) {
      const now = timestamp(this.#clock.now());
      const known = await this.#stateOf(ops, attempt > 1);
      const planned = planTxn(ops, known, now, fence);
      // A remembered state can be old: what it refuses is asked of etcd before the caller hears of it.
      if (planned instanceof SkeinError && attempt === 1) continue;
      if (planned instanceof SkeinError) throw await this.#fenceFirst(fence, planned);
      const answer = await this.#client.kv.txn(planned.request);
      if (answer.succeeded) {
        this.#remember(ops, known, now, answer);
        return Number(answer.header!.revision);
      }
      const error = planned.refusalOf(foundIn(answer)) ?? refusal.stale();
      // A delete of what is gone by now, or of any version, has lost a race and no more than that.
      const mayRetry = error.code === 'out-of-sequence' && ops.some((op) => op.op === 'delete');
      if (!mayRetry || attempt >= ATTEMPTS) throw error;
    }
  }

  async *watch(revision: number, signal: AbortSignal): AsyncIterable<Batch> {
    const context = { client: this.#client, clock: this.#clock, log: this.#log };
    const range = { key: toBytes(PREFIX), rangeEnd: prefixEnd(PREFIX) };
    const either = AbortSignal.any([signal, this.#closed.signal]);
    for await (const { revision: at, events } of watchRange(context, range, revision, either))
      yield { revision: at, changes: events.flatMap((event) => this.#changeOf(event) ?? []) };
  }

  async close(): Promise<void> {
    this.#closed.abort();
  }

  /** Of the objects that are updated or deleted: remembered where that is the version meant, read where not. */
  async #stateOf(ops: readonly Op[], fresh: boolean): Promise<Map<string, Known>> {
    const known = new Map<string, Known>();
    const missing: { readonly kind: Kind; readonly key: string }[] = [];
    for (const op of ops) {
      if (op.op === 'create') continue;
      const key = objectKey(op.kind, idOf(op));
      const remembered = fresh ? undefined : this.#known.get(key);
      if (remembered && remembered.version === op.version) known.set(key, remembered);
      else missing.push({ kind: op.kind, key });
    }
    if (missing.length === 0) return known;
    const answer = await this.#client.kv.txn({
      success: missing.map(({ key }) => ({
        request: { case: 'requestRange', value: { key: toBytes(key) } },
      })),
    });
    foundIn(answer).forEach((kv, i) => {
      const { kind, key } = missing[i]!;
      if (!kv) return;
      this.#read(kind, kv);
      known.set(key, this.#known.get(key)!);
    });
    return known;
  }

  /** A leader that was deposed must hear that first, whatever else is wrong with its batch. */
  async #fenceFirst(fence: Fence | undefined, error: SkeinError): Promise<SkeinError> {
    if (!fence) return error;
    const { kvs } = await this.#client.kv.range({ key: toBytes(fence.key), keysOnly: true });
    return kvs[0] && Number(kvs[0].createRevision) === fence.createRevision ? error : refusal.deposed();
  }

  #remember(ops: readonly Op[], known: ReadonlyMap<string, Known>, now: string, answer: TxnResponse): void {
    const version = Number(answer.header!.revision);
    for (const op of ops) {
      const key = objectKey(op.kind, idOf(op));
      if (op.op === 'delete') this.#known.delete(key);
      else {
        const createdAt = known.get(key)?.createdAt ?? now;
        this.#known.set(key, { version, createdAt, name: nameOf(op.kind, op.object) });
      }
    }
  }

  #read(kind: Kind, kv: KeyValue): AnyObject {
    const object = decode(kind, toText(kv.value), {
      version: Number(kv.modRevision),
      createRevision: Number(kv.createRevision),
    });
    this.#known.set(toText(kv.key), {
      version: object.version,
      createdAt: object.createdAt,
      name: isNamed(kind) ? nameOf(kind, object) : undefined,
    });
    return anyObject(kind, object);
  }

  #changeOf(event: Event): Change | undefined {
    const kv = event.kv!;
    const place = parseObjectKey(kv.key);
    if (!place) return undefined;
    if (event.type === Event_EventType.PUT) return { type: 'put', ...this.#read(place.kind, kv) } as Change;
    this.#known.delete(objectKey(place.kind, place.id));
    return { type: 'delete', ...place } as unknown as Change;
  }
}

/** First key-value of each range in a transaction's answer. */
const foundIn = (answer: TxnResponse): (KeyValue | undefined)[] =>
  answer.responses.map(({ response }) =>
    response.case === 'responseRange' ? response.value.kvs[0] : undefined,
  );
