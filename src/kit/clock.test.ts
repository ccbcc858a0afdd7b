import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import { overAt, SKEW_MS, systemClock, VirtualClock } from './clock.ts';

test('what is due at once runs in the next turn of the event loop, not a millisecond later; what is canceled never', async () => {
  const order: string[] = [];
  // From here no millisecond passes before the next turn.
  await new Promise<void>((resolve) => setImmediate(() => resolve()));
  systemClock.after(0, () => order.push('due'));
  systemClock.after(-5, () => order.push('overdue'));
  systemClock.after(0, () => order.push('canceled'))();
  order.push('asked');
  await new Promise<void>((resolve) => setImmediate(() => resolve()));
  assert.deepEqual(order, ['asked', 'due', 'overdue']);
});

test('what began in the future by more than clocks differ is over, and nothing else sooner than it should be', () => {
  const now = 1_000_000;
  assert.equal(overAt(now - 400, 1_000, now), now + 600);
  assert.equal(overAt(now - 5_000, 1_000, now), now - 4_000);
  assert.equal(overAt(now + SKEW_MS, 1_000, now), now + SKEW_MS + 1_000);
  assert.equal(overAt(now + SKEW_MS + 1, 1_000, now), now);
});

test('a clock that is set moves no timer, and nothing that is measured', async () => {
  const clock = new VirtualClock();
  const [began, epoch] = [clock.monotonic(), clock.now()];
  let rang = 0;
  clock.after(1_000, () => rang++);
  clock.set(3_600_000);
  await clock.advance(999);
  clock.set(-7_200_000);
  assert.equal(rang, 0);
  await clock.advance(1);
  assert.equal(rang, 1);
  assert.equal(clock.monotonic() - began, 1_000);
  assert.equal(clock.now() - epoch, 1_000 - 3_600_000);
});
