/** The dispatcher on a virtual clock, with agents that are queues: items, drains, heartbeats, reports. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { VirtualClock } from '../../kit/clock.ts';
import { silentLog } from '../../kit/log.ts';
import type { Ipv4, NodeId, TaskId } from '../../model/ids.ts';
import type { Cluster, Node, Secret, Task, TaskStatus } from '../../model/objects.ts';
import type { TaskState } from '../../model/task-state.ts';
import type { Encoded } from '../../rpc/frame.ts';
import { PROTOCOL, type Item, type ToAgent, type ToManager } from '../../rpc/messages.ts';
import { Queue } from '../../rpc/queue.ts';
import type { Call } from '../../rpc/server.ts';
import { Cache } from '../../store/cache.ts';
import { MemoryStore } from '../../store/memory.ts';
import type { Draft, Op } from '../../store/store.ts';
import { Dispatcher } from './dispatcher.ts';
import { cluster as clusterObject, task } from '../testing/builders.ts';
import { inRotation, subscriptions } from './plan.ts';
import { accept } from './reports.ts';
import { Topics } from './topics.ts';
import { Term } from './term.ts';

const PERIOD = 5000;
const description = {
  hostname: 'h',
  platform: { architecture: 'x86_64', os: 'linux' },
  resources: { nanoCpus: 1, memoryBytes: 1 },
  engine: { version: '1', labels: {}, plugins: [] },
  uplinkMac: '02:00:00:00:00:01',
};
const stand = (networkId: string, host: number) => ({
  networkId,
  address: `10.0.0.${host}/24`,
  mac: `02:00:00:00:00:${host.toString(16).padStart(2, '0')}`,
  aliases: [],
});

const nodeObject = (id: string, host: number, addr = '192.0.2.1') =>
  ({
    id,
    spec: { Labels: {}, Role: 'worker', Availability: 'active' },
    description,
    status: { state: 'ready', message: '', addr },
    dataPathAddr: addr,
    manager: undefined,
    attachments: [stand('ingress', host)],
    certificate: undefined,
  }) as unknown as Draft<'node'>;

const status = (state: TaskState, at = 1): TaskStatus => ({
  timestamp: `2026-01-01T00:00:00.00000000${at}Z`,
  state,
  message: '',
  err: '',
  container: undefined,
  ports: [],
  health: 'none',
});

const taskObject = (id: string, nodeId: string, networks: string[], state: TaskState, desired: TaskState) =>
  ({
    id,
    serviceId: 's',
    slot: 1,
    nodeId,
    spec: { ContainerSpec: { Image: 'i' } },
    specVersion: 1,
    serviceName: 's',
    serviceLabels: {},
    endpointSpec: {},
    desiredState: desired,
    status: status(state),
    attachments: networks.map((network, i) => stand(network, 100 + i)),
    registryAuth: undefined,
    jobIteration: undefined,
  }) as unknown as Draft<'task'>;

const networkObject = (id: string) =>
  ({
    id,
    spec: { Name: id, Driver: 'overlay', Ingress: id === 'ingress' },
    state: { vni: 4096, subnet: '10.0.0.0/24', gateway: '10.0.0.1', ipRange: undefined },
  }) as unknown as Draft<'network'>;

/** As if sealed by turning it round. */
const openSecret = ({ sealed }: Secret) => [...sealed].reverse().join('');

class Agent {
  readonly out = new Queue<ToManager>(1000);
  readonly abort = new AbortController();
  items: Record<string, Item> = {};
  revision = 0;
  error: unknown;
  readonly done: Promise<void>;
  heartbeatMs: number | undefined;

  constructor(dispatcher: Dispatcher, nodeId: string, address = '192.0.2.1') {
    this.out.push({
      type: 'hello',
      protocol: PROTOCOL,
      description: description as never,
      dataPathAddr: address as Ipv4,
    });
    const call = {
      peer: { nodeId, role: 'worker', clusterId: 'c', notAfter: 0 },
      address,
      input: this.out,
      signal: this.abort.signal,
    } as unknown as Call<ToManager>;
    this.done = this.#read(dispatcher.session({}, call));
  }

