/** Agent and manager over real TLS on loopback: join, session, redirect to the leader, logs, and breaks. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { after, before, test } from 'node:test';
import { Assignments } from '../../src/agent/assignments.ts';
import {
  type Identity,
  identityFile,
  join,
  keepRenewed,
  renew,
  renewalTime,
} from '../../src/agent/identity.ts';
import { Session } from '../../src/agent/session.ts';
import { systemClock, VirtualClock } from '../../src/kit/clock.ts';
import { silentLog } from '../../src/kit/log.ts';
import type { ClusterId, Ipv4, NodeId, ServiceId, TaskId } from '../../src/model/ids.ts';
import { SkeinError } from '../../src/model/errors.ts';
import type { NodeDescription, TaskStatus } from '../../src/model/objects.ts';
import {
  issueNode,
  type KeyAndCertificate,
  newEtcdRoot,
  newSwarmRoot,
} from '../../src/manager/ca/authority.ts';
import { Issuer } from '../../src/manager/ca/issuer.ts';
import { Dispatcher } from '../../src/manager/dispatcher/dispatcher.ts';
import { WalkBroker } from '../../src/manager/explain/broker.ts';
import { LogBroker } from '../../src/manager/logs/broker.ts';
import { LEADER_CHANGED, Tracer } from '../../src/manager/trace/tracer.ts';
import { RpcClient } from '../../src/rpc/client.ts';
import { newJoinToken } from '../../src/rpc/join-token.ts';
import type { LogRecord, ManagerAddress } from '../../src/rpc/messages.ts';
import { RpcServer } from '../../src/rpc/server.ts';
import type { TraceEvent } from '../../src/rpc/trace-messages.ts';
import { newRequest } from '../../src/rpc/x509.ts';
import { Cache } from '../../src/store/cache.ts';
import { MemoryStore } from '../../src/store/memory.ts';
import type { Draft } from '../../src/store/store.ts';

const deps = { now: () => Date.now(), random: randomBytes };
const clusterId = 'thecluster' as ClusterId;
const description = {
  hostname: 'h',
  platform: { architecture: 'x86_64', os: 'linux' },
  resources: { nanoCpus: 1, memoryBytes: 1 },
  engine: { version: '1', labels: {}, plugins: [] },
  uplinkMac: '02:00:00:00:00:01',
} as unknown as NodeDescription;

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 30_000; !(await holds()); ) {
    if (Date.now() > deadline) assert.fail(`not within 30 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const stop = new AbortController();
const folder = mkdtempSync(joinPath(tmpdir(), 'skein-session-'));
const store = new MemoryStore({ clock: systemClock });
const view = new Cache();
let root: KeyAndCertificate;
let tokens: { worker: string; manager: string };

/** A manager as the daemon wires it. */
async function startManager(nodeId: string, leader: () => ManagerAddress | undefined) {
  const { key, csr } = await newRequest();
  const subject = { nodeId: nodeId as NodeId, role: 'manager' as const, clusterId };
  const certificate = await issueNode(root, csr, subject, 3600_000, deps);
  const common = { store, view, clock: systemClock, log: silentLog };
  const dispatcher = new Dispatcher({ ...common, leader, openSecret: ({ sealed }) => sealed });
  const streams = {
    view,
    clock: systemClock,
    random: randomBytes,
    send: dispatcher.send.bind(dispatcher),
  };
  const broker = new LogBroker(streams);
  const tracer = new Tracer({ ...streams, onSession: (listener) => dispatcher.onSession(listener) });
  const walks = new WalkBroker(streams);
  const issuer = new Issuer({ ...common, random: randomBytes, managers: () => [] });
  const server = new RpcServer({
    credentials: { key, certificate, ca: root.certificate },
    clusterId,
    roleOf: (id) => view.get('node', id)?.spec.Role,
    clock: systemClock,
    log: silentLog,
    handlers: {
      'ca.root': () => issuer.root(),
      'ca.issue': (params, call) => issuer.issue(params, call),
      'dispatcher.session': (params, call) => dispatcher.session(params, call),
      'logs.publish': (params, call) => broker.publish(params, call),
      'explain.answer': (params, call) => walks.answer(params, call),
      'trace.clock': async () => ({ time: '5', boot: 'm' }),
      'trace.publish': (params, call) => tracer.publish(params, call),
      'node.leave': async (_params, call) => {
        await dispatcher.leave(call.peer!.nodeId);
        return {};
      },
    },
  });
  const { port } = await server.listen('127.0.0.1', 0);
  return { dispatcher, broker, tracer, walks, server, addr: `127.0.0.1:${port}` };
}
type Manager = Awaited<ReturnType<typeof startManager>>;

