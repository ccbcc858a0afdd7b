/** What agents are asked for while it lasts: logs, walks, traces. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../src/kit/clock.ts';
import { silentLog } from '../../src/kit/log.ts';
import type { Ipv4, NodeId, ServiceId, TaskId } from '../../src/model/ids.ts';
import { issueNode } from '../../src/manager/ca/authority.ts';
import { LEADER_CHANGED } from '../../src/manager/trace/tracer.ts';
import { RpcClient } from '../../src/rpc/client.ts';
import { RpcServer } from '../../src/rpc/server.ts';
import type { TraceEvent } from '../../src/rpc/trace-messages.ts';
import { newRequest } from '../../src/rpc/x509.ts';
import type { Draft } from '../../src/store/store.ts';
import { clusterId, deps, leader, root, startAgent, store, task, until, view } from './stage.ts';

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
  const asked = { ...query, follow: false, tasks: ['la', 'lb', 'lx'] as TaskId[] };
  const { signal } = new AbortController();
  const read = async () => {
    for await (const { taskId, time } of leader.broker.read(asked, signal)) lines.push(`${taskId}${time}`);
  };
  await assert.rejects(read(), /incomplete log stream\. .*: node nowhere is not available$/);
  assert.deepEqual(lines.sort(), ['la0', 'la1', 'la2', 'lb0', 'lb1', 'lb2']);
  await a.end();
  await b.end();
});

test('following takes up new tasks, and its end reaches the agents', async () => {
  const agent = await startAgent([leader.addr]);
  await until('session', () => agent.session.connected);
  const service = 'followed' as ServiceId;
  const abort = new AbortController();
  const seen = new Set<string>();
  const reading = (async () => {
    const asked = { ...query, follow: true, tasks: [], service };
    for await (const { taskId } of leader.broker.read(asked, abort.signal)) seen.add(taskId);
  })();
  for (const id of ['f1', 'f2'] as TaskId[]) {
    const object = { ...task(id, agent.identity.nodeId), serviceId: service };
    await store.transact([{ op: 'create', kind: 'task', object }]);
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
