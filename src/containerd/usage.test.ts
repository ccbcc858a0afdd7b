import assert from 'node:assert/strict';
import { test } from 'node:test';
import { networkCounters, systemTime } from './usage.ts';

test('processor time of the machine, in ns', () => {
  const stat = 'cpu  10 20 30 40 5 6 7 8 99 99\ncpu0 1 2 3 4 5 6 7 8 9 9\nintr 5\n';
  assert.equal(systemTime(stat), (10 + 20 + 30 + 40 + 5 + 6 + 7 + 8) * 10_000_000);
  assert.equal(systemTime(''), 0);
});

test('counters of each link but the loopback', () => {
  const dev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0: 1234567      12    1    2    0     0          0         0  7654321      34    3    4    0     0       0          0
`;
  assert.deepEqual(networkCounters(dev), {
    eth0: {
      ...{ rxBytes: 1234567, rxPackets: 12, rxErrors: 1, rxDropped: 2 },
      ...{ txBytes: 7654321, txPackets: 34, txErrors: 3, txDropped: 4 },
    },
  });
});
