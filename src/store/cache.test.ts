import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { VirtualClock } from '../kit/clock.ts';
import type { Attachment, Service, Task } from '../model/objects.ts';
import type { NetworkId, NodeId, ServiceId, TaskId } from '../model/ids.ts';
import { Cache } from './cache.ts';
import { MemoryStore } from './memory.ts';
import { network, task } from './store.contract.ts';
import type { AnyObject, Change, Op } from './store.ts';
import type { Transition } from './view.ts';

/** A small world, so that changes meet: few ids, few names, few places. */
const small = (prefix: string) => fc.integer({ min: 0, max: 3 }).map((n) => `${prefix}${n}`);
const putTask = fc
  .record({
    id: small('t'),
    serviceId: small('s'),
    nodeId: fc.option(small('n'), { nil: undefined }),
    networks: fc.uniqueArray(small('net'), { maxLength: 3 }),
  })
  .map(({ id, serviceId, nodeId, networks }) => ({
    type: 'put',
    kind: 'task',
    object: {
      ...task({
        id: id as TaskId,
        serviceId: serviceId as ServiceId,
        nodeId: nodeId as NodeId | undefined,
        attachments: networks.map((networkId) => ({ networkId }) as unknown as Attachment),
      }),
    },
  }));
const putNetwork = small('net').map((id) => ({
  type: 'put',
  kind: 'network',
  object: { ...network(`name-${id}`, id as NetworkId), spec: { Name: `name-${id}`, Ingress: id === 'net0' } },
}));
const putService = fc.tuple(small('s'), fc.integer({ min: 0, max: 9 })).map(([id, round]) => ({
  type: 'put',
  kind: 'service',
  object: { id, spec: { Name: `${id}-${round}` } },
}));
const remove = fc.oneof(
  small('t').map((id) => ({ type: 'delete', kind: 'task', id })),
  small('net').map((id) => ({ type: 'delete', kind: 'network', id })),
  small('s').map((id) => ({ type: 'delete', kind: 'service', id })),
);
const changes = fc
  .array(fc.oneof(putTask, putNetwork, putService, remove), { maxLength: 8 })
  .map((list) => list as unknown as Change[]);

const ids = (set: Iterable<{ readonly id: string }>): string[] => [...set].map(({ id }) => id).sort();

/** Everything the view answers, in a form that can be compared. */
function picture(cache: Cache): unknown {
  const keys = [0, 1, 2, 3];
  return {
    tasks: ids(cache.all('task').values()),
    services: keys.map((n) => ids(cache.tasksOfService(`s${n}` as ServiceId))),
    nodes: keys.map((n) => ids(cache.tasksOfNode(`n${n}` as NodeId))),
    networks: keys.map((n) => ids(cache.tasksOfNetwork(`net${n}` as NetworkId))),
    ingress: cache.ingress?.id,
    names: keys.flatMap((n) => [
      cache.byName('network', `name-net${n}`)?.id,
      ...Array.from({ length: 10 }, (_, round) => cache.byName('service', `s${n}-${round}`)?.id),
    ]),
  };
}

const objectsOf = (cache: Cache): AnyObject[] =>
  (['task', 'network', 'service'] as const).flatMap((kind) =>
    [...cache.all(kind).values()].map((object) => ({ kind, object }) as AnyObject),
  );

test('indexes kept up by changes equal those built from scratch', () => {
  fc.assert(
    fc.property(fc.array(changes, { maxLength: 12 }), (batches) => {
      const cache = new Cache();
      batches.forEach((batch, i) => cache.apply(i + 1, stamp(batch, i + 1)));
      const rebuilt = new Cache();
      rebuilt.apply(
        1,
        objectsOf(cache).map((any) => ({ type: 'put', ...any }) as Change),
      );
      assert.deepEqual(picture(cache), picture(rebuilt));
    }),
  );
});

const stamp = (batch: readonly Change[], version: number): Change[] =>
  batch.map((change) =>
    change.type === 'put'
      ? ({ ...change, object: { ...change.object, version } } as unknown as Change)
      : change,
  );

test('transitions lead from each picture to the next, for batches and for a new snapshot', () => {
  fc.assert(
    fc.property(fc.array(changes, { maxLength: 8 }), changes, (batches, last) => {
      const [cache, goal] = [new Cache(), new Cache()];
      const mirror = new Map<string, unknown>();
      cache.onChange((transitions) => {
        for (const { kind, id, before, after } of transitions) {
          assert.equal(mirror.get(`${kind}/${id}`), before);
          if (after) mirror.set(`${kind}/${id}`, after);
          else mirror.delete(`${kind}/${id}`);
        }
      });
      batches.forEach((batch, i) => cache.apply(i + 1, stamp(batch, i + 1)));
      goal.apply(99, stamp(last, 99));
      cache.reset(99, objectsOf(goal));
      assert.deepEqual(picture(cache), picture(goal));
      assert.deepEqual([...mirror.values()].length, objectsOf(goal).length);
    }),
  );
});

