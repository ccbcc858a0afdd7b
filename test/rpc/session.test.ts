/** Sessions of agents: what they are told, where they are sent, and breaks. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { nodeDraft } from '../../src/manager/testing/builders.ts';
import type { NodeId, TaskId } from '../../src/model/ids.ts';
import { SkeinError } from '../../src/model/errors.ts';
import type { ToManager } from '../../src/rpc/messages.ts';
import { follower, leader, startAgent, status, store, task, until, view } from './stage.ts';

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

test('what was applied is said again in a new session that tells nothing new: the manager waits to hear so', async (t) => {
  const { dispatcher } = leader;
  const session = dispatcher.session.bind(dispatcher);
  let heard: ToManager[] = [];
  async function* overheard(input: AsyncIterable<ToManager>): AsyncGenerator<ToManager> {
    for await (const message of input) {
      heard.push(message);
      yield message;
    }
  }
  dispatcher.session = (params, call) => session(params, { ...call, input: overheard(call.input) });
  t.after(() => (dispatcher.session = session));
  const agent = await startAgent([leader.addr]);
  const isSaid = () =>
    agent.assignments.revision === view.revision &&
    heard.some((message) => message.type === 'applied' && message.revision === view.revision);
  await until('all applied', () => agent.assignments.recognised && isSaid());
  heard = [];
  leader.server.disconnect(agent.identity.nodeId);
  await until('it to be said again', isSaid);
  await agent.end();
});

test('a manager that does not answer is no end: the session comes to the next one that is known', async () => {
  const agent = await startAgent(['127.0.0.1:1', follower.addr]);
  await until('a session', () => agent.session.connected);
  await agent.end();
});

test('a manager that comes is known to the agents, and kept for their next start', async () => {
  const agent = await startAgent([leader.addr]);
  await until('a session', () => agent.session.connected);
  const manager = { addr: '192.0.2.9:2377', etcdName: 'm9', etcdPeerUrl: 'https://192.0.2.9:2380' };
  await store.transact([{ op: 'create', kind: 'node', object: nodeDraft('m9', { manager }) }]);
  const known = [{ nodeId: 'm9', addr: manager.addr }];
  await until('it to be known', () => isDeepStrictEqual(agent.session.managers, known));
  assert.deepEqual(agent.saved, [known]);
  await agent.end();
  await store.transact([{ op: 'delete', kind: 'node', id: 'm9' as NodeId }]);
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
