import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import { systemClock } from './clock.ts';

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
