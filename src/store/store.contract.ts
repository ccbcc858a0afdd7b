/** What every store and its election must do. Run by memory.test.ts and, with a real etcd, by test/store/etcd.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NetworkId, NodeId, ServiceId, TaskId } from '../model/ids.ts';
import type { Network } from '../model/objects.ts';
import type { Batch, Draft, Election, Fence, Op, Store } from './store.ts';

export interface StoreUnderTest {
  readonly store: Store;
  /** Elections of two processes over this store. */
  readonly elections: readonly [Election, Election];
  compact(revision: number): Promise<void>;
  close(): Promise<void>;
}

let count = 0;
const fresh = <T>(): T => `id${(count += 1).toString().padStart(23, '0')}` as T;

export const network = (name: string, id = fresh<NetworkId>()): Draft<'network'> => ({
  id,
  spec: { Name: name, Labels: {}, Driver: 'overlay' } as Network['spec'],
  state: undefined,
});

export const task = (over: Partial<Draft<'task'>> = {}): Draft<'task'> =>
  ({
    id: fresh<TaskId>(),
    serviceId: 'service' as ServiceId,
    slot: 1,
    nodeId: 'node' as NodeId,
    specVersion: 1,
    serviceName: 'web',
    serviceLabels: {},
    endpointSpec: {},
    desiredState: 'running',
    attachments: [],
    ...over,
  }) as unknown as Draft<'task'>;

const createNetwork = (object: Draft<'network'>): Op => ({ op: 'create', kind: 'network', object });
const createTask = (object: Draft<'task'>): Op => ({ op: 'create', kind: 'task', object });
const updateNetwork = (object: Draft<'network'>, version: number): Op => ({
  op: 'update',
  kind: 'network',
  object,
  version,
});

const soon = () => AbortSignal.timeout(60_000);

async function collect(batches: AsyncIterable<Batch>, until: number): Promise<Batch[]> {
  const seen: Batch[] = [];
  for await (const batch of batches) {
    seen.push(batch);
    if (batch.revision >= until) return seen;
  }
  throw new Error(`watch ended before revision ${until}`);
}

const revisionNow = async (store: Store): Promise<number> => (await store.snapshot()).revision;

export function storeContract(name: string, make: () => Promise<StoreUnderTest>): void {
  const it = (title: string, run: (under: StoreUnderTest) => Promise<void>) =>
    test(`${name}: ${title}`, async () => {
      const under = await make();
      try {
        await run(under);
      } finally {
        await under.close();
      }
    });
  objectCases(it);
  nameCases(it);
  watchCases(it);
  electionCases(it);
}

type It = (title: string, run: (under: StoreUnderTest) => Promise<void>) => void;

