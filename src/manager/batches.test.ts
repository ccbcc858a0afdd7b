import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Op } from '../store/store.ts';
import { batchesOf } from './batches.ts';
import { draftOf } from './step.ts';
import { node, service, task } from './testing/builders.ts';

const create = (id: string, slot: number): Op => ({
  op: 'create',
  kind: 'task',
  object: draftOf<'task'>(task(id, { slot })),
});
const update = (id: string, slot: number, version: number): Op => ({
  op: 'update',
  kind: 'task',
  object: draftOf<'task'>(task(id, { slot })),
  version,
});
const remove = (id: string, version: number): Op => ({
  op: 'delete',
  kind: 'task',
  id: task(id).id,
  version,
});
const other: Op = { op: 'update', kind: 'node', object: draftOf<'node'>(node('n1')), version: 1 };
const another: Op = { op: 'update', kind: 'service', object: draftOf<'service'>(service()), version: 1 };

test('what later planners do to an object becomes one with what earlier ones do', () => {
  assert.deepEqual(batchesOf([[create('a', 1)], [update('a', 2, 0)], [update('a', 3, 0)]], 10), [
    [create('a', 3)],
  ]);
  assert.deepEqual(batchesOf([[update('a', 1, 7)], [update('a', 2, 7)]], 10), [[update('a', 2, 7)]]);
  assert.deepEqual(batchesOf([[update('a', 1, 7)], [remove('a', 7)]], 10), [[remove('a', 7)]]);
  assert.throws(() => batchesOf([[remove('a', 7)], [update('a', 2, 7)]], 10), /wants to update task\/a/);
});

test('steps with an object in common stay together, whatever the limit; the others are cut', () => {
  const [a, b] = [update('a', 1, 7), update('b', 1, 7)];
  assert.deepEqual(batchesOf([[a], [other], [b], [a, b]], 1), [[a, b], [other]]);
  assert.deepEqual(batchesOf([[a], [b], [other], [another]], 2), [
    [a, b],
    [other, another],
  ]);
});
