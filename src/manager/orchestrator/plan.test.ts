import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Node, Task } from '../../model/objects.ts';
import type { Availability, RestartPolicy, ServiceSpec } from '../../model/spec.ts';
import { discrete, named } from '../../model/generic-resources.ts';
import { created, image, node, spec, status, task } from '../testing/builders.ts';
import { at, type Case, drained, failed, plan, replicated } from '../testing/one-service.ts';

const inState = (id: string, state: Node['status']['state']): Node =>
  node(id, { status: { ...node(id).status, state } });
const down = inState('n1', 'down');
const policy = (RestartPolicy: RestartPolicy): Partial<Task> => ({
  spec: { ContainerSpec: { Image: 'web:1' }, Networks: [], RestartPolicy },
});
const zone = (id: string, name: string, Availability: Availability = 'active'): Node =>
  node(id, { spec: { Labels: { zone: name }, Role: 'worker', Availability } });
/** A node with so many GiB; a service, and a task, that reserve so many. */
const sized = (id: string, gib: number): Node =>
  node(id, {
    description: {
      ...node(id).description!,
      resources: { nanoCpus: 2e9, memoryBytes: gib * 2 ** 30 },
    },
  });
const holding = (gib: number) => ({
  ContainerSpec: { Image: 'web:1' },
  Resources: { Reservations: { MemoryBytes: gib * 2 ** 30 } },
});
const held = (gib: number): Partial<Task> => ({ spec: { ...holding(gib), Networks: [] } });
const placement = (name: string) => ({ Constraints: [`node.labels.zone==${name}`] });
const inZone = (name: string): Partial<ServiceSpec> => ({
  TaskTemplate: { ContainerSpec: { Image: 'web:1' }, Placement: placement(name) },
});
const placed = (name: string): Partial<Task> => ({
  spec: { ContainerSpec: { Image: 'web:1' }, Networks: [], Placement: placement(name) },
});

