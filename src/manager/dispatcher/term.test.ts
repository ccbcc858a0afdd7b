/** What a node is sent, whatever has happened before. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { VirtualClock } from '../../kit/clock.ts';
import { silentLog } from '../../kit/log.ts';
import type { NodeId, TaskId } from '../../model/ids.ts';
import type { TaskStatus } from '../../model/objects.ts';
import type { TaskState } from '../../model/task-state.ts';
import type { Encoded } from '../../rpc/frame.ts';
import type { Item, ToAgent } from '../../rpc/messages.ts';
import type { Queue } from '../../rpc/queue.ts';
import { Cache } from '../../store/cache.ts';
import { MemoryStore } from '../../store/memory.ts';
import { subscriptions } from './plan.ts';
import { Topics } from './topics.ts';
import { Term } from './term.ts';
import { networkObject, nodeObject, openSecret, status, taskObject } from '../testing/dispatcher.ts';

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
