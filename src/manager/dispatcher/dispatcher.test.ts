/** The dispatcher on a virtual clock, with agents that are queues: items, drains, who leads. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../../kit/log.ts';
import type { Ipv4, NodeId } from '../../model/ids.ts';
import type { ToManager } from '../../rpc/messages.ts';
import { Queue } from '../../rpc/queue.ts';
import type { Draft, Op } from '../../store/store.ts';
import { Dispatcher } from './dispatcher.ts';
import { inRotation } from './plan.ts';
import {
  Agent,
  cluster,
  description,
  openSecret,
  PERIOD,
  status,
  taskObject,
} from '../testing/dispatcher.ts';

for (const [kind, kept, reference, driver] of [
  ['secret', { spec: {}, sealed: 'yzzyx' }, 'Secrets', undefined],
  ['config', { spec: { Data: 'xyzzy' } }, 'Configs', 'golang'],
] as const)
  test(`a ${kind} goes to the nodes whose tasks refer to it, and leaves them with the last of those`, async () => {
    const c = await cluster();
    const [a, b] = [new Agent(c.dispatcher, 'a'), new Agent(c.dispatcher, 'b')];
    await c.clock.advance(50);
    const spec = { Name: 'key', Labels: {}, ...kept.spec, ...(driver && { Templating: { Name: driver } }) };
    const object = { ...kept, id: 'p1', spec };
    await c.store.transact([{ op: 'create', kind, object } as unknown as Op]);
    const task = (id: string) => {
      const draft = taskObject(id, 'a', ['net'], 'assigned', 'running');
      const References = [{ SecretID: 'p1', SecretName: 'key', ConfigID: 'p1', ConfigName: 'key', File: {} }];
      const ContainerSpec = { Image: 'i', [reference]: References };
      return { ...draft, spec: { ContainerSpec } } as unknown as Draft<'task'>;
    };
    await c.clock.advance(50);
    const sent = (agent: Agent) => agent.items[`${kind}/p1`];
    assert.equal(sent(a), undefined, 'no task, nothing of it');
    await c.add(task('t1'));
    await c.add(task('t2'));
    assert.deepEqual(sent(a), {
      kind,
      value: { id: 'p1', name: 'key', data: 'xyzzy', isTemplate: driver === 'golang' },
    });
    assert.equal(sent(b), undefined);
    await c.change('t1', () => ({ status: status('failed') }));
    assert.ok(sent(a), 't2 still needs it');
    await c.change('t2', () => ({ status: status('shutdown') }));
    assert.equal(sent(a), undefined);
    await c.end();
  });

for (const [is, state, health, desiredState] of [
  [true, 'running', 'none', 'running'],
  [true, 'running', 'healthy', 'running'],
  [true, 'running', 'healthy', 'complete'],
  [false, 'running', 'starting', 'running'],
  [false, 'running', 'unhealthy', 'running'],
  [false, 'running', 'healthy', 'shutdown'],
  [false, 'starting', 'none', 'running'],
  [false, 'complete', 'none', 'complete'],
] as const)
  test(`a task that is ${state}, health ${health}, to be ${desiredState}: ${is ? '' : 'not '}in rotation`, () => {
    assert.equal(inRotation({ status: { ...status(state), health }, desiredState }), is);
  });

test('a node learns its own tasks and the networks that they stand on, and forgets them', async () => {
  const c = await cluster();
  const [a, b] = [new Agent(c.dispatcher, 'a'), new Agent(c.dispatcher, 'b', '192.0.2.2')];
  await c.clock.advance(50);
  await c.add(taskObject('early', 'a', ['net'], 'pending', 'running'));
  assert.equal(a.desired('early'), undefined, 'not assigned yet');
  await c.add(taskObject('t', 'a', ['net'], 'running', 'running'));
  assert.equal(a.desired('t'), 'running');
  assert.equal(a.inRotation('net', 't'), true);
  assert.ok(a.items['network/net']);
  assert.deepEqual(
    [b.desired('t'), b.inRotation('net', 't'), b.items['network/net']],
    [undefined, undefined, undefined],
  );
  assert.ok(b.items['peer/a'] && b.items['network/ingress'] && b.items['endpoint/ingress/node-a']);
  await c.change('t', () => ({ status: status('failed', 2) }));
  assert.equal(a.items['network/net'], undefined);
  assert.equal(a.desired('t'), 'running', 'a task that ended is told until it is deleted');
  await c.end();
});

test('a task that has ended stands on none of its networks any more', async () => {
  const c = await cluster();
  const b = new Agent(c.dispatcher, 'b', '192.0.2.2');
  await c.clock.advance(50);
  await c.add(taskObject('t', 'a', ['ingress'], 'running', 'running'));
  assert.equal(b.inRotation('ingress', 't'), true);
  await c.change('t', () => ({ status: status('failed', 2) }));
  assert.equal(b.items['endpoint/ingress/t'], undefined, 'its address may be given to another');
  await c.end();
});

test('a node that comes again has one session, the later one; it is told so in the other', async () => {
  const c = await cluster();
  const [first, second] = [new Agent(c.dispatcher, 'a'), new Agent(c.dispatcher, 'a')];
  await c.clock.advance(50);
  assert.match(String(first.error), /the node has opened another session/);
  first.abort.abort();
  await c.clock.advance(50);
  await c.add(taskObject('t', 'a', ['net'], 'assigned', 'running'));
  assert.deepEqual([first.desired('t'), second.desired('t')], [undefined, 'running']);
  await c.end();
});

test('a node that is removed from the cluster is told so, and nothing more', async () => {
  const c = await cluster();
  const a = new Agent(c.dispatcher, 'a');
  await c.clock.advance(50);
  await c.store.transact([{ op: 'delete', kind: 'node', id: 'a' as NodeId }]);
  await c.clock.advance(50);
  assert.match(String(a.error), /the node was removed from the cluster/);
  await c.end();
});

test('a task on whose published port nothing listens is out of rotation, and all nodes know why', async () => {
  const c = await cluster();
  const b = new Agent(c.dispatcher, 'b', '192.0.2.2');
  await c.clock.advance(50);
  await c.add(taskObject('t', 'a', ['ingress'], 'starting', 'running'));
  const why = () => {
    const item = b.items['endpoint/ingress/t'];
    return item?.kind === 'endpoint' ? item.value.notListening : undefined;
  };
  await c.change('t', () => ({ status: { ...status('running'), notListening: [80] } }));
  assert.deepEqual([b.inRotation('ingress', 't'), why()], [false, [80]]);
  await c.change('t', () => ({ status: status('running', 2) }));
  assert.deepEqual([b.inRotation('ingress', 't'), why()], [true, undefined]);
  await c.end();
});

test('why a task left rotation is told where it had been in it', async () => {
  const c = await cluster();
  const b = new Agent(c.dispatcher, 'b', '192.0.2.2');
  await c.clock.advance(50);
  await c.add(taskObject('t', 'a', ['ingress'], 'starting', 'running'));
  const left = () => {
    const item = b.items['endpoint/ingress/t'];
    return item?.kind === 'endpoint' ? item.value.left : undefined;
  };
  const told: unknown[] = [left()];
  for (const change of [
    { desiredState: 'shutdown' },
    { desiredState: 'running', status: status('running') },
    { status: { ...status('running', 2), health: 'unhealthy' } },
    { status: status('running', 3), desiredState: 'shutdown' },
  ] as const) {
    await c.change('t', () => change);
    told.push(left());
  }
  assert.deepEqual(told, [undefined, undefined, undefined, 'unhealthy', 'draining']);
  await c.end();
});

test('a stopping task is told only after every router has applied that it left rotation', async () => {
  const c = await cluster();
  const [a, b] = [new Agent(c.dispatcher, 'a'), new Agent(c.dispatcher, 'b', '192.0.2.2')];
  await c.clock.advance(50);
  await c.add(taskObject('t', 'a', ['ingress'], 'running', 'running'));
  await c.change('t', () => ({ desiredState: 'shutdown' }));
  assert.equal(b.inRotation('ingress', 't'), false);
  assert.equal(a.desired('t'), 'running');
  b.out.push({ type: 'applied', revision: b.revision - 1 });
  a.applied();
  await c.clock.advance(50);
  assert.equal(a.desired('t'), 'running', 'b has not applied it');
  b.applied();
  await c.clock.advance(50);
  assert.equal(a.desired('t'), 'shutdown');
  await c.end();
});

test('what is stopping when another manager begins to lead is held by that one too', async () => {
  const c = await cluster();
  await c.add(taskObject('t', 'a', ['ingress'], 'running', 'shutdown'));
  const next = new Dispatcher({ ...c, log: silentLog, openSecret, leader: () => undefined });
  const term = new AbortController();
  const led = next.lead(undefined, term.signal);
  const [a, b] = [new Agent(next, 'a'), new Agent(next, 'b', '192.0.2.2')];
  await c.clock.advance(50);
  assert.deepEqual([a.desired('t'), b.inRotation('ingress', 't')], ['running', false]);
  a.applied();
  b.applied();
  await c.clock.advance(50);
  assert.equal(a.desired('t'), 'shutdown');
  term.abort();
  await led;
  await c.end();
});

test('a silent node holds a stopping task for five seconds at most, one that is down not at all', async () => {
  const c = await cluster();
  const a = new Agent(c.dispatcher, 'a');
  await c.clock.advance(50);
  await c.add(taskObject('t', 'a', ['ingress'], 'running', 'running'));
  await c.change('t', () => ({ desiredState: 'shutdown' }));
  a.applied();
  await c.clock.advance(4900);
  assert.equal(a.desired('t'), 'running');
  await c.clock.advance(200);
  assert.equal(a.desired('t'), 'shutdown');
  await c.beat([a], 6 * PERIOD);
  assert.equal((await c.node('b')).status.state, 'down');
  await c.add(taskObject('u', 'a', ['ingress'], 'running', 'running'));
  await c.change('u', () => ({ desiredState: 'shutdown' }));
  a.applied();
  await c.clock.advance(50);
  assert.equal(a.desired('u'), 'shutdown');
  await c.end();
});

test('a task that never ran is told to stop at once', async () => {
  const c = await cluster();
  const a = new Agent(c.dispatcher, 'a');
  await c.clock.advance(50);
  await c.add(taskObject('t', 'a', ['ingress'], 'preparing', 'running'));
  await c.change('t', () => ({ desiredState: 'shutdown' }));
  assert.equal(a.desired('t'), 'shutdown');
  await c.end();
});

test('a manager that does not lead names the leader; another protocol is told in words', async () => {
  const c = await cluster();
  const leader = { nodeId: 'm' as NodeId, addr: '192.0.2.7:2377' };
  const { clock, store, view } = c;
  const follower = new Dispatcher({ store, view, clock, log: silentLog, openSecret, leader: () => leader });
  const a = new Agent(follower, 'a');
  await a.done;
  assert.deepEqual((a.error as { cause?: unknown }).cause, { leader });
  const out = new Queue<ToManager>(10);
  out.push({
    type: 'hello',
    protocol: 99,
    description: description as never,
    dataPathAddr: '192.0.2.1' as Ipv4,
  });
  const call = { peer: { nodeId: 'a' }, address: '', input: out, signal: new AbortController().signal };
  await assert.rejects(c.dispatcher.session({}, call as never).next(), /speaks protocol 99/);
  await c.end();
});
