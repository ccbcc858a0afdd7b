import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../../kit/clock.ts';
import type { NodeId, TaskId } from '../../model/ids.ts';
import { Drains } from './drains.ts';

const T = 't' as TaskId;
const [A, B] = ['a', 'b'] as NodeId[];

function drains() {
  const released: TaskId[] = [];
  return { released, drains: new Drains(new VirtualClock(), (id) => released.push(id)) };
}

test('a node that goes while a task is held for it is waited for no more', () => {
  const { released, drains: d } = drains();
  d.begin(T, 7, [A!, B!]);
  d.applied(A!, 7);
  assert.deepEqual([d.isHeld(T), released], [true, []]);
  d.forgetNode(B!);
  assert.deepEqual([d.isHeld(T), released], [false, [T]]);
});

test('a task whose agent was told stays told, whatever is said of it while it stops, until it is to run again', () => {
  const { released, drains: d } = drains();
  d.begin(T, 7, [A!]);
  d.applied(A!, 7);
  d.begin(T, 8, [A!]);
  assert.deepEqual([d.isHeld(T), released], [false, [T]]);
  d.forgetTask(T);
  d.begin(T, 9, [A!]);
  assert.equal(d.isHeld(T), true);
});
