import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../../kit/clock.ts';
import type { NodeId, ServiceId, TaskId } from '../../model/ids.ts';
import type { Task } from '../../model/objects.ts';
import type { TaskState } from '../../model/task-state.ts';
import type { LogRecord, LogRequest, ToAgent } from '../../rpc/messages.ts';
import { Queue } from '../../rpc/queue.ts';
import { LogBroker } from './broker.ts';

const QUERY = { tail: undefined, since: undefined, until: undefined, stdout: true, stderr: true };

/** Nodes that take what they are asked; the test answers for them. */
function stage(states: Readonly<Record<string, readonly [node: string, state: TaskState]>>) {
  const clock = new VirtualClock(Date.parse('2026-01-01T00:00:00Z'));
  const away = new Set<string>();
  const asked: LogRequest[] = [];
  const listeners = new Set<() => void>();
  const tasks = new Map(
    Object.entries(states).map(([id, [nodeId, state]]) => [
      id,
      { id, nodeId, status: { state }, spec: {} } as Task,
    ]),
  );
  const broker = new LogBroker({
    view: {
      get: ((_: string, id: string) => tasks.get(id)) as never,
      tasksOfService: () => new Set(tasks.values()),
      onChange: (listener) => (listeners.add(listener as never), () => listeners.delete(listener as never)),
    },
    clock,
    random: (length) => new Uint8Array(length).fill(asked.length + 1),
    send: (node: NodeId, message: ToAgent) => {
      if (away.has(node)) return false;
      if (message.type === 'logs') asked.push(message.request);
      return true;
    },
  });
  /** The node's side of one request. */
  const answer = (request: LogRequest) => {
    const input = new Queue<LogRecord>(1000);
    const abort = new AbortController();
    const peer = { nodeId: tasks.get(request.tasks[0]!)!.nodeId } as never;
    const done = broker.publish({ id: request.id }, { peer, input, signal: abort.signal });
    return {
      say: (time: string) =>
        input.push({ taskId: request.tasks[0]!, stream: 'stdout', time, data: Buffer.from(time).toString() }),
      end: () => input.end(),
      break: () => {
        abort.abort();
        input.end(new Error('reset'));
        return done.catch(() => {});
      },
    };
  };
  const put = (id: string, nodeId: string, state: TaskState) => {
    tasks.set(id, { id, nodeId, status: { state }, spec: {} } as Task);
    for (const listener of listeners) listener();
  };
  const ids = () => [...tasks.keys()] as TaskId[];
  const read = (follow: boolean, tail?: number, signal = new AbortController().signal) =>
    broker.read({ ...QUERY, tail, follow, tasks: ids(), service: 's' as ServiceId }, signal);
  return { clock, away, asked, answer, read, tasks, put };
}

test('a reader who has gone already has nobody asked', { timeout: 10_000 }, async () => {
  const s = stage({ a: ['n1', 'running'] });
  for await (const _ of s.read(true, undefined, AbortSignal.abort())) assert.fail('nothing was asked for');
  assert.deepEqual(s.asked, []);
});

test('who does not follow hears what there is, then which nodes were not heard, in the words of Docker', async () => {
  const s = stage({
    b: ['n2', 'complete'],
    a: ['n1', 'running'],
    c: ['n3', 'running'],
    d: ['n4', 'preparing'],
  });
  s.away.add('n2');
  const reading = s.read(false);
  const first = reading.next();
  assert.deepEqual(
    s.asked.map(({ tasks }) => tasks).flat(),
    ['a', 'c'],
    'nobody waits for what has not begun',
  );
  const a = s.answer(s.asked[0]!);
  a.say('1');
  a.end();
  assert.equal((await first).value?.time, '1');
  const rest = assert.rejects(reading.next(), {
    code: 'unavailable',
    message:
      'rpc error: code = Unknown desc = warning: incomplete log stream. some logs could not be retrieved for the following reasons: node n2 is not available, node n3 is not available',
  });
  await s.clock.advance(5000); // n3 does not answer
  await rest;
});

test('who follows hears a node that was away from the next line on, until its task has ended', async () => {
  const s = stage({ a: ['n1', 'running'] });
  const reading = s.read(true);
  const first = reading.next();
  const before = s.answer(s.asked[0]!);
  before.say('2026-01-01T00:00:01Z');
  assert.equal((await first).value?.time, '2026-01-01T00:00:01Z');
  s.away.add('n1');
  await before.break();
  await s.clock.advance(1000);
  await s.clock.advance(1000);
  assert.equal(s.asked.length, 1, 'it has no session yet');
  s.away.clear();
  await s.clock.advance(1000);
  assert.deepEqual(s.asked[1]?.after, { a: '2026-01-01T00:00:01Z' });
  const after = s.answer(s.asked[1]!);
  after.say('2026-01-01T00:00:02Z');
  assert.equal((await reading.next()).value?.time, '2026-01-01T00:00:02Z');
  s.tasks.set('a', { ...s.tasks.get('a')!, status: { state: 'complete' } } as Task);
  after.end();
  await s.clock.advance(10_000);
  assert.equal(s.asked.length, 2, 'it has ended and all of it came');
  await reading.return(undefined);
});

test('who follows from now on misses nothing of a node that broke off before its first line', async () => {
  const s = stage({ a: ['n1', 'running'] });
  const reading = s.read(true, 0);
  void reading.next();
  assert.deepEqual([s.asked[0]?.tail, s.asked[0]?.after], [0, undefined]);
  await s.answer(s.asked[0]!).break();
  await s.clock.advance(1000);
  assert.deepEqual(s.asked[1]?.after, { a: '2026-01-01T00:00:00.000000000Z' });
  const again = s.answer(s.asked[1]!);
  again.say('2026-01-01T00:00:03Z');
  again.end();
  await s.clock.advance(0);
  await reading.return(undefined);
});

test('who follows hears also what has not begun, and tasks that are made later', async () => {
  const s = stage({ a: ['n1', 'preparing'] });
  const reading = s.read(true);
  const first = reading.next();
  assert.deepEqual(
    s.asked.map(({ tasks }) => tasks),
    [['a']],
  );
  s.put('b', 'n2', 'assigned');
  s.put('c', 'n3', 'running');
  assert.deepEqual(
    s.asked.map(({ tasks }) => tasks),
    [['a'], ['b'], ['c']],
    'each is asked for once',
  );
  const c = s.answer(s.asked[2]!);
  c.say('1');
  assert.equal((await first).value?.taskId, 'c');
  await reading.return(undefined);
});

test('what is left of a task that has ended is asked for again, where its node broke off before all of it came', async () => {
  const s = stage({ a: ['n1', 'running'] });
  const reading = s.read(true);
  const first = reading.next();
  const before = s.answer(s.asked[0]!);
  before.say('2026-01-01T00:00:01Z');
  await first;
  s.put('a', 'n1', 'complete');
  await before.break();
  await s.clock.advance(1000);
  assert.deepEqual(s.asked[1]?.after, { a: '2026-01-01T00:00:01Z' });
  await reading.return(undefined);
});

test('who does not follow is told of a node that broke off before all of it came', async () => {
  const s = stage({ a: ['n1', 'running'] });
  const reading = s.read(false);
  const first = reading.next();
  const a = s.answer(s.asked[0]!);
  a.say('1');
  await first;
  const rest = assert.rejects(reading.next(), /following reasons: node n1 disconnected unexpectedly$/);
  await a.break();
  await rest;
});
