import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../kit/clock.ts';
import { MemoryElection } from './memory-election.ts';
import { MemoryStore } from './memory.ts';
import { network, storeContract, task } from './store.contract.ts';

storeContract('memory', async () => {
  const store = new MemoryStore({ clock: new VirtualClock() });
  return {
    store,
    elections: [new MemoryElection(store), new MemoryElection(store)],
    compact: async (revision) => store.compact(revision),
    close: () => store.close(),
  };
});

test('times come from the clock', async () => {
  const clock = new VirtualClock();
  const store = new MemoryStore({ clock });
  const draft = network('a');
  const version = await store.transact([{ op: 'create', kind: 'network', object: draft }]);
  await clock.advance(1000);
  await store.transact([{ op: 'update', kind: 'network', object: draft, version }]);
  const stored = (await store.get('network', draft.id))!;
  assert.equal(Date.parse(stored.updatedAt) - Date.parse(stored.createdAt), 1000);
});

test('an unavailable store fails every call', async () => {
  const store = new MemoryStore({ clock: new VirtualClock() });
  store.setAvailable(false);
  await assert.rejects(store.snapshot(), { code: 'unavailable' });
  await assert.rejects(store.transact([{ op: 'create', kind: 'task', object: task() }]), {
    code: 'unavailable',
  });
});

test('a deposed leader hears of it', async () => {
  const store = new MemoryStore({ clock: new VirtualClock() });
  const election = new MemoryElection(store);
  const abort = new AbortController();
  let times = 0;
  await election.campaign(
    'one',
    async (_fence, signal) => {
      times += 1;
      if (times === 2) return abort.abort();
      setImmediate(() => election.depose());
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
    },
    abort.signal,
  );
  assert.equal(times, 2);
});