test('a snapshot equal to what is known changes nothing', () => {
  const cache = new Cache();
  cache.apply(1, stamp([{ type: 'put', kind: 'task', object: task() as Task }], 1));
  let told = 0;
  cache.onChange(() => (told += 1));
  cache.reset(2, objectsOf(cache));
  assert.equal(told, 0);
  assert.equal(cache.revision, 2);
});

test('of a store that was restored from a backup what differs is seen, though its version is one that is known', () => {
  const cache = new Cache();
  const seen = { ...task({ id: 't' as TaskId }), version: 5, updatedAt: '2026-01-01T00:00:00Z' };
  const show = (object: object) => cache.reset(5, [{ kind: 'task', object } as unknown as AnyObject]);
  show(seen);
  show({ ...seen, updatedAt: '2026-01-01T00:01:00Z', slot: 9 });
  assert.equal(cache.get('task', 't' as TaskId)?.slot, 9);
});

test('listeners see the whole batch, and one that fails disturbs nobody', () => {
  const cache = new Cache();
  const seen: number[] = [];
  cache.onChange(() => {
    throw new Error('mine');
  });
  const off = cache.onChange(() => seen.push(cache.all('task').size));
  const put = () => ({ type: 'put', kind: 'task', object: task() as Task }) as const;
  cache.apply(1, [put(), put(), put()]);
  off();
  cache.apply(2, [put()]);
  assert.deepEqual(seen, [3]);
});

test('reached waits for the revision, or until its signal aborts', async () => {
  const cache = new Cache();
  let done = false;
  const waiting = cache.reached(5).then(() => (done = true));
  cache.apply(4, []);
  await Promise.resolve();
  assert.equal(done, false);
  cache.apply(6, []);
  await waiting;
  const abort = new AbortController();
  const never = cache.reached(7, abort.signal);
  abort.abort();
  await assert.rejects(never, { code: 'canceled' });
});

const following = () => {
  const clock = new VirtualClock();
  const store = new MemoryStore({ clock });
  const cache = new Cache();
  const abort = new AbortController();
  const create = (): Op => ({ op: 'create', kind: 'task', object: task() });
  const start = () => cache.follow(store, { clock, signal: abort.signal });
  return { clock, store, cache, abort, create, start };
};

test('a cache that follows a store reads its own writes', async () => {
  const { store, cache, abort, create, start } = following();
  const before = await store.transact([create()]);
  const done = start();
  await cache.reached(before);
  assert.equal(cache.all('task').size, 1);
  await cache.reached(await store.transact([create(), create()]));
  assert.equal(cache.all('task').size, 3);
  abort.abort();
  await done;
});

test('changes that were compacted before the cache saw them arrive by a new snapshot', async () => {
  const { clock, store, cache, abort, create, start } = following();
  const gone = task();
  const done = start();
  await cache.reached(await store.transact([{ op: 'create', kind: 'task', object: gone }, create()]));
  const told: Transition[] = [];
  cache.onChange((transitions) => told.push(...transitions));
  // All in one turn: the watch wakes up to a history that is gone.
  void store.transact([{ op: 'delete', kind: 'task', id: gone.id }, create()]);
  void store.transact([create()]);
  store.compact();
  await clock.advance(1000);
  assert.equal(cache.all('task').size, 3);
  assert.deepEqual(told.map(({ before, after }) => [!!before, !!after]).sort(), [
    [false, true],
    [false, true],
    [true, false],
  ]);
  abort.abort();
  await done;
});

test('a store that is away is asked again until it is back', async () => {
  const { clock, store, cache, abort, create, start } = following();
  await store.transact([create()]);
  store.setAvailable(false);
  const done = start();
  await clock.advance(5000);
  assert.equal(cache.revision, 0);
  store.setAvailable(true);
  await clock.advance(2000);
  assert.equal(cache.all('task').size, 1);
  abort.abort();
  await done;
});

test('a renamed service is found by its new name only', () => {
  const cache = new Cache();
  const named = (Name: string) => ({ id: 's' as ServiceId, spec: { Name } }) as unknown as Service;
  cache.apply(1, [{ type: 'put', kind: 'service', object: named('old') }]);
  cache.apply(2, [{ type: 'put', kind: 'service', object: named('new') }]);
  assert.equal(cache.byName('service', 'old'), undefined);
  assert.equal(cache.byName('service', 'new')?.id, 's');
});
