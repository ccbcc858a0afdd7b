import assert from 'node:assert/strict';
import { test } from 'node:test';
import { timestamp } from '../../kit/clock.ts';
import type { NodeId } from '../../model/ids.ts';
import type { Node, Task } from '../../model/objects.ts';
import type { RestartPolicy, ServiceMode } from '../../model/spec.ts';
import type { TaskState } from '../../model/task-state.ts';
import type { Step } from '../step.ts';
import { counterIds, node, service, spec, status, T0, task, viewOf } from '../testing/builders.ts';
import { TestCluster } from '../testing/cluster.ts';
import { planServices } from './plan.ts';

const ITERATION = 3;

function words(step: Step): string {
  if (step.kind !== 'change-slot')
    return step.kind === 'release-task' ? `release ${step.task.id}` : step.kind;
  const { stop, desired, start } = step;
  return [
    ...stop.map((t) => `${desired} ${t.id}`),
    ...(start ? [`start ${start.slot || start.nodeId} ${start.desiredState} #${start.jobIteration}`] : []),
  ].join(', ');
}

const at = (slot: number, state: TaskState, patch: Partial<Task> = {}): Task =>
  task(`t${slot}${state[0]}`, {
    slot,
    status: status(state),
    desiredState: 'complete',
    jobIteration: ITERATION,
    ...patch,
  });
const on = (id: string, state: TaskState, patch: Partial<Task> = {}): Task =>
  at(0, state, { id: `${id}${state[0]}` as Task['id'], nodeId: id as NodeId, ...patch });

function plan(
  mode: ServiceMode,
  tasks: Task[],
  nodes: Node[] = [node('n1'), node('n2')],
  seconds = 0,
): string[] {
  const jobStatus = { jobIteration: ITERATION, lastExecution: timestamp(T0) };
  const view = viewOf(
    { kind: 'service', object: service({ spec: spec({ Mode: mode }), jobStatus }) },
    ...nodes.map((object) => ({ kind: 'node', object }) as const),
    ...tasks.map((object) => ({ kind: 'task', object }) as const),
  );
  return planServices(view, ['svc'], T0 + seconds * 1000, counterIds()).steps.map(words);
}

const policy = (RestartPolicy: RestartPolicy): Partial<Task> => ({
  spec: { ContainerSpec: { Image: 'web:1' }, Networks: [], RestartPolicy },
});
const job = (concurrent: number | undefined, completions: number | undefined): ServiceMode => ({
  ReplicatedJob: {
    ...(concurrent !== undefined && { MaxConcurrent: concurrent }),
    ...(completions !== undefined && { TotalCompletions: completions }),
  },
});

const REPLICATED: [string, number | undefined, number | undefined, Task[], string[]][] = [
  ['as many as may run at once', 2, 5, [], ['start 1 complete #3', 'start 2 complete #3']],
  ['one at a time unless said', undefined, 2, [], ['start 1 complete #3']],
  [
    'as many completions as may run at once unless said',
    2,
    undefined,
    [at(1, 'complete')],
    ['start 2 complete #3'],
  ],
  ['a place that was freed is taken', 2, 5, [at(1, 'complete'), at(2, 'running')], ['start 3 complete #3']],
  ['no more than are left', 3, 4, [1, 2, 3].map((n) => at(n, 'complete')), ['start 4 complete #3']],
  ['all done', 2, 2, [at(1, 'complete'), at(2, 'complete')], []],
  ['zero at once is a pause', 0, 5, [], []],
  [
    'a failed task is followed in its slot, after the delay',
    2,
    2,
    [at(1, 'failed'), at(2, 'running')],
    ['shutdown t1f, start 1 ready #3'],
  ],
  [
    'a slot that may not be tried again is spent, and frees its place',
    1,
    2,
    [at(1, 'failed', { desiredState: 'shutdown', ...policy({ Condition: 'none' }) })],
    ['start 2 complete #3'],
  ],
  [
    'what still runs of the execution before goes, what ended of it stays',
    1,
    2,
    [at(1, 'complete', { jobIteration: 2 }), at(2, 'running', { jobIteration: 2 })],
    ['remove t2r', 'start 1 complete #3'],
  ],
];

for (const [name, concurrent, completions, tasks, steps] of REPLICATED)
  test(`replicated job: ${name}`, () => {
    assert.deepEqual(plan(job(concurrent, completions), tasks), steps);
  });

const late = node('n3', { createdAt: timestamp(T0 + 1) });
const paused = node('n2', { spec: { Labels: {}, Role: 'worker', Availability: 'pause' } });
const drained = node('n2', { spec: { Labels: {}, Role: 'worker', Availability: 'drain' } });
/** It joined before the clock was set back by an hour, and the execution began after that. */
const ahead = node('n3', { createdAt: timestamp(T0 + 3_600_000) });
const GLOBAL: [string, Task[], Node[], string[]][] = [
  ['one a node', [], [node('n1'), node('n2')], ['start n1 complete #3', 'start n2 complete #3']],
  ['done is done', [on('n1', 'complete'), on('n2', 'running')], [node('n1'), node('n2')], []],
  ['a node that joined later has no part', [on('n1', 'running')], [node('n1'), late], []],
  ['a node that joined by a clock an hour ahead has its part', [], [ahead], ['start n3 complete #3']],
  ['a paused node is given none', [], [node('n1'), paused], ['start n1 complete #3']],
  ['a paused node keeps what it has', [on('n1', 'running'), on('n2', 'running')], [node('n1'), paused], []],
  [
    'a drained node is left',
    [on('n1', 'running'), on('n2', 'running')],
    [node('n1'), drained],
    ['shutdown n2r'],
  ],
  [
    'a failed task is followed on its node',
    [on('n1', 'failed')],
    [node('n1')],
    ['shutdown n1f, start n1 ready #3'],
  ],
];

for (const [name, tasks, nodes, steps] of GLOBAL)
  test(`global job: ${name}`, () => {
    assert.deepEqual(plan({ GlobalJob: {} }, tasks, nodes), steps);
  });

test('a whole job: never more at once than allowed, each slot once, and again when updated', async (t) => {
  const c = await new TestCluster().start('n1', 'n2');
  t.after(() => c.stop());
  c.agents.ends.set('once:1', { state: 'complete', err: '' });
  const TaskTemplate = { ContainerSpec: { Image: 'once:1' } };
  await c.create(spec({ Name: 'job', TaskTemplate, Mode: job(2, 5) }));
  const completed = (iteration: number) =>
    c
      .tasks('job')
      .filter((task) => task.status.state === 'complete' && task.jobIteration === iteration)
      .map((task) => task.slot);
  for (let i = 0; i < 100 && completed(0).length < 5; i++) {
    await c.run(200);
    const going = c.tasks('job').filter((task) => task.status.state !== 'complete').length;
    assert.ok(going <= 2, `${going} at once`);
  }
  assert.deepEqual(completed(0), [1, 2, 3, 4, 5]);
  await c.run(60_000);
  assert.equal(c.tasks('job').length, 5, 'done stays done');
  await c.update('job', (s) => ({ ...s, TaskTemplate: { ...s.TaskTemplate, ForceUpdate: 1 } }));
  await c.run(30_000);
  assert.deepEqual(completed(1), [1, 2, 3, 4, 5]);
  assert.equal(c.control.service('job').jobStatus?.jobIteration, 1);
  assert.equal(c.control.service('job').updateStatus, undefined);
  assert.deepEqual(completed(0), [1, 2, 3, 4, 5], 'the execution before is history');
});
