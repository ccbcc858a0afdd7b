/** Slots of a service that is being updated. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Service, Task } from '../../model/objects.ts';
import { created, node, spec, status, task } from '../testing/builders.ts';
import { at, type Case, drained, failed, plan, replicated } from '../testing/one-service.ts';

const v2: Partial<Service> = {
  specVersion: 2,
  spec: spec({ TaskTemplate: { ContainerSpec: { Image: 'web:2' } } }),
};

const order = (Order: 'start-first' | 'stop-first'): Partial<Service> => ({
  ...v2,
  spec: { ...v2.spec!, UpdateConfig: { Parallelism: 1, Order } },
});

/** Starts first, and goes on whatever fails. */
const going = (Condition: 'none' | 'any') =>
  spec({
    TaskTemplate: { ContainerSpec: { Image: 'web:2' }, RestartPolicy: { Condition } },
    UpdateConfig: { Parallelism: 1, Order: 'start-first', FailureAction: 'continue' },
  });

const updating = { state: 'updating', startedAt: at(0), message: 'update in progress' } as const;
const fresh = (id: string, patch: Partial<Task> = {}) =>
  task(id, {
    specVersion: 2,
    spec: { ContainerSpec: { Image: 'web:2' }, Networks: [] },
    ...created(1),
    ...patch,
  });
const newOneFailed = (Condition: 'none' | 'any', patch: Partial<Task> = {}) =>
  fresh('b', {
    spec: { ...going(Condition).TaskTemplate, Networks: [] },
    status: status('failed'),
    ...patch,
  });

const CASES: [string, Case, string[]][] = [
  [
    'outdated, stop-first',
    { service: order('stop-first'), tasks: [task('a')] },
    ['shutdown a, start 1 ready v2', 'updating'],
  ],
  [
    'outdated, start-first',
    { service: order('start-first'), tasks: [task('a')] },
    ['start 1 running v2', 'updating'],
  ],
  [
    'start-first: the old one goes when the new one is up',
    {
      service: { ...order('start-first'), updateStatus: updating },
      tasks: [task('a'), fresh('b')],
      seconds: 1,
    },
    ['shutdown a'],
  ],
  [
    'start-first: not while it starts',
    {
      service: { ...order('start-first'), updateStatus: updating },
      tasks: [task('a'), fresh('b', { status: status('starting') })],
    },
    [],
  ],
  [
    'start-first: nor while it is not healthy',
    {
      service: { ...order('start-first'), updateStatus: updating },
      tasks: [task('a'), fresh('b', { status: status('running', { health: 'starting' }) })],
    },
    [],
  ],
  [
    'start-first: an update comes while a drained node is left; what serves there stays until the newest is up',
    {
      service: { ...order('start-first'), updateStatus: updating },
      nodes: [drained, node('n2')],
      tasks: [task('a'), task('b', { nodeId: 'n2' as never, ...created(1), status: status('preparing') })],
    },
    ['start 1 running v2'],
  ],
  [
    'start-first: nor while nothing listens where it is published',
    {
      service: { ...order('start-first'), updateStatus: updating },
      tasks: [task('a'), fresh('b', { status: status('running', { notListening: [80] }) })],
    },
    [],
  ],
  ...(['none', 'any'] as const).map((Condition): [string, Case, string[]] => [
    `start-first: whether another follows a new one that failed is the restart policy's affair (${Condition})`,
    {
      service: { ...v2, spec: going(Condition), updateStatus: updating },
      tasks: [task('a'), newOneFailed(Condition)],
      seconds: 1,
    },
    [Condition === 'none' ? 'shutdown b' : 'shutdown b, start 1 ready v2'],
  ]),
  [
    'start-first: a slot whose new one failed for good has had its turn, the old one serves on',
    {
      service: { ...v2, spec: going('none'), updateStatus: updating },
      tasks: [task('a'), newOneFailed('none', { desiredState: 'shutdown' })],
      seconds: 1,
    },
    [],
  ],
  [
    'stop-first: the next slot waits for it too',
    {
      service: { ...v2, spec: { ...v2.spec!, ...replicated(2) }, updateStatus: updating },
      tasks: [fresh('b', { status: status('running', { notListening: [80] }) }), task('c', { slot: 2 })],
    },
    [],
  ],
  [
    'a paused update does nothing',
    { service: { ...v2, updateStatus: { state: 'paused', message: '' } }, tasks: [task('a')] },
    [],
  ],
  [
    'stable for the time of the monitor: completed',
    { service: { ...v2, updateStatus: updating }, tasks: [fresh('b')], seconds: 5 },
    ['completed'],
  ],
  [
    'an early end pauses',
    {
      service: { ...v2, updateStatus: updating },
      tasks: [fresh('b', { desiredState: 'shutdown', status: status('failed') }), fresh('c', created(2))],
      seconds: 3,
    },
    ['paused'],
  ],
];

for (const [name, given, steps] of CASES) test(name, () => assert.deepEqual(plan(given).steps, steps));

test('the task of an update waits for no delay of restarts', () => {
  const tasks = [
    failed({ desiredState: 'shutdown' }),
    fresh('b', { desiredState: 'ready', status: status('ready') }),
  ];
  assert.deepEqual(plan({ service: { ...v2, updateStatus: updating }, tasks, seconds: 1 }).steps, [
    'release b',
  ]);
});

test('parallelism and delay bound how many slots are under way', () => {
  const UpdateConfig = { Parallelism: 2, Delay: 10e9 };
  const of = { ...v2, updateStatus: updating, spec: { ...v2.spec!, ...replicated(4), UpdateConfig } };
  const old = [2, 3, 4].map((slot) => task(`o${slot}`, { slot }));
  assert.deepEqual(plan({ service: of, tasks: [fresh('n1'), ...old], seconds: 3 }), {
    steps: ['shutdown o2, start 2 ready v2'],
    wake: [10],
  });
});
