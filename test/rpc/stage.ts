/** Two managers as the daemon wires them, and agents, over real TLS on loopback. One a process: the tests of a file share it. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { after, before } from 'node:test';
import { Assignments } from '../../src/agent/assignments.ts';
import { type Identity, join } from '../../src/agent/identity.ts';
import { Session } from '../../src/agent/session.ts';
import { systemClock } from '../../src/kit/clock.ts';
import { silentLog } from '../../src/kit/log.ts';
import type { ClusterId, Ipv4, NodeId } from '../../src/model/ids.ts';
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
import { draftOf } from '../../src/manager/step.ts';
import { status as anyStatus, task as anyTask } from '../../src/manager/testing/builders.ts';
import { Tracer } from '../../src/manager/trace/tracer.ts';
import { newJoinToken } from '../../src/rpc/join-token.ts';
import type { LogRecord, ManagerAddress } from '../../src/rpc/messages.ts';
import { RpcServer } from '../../src/rpc/server.ts';
import { newRequest } from '../../src/rpc/x509.ts';
import { Cache } from '../../src/store/cache.ts';
import { MemoryStore } from '../../src/store/memory.ts';
import type { Draft } from '../../src/store/store.ts';

export const deps = { now: () => Date.now(), random: randomBytes };
export const clusterId = 'thecluster' as ClusterId;
const description = {
  hostname: 'h',
  platform: { architecture: 'x86_64', os: 'linux' },
  resources: { nanoCpus: 1, memoryBytes: 1 },
  engine: { version: '1', labels: {}, plugins: [] },
  uplinkMac: '02:00:00:00:00:01',
} as unknown as NodeDescription;

export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 30_000; !(await holds()); ) {
    if (Date.now() > deadline) assert.fail(`not within 30 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const stop = new AbortController();
export const folder = mkdtempSync(joinPath(tmpdir(), 'skein-session-'));
export const store = new MemoryStore({ clock: systemClock });
export const view = new Cache();
export let root: KeyAndCertificate;
export let tokens: { worker: string; manager: string };

/** A manager as the daemon wires it. */
export async function startManager(nodeId: string, leader: () => ManagerAddress | undefined) {
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

export let leader: Manager;
export let follower: Manager;

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
  /** The managers that it was told to keep, each time. */
  readonly saved: (readonly ManagerAddress[])[];
  end(): Promise<void>;
}

/** A failed test leaves its agent running, which would call the managers for ever. */
const agents = new Set<Agent>();

export async function startAgent(managers: string[]): Promise<Agent> {
  const joined = await join({ addrs: managers, token: tokens.worker, clock: systemClock });
  const identity = { ...joined, managers: managers.map((addr) => ({ nodeId: '' as NodeId, addr })) };
  const assignments = new Assignments();
  const abort = new AbortController();
  const canceled: string[] = [];
  const filters: string[] = [];
  const saved: (readonly ManagerAddress[])[] = [];
  let tracing: string | undefined;
  const session = new Session({
    identity: () => identity,
    saveManagers: (known) => saved.push(known),
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
    saved,
    async end() {
      agents.delete(agent);
      abort.abort();
      await running;
    },
  };
  agents.add(agent);
  return agent;
}

export const task = (id: string, nodeId: string): Draft<'task'> =>
  draftOf<'task'>(anyTask(id, { nodeId: nodeId as NodeId, status: status('running') }));

export const status = (state: TaskStatus['state']): TaskStatus =>
  anyStatus(state, { timestamp: new Date().toISOString() });
