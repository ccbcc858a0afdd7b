/** The edges of each filter, and what counts on a node: one node has room or has not, one of two is better. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { timestamp } from '../../kit/clock.ts';
import type { Node, Task } from '../../model/objects.ts';
import type { PortSpec, TaskSpec } from '../../model/spec.ts';
import { created, node, status, T0, task, viewOf } from '../testing/builders.ts';
import { Ledger } from './ledger.ts';
import { planSchedule } from './plan.ts';

const GIB = 2 ** 30;

function schedule(nodes: readonly Node[], tasks: readonly Task[]) {
  const view = viewOf(
    ...nodes.map((object) => ({ kind: 'node', object }) as const),
    ...tasks.map((object) => ({ kind: 'task', object }) as const),
  );
  const ledger = new Ledger();
  ledger.rebuild(view);
  const keys = tasks.map((t) => t.id);
  const plan = () => planSchedule(view, ledger, keys, T0).steps;
  const steps = plan();
  assert.deepEqual(plan(), steps, 'planning leaves no trace');
  return steps;
}

/** Where the pending tasks go, by task; or what they are told. */
function placed(nodes: readonly Node[], tasks: readonly Task[]): Record<string, string> {
  const steps = schedule(nodes, tasks).map((step) =>
    step.kind === 'assign-task'
      ? [step.task.id, step.nodeId]
      : [step.kind === 'explain-task' && step.task.id, step.kind === 'explain-task' && step.err],
  );
  return Object.fromEntries(steps) as Record<string, string>;
}

const pending = (id: string, spec: Partial<TaskSpec> = {}, patch: Partial<Task> = {}): Task =>
  task(id, {
    ...{ nodeId: undefined, status: status('pending') },
    spec: { ContainerSpec: { Image: 'x' }, ...spec },
    ...patch,
  });
const on = (node: string, id: string, patch: Partial<Task> = {}): Task =>
  task(id, { nodeId: node as never, ...patch });
const reserve = (Reservations: object): Partial<TaskSpec> => ({ Resources: { Reservations } });
const platforms = (...Platforms: object[]): Partial<TaskSpec> => ({ Placement: { Platforms } });
const ports = (...wanted: Partial<PortSpec>[]): Partial<Task> => ({
  endpointSpec: {
    Ports: wanted.map((port) => ({ Protocol: 'tcp', TargetPort: 80, PublishMode: 'host', ...port })),
  },
});

/** One node of two CPUs and 4 GiB; what is there already; whether the task finds room. */
const ROOM: [string, boolean, Task, Task[]?][] = [
  ['all of the CPUs', true, pending('t', reserve({ NanoCPUs: 2e9 }))],
  ['all of the memory', true, pending('t', reserve({ MemoryBytes: 4 * GIB }))],
  ['a byte more', false, pending('t', reserve({ MemoryBytes: 4 * GIB + 1 }))],
  [
    'memory that another reserves',
    false,
    pending('t', reserve({ MemoryBytes: 2 * GIB })),
    [on('n1', 'a', { spec: { ContainerSpec: { Image: 'x' }, ...reserve({ MemoryBytes: 3 * GIB }) } })],
  ],
  [
    'memory that another reserved before it ended',
    true,
    pending('t', reserve({ MemoryBytes: 2 * GIB })),
    [
      on('n1', 'a', {
        spec: { ContainerSpec: { Image: 'x' }, ...reserve({ MemoryBytes: 3 * GIB }) },
        status: status('failed'),
      }),
    ],
  ],
  [
    'one of two platforms',
    true,
    pending('t', platforms({ Architecture: 'arm64' }, { Architecture: 'amd64' })),
  ],
  ['a platform of which only the system is said', true, pending('t', platforms({ OS: 'linux' }))],
  ['a platform of another system', false, pending('t', platforms({ OS: 'windows' }))],
  [
    'a host port of the other protocol',
    true,
    pending('t', {}, ports({ PublishedPort: 53, Protocol: 'udp' })),
    [on('n1', 'a', ports({ PublishedPort: 53 }))],
  ],
  ['a host port that the kernel chooses', true, pending('t', {}, ports({})), [on('n1', 'a', ports({}))]],
  [
    'the node of a global service, all of which it reserves',
    true,
    pending('t', reserve({ NanoCPUs: 2e9 }), { nodeId: 'n1' as never, slot: 0 }),
  ],
];
for (const [what, fits, wanted, there = []] of ROOM)
  test(`${what}: ${fits ? 'has room' : 'has none'}`, () => {
    assert.equal(placed([node('n1')], [...there, wanted])['t'] === 'n1', fits);
  });

