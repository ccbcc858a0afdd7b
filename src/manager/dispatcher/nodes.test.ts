/** Heartbeats, on a virtual clock. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Cluster } from '../../model/objects.ts';
import { draftOf } from '../step.ts';
import { cluster as clusterObject } from '../testing/builders.ts';
import { Agent, cluster, PERIOD } from '../testing/dispatcher.ts';

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