  async #read(stream: AsyncIterable<Encoded>): Promise<void> {
    try {
      for await (const { line } of stream) this.#take(JSON.parse(line.toString()) as ToAgent);
    } catch (error) {
      this.error = error;
    }
  }

  #take(message: ToAgent): void {
    if (message.type === 'welcome') this.heartbeatMs = message.heartbeatMs;
    if (message.type === 'snapshot') this.items = { ...message.items };
    else if (message.type === 'delta') {
      for (const key of message.delete) delete this.items[key];
      Object.assign(this.items, message.put);
    } else return;
    this.revision = message.revision;
  }

  desired(task: string): TaskState | undefined {
    const item = this.items[`task/${task}`];
    return item?.kind === 'task' ? item.value.desiredState : undefined;
  }

  inRotation(network: string, task: string): boolean | undefined {
    const item = this.items[`endpoint/${network}/${task}`];
    return item?.kind === 'endpoint' ? item.value.inRotation : undefined;
  }

  applied(): void {
    this.out.push({ type: 'applied', revision: this.revision });
  }
}

async function cluster() {
  const clock = new VirtualClock();
  const store = new MemoryStore({ clock });
  const view = new Cache();
  const stop = new AbortController();
  void view.follow(store, { clock, signal: stop.signal });
  const make = (object: Draft<'node'> | Draft<'task'> | Draft<'network'>, kind: string) =>
    ({ op: 'create', kind, object }) as unknown as Op;
  await store.transact([
    make(networkObject('ingress'), 'network'),
    make(networkObject('net'), 'network'),
    make(networkObject('other'), 'network'),
    make(nodeObject('a', 2), 'node'),
    make(nodeObject('b', 3), 'node'),
  ]);
  await clock.advance(100);
  const dispatcher = new Dispatcher({
    store,
    view,
    clock,
    log: silentLog,
    openSecret,
    leader: () => undefined,
  });
  const term = new AbortController();
  const led = dispatcher.lead(undefined, term.signal);
  const change = async (id: string, edit: (task: Task) => Partial<Task>) => {
    const task = (await store.get('task', id as TaskId))!;
    await store.transact([
      { op: 'update', kind: 'task', object: { ...task, ...edit(task) }, version: task.version },
    ]);
    await clock.advance(20);
  };
  return {
    clock,
    store,
    view,
    dispatcher,
    change,
    add: (task: Draft<'task'>) => store.transact([make(task, 'task')]).then(() => clock.advance(20)),
    node: (id: string) => store.get('node', id as NodeId) as Promise<Node>,
    async end() {
      term.abort();
      stop.abort();
      await clock.advance(100);
      await led;
    },
    async beat(agents: Agent[], ms: number) {
      for (let at = 0; at < ms; at += PERIOD) {
        for (const agent of agents) agent.out.push({ type: 'heartbeat' });
        await clock.advance(Math.min(PERIOD, ms - at));
      }
    },
  };
}

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
  const {
    version: _v,
    createdAt: _c,
    updatedAt: _u,
    ...object
  } = clusterObject({
    spec: { Dispatcher: { HeartbeatPeriod: 1e9 } } as Cluster['spec'],
  });
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

test('reports are written in batches; they never go back, and are refused for a task of another node', async () => {
  const c = await cluster();
  const [a, b] = [new Agent(c.dispatcher, 'a'), new Agent(c.dispatcher, 'b', '192.0.2.2')];
  await c.add(taskObject('t', 'a', [], 'assigned', 'running'));
  await c.add(taskObject('u', 'a', [], 'assigned', 'running'));
  const before = (await c.store.snapshot()).revision;
  const say = (agent: Agent, id: string, s: TaskStatus) =>
    agent.out.push({ type: 'status', tasks: [{ id: id as TaskId, status: s }] });
  say(a, 't', status('preparing', 2));
  say(a, 't', status('running', 3));
  say(a, 'u', status('running', 3));
  say(b, 'u', status('failed', 4));
  await c.clock.advance(200);
  const { revision } = await c.store.snapshot();
  assert.equal(revision, before + 1, 'one transaction');
  say(a, 't', status('starting', 5));
  await c.clock.advance(200);
  assert.equal((await c.store.get('task', 't' as TaskId))?.status.state, 'running');
  assert.equal((await c.store.get('task', 'u' as TaskId))?.status.state, 'running');
  c.store.setAvailable(false);
  say(a, 't', status('failed', 6));
  await c.clock.advance(500);
  c.store.setAvailable(true);
  await c.clock.advance(5000);
  assert.equal((await c.store.get('task', 't' as TaskId))?.status.state, 'failed');
  await c.end();
});

