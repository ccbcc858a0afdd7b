import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TaskImage } from '../containerd/runtime.ts';
import { type CollectionFacts, planCollection } from './collection-plan.ts';

const POLICY = { keepMs: 1000, high: 0.85, low: 0.8 };
const ROOMY = { total: 1000, free: 900 };
const image = (id: string, more: Partial<TaskImage> = {}): TaskImage => ({
  id,
  names: [`registry/${id}:1`, `registry/${id}@sha256:${id}`],
  size: 100,
  inUse: false,
  ...more,
});

const plan = (facts: Partial<CollectionFacts>) => {
  const { collect, since, next } = planCollection(
    { images: [], needed: new Set(), since: new Map(), disk: ROOMY, now: 5000, ...facts },
    POLICY,
  );
  return { collect: collect.map(({ id }) => id), since: Object.fromEntries(since), next };
};

test('what a container or a task needs stays, by any of its names', () => {
  const images = [image('a', { inUse: true }), image('b'), image('c')];
  const needed = new Set(['registry/b:1', 'registry/c@sha256:c']);
  const since = new Map([
    ['a', 0],
    ['b', 0],
  ]);
  assert.deepEqual(plan({ images, needed, since }), { collect: [], since: {}, next: undefined });
});

test('what nothing needs goes after its time, counted anew when it was needed in between', () => {
  const images = [image('a'), image('b')];
  assert.deepEqual(plan({ images }), { collect: [], since: { a: 5000, b: 5000 }, next: 6000 });
  const since = new Map([
    ['a', 4000],
    ['b', 4001],
  ]);
  assert.deepEqual(plan({ images, since }), { collect: ['a'], since: { b: 4001 }, next: 5001 });
  const between = planCollection(
    { images, needed: new Set(['registry/a:1']), since, disk: ROOMY, now: 4500 },
    POLICY,
  );
  assert.deepEqual(plan({ images, since: between.since }).since, { a: 5000, b: 4001 });
});

test('a full disk takes the longest unneeded first, and no more than it must', () => {
  const images = [image('a'), image('b', { size: 30 }), image('c'), image('d', { inUse: true })];
  const since = new Map([
    ['a', 4900],
    ['b', 4800],
    ['c', 4950],
  ]);
  const full = { total: 1000, free: 140 };
  assert.deepEqual(plan({ images, since, disk: full }), {
    collect: ['b', 'a'],
    since: { c: 4950 },
    next: 5950,
  });
  assert.deepEqual(
    plan({ images, since, disk: { total: 1000, free: 150 } }).collect,
    [],
    'at the mark, not above',
  );
});

test('a second pass over what a first one left takes nothing more', () => {
  const images = [image('a'), image('b')];
  const first = planCollection(
    { images, needed: new Set(), since: new Map([['a', 0]]), disk: ROOMY, now: 5000 },
    POLICY,
  );
  const left = images.filter((one) => !first.collect.includes(one));
  assert.deepEqual(plan({ images: left, since: first.since }).collect, []);
});