test('a node that is too small and wrong besides is said to be too small', () => {
  const spec = { ...reserve({ NanoCPUs: 3e9 }), Placement: { Constraints: ['node.id == n9'] } };
  assert.equal(
    placed([node('n1')], [pending('t', spec)])['t'],
    'no suitable node (insufficient resources on 1 node)',
  );
});

test('the older of two tasks has the last place, and what was said once is not said again', () => {
  const whole = reserve({ NanoCPUs: 2e9 });
  const err = 'no suitable node (insufficient resources on 1 node)';
  const tasks = [
    pending('late', whole, { ...created(1), serviceId: 's1' as never }),
    pending('early', whole, { ...created(0), serviceId: 's2' as never }),
  ];
  assert.deepEqual(placed([node('n1')], tasks), { early: 'n1', late: err });
  const told = tasks.map((t) => ({ ...t, status: { ...t.status, err } }));
  assert.deepEqual(placed([node('n1')], told), { early: 'n1' });
});

const failures = (
  count: number,
  patch: Partial<Task> = {},
  secondsAgo = 60,
  state: 'failed' | 'rejected' = 'failed',
) =>
  Array.from({ length: count }, (_, i) =>
    on('n1', `f${i}`, {
      status: status(state, { timestamp: timestamp(T0 - secondsAgo * 1000) }),
      ...patch,
    }),
  );

/** What there is on n1 before one task of the service finds its place on n1 or n2, which are alike. */
const BETTER: [string, 'n1' | 'n2', Task[]][] = [
  ['the first by its id where nothing else tells them apart', 'n1', []],
  ['not where a task of the service runs', 'n2', [on('n1', 'a')]],
  ['not where more runs at all', 'n2', [on('n1', 'a', { serviceId: 'other' as never })]],
  ['where one only stops', 'n2', [on('n1', 'a'), on('n2', 'b', { desiredState: 'shutdown' })]],
  ['where four failed', 'n1', failures(4)],
  ['not where five failed', 'n2', failures(5)],
  ['nor where five were rejected', 'n2', failures(5, {}, 60, 'rejected')],
  ['where five failed more than five minutes ago', 'n1', failures(5, {}, 301)],
  ['where five of another version failed', 'n1', failures(5, { specVersion: 9 })],
  ['where five of another service failed', 'n1', failures(5, { serviceId: 'other' as never })],
];
for (const [what, where, there] of BETTER)
  test(`a task goes ${what}`, () => {
    assert.equal(placed([node('n1'), node('n2')], [...there, pending('t')])['t'], where);
  });

test('nodes without the label of a preference are one of its places', () => {
  const zoned = node('n1', { spec: { Labels: { zone: 'a' }, Role: 'worker', Availability: 'active' } });
  const Placement = { Preferences: [{ Spread: { SpreadDescriptor: 'node.labels.zone' } }] };
  const tasks = [1, 2, 3, 4].map((slot) => pending(`t${slot}`, { Placement }, { slot }));
  const nodes = Object.values(placed([zoned, node('n2'), node('n3')], tasks)).sort();
  assert.deepEqual(nodes, ['n1', 'n1', 'n2', 'n3']);
});
