/** Heartbeats, on a virtual clock. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../../kit/log.ts';
import type { NodeId } from '../../model/ids.ts';
import type { Cluster } from '../../model/objects.ts';
import type { Fence } from '../../store/store.ts';
import { draftOf } from '../step.ts';
import { cluster as clusterObject } from '../testing/builders.ts';
import { Agent, cluster, PERIOD } from '../testing/dispatcher.ts';
import { Nodes } from './nodes.ts';

const A = 'a' as NodeId;

/** Of a leader that says itself what it has heard. */
async function judging(fence?: Fence) {
  const c = await cluster();
  let writes = 0;
  const store = {
    get: c.store.get.bind(c.store),
    transact: (...args: Parameters<typeof c.store.transact>) => (writes++, c.store.transact(...args)),
  };
  const stop = new AbortController();
  const nodes = new Nodes({
    ...{ store, view: c.view, clock: c.clock, log: silentLog, fence },
    signal: stop.signal,
    lost: () => {},
  });
  return {
    nodes,
    clock: c.clock,
    writes: () => writes,
    state: async () => (await c.node('a')).status.state,
    async end() {
      stop.abort();
      await c.end();
    },
  };
}

test('three missed heartbeats are down; a stream that breaks and comes back is no event', async () => {
  const c = await cluster();
  const [a, b] = [new Agent(c.dispatcher, 'a'), new Agent(c.dispatcher, 'b', '192.0.2.2')];
  await c.beat([a, b], 4 * PERIOD);
  a.abort.abort();
  await c.beat([b], 2 * PERIOD);
  const again = new Agent(c.dispatcher, 'a', '192.0.2.9');
  await c.beat([again, b], 4 * PERIOD);
  assert.equal((await c.node('a')).status.state, 'ready');
  assert.equal((await c.node('a')).status.addr, '192.0.2.9');
  await c.beat([again], 3 * PERIOD + PERIOD);
  const down = await c.node('b');
  assert.deepEqual([down.status.state, down.status.message], ['down', 'heartbeat failure']);
  assert.match(String(b.error), /missed its heartbeats/);
  const back = new Agent(c.dispatcher, 'b', '192.0.2.2');
  await c.clock.advance(50);
  assert.equal((await c.node('b')).status.state, 'ready');
  void back;
  await c.end();
});

test('a new leader gives those that have not come to it yet one period more', async () => {
  const c = await cluster();
  await c.clock.advance(4 * PERIOD - 100);
  assert.equal((await c.node('a')).status.state, 'ready');
  await c.clock.advance(PERIOD / 5);
  assert.equal((await c.node('a')).status.state, 'down');
  await c.end();
});

test('who is heard of before it is written that he is down is not down, unless he said himself that he goes', async () => {
  const { nodes, state, end } = await judging();
  nodes.seen(A);
  await nodes.down(A, 'heartbeat failure');
  assert.equal(await state(), 'ready');
  await nodes.down(A, 'the node has left the cluster', true);
  assert.equal(await state(), 'down');
  await end();
});

test('a leader that was deposed writes nothing of nodes, and does not try again', async () => {
  const { nodes, clock, writes, state, end } = await judging({ key: 'leader', createRevision: 1 });
  let given = false;
  void nodes.down(A, 'heartbeat failure', true).then(() => (given = true));
  await clock.advance(PERIOD);
  assert.deepEqual([given, writes(), await state()], [true, 1, 'ready']);
  await end();
});

test('another heartbeat period is agreed on anew, and nobody is judged by it who beats as before', async () => {
  const c = await cluster();
  const [a] = [new Agent(c.dispatcher, 'a'), new Agent(c.dispatcher, 'b')];
  await c.clock.advance(PERIOD - 100);
  const spec = { Dispatcher: { HeartbeatPeriod: 1e9 } } as Cluster['spec'];
  const object = draftOf<'cluster'>(clusterObject({ spec }));
  await c.store.transact([{ op: 'create', kind: 'cluster', object }]);
  await c.clock.advance(500);
  assert.match(String(a.error), /the heartbeat period has changed/);
  const again = new Agent(c.dispatcher, 'a');
  await c.clock.advance(100);
  assert.equal(again.heartbeatMs, 1000);
  assert.equal((await c.node('a')).status.state, 'ready');
  again.out.push({ type: 'heartbeat' });
  await c.clock.advance(2500);
  assert.equal((await c.node('a')).status.state, 'ready');
  assert.equal((await c.node('b')).status.state, 'down', 'who did not come back has missed three');
  await c.end();
});

test('a manager whose clock is set, ahead or back, takes nobody for silent, and who is silent for down in time', async () => {
  const c = await cluster();
  const [a, b] = [new Agent(c.dispatcher, 'a'), new Agent(c.dispatcher, 'b', '192.0.2.2')];
  await c.beat([a, b], 4 * PERIOD);
  for (const hours of [1, -2]) {
    c.clock.set(hours * 3_600_000);
    await c.beat([a, b], 2 * PERIOD);
    assert.deepEqual([a.error, b.error], [undefined, undefined]);
    assert.deepEqual(
      [(await c.node('a')).status.state, (await c.node('b')).status.state],
      ['ready', 'ready'],
    );
  }
  c.clock.set(-3_600_000);
  await c.beat([a], 4 * PERIOD);
  assert.deepEqual([(await c.node('a')).status.state, (await c.node('b')).status.state], ['ready', 'down']);
  await c.end();
});
