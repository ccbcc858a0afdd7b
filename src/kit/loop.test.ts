import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from './clock.ts';
import { silentLog } from './log.ts';
import { Loop } from './loop.ts';

const make = (
  reconcile: (key: string, signal: AbortSignal) => Promise<{ after: number } | void>,
  extra = {},
) => {
  const clock = new VirtualClock();
  return { clock, loop: new Loop<string>({ name: 't', clock, log: silentLog, reconcile, ...extra }).start() };
};

test('a key marked during its run runs once more, never twice at once', async () => {
  let running = 0;
  let most = 0;
  let runs = 0;
  const gate: (() => void)[] = [];
  const { loop, clock } = make(
    async () => {
      runs += 1;
      most = Math.max(most, ++running);
      await new Promise<void>((resolve) => gate.push(resolve));
      running -= 1;
    },
    { concurrency: 4 },
  );
  loop.mark('a');
  loop.mark('a');
  loop.mark('a');
  await clock.advance(0);
  assert.equal(runs, 1);
  gate.shift()!();
  await clock.advance(0);
  assert.equal(runs, 2);
  gate.shift()!();
  await clock.advance(0);
  assert.equal(runs, 2);
  assert.equal(most, 1);
  await loop.stop();
});

test('a failure is tried again after a growing wait', async () => {
  const times: number[] = [];
  const { loop, clock } = make(
    async () => {
      times.push(clock.now());
      throw new Error('no');
    },
    { backoff: { base: 100, cap: 400 } },
  );
  loop.mark('a');
  await clock.advance(1200);
  const gaps = times.slice(1).map((t, i) => t - times[i]!);
  assert.deepEqual(gaps, [100, 200, 400, 400]);
  await loop.stop();
});

test('requeue asks for another run, stop ends all', async () => {
  let runs = 0;
  const { loop, clock } = make(async () => {
    runs += 1;
    return { after: 50 };
  });
  loop.mark('a');
  await clock.advance(120);
  assert.equal(runs, 3);
  await loop.stop();
  await clock.advance(1000);
  assert.equal(runs, 3);
});

test('the full pass marks every key', async () => {
  const seen: string[] = [];
  const { loop, clock } = make(async (key) => void seen.push(key), {
    full: { interval: 1000, keys: () => ['a', 'b'] },
  });
  await clock.advance(2000);
  assert.deepEqual(seen, ['a', 'b', 'a', 'b']);
  await loop.stop();
});

test('full passes of nodes that began together come at times of their own, none late', async () => {
  const times: number[] = [];
  const random = [0, 0.4, 1];
  const { loop, clock } = make(async () => void times.push(clock.monotonic()), {
    full: { interval: 1000, random: () => random.shift()!, keys: () => ['a'] },
  });
  const began = clock.monotonic();
  await clock.advance(2650);
  assert.deepEqual(
    times.map((time) => time - began),
    [1000, 1900, 2650],
  );
  await loop.stop();
});