function objectCases(it: It): void {
  it('an object comes back as it was given, with version and times', async ({ store }) => {
    const draft = network('a');
    const revision = await store.transact([createNetwork(draft)]);
    const stored = await store.get('network', draft.id);
    assert.deepEqual(stored!.spec, draft.spec);
    assert.equal(stored!.version, revision);
    assert.match(stored!.createdAt, /^\d{4}-.*\.\d{9}Z$/);
    assert.equal(stored!.updatedAt, stored!.createdAt);
    assert.equal(await store.get('network', 'nobody' as NetworkId), undefined);
  });

  it('an update replaces the object, keeps when it was created and needs the version it saw', async ({
    store,
  }) => {
    const draft = network('a');
    const first = await store.transact([createNetwork(draft)]);
    const created = (await store.get('network', draft.id))!;
    // A whole object as a draft: its old version must not be stored.
    const changed = { ...created, spec: { ...created.spec, Labels: { x: 'y' } } };
    const second = await store.transact([updateNetwork(changed, first)]);
    assert.ok(second > first);
    const stored = (await store.get('network', draft.id))!;
    assert.equal(stored.version, second);
    assert.equal(stored.createdAt, created.createdAt);
    assert.deepEqual([created.createRevision, stored.createRevision], [first, first]);
    assert.deepEqual(stored.spec.Labels, { x: 'y' });
    await assert.rejects(store.transact([updateNetwork(changed, first)]), { code: 'out-of-sequence' });
    assert.equal((await store.get('network', draft.id))!.version, second);
  });

  it('of two writers that saw the same version one wins', async ({ store }) => {
    const draft = network('a');
    const version = await store.transact([createNetwork(draft)]);
    const results = await Promise.allSettled(
      [1, 2, 3, 4].map(() => store.transact([updateNetwork(draft, version)])),
    );
    assert.equal(results.filter((result) => result.status === 'fulfilled').length, 1);
  });

  it('creating what exists and updating what is gone are refused', async ({ store }) => {
    const draft = task();
    const version = await store.transact([createTask(draft)]);
    await assert.rejects(store.transact([createTask(draft)]), { code: 'already-exists' });
    await store.transact([{ op: 'delete', kind: 'task', id: draft.id }]);
    await assert.rejects(store.transact([{ op: 'update', kind: 'task', object: draft, version }]), {
      code: 'out-of-sequence',
    });
  });

  it('a delete needs the version where one is given, and nothing where the object is gone', async ({
    store,
  }) => {
    const draft = task();
    const version = await store.transact([createTask(draft)]);
    const remove = (seen?: number): Op => ({ op: 'delete', kind: 'task', id: draft.id, version: seen });
    await assert.rejects(store.transact([remove(version + 1)]), { code: 'out-of-sequence' });
    assert.ok((await store.transact([remove(version)])) > version);
    assert.equal(await store.get('task', draft.id), undefined);
    const now = await revisionNow(store);
    assert.equal(await store.transact([remove(version)]), now);
    assert.equal(await store.transact([remove()]), now);
  });

  it('a transaction is done whole or not at all', async ({ store }) => {
    const taken = network('taken');
    const version = await store.transact([createNetwork(taken)]);
    const other = task();
    await assert.rejects(store.transact([createTask(other), updateNetwork(taken, version - 1)]), {
      code: 'out-of-sequence',
    });
    assert.equal(await store.get('task', other.id), undefined);
    const many = Array.from({ length: 200 }, () => task());
    const revision = await store.transact(many.map(createTask));
    const { objects } = await store.snapshot();
    assert.equal(objects.filter(({ object }) => object.version === revision).length, 200);
  });

  it('too long a batch and two operations on one object are refused', async ({ store }) => {
    const draft = task();
    const twice = store.transact([createTask(draft), { op: 'delete', kind: 'task', id: draft.id }]);
    await assert.rejects(twice, { code: 'invalid-argument' });
    const many = Array.from({ length: 201 }, () => createTask(task()));
    await assert.rejects(store.transact(many), { code: 'invalid-argument' });
  });
}

function nameCases(it: It): void {
  it('names are unique within their kind', async ({ store }) => {
    await store.transact([createNetwork(network('a'))]);
    await assert.rejects(store.transact([createNetwork(network('a'))]), { code: 'already-exists' });
    await assert.rejects(store.transact([createNetwork(network('b')), createNetwork(network('b'))]), {
      code: 'already-exists',
    });
    await store.transact([
      { op: 'create', kind: 'secret', object: { id: fresh(), spec: { Name: 'a', Labels: {} }, sealed: '' } },
    ]);
  });

  it('a deleted or renamed object frees its name, also for the same transaction', async ({ store }) => {
    const first = network('a');
    const version = await store.transact([createNetwork(first)]);
    await store.transact([updateNetwork({ ...network('b'), id: first.id }, version)]);
    const second = network('a');
    await store.transact([createNetwork(second)]);
    await assert.rejects(store.transact([createNetwork(network('b'))]), { code: 'already-exists' });
    await store.transact([{ op: 'delete', kind: 'network', id: second.id }, createNetwork(network('a'))]);
    await assert.rejects(store.transact([createNetwork(network('a'))]), { code: 'already-exists' });
    await store.transact([{ op: 'delete', kind: 'network', id: first.id }]);
    await store.transact([createNetwork(network('b'))]);
  });
}