let leader: Manager;
let follower: Manager;

before(async () => {
  root = await newSwarmRoot(deps);
  const etcd = await newEtcdRoot(deps);
  tokens = {
    worker: newJoinToken(root.certificate, randomBytes),
    manager: newJoinToken(root.certificate, randomBytes),
  };
  const object = {
    id: clusterId,
    spec: { CAConfig: {}, Dispatcher: { HeartbeatPeriod: 5e9 } },
    dataPathPort: 4789,
    joinTokens: tokens,
    ca: { ...root, etcdCertificate: etcd.certificate, etcdKey: etcd.key },
  } as unknown as Draft<'cluster'>;
  await store.transact([{ op: 'create', kind: 'cluster', object }]);
  void view.follow(store, { clock: systemClock, signal: stop.signal });
  await view.reached(2);
  leader = await startManager('m1', () => undefined);
  follower = await startManager('m2', () => ({ nodeId: 'm1' as NodeId, addr: leader.addr }));
  void leader.dispatcher.lead(undefined, stop.signal);
});

after(async () => {
  for (const agent of agents) await agent.end();
  stop.abort();
  await leader.server.close();
  await follower.server.close();
  rmSync(folder, { recursive: true });
});

interface Agent {
  readonly identity: Identity;
  readonly assignments: Assignments;
  readonly session: Session;
  readonly canceled: string[];
  /** Hosts of the filters that it was given for traces, in order. */
  readonly filters: string[];
  end(): Promise<void>;
}

/** A failed test leaves its agent running, which would call the managers for ever. */
const agents = new Set<Agent>();

async function startAgent(managers: string[]): Promise<Agent> {
  const joined = await join({ addrs: managers, token: tokens.worker, clock: systemClock });
  const identity = { ...joined, managers: managers.map((addr) => ({ nodeId: '' as NodeId, addr })) };
  const assignments = new Assignments();
  const abort = new AbortController();
  const canceled: string[] = [];
  const filters: string[] = [];
  let tracing: string | undefined;
  const session = new Session({
    identity: () => identity,
    saveManagers: () => {},
    assignments,
    describe: async () => ({ description, dataPathAddr: '192.0.2.1' as Ipv4 }),
    logs: async function* (request, signal): AsyncGenerator<LogRecord> {
      for (const taskId of request.tasks)
        for (let i = 0; i < 3; i++) yield { taskId, stream: 'stdout', time: `${i}`, data: 'eA==' };
      if (!request.follow) return;
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      canceled.push(...request.tasks);
    },
    walk: async (starts) => {
      if (starts.length === 0) throw new Error('nothing to walk');
      return starts.map(() => []);
    },
    trace: {
      async *read({ id, filter }, leaderClock, signal) {
        filters.push(filter.hosts.join());
        tracing = id;
        const { time } = await leaderClock();
        const frame = { link: 'eth0', direction: 'in', time, length: 1, bytes: 'eA==' } as const;
        yield { frames: [frame], translations: [], uncertainty: 7 };
        await new Promise<void>((resolve) =>
          signal.addEventListener('abort', () => resolve(), { once: true }),
        );
        canceled.push('trace');
      },
      refilter({ id, filter }) {
        if (id !== tracing) return false;
        filters.push(filter.hosts.join());
        return true;
      },
    },
    clock: systemClock,
    log: silentLog,
    random: () => 0.5,
  });
  assignments.onChange(({ network }) => network && session.applied(assignments.revision!));
  const running = session.run(abort.signal);
  const agent: Agent = {
    identity,
    assignments,
    session,
    canceled,
    filters,
    async end() {
      agents.delete(agent);
      abort.abort();
      await running;
    },
  };
  agents.add(agent);
  return agent;
}

const task = (id: string, nodeId: string): Draft<'task'> =>
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
    desiredState: 'running',
    status: status('running'),
    attachments: [],
    registryAuth: undefined,
    jobIteration: undefined,
  }) as unknown as Draft<'task'>;

