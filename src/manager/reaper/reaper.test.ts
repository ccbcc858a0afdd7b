import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Cluster, Node, Task } from '../../model/objects.ts';
import { cluster, created, node, service, spec, status, T0, task, viewOf } from '../testing/builders.ts';
import { reap } from './loop.ts';
import { planReap } from './plan.ts';

const HOUR = 3600_000;

function reaped(tasks: Task[], nodes: Node[] = [node('n1')], hours = 0, of = service(), limit = 5): string[] {
  const view = viewOf(
    {
      kind: 'cluster',
      object: cluster({ spec: { Orchestration: { TaskHistoryRetentionLimit: limit } } as Cluster['spec'] }),
    },
    { kind: 'service', object: of },
    ...nodes.map((object) => ({ kind: 'node', object }) as const),
    ...tasks.map((object) => ({ kind: 'task', object }) as const),
  );
  const { steps } = planReap(view, ['svc'], T0 + hours * HOUR);
  return steps.map((step) => {
    if (step.kind === 'change-slot') return `${step.kind} ${step.stop[0]!.id} ${step.desired}`;
    return 'task' in step ? `${step.kind} ${step.task.id}` : step.kind;
  });
}

const old = (id: string, n: number, patch: Partial<Task> = {}) =>
  task(id, {
    desiredState: 'shutdown',
    status: status('failed'),
    ...created(n - 10),
    ...patch,
  });

test('a slot keeps five tasks, the running one among them; the oldest go', () => {
  const history = [1, 2, 3, 4, 5, 6].map((n) => old(`o${n}`, n));
  assert.deepEqual(reaped([...history, task('now')]), ['change-slot o1 remove', 'change-slot o2 remove']);
});

test('another length of history is seen to at once, for every service', () => {
  const limit = (id: string, TaskHistoryRetentionLimit: number) =>
    cluster({ id: id as never, spec: { Orchestration: { TaskHistoryRetentionLimit } } as Cluster['spec'] });
  const view = viewOf({ kind: 'task', object: task('a') });
  const changed = (after: number) => [
    ...reap().changed(
      { kind: 'cluster', id: 'c' as never, before: limit('c', 5), after: limit('c', after) },
      view,
      T0,
    ),
  ];
  assert.deepEqual([changed(5), changed(1)], [[], ['svc']]);
});

test('history is as long as restarts must be counted', () => {
  const of = service({
    spec: spec({ TaskTemplate: { ContainerSpec: { Image: 'x' }, RestartPolicy: { MaxAttempts: 8 } } }),
  });
  assert.deepEqual(
    reaped(
      [1, 2, 3, 4, 5, 6].map((n) => old(`o${n}`, n)),
      [node('n1')],
      0,
      of,
    ),
    [],
  );
});

test('removed tasks go once they are down, never assigned ones at once', () => {
  const removed = (id: string, state: 'running' | 'shutdown' | 'pending') =>
    task(id, { desiredState: 'remove', status: status(state) });
  assert.deepEqual(reaped([removed('a', 'running'), removed('b', 'shutdown'), removed('c', 'pending')]), [
    'delete-task b',
    'delete-task c',
  ]);
});

test('a task that stood on a network stays as long as its address is in quarantine', () => {
  const stood = (id: string, state: 'shutdown' | 'pending') =>
    task(id, {
      desiredState: 'remove',
      status: status(state),
      attachments: [
        { networkId: 'net', address: '10.0.0.2/24', mac: '02:00:00:00:00:01', aliases: [] },
      ] as never,
    });
  const tasks = [stood('a', 'shutdown'), stood('never ran', 'pending')];
  assert.deepEqual(reaped(tasks), ['delete-task never ran']);
  assert.deepEqual(reaped(tasks, [node('n1')], 1), ['delete-task a', 'delete-task never ran']);
});

test('tasks of a node that is gone are orphaned at once, of one that is down after a day', () => {
  const down = node('n1', { status: { ...node('n1').status, state: 'down' } });
  assert.deepEqual(reaped([task('a')], []), ['orphan-task a']);
  assert.deepEqual(reaped([task('a')], [down], 23), []);
  assert.deepEqual(reaped([task('a')], [down], 24), ['orphan-task a']);
});

test('the predecessor of a task that waits for its delay stays', () => {
  const history = [1, 2, 3, 4, 5, 6].map((n) => old(`o${n}`, n));
  const next = task('next', { desiredState: 'ready', status: status('new') });
  assert.deepEqual(
    reaped([...history, next], [node('n1')], 0, service(), 0),
    [1, 2, 3, 4, 5].map((n) => `change-slot o${n} remove`),
  );
});
