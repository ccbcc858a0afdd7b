/** Reports of agents that are queues, on a virtual clock. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { timestamp } from '../../kit/clock.ts';
import { silentLog } from '../../kit/log.ts';
import { SkeinError } from '../../model/errors.ts';
import type { NodeId, TaskId } from '../../model/ids.ts';
import type { Task, TaskStatus } from '../../model/objects.ts';
import type { TaskState } from '../../model/task-state.ts';
import { task } from '../testing/builders.ts';
import { accept, Reports } from './reports.ts';
import { Agent, cluster, status, taskObject } from '../testing/dispatcher.ts';

const T = 't' as TaskId;
const [A, B] = ['a', 'b'] as [NodeId, NodeId];

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

test('of a task that is on another node by now, what a node says of it is nothing', () => {
  const by = (nodeId: NodeId) => accept(task('t', { nodeId: A, status: status('starting') }), said(nodeId));
  const said = (nodeId: NodeId) => ({ nodeId, status: status('running') });
  assert.equal(by(B), undefined);
  assert.equal(by(A)?.status.state, 'running');
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
  const healthy = { ...status('running', 3), health: 'healthy' as const };
  const later = accept(running, { nodeId: running.nodeId!, status: healthy })!;
  assert.equal(at('failed', 5, later).startedAt, running.startedAt);
  assert.equal(at('rejected', 3, ready).startedAt, undefined);
});

test('what a node whose clock is off says of when is told by the clock of the manager, and the news of a clock that was set back is news', async () => {
  const c = await cluster();
  const a = new Agent(c.dispatcher, 'a');
  await c.add(taskObject('t', 'a', [], 'assigned', 'running'));
  const stored = async () => (await c.store.get('task', 't' as TaskId))!.status;
  const say = async (aheadMs: number, health: TaskStatus['health'], state: TaskState = 'running') => {
    const clock = c.clock.now() + aheadMs;
    const said = { ...status(state), health, timestamp: timestamp(clock - 300) };
    a.out.push({ type: 'status', sentAt: clock, tasks: [{ id: 't' as TaskId, status: said }] });
    const by = timestamp(c.clock.now() - 300);
    await c.clock.advance(200);
    return { by, said: said.timestamp };
  };
  for (const [aheadMs, health] of [
    [3_600_000, 'healthy'],
    [-7_200_000, 'unhealthy'],
  ] as const) {
    const { by } = await say(aheadMs, health);
    assert.deepEqual([(await stored()).timestamp, (await stored()).health], [by, health]);
  }
  // As far as clocks differ anyhow, or a message may take, it is as the node says.
  const { said } = await say(-4_000, 'healthy');
  assert.deepEqual([(await stored()).timestamp, (await stored()).health], [said, 'healthy']);
  await c.end();
});

test('what was said before and is said again is no news, whatever time is told with it: a session tells all once more', async () => {
  const c = await cluster();
  const a = new Agent(c.dispatcher, 'a');
  await c.add(taskObject('t', 'a', [], 'assigned', 'running'));
  const [before, after] = [c.clock.now() - 1_000, c.clock.now() + 3_600_000].map(timestamp);
  const say = async (at: string, sentAt: number) => {
    a.out.push({
      type: 'status',
      sentAt,
      tasks: [{ id: 't' as TaskId, status: { ...status('running'), timestamp: at } }],
    });
    await c.clock.advance(200);
  };
  await say(before!, c.clock.now());
  const { revision } = await c.store.snapshot();
  await say(after!, c.clock.now()); // its clock was an hour ahead then, and has been set since
  assert.equal((await c.store.snapshot()).revision, revision);
  await c.end();
});

test('however far off the clock of a node is, what is told by it is a time that Docker’s clients can read', async () => {
  const c = await cluster();
  const a = new Agent(c.dispatcher, 'a');
  await c.add(taskObject('t', 'a', [], 'assigned', 'running'));
  for (const [sentAt, at, state] of [
    [0, '9999-12-31T23:59:59Z', 'starting'],
    [8.64e15, '0000-01-01T00:00:00Z', 'running'],
  ] as const) {
    const said = { ...status(state), timestamp: at };
    a.out.push({ type: 'status', sentAt, tasks: [{ id: 't' as TaskId, status: said }] });
    await c.clock.advance(200);
    const stored = (await c.store.get('task', 't' as TaskId))!.status;
    assert.equal(stored.state, state);
    assert.match(stored.timestamp, /^\d{4}-/);
  }
  await c.end();
});

/** Reports on task `t`, of a leader whose store refuses with these at first. */
async function refusedBy(...refusals: ('unavailable' | 'out-of-sequence')[]) {
  const c = await cluster();
  await c.add(taskObject('t', 'a', [], 'assigned', 'running'));
  const writing = new Set<PromiseWithResolvers<void>>();
  const transact: typeof c.store.transact = async (ops, fence) => {
    const code = refusals.shift();
    if (!code) return c.store.transact(ops, fence);
    const write = Promise.withResolvers<void>();
    writing.add(write);
    await write.promise;
    throw new SkeinError(code, 'refused');
  };
  const store = { get: c.store.get.bind(c.store), transact };
  const reports = new Reports({ store, view: c.view, clock: c.clock, log: silentLog, fence: undefined });
  return {
    say: (said: TaskStatus) => reports.add(A, [{ id: T, status: said }], undefined),
    /** Lets time pass; what is being written is refused. */
    async pass(ms: number) {
      for (const write of writing) write.resolve();
      writing.clear();
      await c.clock.advance(ms);
    },
    stored: async () => (await c.store.get('task', T))!.status,
    async end() {
      await reports.stop();
      await c.end();
    },
  };
}

test('what is said while an older word is refused is what is written at last', async () => {
  const { say, pass, stored, end } = await refusedBy('unavailable');
  say({ ...status('running'), health: 'unhealthy' });
  await pass(200);
  say({ ...status('running', 2), health: 'healthy' });
  await pass(1_000);
  assert.equal((await stored()).health, 'healthy');
  await end();
});

test('a report that loses one race after the other is written all the same', async () => {
  const { say, pass, stored, end } = await refusedBy('out-of-sequence', 'out-of-sequence');
  say(status('running'));
  for (let i = 0; i < 4; i++) await pass(500);
  assert.equal((await stored()).state, 'running');
  await end();
});
