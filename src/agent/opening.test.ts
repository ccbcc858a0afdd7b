import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { PortSpec } from '../model/spec.ts';
import { FakeNode, IMAGE, newStatus, taskItem } from './fake-node.ts';
import { doorOf, isOver, nextLookMs, waitsSince } from './opening-plan.ts';

const port = (TargetPort: number, patch: Partial<PortSpec> = {}): PortSpec => ({
  ...{ Protocol: 'tcp', TargetPort, PublishedPort: TargetPort + 8000, PublishMode: 'ingress' },
  ...patch,
});

async function node(
  t: TestContext,
  Ports: PortSpec[],
  container: object = {},
): Promise<FakeNode & { open: Set<number>; looks: number[] }> {
  const made = Object.assign(await FakeNode.make(), { open: new Set<number>(), looks: [] as number[] });
  t.after(() => made.close());
  made.runtime.images.offer(IMAGE);
  made.listens = (at) => {
    made.looks.push(made.clock.now());
    return made.open.has(at);
  };
  const spec = { ContainerSpec: { Image: IMAGE, ...container } };
  made.assign('t1', taskItem('t1', { spec, endpointSpec: { Ports } }));
  made.start().send();
  return made;
}

const status = (n: FakeNode) => n.tasks.get('t1')!.status;
const closed = (n: FakeNode) => status(n).notListening;
/** How often it was said that the task runs. */
const said = (n: FakeNode) => n.states('t1').filter((state) => state === 'running').length;

test('a task runs at once, and says which published ports nothing listens on until something does', async (t) => {
  const n = await node(t, [port(80), port(443)]);
  await n.untilState('t1', 'running');
  assert.deepEqual(closed(n), [80, 443]);
  n.open.add(80);
  await n.until('80 is open', () => closed(n)?.length === 1);
  assert.deepEqual(closed(n), [443]);
  await n.clock.advance(1_000);
  assert.equal(said(n), 2, 'nothing is said that did not change');
  n.open.add(443);
  await n.until('both are open', () => closed(n) === undefined);
  assert.deepEqual([status(n).state, said(n)], ['running', 3]);
  const looks = n.looks.length;
  n.open.clear();
  await n.clock.advance(60_000);
  assert.deepEqual([closed(n), n.looks.length], [undefined, looks], 'what was open once is not asked again');
});

test('what listens before it is looked at is said once', async (t) => {
  const n = await node(t, [port(80)]);
  n.open.add(80);
  await n.untilState('t1', 'running');
  await n.clock.advance(20_000);
  assert.deepEqual([closed(n), said(n)], [undefined, 1]);
});

test('what never listens is waited for until the bound, and runs all the time', async (t) => {
  const n = await node(t, [port(80)]);
  await n.untilState('t1', 'running');
  const began = Date.parse(status(n).timestamp);
  await n.clock.advance(began + 9_900 - n.clock.now());
  assert.deepEqual([closed(n), said(n)], [[80], 1]);
  await n.until('the bound is over', () => closed(n) === undefined, 500);
  assert.equal(said(n), 2);
  assert.ok(n.looks.length < 60, `${n.looks.length} looks`);
});

test('a restarted agent waits for what is left of the bound', async (t) => {
  const n = await node(t, [port(80)]);
  await n.untilState('t1', 'running');
  const began = Date.parse(status(n).timestamp);
  await n.clock.advance(6_000);
  await n.stop();
  n.start().send();
  await n.clock.advance(1_000);
  assert.deepEqual([closed(n), said(n)], [[80], 1]);
  await n.until('the bound is over', () => closed(n) === undefined);
  const took = n.clock.now() - began;
  assert.ok(took >= 10_000 && took < 10_500, `${took} ms`);
});

test('a restarted agent takes nothing out of rotation, and lets in what was away longer than the bound', async (t) => {
  const n = await node(t, [port(80)]);
  n.open.add(80);
  await n.untilState('t1', 'running');
  await n.stop();
  n.open.clear();
  n.start().send();
  await n.clock.advance(1_000);
  assert.deepEqual([closed(n), said(n)], [undefined, 1]);
  await n.stop();
  n.assign('t1', { ...n.tasks.get('t1')!, status: { ...status(n), notListening: [80] } });
  await n.clock.advance(30_000);
  n.start().send();
  await n.until('it is in', () => closed(n) === undefined, 200);
});