const status = (state: TaskStatus['state']): TaskStatus => ({
  timestamp: new Date().toISOString(),
  state,
  message: '',
  err: '',
  container: undefined,
  ports: [],
  health: 'none',
});

test('a worker joins by token, is sent on to the leader, and runs what it is given', async () => {
  const agent = await startAgent([follower.addr]);
  const id = agent.identity.nodeId;
  await until('node ready', async () => (await store.get('node', id))?.status.state === 'ready');
  await store.transact([{ op: 'create', kind: 'task', object: task('t1', id) }]);
  await until('task assigned', () => agent.assignments.tasks.has('t1' as TaskId));
  agent.session.report('t1' as TaskId, status('running'));
  const stored = async () => (await store.get('task', 't1' as TaskId))?.status.state;
  await until('status stored', async () => (await stored()) === 'running');
  // The connection breaks; what happens meanwhile is not lost.
  leader.server.disconnect(id);
  agent.session.report('t1' as TaskId, status('failed'));
  await until('status stored after the break', async () => (await stored()) === 'failed');
  await agent.end();
});

test('the end of a stand that a leader took along into its own end is said again to the next', async () => {
  const agent = await startAgent([leader.addr]);
  const id = agent.identity.nodeId;
  await until('node ready', async () => (await store.get('node', id))?.status.state === 'ready');
  const spec = { Runtime: 'attachment', ContainerSpec: { Image: '' } };
  await store.transact([{ op: 'create', kind: 'task', object: { ...task('stand', id), spec } }]);
  await until('stand assigned', () => agent.assignments.attachments.has('stand' as TaskId));
  const transact = store.transact.bind(store);
  let dropped = 0;
  store.transact = async (ops, fence) => {
    if (!ops.some((op) => op.op === 'update' && op.kind === 'task')) return transact(ops, fence);
    dropped += 1;
    throw new SkeinError('failed-precondition', 'another manager leads now');
  };
  try {
    agent.session.report('stand' as TaskId, status('shutdown'));
    await until('the report was dropped', () => dropped > 0);
    await transact([{ op: 'create', kind: 'task', object: task('next', id) }]);
    await until('something else is told', () => agent.assignments.tasks.has('next' as TaskId));
  } finally {
    store.transact = transact;
  }
  leader.server.disconnect(id);
  const stored = async () => (await store.get('task', 'stand' as TaskId))?.status.state;
  await until('its end stored', async () => (await stored()) === 'shutdown');
  await agent.end();
});

test('a manager that does not answer is no end: the session comes to the next one that is known', async () => {
  const agent = await startAgent(['127.0.0.1:1', follower.addr]);
  await until('a session', () => agent.session.connected);
  await agent.end();
});

test('a wrong root is refused before anything is said to it, a wrong token by the manager', async () => {
  const foreign = newJoinToken((await newSwarmRoot(deps)).certificate, randomBytes);
  const attempt = (token: string) => join({ addrs: [leader.addr], token, clock: systemClock });
  await assert.rejects(attempt(foreign), /remote CA does not match fingerprint/);
  await assert.rejects(
    attempt(newJoinToken(root.certificate, randomBytes)),
    /A valid join token is necessary/,
  );
  await assert.rejects(attempt('nonsense'), /invalid join token/);
});

test('a certificate that the root has not signed is not taken', async () => {
  const own = await newRequest();
  const subject = { nodeId: 'm4' as NodeId, role: 'manager' as const, clusterId };
  const certificate = await issueNode(root, own.csr, subject, 3600_000, deps);
  const other = await newSwarmRoot(deps);
  const server = new RpcServer({
    credentials: { key: own.key, certificate, ca: root.certificate },
    clusterId,
    roleOf: () => undefined,
    clock: systemClock,
    log: silentLog,
    handlers: {
      'ca.root': async () => ({ ca: root.certificate }),
      'ca.issue': async ({ csr }) => ({
        ...{ ca: root.certificate, nodeId: 'n' as NodeId, clusterId, role: 'worker', managers: [] },
        certificate: await issueNode(other, csr, { ...subject, role: 'worker' }, 3600_000, deps),
      }),
    },
  });
  const { port } = await server.listen('127.0.0.1', 0);
  await assert
    .rejects(
      join({ addrs: [`127.0.0.1:${port}`], token: tokens.worker, clock: systemClock }),
      /the certificate given is not signed by the root/,
    )
    .finally(() => server.close());
});

