import assert from 'node:assert/strict';
import { test } from 'node:test';
import { timestamp } from '../../kit/clock.ts';
import type { Service, Task } from '../../model/objects.ts';
import type { UpdateConfig } from '../../model/spec.ts';
import { planServices } from '../orchestrator/plan.ts';
import { counterIds, created, node, service, spec, status, T0, task, viewOf } from '../testing/builders.ts';
import { words } from '../testing/step-words.ts';

const SECOND = 1000;
const at = (seconds: number) => timestamp(T0 + seconds * SECOND);

interface Planned {
  readonly steps: string[];
  readonly wake: number[];
}

function plan(of: Partial<Service>, tasks: readonly Task[], seconds = 0): Planned {
  const view = viewOf(
    { kind: 'service', object: service(of) },
    { kind: 'node', object: node('n1') },
    ...tasks.map((object) => ({ kind: 'task', object }) as const),
  );
  const { steps, wake } = planServices(view, ['svc'], T0 + seconds * SECOND, counterIds());
  return { steps: steps.map(words), wake: wake.map((w) => (w.at - T0) / SECOND) };
}

const WEB2 = { ContainerSpec: { Image: 'web:2' } };
const v2 = { specVersion: 2, spec: spec({ TaskTemplate: WEB2 }) };
const updating = { state: 'updating', startedAt: at(0), message: 'update in progress' } as const;
const old = (slot: number, patch: Partial<Task> = {}): Task => task(`o${slot}`, { slot, ...patch });
const fresh = (id: string, patch: Partial<Task> = {}): Task =>
  task(id, { specVersion: 2, spec: { ...WEB2, Networks: [] }, ...created(1), ...patch });

/** An update, or a rollback, under way from version 1 to 2; which of the two configs counts, and what the other says. */
interface Way {
  readonly config: UpdateConfig | undefined;
  readonly other: UpdateConfig;
  readonly tasks: Task[];
  readonly seconds?: number;
  readonly steps: string[];
  readonly wake?: number[];
}

const ended = (id: string, slot: number, patch: Partial<Task> = {}): Task =>
  fresh(id, { slot, desiredState: 'shutdown', status: status('failed'), ...patch });
const ranFor = (seconds: number): Partial<Task> => ({
  startedAt: at(1),
  status: status('failed', { timestamp: at(1 + seconds) }),
});

