/**
 * Leadership by one key that a lease holds. The fence is the key and the revision that created it: a transaction of
 * a former leader finds another revision there, or none, and fails, however late it comes.
 *
 * INVARIANT: `lead`'s signal aborts before the lease can have expired in etcd, by the clock of this process: the time
 * counts from when a keepalive was sent, not from its answer. Fences hold even where that clock stood still.
 */
import { backoff } from '../../kit/backoff.ts';
import { type Clock, sleep } from '../../kit/clock.ts';
import type { Log } from '../../kit/log.ts';
import { SkeinError } from '../../model/errors.ts';
import type { Election, Fence } from '../store.ts';
import type { EtcdClient } from './client.ts';
import { Event_EventType, type KeyValue } from './gen/kv_pb.js';
import { Compare_CompareResult, Compare_CompareTarget } from './gen/rpc_pb.js';
import { electionKey, toBytes, toText } from './keys.ts';
import { watchRange } from './watch.ts';

export interface EtcdElectionOptions {
  readonly client: Pick<EtcdClient, 'kv' | 'leases' | 'watches'>;
  readonly clock: Clock;
  readonly log: Log;
  /** Seconds after which a leader that fell silent is replaced; 5 unless given. */
  readonly ttl?: number;
  readonly key?: string;
}

const RETRY = { base: 100, cap: 1000 };

export class EtcdElection implements Election {
  readonly #options: EtcdElectionOptions;
  readonly #key: string;
  readonly #ttl: number;

  constructor(options: EtcdElectionOptions) {
    this.#options = options;
    this.#key = electionKey(options.key ?? 'leader');
    this.#ttl = options.ttl ?? 5;
  }

  async campaign(
    self: string,
    lead: (fence: Fence, signal: AbortSignal) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    const { clock, log } = this.#options;
    for (let failures = 0; !signal.aborted; ) {
      try {
        const holder = await this.#waitUntilFree(self, signal);
        if (holder === 'aborted') return;
        const claim = await this.#claim(self);
        if (claim) await this.#lead(claim, lead, signal);
        failures = 0;
      } catch (error) {
        if (signal.aborted) return;
        failures += 1;
        log.warn('campaign interrupted, will try again', { failures, err: error });
        await sleep(clock, backoff(RETRY, failures), signal);
      }
    }
  }

  async *observe(signal: AbortSignal): AsyncIterable<string | undefined> {
    const { clock, log } = this.#options;
    let shown: string | undefined | null = null;
    for (let failures = 0; !signal.aborted; failures++) {
      try {
        const { holder, revision } = await this.#holder(signal);
        const first = holder && toText(holder.value);
        if (first !== shown) yield (shown = first);
        for await (const { events } of watchRange(this.#options, this.#range(), revision, signal)) {
          failures = 0;
          for (const event of events) {
            const next = event.type === Event_EventType.PUT ? toText(event.kv!.value) : undefined;
            if (next !== shown) yield (shown = next);
          }
        }
      } catch (error) {
        if (signal.aborted) return;
        log.debug('cannot see who leads, will try again', { failures, err: error });
        await sleep(clock, backoff(RETRY, failures + 1), signal);
      }
    }
  }

  #range() {
    return { key: toBytes(this.#key) };
  }

  async #holder(
    signal: AbortSignal,
  ): Promise<{ readonly holder: KeyValue | undefined; readonly revision: number }> {
    const { header, kvs } = await this.#options.client.kv.range(this.#range(), { signal });
    return { holder: kvs[0], revision: Number(header!.revision) };
  }

  /** Returns when nobody leads. A key of our own is of a process that ended without resigning: it is taken away. */
  async #waitUntilFree(self: string, signal: AbortSignal): Promise<'free' | 'aborted'> {
    const { holder, revision } = await this.#holder(signal);
    if (!holder) return 'free';
    if (toText(holder.value) === self) {
      await this.#revoke(holder.lease);
      return 'free';
    }
    for await (const { events } of watchRange(this.#options, this.#range(), revision, signal))
      if (events.at(-1)?.type === Event_EventType.DELETE) return 'free';
    return 'aborted';
  }

  async #claim(self: string): Promise<Claim | undefined> {
    const { client, clock } = this.#options;
    const sent = clock.monotonic();
    const { ID: lease } = await client.leases.leaseGrant({ TTL: BigInt(this.#ttl) });
    const key = toBytes(this.#key);
    const answer = await client.kv
      .txn({
        compare: [
          {
            key,
            result: Compare_CompareResult.EQUAL,
            target: Compare_CompareTarget.CREATE,
            targetUnion: { case: 'createRevision', value: 0n },
          },
        ],
        success: [{ request: { case: 'requestPut', value: { key, value: toBytes(self), lease } } }],
      })
      .catch(async (error: unknown) => {
        // It may have been done all the same: without the lease nothing is left of it.
        await this.#revoke(lease);
        throw error;
      });
    if (answer.succeeded)
      return { lease, sent, fence: { key: this.#key, createRevision: Number(answer.header!.revision) } };
    await this.#revoke(lease);
    return undefined;
  }

  async #lead(
    claim: Claim,
    lead: (fence: Fence, signal: AbortSignal) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    const lost = new AbortController();
    const leading = AbortSignal.any([signal, lost.signal]);
    const kept = this.#keepAlive(claim, lost, leading);
    try {
      await lead(claim.fence, leading);
    } finally {
      lost.abort();
      await kept;
      await this.#revoke(claim.lease);
    }
  }

  /** Renews the lease until `leading` aborts; aborts `lost` when it may have expired. */
  async #keepAlive({ lease, sent }: Claim, lost: AbortController, leading: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    const third = (this.#ttl * 1000) / 3;
    // The last quarter is the margin in which the leader stops before another may start.
    const allowed = this.#ttl * 750;
    const expire = () => {
      log.warn('leadership may be lost: no answer from etcd in time');
      lost.abort();
    };
    let cancel = clock.after(sent + allowed - clock.monotonic(), expire);
    for (let wait = third; ; ) {
      await sleep(clock, wait, leading);
      if (leading.aborted) break;
      const at = clock.monotonic();
      try {
        await this.#renew(lease, leading);
        cancel();
        cancel = clock.after(at + allowed - clock.monotonic(), expire);
        wait = third;
      } catch (error) {
        if (leading.aborted) break;
        log.debug('lease not renewed', { err: error });
        if (error instanceof SkeinError && error.code === 'failed-precondition') lost.abort();
        wait = 100;
      }
    }
    cancel();
  }

  /** One keepalive on a stream of its own: at one in seconds, simpler than to repair a lasting one. */
  async #renew(lease: bigint, signal: AbortSignal): Promise<void> {
    const call = this.#options.client.leases.leaseKeepAlive({ timeoutMs: 1500, signal });
    call.write({ ID: lease }).catch(() => {});
    for await (const { TTL } of call) {
      if (TTL > 0n) return;
      throw new SkeinError('failed-precondition', 'the lease of the leadership has ended');
    }
    throw new SkeinError('unavailable', 'etcd ended the keepalive');
  }

  /** Ends a lease and with it the key. Where etcd does not answer, it ends by itself after its TTL. */
  async #revoke(lease: bigint): Promise<void> {
    try {
      await this.#options.client.leases.leaseRevoke({ ID: lease }, { timeoutMs: 2000 });
    } catch (error) {
      this.#options.log.debug('lease not revoked, it will expire', { err: error });
    }
  }
}

interface Claim {
  readonly lease: bigint;
  /** When the grant was sent, by our clock: the lease can not end before this plus its TTL. */
  readonly sent: number;
  readonly fence: Fence;
}