const CASES: [string, Case, string[]][] = [
  [
    'missing tasks are made in free slots',
    { spec: replicated(3), tasks: [task('a', { slot: 2 })] },
    ['start 1 running v1', 'start 3 running v1'],
  ],
  ['what is right is left alone', { tasks: [task('a')] }, []],
  [
    'scaled down: what does not run goes first',
    { spec: replicated(1), tasks: [task('a', { status: status('preparing') }), task('b', { slot: 2 })] },
    ['remove a'],
  ],
  [
    'scaled down: the fuller node gives',
    {
      spec: replicated(2),
      tasks: [task('a'), task('b', { slot: 2 }), task('c', { slot: 3, nodeId: 'n2' as never })],
    },
    ['remove b'],
  ],
  [
    'scaled down: one that runs on a full node stays before one that does not on an empty one',
    {
      spec: replicated(2),
      tasks: [
        task('a'),
        task('b', { slot: 2 }),
        task('c', { slot: 3, nodeId: 'n2' as never, status: status('preparing') }),
      ],
    },
    ['remove c'],
  ],
  ['failed: replaced, to run after the delay', { tasks: [failed()] }, ['shutdown a, start 1 ready v1']],
  [
    'failed without a delay: runs at once',
    {
      spec: { TaskTemplate: { ContainerSpec: { Image: 'web:1' }, RestartPolicy: { Delay: 0 } } },
      tasks: [failed(policy({ Delay: 0 }))],
    },
    ['shutdown a, start 1 running v1'],
  ],
  [
    'completed under on-failure: done',
    { tasks: [failed({ ...policy({ Condition: 'on-failure' }), status: status('complete') })] },
    ['shutdown a'],
  ],
  [
    'no attempts left: done',
    {
      tasks: [
        failed({ ...policy({ MaxAttempts: 1 }), desiredState: 'shutdown' }),
        failed({ ...policy({ MaxAttempts: 1 }), id: 'b' as never, ...created(1) }),
      ],
    },
    ['shutdown b'],
  ],
  [
    'what took the place of one that was stopped (its node was drained, say) was no attempt',
    {
      tasks: [
        task('a', {
          ...policy({ MaxAttempts: 1 }),
          ...{ desiredState: 'shutdown', status: status('shutdown') },
        }),
        failed({ ...policy({ MaxAttempts: 1 }), id: 'b' as never, ...created(1) }),
      ],
    },
    ['shutdown b, start 1 ready v1'],
  ],
  [
    'an attempt before the window counts no more',
    {
      tasks: [
        failed({ ...policy({ MaxAttempts: 1, Window: 10e9 }), desiredState: 'shutdown' }),
        failed({
          ...policy({ MaxAttempts: 1, Window: 10e9 }),
          ...{ id: 'b' as never, ...created(1), status: { ...status('failed'), timestamp: at(12) } },
        }),
      ],
    },
    ['shutdown b, start 1 ready v1'],
  ],
  [
    'node down: replaced with the delay',
    { nodes: [down, node('n2')], tasks: [task('a')] },
    ['shutdown a, start 1 ready v1'],
  ],
  ['node gone: replaced', { nodes: [node('n2')], tasks: [task('a')] }, ['shutdown a, start 1 ready v1']],
  [
    'drained, stop-first: replaced when stopped',
    { nodes: [drained, node('n2')], tasks: [task('a')] },
    ['shutdown a, start 1 ready v1'],
  ],
  [
    'drained, start-first: the new one first',
    {
      spec: { UpdateConfig: { Parallelism: 1, Order: 'start-first' } },
      nodes: [drained, node('n2')],
      tasks: [task('a')],
    },
    ['start 1 running v1'],
  ],
  [
    'drained, start-first: then the old one goes',
    {
      spec: { UpdateConfig: { Parallelism: 1, Order: 'start-first' } },
      nodes: [drained, node('n2')],
      tasks: [task('a'), task('b', { nodeId: 'n2' as never, ...created(1) })],
    },
    ['shutdown a'],
  ],
  [
    'the order of rollbacks is for rollbacks, and not for what comes after them',
    {
      service: {
        spec: spec({ UpdateConfig: { Parallelism: 1, Order: 'start-first' } }),
        updateStatus: { state: 'rollback_completed', message: '' },
      },
      nodes: [drained, node('n2')],
      tasks: [task('a')],
    },
    ['start 1 running v1'],
  ],
  [
    'the node lost the label that a constraint asks for: replaced when stopped',
    { spec: inZone('a'), nodes: [zone('n1', 'b'), zone('n2', 'a')], tasks: [task('a', placed('a'))] },
    ['shutdown a, start 1 ready v1'],
  ],
  [
    'the node came back with less memory: the oldest stay, the others are replaced when stopped',
    {
      spec: { ...replicated(2), TaskTemplate: holding(3) },
      nodes: [sized('n1', 4), node('n2')],
      tasks: [task('a', held(3)), task('b', { ...held(3), slot: 2, ...created(1) })],
    },
    ['shutdown b, start 2 ready v1'],
  ],
  [
    'what another service has there counts too, what reserves nothing stays',
    {
      spec: { ...replicated(2), TaskTemplate: holding(3) },
      nodes: [sized('n1', 4), node('n2')],
      tasks: [
        task('other', { ...held(2), serviceId: 'other' as never, ...created(-1) }),
        task('a', held(3)),
        task('b', { slot: 2 }),
      ],
    },
    ['shutdown a, start 1 ready v1'],
  ],
  [
    'the node lost the GPU that it was given',
    {
      tasks: [
        task('a', {
          spec: {
            ContainerSpec: { Image: 'web:1' },
            Networks: [],
            Resources: { Reservations: { GenericResources: [discrete('GPU', 1)] } },
          },
          genericResources: [named('GPU', 'UUID1')],
        }),
      ],
    },
    ['shutdown a, start 1 ready v1'],
  ],
  [
    'global: on a node that is too small the task waits for room',
    {
      spec: { Mode: { Global: {} }, TaskTemplate: holding(3) },
      nodes: [sized('n1', 2)],
      tasks: [
        task('a', { ...held(3), slot: 0, desiredState: 'shutdown' }),
        task('b', { ...held(3), slot: 0, ...created(1), status: status('pending') }),
      ],
    },
    [],
  ],
  [
    'the same on a paused node: it keeps what it has',
    { spec: inZone('a'), nodes: [zone('n1', 'b', 'pause'), node('n2')], tasks: [task('a', placed('a'))] },
    [],
  ],
  [
    'a change of placement alone leaves a task on a node that satisfies it',
    {
      service: { specVersion: 2, spec: spec({ ...replicated(2), ...inZone('a') }) },
      nodes: [zone('n1', 'a'), zone('n2', 'b')],
      tasks: [task('a'), task('b', { slot: 2, nodeId: 'n2' as never })],
    },
    ['shutdown b, start 2 ready v2', 'updating'],
  ],
  [
    'nor does a label that such a task was once placed by, and that is gone, move it',
    {
      service: { specVersion: 2, spec: spec(inZone('a')) },
      nodes: [zone('n1', 'a')],
      tasks: [task('a', placed('old'))],
    },
    [],
  ],
  [
    'two in one slot: the one that is further stays',
    { tasks: [task('a', { status: status('preparing') }), task('b')] },
    ['shutdown a'],
  ],
  [
    'global: one on each ready node, none on a drained one',
    {
      spec: { Mode: { Global: {} } },
      nodes: [drained, node('n2'), node('n3')],
      tasks: [task('a', { slot: 0 })],
    },
    ['shutdown a', 'start n2 running v1', 'start n3 running v1'],
  ],
  [
    'global: a node that is silent for a moment keeps its task and is given none; one that is down loses it',
    {
      spec: { Mode: { Global: {} } },
      nodes: [inState('n1', 'unknown'), inState('n2', 'unknown'), inState('n3', 'down'), node('n4')],
      tasks: [task('a', { slot: 0 }), task('c', { slot: 0, nodeId: 'n3' as never })],
    },
    ['shutdown c', 'start n4 running v1'],
  ],
  [
    'global: a paused node is given none',
    { spec: { Mode: { Global: {} } }, nodes: [zone('n1', 'a', 'pause'), node('n2')] },
    ['start n2 running v1'],
  ],
  [
    'global: constraints count',
    {
      spec: {
        Mode: { Global: {} },
        TaskTemplate: {
          ContainerSpec: { Image: 'web:1' },
          Placement: { Constraints: ['node.hostname!=n1'] },
        },
      },
    },
    ['start n2 running v1'],
  ],
];

