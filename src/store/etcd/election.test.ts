/** By which clock a leadership ends. All else of the election is tested with a real etcd: test/store. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../../kit/clock.ts';
import { silentLog } from '../../kit/log.ts';
import { SkeinError } from '../../model/errors.ts';
import { EtcdElection, type EtcdElectionOptions } from './election.ts';

/** Nobody leads yet. Calls `onTheWay` while it is asked for a lease, or to keep one: that it does while it is `up`. */
function fakeEtcd(onTheWay: () => void) {
  const etcd = { up: true, client: undefined as unknown as EtcdElectionOptions['client'] };
  const leases = {
    leaseGrant: async () => {
      onTheWay();
      return { ID: 1n };
    },
    leaseKeepAlive: () => ({
      write: async () => {},
      async *[Symbol.asyncIterator]() {
        onTheWay();
        if (!etcd.up) throw new SkeinError('unavailable', 'no answer');
        yield { TTL: 5n };
      },
    }),
    leaseRevoke: async () => ({}),
  };
  const kv = {
    range: async () => ({ header: { revision: 1n }, kvs: [] }),
    txn: async () => ({ header: { revision: 2n }, succeeded: true }),
  };
  etcd.client = { kv, leases } as unknown as EtcdElectionOptions['client'];
  return etcd;
}

for (const hours of [1, -1])
  for (const keptMs of [0, 60_000])
    test(`a clock set by ${hours} h with every call: kept for ${keptMs / 1000} s, leadership ends 4.5 s later`, async () => {
      const clock = new VirtualClock();
      const etcd = fakeEtcd(() => clock.set(hours * 3_600_000));
      const abort = new AbortController();
      let terms = 0;
      let lostAt: number | undefined;
      const lead = async (_fence: unknown, signal: AbortSignal) => {
        terms += 1;
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
        lostAt = clock.monotonic();
        abort.abort();
      };
      const election = new EtcdElection({ client: etcd.client, clock, log: silentLog, ttl: 6 });
      const campaign = election.campaign('me', lead, abort.signal);
      await clock.advance(keptMs + 1_000);
      assert.deepEqual([terms, lostAt], [1, undefined]);
      etcd.up = false;
      await clock.advance(30_000);
      assert.equal(lostAt, keptMs + 4_500);
      await campaign;
    });