test(
  'a stranger cannot have a manager keep what he sends: small messages, or an end',
  { timeout: 30_000 },
  async () => {
    const session = connectHttp2(`https://${leader.addr}`, { rejectUnauthorized: false });
    try {
      const stream = session.request({ ':method': 'POST', ':path': '/ca.issue' });
      stream.write(Buffer.alloc(128 * 1024, 'x')); // and no end of it
      stream.on('error', () => {}); // it is cut off in the middle of what it says
      const [said] = (await once(stream, 'data')) as [Buffer];
      assert.match(said.toString(), /^!\{"code":"resource-exhausted"/);
    } finally {
      session.destroy();
    }
  },
);

test('a long stream to a manager that reads slowly leaves nothing behind at its connection', async () => {
  const { key, csr } = await newRequest();
  const subject = { nodeId: 'm5' as NodeId, role: 'manager' as const, clusterId };
  const credentials = {
    key,
    certificate: await issueNode(root, csr, subject, 3600_000, deps),
    ca: root.certificate,
  };
  let got = 0;
  const server = new RpcServer({
    ...{ credentials, clusterId, clock: systemClock, log: silentLog, roleOf: () => 'manager' as const },
    handlers: {
      'logs.publish': async (_params, { input }) => {
        for await (const _ of input) got += 1;
        return {};
      },
    },
  });
  const { port } = await server.listen('127.0.0.1', 0);
  const warnings: Error[] = [];
  const warn = (warning: Error) => warnings.push(warning);
  process.on('warning', warn);
  const client = await RpcClient.connect({
    addr: `127.0.0.1:${port}`,
    trust: { kind: 'member', credentials, clusterId },
    clock: systemClock,
  });
  try {
    const record = {
      taskId: 't' as TaskId,
      stream: 'stdout',
      time: '',
      data: 'x'.repeat(256 * 1024),
    } as const;
    const input = (async function* () {
      for (let i = 0; i < 40; i++) yield record;
    })();
    await client.call('logs.publish', { id: 'l' }, { input });
    await new Promise((resolve) => setImmediate(resolve)); // warnings come in a turn of their own
    assert.deepEqual([got, warnings], [40, []]);
  } finally {
    process.off('warning', warn);
    client.close();
    await server.close();
  }
});

test('an address without a manager is passed over', async () => {
  const identity = await join({
    addrs: ['127.0.0.1:1', leader.addr],
    token: tokens.manager,
    clock: systemClock,
  });
  assert.equal(identity.role, 'manager');
  await assert.rejects(join({ addrs: ['127.0.0.1:1'], token: tokens.worker, clock: systemClock }), {
    code: 'unavailable',
  });
});

test('the identity is kept with its key for its owner only, and renewed in the middle of its life', async () => {
  const agent = await startAgent([leader.addr]);
  await until('session', () => agent.session.connected);
  const file = identityFile(joinPath(folder, 'id', 'identity.json'));
  assert.equal(file.read(), undefined);
  file.write(agent.identity);
  assert.equal(statSync(joinPath(folder, 'id', 'identity.json')).mode & 0o777, 0o600);
  assert.deepEqual(file.read(), agent.identity);
  const renewed = await renew(agent.session.client!, agent.identity);
  assert.equal(renewed.nodeId, agent.identity.nodeId);
  assert.notEqual(renewed.credentials.certificate, agent.identity.credentials.certificate);
  const day = 86400_000;
  for (const [random, from, to] of [
    [0, 44, 46],
    [0.999, 70, 73],
  ] as const) {
    const days = (renewalTime(renewed.credentials.certificate, () => random) - Date.now()) / day;
    assert.ok(days > from && days < to, `${days} days`);
  }
  file.remove();
  assert.equal(file.read(), undefined);
  await agent.end();
});

test('a certificate is renewed before it ends, again and again, and after a manager that did not answer', async () => {
  const hour = 3600_000;
  const clock = new VirtualClock();
  const subject = { nodeId: 'n' as NodeId, role: 'worker' as const, clusterId };
  const issued = async (): Promise<Identity> => {
    const { key, csr } = await newRequest();
    const certificate = await issueNode(root, csr, subject, 9 * hour, { ...deps, now: () => clock.now() });
    return { ...subject, credentials: { key, certificate, ca: root.certificate }, managers: [] };
  };
  let identity = await issued();
  let making = Promise.resolve(identity);
  const [begin, renewals] = [clock.now(), [] as number[]];
  const end = new AbortController();
  const kept = keepRenewed({
    clock,
    log: silentLog,
    random: () => 0,
    signal: end.signal,
    current: () => identity,
    renew: async () => {
      renewals.push((clock.now() - begin) / hour);
      if (renewals.length === 2) throw new SkeinError('unavailable', 'no session');
      return (identity = await (making = issued()));
    },
  });
  // Valid for ten hours, one of them before it was made: half of that has passed after four.
  for (let minute = 0; minute < 10 * 60; minute++) {
    await clock.advance(60_000);
    await making; // in real time, in which the virtual clock stands
    if (renewals.length === 3) break;
  }
  end.abort();
  await kept;
  assert.deepEqual(
    renewals.map((at) => Math.round(at * 60)),
    [4 * 60, 8 * 60, 8 * 60 + 1],
  );
});

const query = { tail: undefined, since: undefined, until: undefined, stdout: true, stderr: true };

test('logs of many nodes are one stream; a node without a session ends its part, and is named', async () => {
  const [a, b] = [await startAgent([leader.addr]), await startAgent([leader.addr])];
  await until('sessions', () => a.session.connected && b.session.connected);
  await store.transact([
    { op: 'create', kind: 'task', object: task('la', a.identity.nodeId) },
    { op: 'create', kind: 'task', object: task('lb', b.identity.nodeId) },
    { op: 'create', kind: 'task', object: task('lx', 'nowhere') },
  ]);
  await until('view', () => view.get('task', 'lx' as TaskId) !== undefined);
  const lines: string[] = [];
  const tasks = () => ['la', 'lb', 'lx'] as TaskId[];
  const { signal } = new AbortController();
  const read = async () => {
    for await (const { taskId, time } of leader.broker.read({ ...query, follow: false }, { tasks }, signal))
      lines.push(`${taskId}${time}`);
  };
  await assert.rejects(read(), /incomplete log stream\. .*: node nowhere is not available$/);
  assert.deepEqual(lines.sort(), ['la0', 'la1', 'la2', 'lb0', 'lb1', 'lb2']);
  await a.end();
  await b.end();
});

test('following takes up new tasks, and its end reaches the agents', async () => {
  const agent = await startAgent([leader.addr]);
  await until('session', () => agent.session.connected);
  const known: TaskId[] = [];
  const abort = new AbortController();
  const seen = new Set<string>();
  const reading = (async () => {
    const source = { tasks: () => known };
    for await (const { taskId } of leader.broker.read({ ...query, follow: true }, source, abort.signal))
      seen.add(taskId);
  })();
  for (const id of ['f1', 'f2'] as TaskId[]) {
    known.push(id);
    await store.transact([{ op: 'create', kind: 'task', object: task(id, agent.identity.nodeId) }]);
    await until(`lines of ${id}`, () => seen.has(id));
  }
  abort.abort();
  await reading;
  await until('canceled at the agent', () => agent.canceled.length === 2);
  await agent.end();
});

test('a node walks its part of a way, or says why not; one without a session is not waited for', async () => {
  const agent = await startAgent([leader.addr]);
  const { nodeId } = agent.identity;
  await until('the session to be up', () => agent.session.connected);
  const end = { ip: '192.0.2.1' as Ipv4, port: 80 };
  const packet = { protocol: 'tcp', source: end, destination: end, reply: false, size: 60 } as const;
  const start = { from: { at: 'uplink' }, packet, tracked: [] } as const;
  assert.deepEqual(await leader.walks.ask(nodeId, [start, start]), [[], []]);
  await assert.rejects(leader.walks.ask(nodeId, []), /nothing to walk/);
  await agent.end();
  await until(
    'the session to be gone',
    () => !leader.dispatcher.send(nodeId, { type: 'logs-cancel', id: '' }),
  );
  await assert.rejects(leader.walks.ask(nodeId, [start]), /no session with the managers/);
});

test('a trace hears of every node, follows the cluster, and its end reaches the agents', async () => {
  const [a, b] = [await startAgent([leader.addr]), await startAgent([leader.addr])];
  await until('sessions', () => a.session.connected && b.session.connected);
  const service = {
    id: 'traced',
    spec: { Name: 'traced' },
    endpoint: {
      virtualIps: [],
      ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' }],
    },
  } as unknown as Draft<'service'>;
  await store.transact([{ op: 'create', kind: 'service', object: service }]);
  const ready = (id: NodeId) => view.get('node', id)?.status.state === 'ready';
  await until(
    'view',
    () =>
      view.get('service', service.id) !== undefined && ready(a.identity.nodeId) && ready(b.identity.nodeId),
  );
  const abort = new AbortController();
  const events: TraceEvent[] = [];
  const query = { service: service.id, clients: [], maxPackets: 10, maxMs: 60_000 };
  const reading = (async () => {
    for await (const event of leader.tracer.read(query, abort.signal)) events.push(event);
  })();
  const packets = () => events.filter((event) => event.type === 'packets');
  const toldOf = (why: string) => events.filter((event) => event.type === 'node' && event.why === why);
  await until('packets of both', () => packets().length === 2);
  assert.deepEqual(
    packets()[0]!.batch.frames.map(({ time }) => time),
    ['5'],
  );
  assert.equal(events[0]!.type, 'scene');
  const address = { networkId: 'n', address: '10.255.0.9/16', mac: '02:00:00:00:00:09', aliases: [] };
  const placed = { ...task('tt', a.identity.nodeId), serviceId: 'traced', attachments: [address] };
  await store.transact([{ op: 'create', kind: 'task', object: placed as unknown as Draft<'task'> }]);
  await until('the new filter at both', () => [a, b].every(({ filters }) => filters.at(-1) === '10.255.0.9'));
  await b.end();
  await until('the lost node', () => toldOf('its connection to the leader was lost').length === 1);
  abort.abort();
  await reading;
  await until('canceled at the agent', () => a.canceled.includes('trace'));
  await a.end();
});

test('leaving is told at once', async () => {
  const agent = await startAgent([leader.addr]);
  await until(
    'ready',
    async () =>
      agent.session.connected && (await store.get('node', agent.identity.nodeId))?.status.state === 'ready',
  );
  await agent.session.client!.call('node.leave', {});
  const node = await store.get('node', agent.identity.nodeId);
  assert.equal(node?.status.state, 'down');
  await agent.end();
});

test('a trace ends in words when its manager leads no more', async () => {
  const agent = await startAgent([leader.addr]);
  await until('a session', () => agent.session.connected);
  const service = { id: 'led', spec: { Name: 'led' }, endpoint: { virtualIps: [], ports: [] } };
  await store.transact([{ op: 'create', kind: 'service', object: service as unknown as Draft<'service'> }]);
  const placed = { ...task('lt', agent.identity.nodeId), serviceId: 'led', attachments: [] };
  await store.transact([{ op: 'create', kind: 'task', object: placed as unknown as Draft<'task'> }]);
  await until('view', () => view.get('task', 'lt' as TaskId) !== undefined);
  const lost = new AbortController();
  leader.tracer.lead(lost.signal);
  const events: TraceEvent[] = [];
  const query = { service: 'led' as ServiceId, clients: [], maxPackets: 10, maxMs: 60_000 };
  const reading = (async () => {
    for await (const event of leader.tracer.read(query, AbortSignal.timeout(60_000))) events.push(event);
  })();
  await until('packets', () => events.some(({ type }) => type === 'packets'));
  lost.abort();
  await reading;
  assert.deepEqual(events.at(-1), { type: 'end', why: LEADER_CHANGED });
  await agent.end();
});

test('a server that closes ends connections too that have not shaken hands', async () => {
  const manager = await startManager('m3', () => undefined);
  const [host, port] = manager.addr.split(':');
  const socket = connect(Number(port), host);
  socket.on('error', () => {}); // that it is cut is what is asked for
  const gone = new Promise((resolve) => socket.on('close', resolve));
  await once(socket, 'connect');
  await new Promise(setImmediate); // the server, in this very process, takes it
  await manager.server.close();
  await gone;
});