for (const [name, given, steps] of CASES) test(name, () => assert.deepEqual(plan(given).steps, steps));

test('a replacement is released when its delay is over, counted from its creation', () => {
  const tasks = [
    failed({ desiredState: 'shutdown' }),
    task('b', { desiredState: 'ready', status: status('ready'), ...created(1) }),
  ];
  assert.deepEqual(plan({ tasks, seconds: 2 }), { steps: [], wake: [6] });
  assert.deepEqual(plan({ tasks, seconds: 6 }).steps, ['release b']);
});

test('a replacement of a task whose node was removed waits as long, though that task is an orphan by then', () => {
  const tasks = [
    task('a', { desiredState: 'shutdown', status: status('orphaned') }),
    task('b', { nodeId: 'n2' as never, desiredState: 'ready', status: status('ready'), ...created(1) }),
  ];
  assert.deepEqual(plan({ nodes: [node('n2')], tasks, seconds: 2 }), { steps: [], wake: [6] });
});

test('a replacement that was made after the clock was set back waits no less', () => {
  const made = { ...created(1), createdAt: at(-3_600) };
  const tasks = [
    failed({ desiredState: 'shutdown' }),
    task('b', { desiredState: 'ready', status: status('ready'), ...made }),
  ];
  assert.deepEqual(plan({ tasks, seconds: -3_599 }), { steps: [], wake: [-3_595] });
  assert.deepEqual(plan({ tasks, seconds: -3_595 }).steps, ['release b']);
});

test('a replacement that is rejected while it waits is followed no sooner than its delay', () => {
  const tasks = [
    failed({ desiredState: 'shutdown' }),
    task('b', { desiredState: 'ready', status: status('rejected'), ...created(1) }),
  ];
  assert.deepEqual(plan({ tasks, seconds: 2 }), { steps: [], wake: [6] });
  assert.deepEqual(plan({ tasks, seconds: 6 }).steps, ['shutdown b, start 1 ready v1']);
});

test('one that is rejected while it waits is followed at once by one of a spec that came since', () => {
  const tasks = [
    failed({ desiredState: 'shutdown' }),
    task('b', { desiredState: 'ready', status: status('rejected'), ...created(1) }),
  ];
  const service = { specVersion: 2, spec: spec({ TaskTemplate: image('web:2') }) };
  assert.deepEqual(plan({ service, tasks, seconds: 2 }).steps, ['shutdown b, start 1 ready v2']);
});

test('a replacement waits for its predecessor to stop, but not for ever', () => {
  const tasks = [
    task('a', { desiredState: 'shutdown' }),
    task('b', { desiredState: 'ready', status: status('ready'), ...created(1) }),
  ];
  assert.deepEqual(plan({ tasks, seconds: 5 }), { steps: [], wake: [71] });
  assert.deepEqual(plan({ tasks, seconds: 71 }).steps, ['release b']);
});

test('a replacement that was made by a clock an hour ahead does not wait for that hour', () => {
  for (const before of [failed({ desiredState: 'shutdown' }), task('a', { desiredState: 'shutdown' })]) {
    const tasks = [before, task('b', { desiredState: 'ready', status: status('ready'), ...created(3_600) })];
    assert.deepEqual(plan({ tasks, seconds: 1 }).steps, ['release b']);
  }
});