/** What happens with an update; with a rollback the same, but for its own words. */
const WAYS: [string, Way][] = [
  [
    'order start-first',
    {
      config: { Parallelism: 1, Order: 'start-first' },
      other: { Parallelism: 1, Order: 'stop-first' },
      tasks: [old(1)],
      steps: ['start 1 running v2'],
    },
  ],
  [
    'order stop-first unless said',
    {
      config: { Parallelism: 1 },
      other: { Parallelism: 1, Order: 'start-first' },
      tasks: [old(1)],
      steps: ['shutdown o1, start 1 ready v2'],
    },
  ],
  [
    'a slot has one turn, however many may have theirs at a time',
    {
      config: { Parallelism: 0, Order: 'start-first' },
      other: { Parallelism: 1 },
      tasks: [old(1), fresh('n1', { status: status('starting') })],
      steps: [],
    },
  ],
  [
    'start-first: a new task that failed is tried again by the policy, while the old one serves',
    {
      config: { Parallelism: 1, Order: 'start-first', FailureAction: 'continue' },
      other: { Parallelism: 1 },
      tasks: [old(1), fresh('n1', { status: status('failed') })],
      steps: ['shutdown n1, start 1 ready v2'],
      wake: [5],
    },
  ],
  [
    'two at a time',
    {
      config: { Parallelism: 2 },
      other: { Parallelism: 1 },
      tasks: [old(1), old(2), old(3)],
      steps: ['shutdown o1, start 1 ready v2', 'shutdown o2, start 2 ready v2'],
    },
  ],
  [
    'zero is all at once',
    {
      config: { Parallelism: 0 },
      other: { Parallelism: 1 },
      tasks: [old(1), old(2)],
      steps: ['shutdown o1, start 1 ready v2', 'shutdown o2, start 2 ready v2'],
    },
  ],
  [
    'nothing said: one at a time, those that serve nobody first',
    {
      config: undefined,
      other: { Parallelism: 0 },
      tasks: [old(1), old(2, { status: status('starting') }), old(3)],
      steps: ['shutdown o2, start 2 ready v2'],
    },
  ],
  [
    'the next waits until the new task is up',
    {
      config: { Parallelism: 1 },
      other: { Parallelism: 0 },
      tasks: [fresh('n1', { status: status('starting') }), old(2)],
      steps: [],
    },
  ],
  [
    'a new task that ended gives its place to the next, where failures are no reason to stop',
    {
      config: { Parallelism: 1, FailureAction: 'continue' },
      other: { Parallelism: 1 },
      tasks: [fresh('n1', { desiredState: 'shutdown', status: status('rejected') }), old(2)],
      steps: ['start 1 ready v2', 'shutdown o2, start 2 ready v2'],
    },
  ],
  [
    'the next waits for the delay, counted from when the new task came up',
    {
      config: { Parallelism: 1, Delay: 10e9 },
      other: { Parallelism: 1 },
      tasks: [fresh('n1', { startedAt: at(2) }), old(2)],
      seconds: 3,
      steps: [],
      wake: [12],
    },
  ],
  [
    'not done before the monitor is over',
    {
      config: { Parallelism: 1, Monitor: 2e9 },
      other: { Parallelism: 1, Monitor: 1e9 },
      tasks: [fresh('n1', { startedAt: at(1) })],
      seconds: 2,
      steps: [],
      wake: [3],
    },
  ],
  [
    'done when the monitor is over',
    {
      config: { Parallelism: 1, Monitor: 2e9 },
      other: { Parallelism: 1, Monitor: 20e9 },
      tasks: [fresh('n1', { startedAt: at(1) })],
      seconds: 3,
      steps: ['completed'],
    },
  ],
  [
    'done where a task came up by a clock an hour ahead',
    {
      config: { Parallelism: 1, Delay: 1e9, Monitor: 2e9 },
      other: { Parallelism: 1, Monitor: 20e9 },
      tasks: [fresh('n1', { startedAt: at(3_600) })],
      seconds: 3,
      steps: ['completed'],
    },
  ],
  [
    'a task that came up by a clock an hour ahead holds up no other',
    {
      config: { Parallelism: 1, Delay: 10e9 },
      other: { Parallelism: 1 },
      tasks: [fresh('n1', { startedAt: at(3_600) }), old(2)],
      seconds: 3,
      steps: ['shutdown o2, start 2 ready v2'],
    },
  ],
  [
    'a monitor of zero was not said: five seconds',
    {
      config: { Parallelism: 1, Monitor: 0 },
      other: { Parallelism: 1, Monitor: 1e9 },
      tasks: [fresh('n1', { startedAt: at(1) })],
      seconds: 5,
      steps: [],
      wake: [6],
    },
  ],
  [
    'not done while a new task is on its way',
    {
      config: { Parallelism: 1, Monitor: 1e9 },
      other: { Parallelism: 1 },
      tasks: [fresh('n1'), fresh('n2', { slot: 2, status: status('preparing') })],
      seconds: 60,
      steps: [],
    },
  ],
  [
    'a task that ends within the monitor is a failure',
    {
      config: { Parallelism: 1, Monitor: 3e9 },
      other: { Parallelism: 1, Monitor: 1e9 },
      tasks: [ended('b', 1, ranFor(3)), fresh('c', created(4)), old(2)],
      seconds: 4,
      steps: ['paused'],
    },
  ],
  [
    'it is one too where the clock was set back by an hour since the update began',
    {
      config: { Parallelism: 1, Monitor: 3e9 },
      other: { Parallelism: 1, Monitor: 1e9 },
      tasks: [
        ended('b', 1, {
          createdAt: at(-3_600),
          startedAt: at(-3_600),
          status: status('failed', { timestamp: at(-3_599) }),
        }),
        fresh('c', { ...created(4), createdAt: at(-3_599) }),
        old(2),
      ],
      seconds: -3_598,
      steps: ['paused'],
    },
  ],
  [
    'one that ends after it is none',
    {
      config: { Parallelism: 1, Monitor: 2e9 },
      other: { Parallelism: 1, Monitor: 20e9 },
      tasks: [ended('b', 1, ranFor(3)), fresh('c', created(4)), old(2)],
      seconds: 4,
      steps: ['shutdown o2, start 2 ready v2'],
    },
  ],
  [
    'of two slots one may fail where the ratio is a half',
    {
      config: { Parallelism: 1, MaxFailureRatio: 0.5 },
      other: { Parallelism: 1 },
      tasks: [ended('b', 1), fresh('c', created(2)), old(2)],
      seconds: 4,
      steps: ['shutdown o2, start 2 ready v2'],
    },
  ],
  [
    'and not where it is less',
    {
      config: { Parallelism: 1, MaxFailureRatio: 0.49 },
      other: { Parallelism: 1, MaxFailureRatio: 1 },
      tasks: [ended('b', 1), fresh('c', created(2)), old(2)],
      seconds: 4,
      steps: ['paused'],
    },
  ],
  [
    'a slot fails once, however often its restarts do',
    {
      config: { Parallelism: 1, MaxFailureRatio: 0.5 },
      other: { Parallelism: 1 },
      tasks: [ended('b', 1), ended('c', 1, created(2)), fresh('d', created(3)), old(2)],
      seconds: 4,
      steps: ['shutdown o2, start 2 ready v2'],
    },
  ],
  [
    'the ratio is of the slots that change, not of those that stay as they are',
    {
      config: { Parallelism: 1, MaxFailureRatio: 0.5 },
      other: { Parallelism: 1, MaxFailureRatio: 1 },
      tasks: [ended('b', 1), fresh('c', created(2)), old(2, { spec: { ...WEB2, Networks: [] } })],
      seconds: 4,
      steps: ['paused'],
    },
  ],
  [
    'a restart that fails is no failure, where the task that was made first did not',
    {
      config: { Parallelism: 1 },
      other: { Parallelism: 1 },
      tasks: [
        ended('b', 1, { status: status('shutdown') }),
        ended('c', 1, created(2)),
        fresh('d', created(3)),
        old(2),
      ],
      seconds: 4,
      steps: ['shutdown o2, start 2 ready v2'],
    },
  ],
  [
    'what failed before it went on counts no more',
    {
      config: { Parallelism: 1 },
      other: { Parallelism: 1 },
      tasks: [ended('b', 1, created(-1)), fresh('c', created(2)), old(2)],
      seconds: 4,
      steps: ['shutdown o2, start 2 ready v2'],
    },
  ],
  [
    'continue: whatever fails',
    {
      config: { Parallelism: 1, FailureAction: 'continue' },
      other: { Parallelism: 1, FailureAction: 'pause' },
      tasks: [ended('b', 1), fresh('c', created(2)), old(2)],
      seconds: 4,
      steps: ['shutdown o2, start 2 ready v2'],
    },
  ],
  [
    'pause unless said',
    {
      config: { Parallelism: 1 },
      other: { Parallelism: 1, FailureAction: 'continue' },
      tasks: [ended('b', 1), fresh('c', created(2)), old(2)],
      seconds: 4,
      steps: ['paused'],
    },
  ],
];

