import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sleep, VirtualClock } from '../kit/clock.ts';
import { silentLog } from '../kit/log.ts';
import { SkeinError } from '../model/errors.ts';
import type { ServiceId } from '../model/ids.ts';
import { Cache } from '../store/cache.ts';
import { MemoryStore } from '../store/memory.ts';
import type { Batch } from '../store/store.ts';
import { apart, batchesOf } from './batches.ts';
import { type Planner, Runner } from './runner.ts';
import { draftOf } from './step.ts';
import { service, task } from './testing/builders.ts';

/** Marks every service 'completed' once; counts how often it was asked. */
class Marker implements Planner {
  readonly name = 'marker';
  plans = 0;
  reset: Planner['reset'] = (view) => view.all('service').keys();
  changed: Planner['changed'] = (transition) => (transition.kind === 'service' ? [transition.id] : []);
  foreseen: Planner['foreseen'] = () => [];
  plan: Planner['plan'] = (view, keys) => {
    this.plans += 1;
    const services = [...keys]
      .map((key) => view.get('service', key as ServiceId)!)
      .filter((s) => !s.updateStatus);
    const status = { state: 'completed', message: 'marked' } as const;
    return { steps: services.map((s) => ({ kind: 'set-update-status', service: s, status })), wake: [] };
  };
}

/** Makes a task for every service that has none in the view. */
class Maker implements Planner {
  readonly name = 'maker';
  #made = 0;
  reset: Planner['reset'] = (view) => view.all('service').keys();
  changed: Planner['changed'] = () => [];
  foreseen: Planner['foreseen'] = () => [];
  plan: Planner['plan'] = (view, keys) => ({
    steps: [...keys]
      .map((key) => view.get('service', key as ServiceId)!)
      .filter(({ id }) => view.tasksOfService(id).size === 0)
      .map(({ id }) => {
        const start = draftOf<'task'>(task(`t${this.#made++}`, { serviceId: id }));
        return { kind: 'change-slot', stop: [], desired: 'shutdown', start } as const;
      }),
    wake: [],
  });
}

/** `lagMs`: the view shows a change so much later. */
async function rig(count: number, { lagMs = 0, planner }: { lagMs?: number; planner?: Planner } = {}) {
  const clock = new VirtualClock();
  const store = new MemoryStore({ clock });
  const view = new Cache();
  const end = new AbortController();
  for (let i = 0; i < count; i++) {
    const object = {
      ...draftOf<'service'>(service()),
      id: `s${i}` as ServiceId,
      spec: { ...service().spec, Name: `s${i}` },
    };
    await store.transact([{ op: 'create', kind: 'service', object }]);
  }
  async function* lagging(...[revision, signal]: Parameters<MemoryStore['watch']>): AsyncIterable<Batch> {
    for await (const batch of store.watch(revision, signal)) {
      await sleep(clock, lagMs, signal);
      yield batch;
    }
  }
  const source = { snapshot: () => store.snapshot(), watch: lagMs > 0 ? lagging : store.watch.bind(store) };
  const following = view.follow(source, { clock, signal: end.signal });
  await clock.advance(1);
  const fence = store.claim('leader', 'a')!;
  const marker = new Marker();
  const deposed: number[] = [];
  const runner = (transact: MemoryStore['transact'], snapshot = () => store.snapshot()) =>
    new Runner({
      store: { transact, snapshot },
      view,
      clock,
      log: silentLog,
      planners: [planner ?? marker],
      fence,
      onDeposed: () => deposed.push(clock.now()),
    }).start();
  const stop = async (r: Runner) => {
    await r.stop();
    end.abort();
    await clock.advance(5000);
    await following;
  };
  const marked = () => [...view.all('service').values()].filter((s) => s.updateStatus).length;
  const tasks = async () => (await store.snapshot()).objects.filter(({ kind }) => kind === 'task').length;
  return { clock, store, view, fence, marker, deposed, runner, stop, marked, tasks };
}

test('someone else writes first: planned again from what the view shows then', async () => {
  const { clock, store, runner, stop, marked } = await rig(3);
  let conflicts = 0;
  const r = runner(async (ops, fence) => {
    if (conflicts++ < 5) throw new SkeinError('out-of-sequence', 'update out of sequence');
    return store.transact(ops, fence);
  });
  await clock.advance(1000);
  assert.equal(marked(), 3);
  await stop(r);
});

test('a write of unknown fate that went through is not done twice', async () => {
  const { clock, store, runner, stop, marked } = await rig(3);
  const writes: number[] = [];
  const r = runner(async (ops, fence) => {
    writes.push(await store.transact(ops, fence));
    if (writes.length === 1) throw new SkeinError('deadline-exceeded', 'no answer');
    return writes.at(-1)!;
  });
  await clock.advance(2000);
  assert.equal(marked(), 3);
  assert.equal(writes.length, 1);
  await stop(r);
});

test('a write of unknown fate is not done twice where the store goes on saying nothing for a while', async () => {
  const { clock, store, runner, stop, tasks } = await rig(3, { lagMs: 500, planner: new Maker() });
  let [writes, reads] = [0, 0];
  const down = () => new SkeinError('unavailable', 'no connection');
  const r = runner(
    async (ops, fence) => {
      const revision = await store.transact(ops, fence);
      if (++writes === 1) throw down();
      return revision;
    },
    async () => {
      if (++reads <= 2) throw down();
      return store.snapshot();
    },
  );
  await clock.advance(5000);
  assert.deepEqual([await tasks(), writes], [3, 1]);
  await stop(r);
});

test('what was written before a batch that lost a race is not done again, however late the view shows it', async () => {
  const { clock, store, runner, stop, tasks } = await rig(300, { lagMs: 500, planner: new Maker() });
  let writes = 0;
  const r = runner(async (ops, fence) => {
    if (++writes === 2) throw new SkeinError('out-of-sequence', 'update out of sequence');
    return store.transact(ops, fence);
  });
  await clock.advance(5000);
  assert.equal(await tasks(), 300);
  await stop(r);
});

test('another leader: told once, nothing more is written', async () => {
  const { clock, store, fence, deposed, runner, stop, marked } = await rig(3);
  store.resign(fence);
  store.claim('leader', 'b');
  const r = runner((ops, f) => store.transact(ops, f));
  await clock.advance(10_000);
  assert.equal(deposed.length, 1);
  assert.equal(marked(), 0);
  await stop(r);
});

test('large plans are cut into transactions that the store takes', async () => {
  const { clock, store, runner, stop, marked, marker } = await rig(450);
  const sizes: number[] = [];
  const r = runner((ops, f) => (sizes.push(ops.length), store.transact(ops, f)));
  await clock.advance(1000);
  assert.equal(marked(), 450);
  assert.deepEqual(sizes, [200, 200, 50]);
  assert.ok(marker.plans <= 5);
  await stop(r);
});

test('one step is never torn apart, one object never written twice in a plan', () => {
  const [a, b] = [task('a'), task('b')];
  const stop = (...tasks: ReturnType<typeof task>[]) => ({
    kind: 'change-slot' as const,
    stop: tasks,
    desired: 'shutdown' as const,
    start: undefined,
  });
  const { planned, skipped } = apart([stop(a, b), stop(b)], 0);
  assert.deepEqual(
    batchesOf(planned, 1).map((ops) => ops.length),
    [2],
  );
  assert.ok(skipped);
});