function watchCases(it: It): void {
  it('a watch gives all after its revision, one batch a revision, in order', async ({ store }) => {
    const { revision } = await store.snapshot();
    const [a, b] = [task(), task()];
    const first = await store.transact([createTask(a), createTask(b)]);
    const live = collect(store.watch(revision, soon()), first + 2);
    await store.transact([{ op: 'update', kind: 'task', object: a, version: first }]);
    await store.transact([{ op: 'delete', kind: 'task', id: b.id }]);
    const batches = await live;
    assert.deepEqual(
      batches.map((batch) => batch.changes.map((change) => change.type)),
      [['put', 'put'], ['put'], ['delete']],
    );
    assert.deepEqual(batches.map((batch) => batch.revision), [first, first + 1, first + 2]); // prettier-ignore
    const [put] = batches[1]!.changes;
    assert.equal(put?.type === 'put' && put.object.version, first + 1);
    assert.deepEqual(batches[2]!.changes, [{ type: 'delete', kind: 'task', id: b.id }]);
  });

  it('snapshot and watch together miss nothing under concurrent writes', async ({ store }) => {
    const writing = Promise.all(Array.from({ length: 100 }, () => store.transact([createTask(task())])));
    const { revision, objects } = await store.snapshot();
    const last = Math.max(...(await writing));
    const seen = new Set(objects.map(({ object }) => object.id as string));
    if (last > revision)
      for (const { changes } of await collect(store.watch(revision, soon()), last))
        for (const change of changes) if (change.type === 'put') seen.add(change.object.id);
    assert.equal(seen.size, 100);
  });

  it('a watch ends when its signal aborts', async ({ store }) => {
    const abort = new AbortController();
    const ended = (async () => {
      for await (const _ of store.watch(await revisionNow(store), abort.signal)) void 0;
    })();
    setImmediate(() => abort.abort());
    await ended;
  });

  it('a watch from a compacted revision says so', async ({ store, compact }) => {
    const from = await revisionNow(store);
    for (let i = 0; i < 5; i++) await store.transact([createTask(task())]);
    await compact(await revisionNow(store));
    await assert.rejects(collect(store.watch(from, soon()), from + 1), { code: 'out-of-sequence' });
  });
}

function electionCases(it: It): void {
  it('one of two campaigns leads; when it ends the other follows, and the old fence is refused', async ({
    store,
    elections: [one, two],
  }) => {
    const led: string[] = [];
    const fences: Fence[] = [];
    const stops = new Map<string, () => void>();
    const waiting = new Set<() => void>();
    const lead = (self: string) => async (fence: Fence, signal: AbortSignal) => {
      led.push(self);
      fences.push(fence);
      for (const wake of waiting) wake();
      await new Promise<void>((resolve) => {
        stops.set(self, resolve);
        signal.addEventListener('abort', () => resolve());
      });
    };
    const ledTimes = async (times: number) => {
      while (led.length < times) await new Promise<void>((resolve) => waiting.add(resolve));
    };
    const aborts = [new AbortController(), new AbortController()] as const;
    const observed: (string | undefined)[] = [];
    const watching = new AbortController();
    const observing = (async () => {
      for await (const self of one.observe(watching.signal)) observed.push(self);
    })();
    const first = one.campaign('one', lead('one'), aborts[0].signal);
    await ledTimes(1);
    const second = two.campaign('two', lead('two'), aborts[1].signal);
    await store.transact([createTask(task())], fences[0]);
    assert.deepEqual(led, ['one']);
    aborts[0].abort();
    await first;
    await ledTimes(2);
    assert.deepEqual(led, ['one', 'two']);
    await assert.rejects(store.transact([createTask(task())], fences[0]), { code: 'failed-precondition' });
    await store.transact([createTask(task())], fences[1]);
    aborts[1].abort();
    await second;
    await assert.rejects(store.transact([], fences[1]), { code: 'failed-precondition' });
    const end = Date.now() + 10_000;
    while (Date.now() < end && !(observed.includes('two') && observed.at(-1) === undefined))
      await new Promise((resolve) => setTimeout(resolve, 5));
    assert.deepEqual(observed.filter((self) => self), ['one', 'two']); // prettier-ignore
    watching.abort();
    await observing;
  });

  it('a leader that settles gives up, and leads again when nobody else will', async ({
    elections: [one],
  }) => {
    const abort = new AbortController();
    let times = 0;
    await one.campaign(
      'one',
      async (_fence, signal) => {
        times += 1;
        if (times === 1) throw new Error('first try');
        if (times === 3) {
          abort.abort();
          assert.ok(signal.aborted);
        }
      },
      abort.signal,
    );
    assert.equal(times, 3);
  });
}