function on(state: 'updating' | 'rollback_started', way: Way): Planned {
  const { config, other, tasks, seconds = 0 } = way;
  const [mine, its] =
    state === 'updating'
      ? (['UpdateConfig', 'RollbackConfig'] as const)
      : (['RollbackConfig', 'UpdateConfig'] as const);
  const Replicas = new Set(tasks.map(({ slot }) => slot)).size;
  const configs = { [its]: other, ...(config && { [mine]: config }) };
  const of = {
    ...v2,
    spec: { ...v2.spec, Mode: { Replicated: { Replicas } }, ...configs },
    previousSpec: spec(),
    updateStatus: { ...updating, state },
  };
  return plan(of, tasks, seconds);
}

for (const [name, way] of WAYS) {
  const { steps, wake = [] } = way;
  test(`update: ${name}`, () => assert.deepEqual(on('updating', way), { steps, wake }));
  test(`rollback by its own config: ${name}`, () => {
    const words = steps.map((step) => step.replace(/^(paused|completed)$/, 'rollback_$1'));
    assert.deepEqual(on('rollback_started', way), { steps: words, wake });
  });
}

test('a failed update goes back where that is asked for and there is what to go back to; a failed rollback never', () => {
  const config = { Parallelism: 1, FailureAction: 'rollback' } as const;
  const way = {
    config,
    other: config,
    tasks: [ended('b', 1), fresh('c', created(2))],
    steps: [],
  };
  assert.deepEqual(on('updating', way).steps, ['rollback_started']);
  assert.deepEqual(on('rollback_started', way).steps, ['rollback_paused']);
  const first = plan(
    { ...v2, spec: { ...v2.spec, UpdateConfig: config }, updateStatus: updating },
    way.tasks,
  );
  assert.deepEqual(first.steps, ['paused'], 'nothing to go back to');
});

test('a pause keeps when the update began, and names the task that ended', () => {
  const { steps } = planServices(
    viewOf(
      { kind: 'service', object: service({ ...v2, updateStatus: updating }) },
      { kind: 'node', object: node('n1') },
      { kind: 'task', object: ended('b', 1) },
      { kind: 'task', object: fresh('c', created(2)) },
    ),
    ['svc'],
    T0 + 3 * SECOND,
    counterIds(),
  );
  assert.deepEqual(
    steps.map((step) => step.kind === 'set-update-status' && step.status),
    [
      {
        state: 'paused',
        startedAt: updating.startedAt,
        message: 'update paused due to failure or early termination of task b',
      },
    ],
  );
});

test('a rollback that is paused stays as it is', () => {
  const updateStatus = { state: 'rollback_paused', message: '' } as const;
  assert.deepEqual(plan({ ...v2, updateStatus }, [old(1)]), { steps: [], wake: [] });
});