test('a task starts with the first report that it is up, listening where it is published; what comes later does not move that', () => {
  const at = (state: TaskState, second: number, from: Task): Task =>
    accept(from, { nodeId: from.nodeId!, status: status(state, second) })!;
  const ready = at('ready', 1, task('t1', { status: status('assigned', 0) }));
  assert.equal(ready.startedAt, undefined);
  const closed = { ...status('running', 1), notListening: [80] };
  const opening = accept(ready, { nodeId: ready.nodeId!, status: closed })!;
  assert.deepEqual([opening.status.notListening, opening.startedAt], [[80], undefined]);
  assert.equal(at('running', 2, opening).startedAt, status('running', 2).timestamp);
  assert.equal(at('running', 2, opening).status.notListening, undefined);
  const running = at('running', 2, ready);
  assert.equal(running.startedAt, status('running', 2).timestamp);
  assert.equal(at('failed', 5, at('running', 3, running)).startedAt, running.startedAt);
  assert.equal(at('rejected', 3, ready).startedAt, undefined);
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

/** Random histories of three tasks on two nodes and three networks. */
const step = fc.record({
  task: fc.constantFrom('t', 'u', 'v'),
  node: fc.constantFrom('a', 'b'),
  networks: fc.subarray(['ingress', 'net', 'other']),
  state: fc.constantFrom<TaskState>('pending', 'assigned', 'running', 'failed'),
  desired: fc.constantFrom<TaskState>('running', 'shutdown'),
  remove: fc.boolean(),
  flush: fc.boolean(),
});

test('items by deltas are the items from scratch, after any history', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      const clock = new VirtualClock();
      const view = new Cache();
      const stop = new AbortController();
      const options = {
        view,
        clock,
        log: silentLog,
        fence: undefined,
        signal: stop.signal,
        openSecret,
        managers: () => [],
      };
      const store = new MemoryStore({ clock });
      const put = (kind: string, object: object, version: number) =>
        view.apply(version, [{ type: 'put', kind, object: { ...object, version } } as never]);
      let revision = 1;
      for (const id of ['ingress', 'net', 'other']) put('network', networkObject(id), revision++);
      put('node', nodeObject('a', 2), revision++);
      put('node', nodeObject('b', 3), revision++);
      const term = new Term({ ...options, store });
      const session = term.open('a' as NodeId);
      for (const { task, node, networks, state, desired, remove, flush } of steps) {
        revision++;
        if (remove) view.apply(revision, [{ type: 'delete', kind: 'task', id: task as TaskId }]);
        else put('task', taskObject(task, node, networks, state, desired), revision);
        if (flush) await clock.advance(20);
      }
      // All drains are over.
      await clock.advance(6000);
      const held = collect(session.queue);
      const fresh = new Term({ ...options, store });
      await clock.advance(6000);
      const scratch = collect(fresh.open('a' as NodeId).queue);
      stop.abort();
      assert.deepEqual(await held, await scratch);
      assert.deepEqual([...session.topics].sort(), [...subscriptions(view, 'a' as NodeId)].sort());
    }),
    { numRuns: 60 },
  );
});

/** What an agent that got all these messages knows; statuses aside, which are not echoed. */
async function collect(queue: Queue<Encoded>): Promise<Record<string, Item>> {
  const items: Record<string, Item> = {};
  queue.end();
  for await (const { line } of queue) {
    const message = JSON.parse(line.toString()) as ToAgent;
    if (message.type === 'snapshot') Object.assign(items, message.items);
    if (message.type !== 'delta') continue;
    for (const key of message.delete) delete items[key];
    Object.assign(items, message.put);
  }
  for (const item of Object.values(items))
    if (item.kind === 'task') (item.value as { status?: TaskStatus }).status = undefined;
  return items;
}

test('a status alone is not echoed to its agent', () => {
  const topics = new Topics();
  const item = (state: TaskState) =>
    [
      { topic: 'node:a', key: 'task/t', item: { kind: 'task', value: { id: 't', status: status(state) } } },
    ] as never;
  topics.place('task/t', item('assigned'));
  topics.clean();
  topics.place('task/t', item('running'));
  assert.equal(topics.dirty.size, 0);
  assert.match(topics.full('node:a'), /running/);
});
