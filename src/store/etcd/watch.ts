/**
 * A watch of a key range that outlives the connection. etcd sends the events of one revision together, but cuts long
 * answers into fragments, which may part a revision: here they come back whole.
 */
import { backoff } from '../../kit/backoff.ts';
import { type Clock, sleep } from '../../kit/clock.ts';
import type { Log } from '../../kit/log.ts';
import { isCode } from '../../model/errors.ts';
import { refusal } from '../codec.ts';
import type { EtcdClient } from './client.ts';
import type { Event } from './gen/kv_pb.js';

export interface KeyRange {
  readonly key: Uint8Array;
  readonly rangeEnd?: Uint8Array;
}

/** All events of one revision; none where only the revision is known to be reached. */
export interface RevisionEvents {
  readonly revision: number;
  readonly events: readonly Event[];
}

const RETRY = { base: 50, cap: 1000 };

interface WatchContext {
  readonly client: Pick<EtcdClient, 'kv' | 'watches'>;
  readonly clock: Clock;
  readonly log: Log;
}

/** Events after `revision`, until the signal aborts. Throws `out-of-sequence` when they are no longer there. */
export async function* watchRange(
  context: WatchContext,
  range: KeyRange,
  revision: number,
  signal: AbortSignal,
): AsyncGenerator<RevisionEvents> {
  let reached = revision;
  for (let failures = 0; !signal.aborted; ) {
    try {
      await checkNotWentBack(context.client, reached, signal);
      for await (const batch of watchOnce(context.client, range, reached, signal)) {
        failures = 0;
        if (batch.revision <= reached) continue;
        reached = batch.revision;
        yield batch;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (isCode(error, 'out-of-sequence')) throw error;
      context.log.debug('watch of etcd broke, will reconnect', { failures, revision: reached, err: error });
    }
    failures += 1;
    await sleep(context.clock, backoff(RETRY, failures), signal);
  }
}

/**
 * A store restored from a backup may be behind what we saw, and would then be silent until it passes it. The read is
 * linearizable: a member that only lags behind its cluster does not count as behind.
 */
async function checkNotWentBack(
  client: WatchContext['client'],
  reached: number,
  signal: AbortSignal,
): Promise<void> {
  const { header } = await client.kv.range({ key: Buffer.from('/'), countOnly: true }, { signal });
  if (Number(header!.revision) < reached) throw refusal.compacted(reached);
}

/** One connection's worth. Ends or throws when it breaks. */
async function* watchOnce(
  client: WatchContext['client'],
  range: KeyRange,
  reached: number,
  signal: AbortSignal,
): AsyncGenerator<RevisionEvents> {
  const call = client.watches.watch({ signal });
  const startRevision = BigInt(reached + 1);
  let held: Event[] = [];
  const write = call.write({
    requestUnion: {
      case: 'createRequest',
      value: { ...range, startRevision, progressNotify: true, fragment: true },
    },
  });
  write.catch(() => {}); // the iteration below fails with the same reason
  for await (const answer of call) {
    if (answer.compactRevision > 0n) throw refusal.compacted(reached);
    if (answer.canceled) return;
    const headerRevision = Number(answer.header!.revision);
    if (answer.created) continue;
    if (answer.events.length === 0 && held.length === 0) yield { revision: headerRevision, events: [] };
    for (const event of answer.events) {
      if (held.length > 0 && held[0]!.kv!.modRevision !== event.kv!.modRevision) {
        yield revisionOf(held);
        held = [];
      }
      held.push(event);
    }
    if (!answer.fragment && held.length > 0) {
      yield revisionOf(held);
      held = [];
    }
  }
}

const revisionOf = (events: readonly Event[]): RevisionEvents => ({
  revision: Number(events[0]!.kv!.modRevision),
  events,
});