test('an agent killed anywhere on the way leaves a task that opens all the same', async (t) => {
  for (let calls = 1; calls < 60; calls++) {
    const n = await node(t, [port(80)]);
    await n.stop();
    n.start(calls).send();
    await n.clock.advance(500);
    await n.stop();
    n.start().send();
    n.open.add(80);
    await n.untilState('t1', 'running');
    await n.until('it is open', () => closed(n) === undefined, 500);
    await n.close();
  }
});

for (const [what, ports, container] of [
  ['with a health check', [port(80)], { Healthcheck: { Test: ['CMD', 'probe'], Interval: 1e9 } }],
  [
    'that publishes UDP and SCTP alone',
    [port(53, { Protocol: 'udp' }), port(5000, { Protocol: 'sctp' })],
    {},
  ],
  ['published in host mode', [port(80, { PublishMode: 'host' })], {}],
  ['that publishes nothing', [], {}],
] as const)
  test(`a container ${what} is not asked who listens`, async (t) => {
    const n = await node(t, [...ports], container);
    n.runtime.execProgram = ({ exit }) => exit(0);
    await n.untilState('t1', 'running');
    await n.clock.advance(11_000);
    assert.deepEqual([closed(n), said(n), n.looks], [undefined, 1, []]);
  });

test('that a port is open is said without a look at the container', async (t) => {
  const n = await node(t, [port(80)]);
  await n.untilState('t1', 'running');
  await n.clock.advance(1_000);
  const calls = n.runtime.calls.length;
  n.open.add(80);
  await n.until('it is open', () => closed(n) === undefined);
  assert.equal(n.runtime.calls.length, calls);
});

test('a health check that is switched off is none', async (t) => {
  const n = await node(t, [port(80)], { Healthcheck: { Test: ['NONE'] } });
  await n.untilState('t1', 'running');
  assert.deepEqual(closed(n), [80]);
});

test('a task that ends while it is waited for is asked no more', async (t) => {
  const n = await node(t, [port(80)]);
  await n.untilState('t1', 'running');
  n.want('t1', 'shutdown');
  await n.untilState('t1', 'shutdown');
  assert.equal(closed(n), undefined);
  const looks = n.looks.length;
  await n.clock.advance(20_000);
  assert.equal(n.looks.length, looks);
});

test('each port once, at the address on the ingress network; a stopped container has no door', () => {
  const item = taskItem('t1', {
    endpointSpec: { Ports: [port(80), port(80), port(53, { Protocol: 'udp' })] },
  });
  const config = { netnsPath: '/run/ns/1', spec: { Image: IMAGE } } as never;
  const [ingress] = item.attachments;
  const networks = new Map([[ingress!.networkId, { ingress: true }]]) as never;
  const door = { netns: '/run/ns/1', address: '10.255.0.7', ports: [80] };
  assert.deepEqual(doorOf(item, { status: 'running', config }, networks), door);
  assert.equal(doorOf(item, { status: 'stopped', config }, networks), undefined);
  assert.equal(doorOf(item, { status: 'running', config }, undefined), undefined);
});

test('since when: from now, from what was said, or no more', () => {
  const now = 1_000;
  const running = newStatus('running');
  assert.equal(waitsSince(newStatus('starting'), now), now);
  assert.equal(waitsSince({ ...running, notListening: [80] }, now), Date.parse(running.timestamp));
  assert.equal(waitsSince(running, now), undefined);
  assert.equal(waitsSince(newStatus('failed'), now), undefined);
});

test('looks come soon, then a quarter later than so far, and the last one at the bound', () => {
  const looks = [0];
  while (!isOver(0, looks.at(-1)!)) looks.push(looks.at(-1)! + nextLookMs(0, looks.at(-1)!));
  assert.deepEqual(looks.slice(0, 5), [0, 10, 20, 30, 40]);
  assert.ok(looks.every((at, i) => at < 60 || at - looks[i - 1]! <= Math.min(250, looks[i - 1]! / 4)));
  assert.equal(looks.at(-1), 10_000);
  assert.ok(isOver(5_000, 4_999), 'a clock that was set back');
});
