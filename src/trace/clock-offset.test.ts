import assert from 'node:assert/strict';
import { test } from 'node:test';
import { measureOffset } from './clock-offset.ts';

test('the quickest of several answers tells the offset, and how far it may be off', async () => {
  let now = 1_000_000_000n;
  const ways = [900n, 40n, 700n, 60n, 800n];
  let asked = 0;
  const { offset, uncertainty } = await measureOffset(
    () => ({ time: now, boot: 'here' }),
    () => {
      const way = ways[asked++]!;
      now += way;
      const time = String(now + 5_000n);
      now += way + 10n; // the way back is longer
      return Promise.resolve({ time, boot: 'there' });
    },
  );
  assert.equal(asked, 5);
  assert.deepEqual([offset, uncertainty], [4_995n, 45n]);
});

test('nodes of one kernel read one clock', async () => {
  const leader = () => Promise.resolve({ time: '77', boot: 'here' });
  assert.deepEqual(await measureOffset(() => ({ time: 5n, boot: 'here' }), leader), {
    offset: 0n,
    uncertainty: 0n,
  });
});
