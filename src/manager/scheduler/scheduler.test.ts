import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { timestamp } from '../../kit/clock.ts';
import { discrete, named } from '../../model/generic-resources.ts';
import type { Node, Task } from '../../model/objects.ts';
import type { TaskSpec } from '../../model/spec.ts';
import type { Transition } from '../../store/view.ts';
import { node, status, T0, task, viewOf } from '../testing/builders.ts';
import { Ledger } from './ledger.ts';
import { schedule } from './loop.ts';
import { planSchedule } from './plan.ts';

const pending = (id: string, spec: Partial<TaskSpec> = {}, patch: Partial<Task> = {}): Task =>
  task(id, {
    nodeId: undefined,
    status: status('pending'),
    spec: { ContainerSpec: { Image: 'x' }, ...spec },
    slot: Number(id.slice(1)) || 1,
    ...patch,
  });

function plan(nodes: Node[], tasks: Task[]) {
  const view = viewOf(
    ...nodes.map((object) => ({ kind: 'node', object }) as const),
    ...tasks.map((object) => ({ kind: 'task', object }) as const),
  );
  const ledger = new Ledger();
  ledger.rebuild(view);
  return planSchedule(
    view,
    ledger,
    tasks.map((t) => t.id),
    T0,
  ).steps;
}

/** Tasks a node got, and what the others were told. */
function outcome(nodes: Node[], tasks: Task[]): Record<string, number | string> {
  const result: Record<string, number | string> = {};
  for (const step of plan(nodes, tasks)) {
    if (step.kind === 'assign-task') result[step.nodeId] = Number(result[step.nodeId] ?? 0) + 1;
    if (step.kind === 'explain-task') result[step.task.id] = step.err;
  }
  return result;
}

const many = (n: number, spec: Partial<TaskSpec> = {}) =>
  Array.from({ length: n }, (_, i) => pending(`t${i + 1}`, spec));
const labelled = (id: string, zone: string) =>
  node(id, { spec: { Labels: { zone }, Role: 'worker', Availability: 'active' } });

test('fewest tasks of the service first, then fewest in all', () => {
  const busy = ['a', 'b', 'c'].map((id) => task(id, { serviceId: 'other' as never, nodeId: 'n1' as never }));
  assert.deepEqual(outcome([node('n1'), node('n2')], [...busy, ...many(4)]), { n1: 2, n2: 2 });
  assert.deepEqual(outcome([node('n1'), node('n2')], [...busy, ...many(1)]), { n2: 1 });
});

test('preferences spread over label values level by level', () => {
  const Placement = { Preferences: [{ Spread: { SpreadDescriptor: 'node.labels.zone' } }] };
  const nodes = [labelled('n1', 'a'), labelled('n2', 'b'), labelled('n3', 'b')];
  assert.deepEqual(outcome(nodes, many(4, { Placement })), { n1: 2, n2: 1, n3: 1 });
});

test('nodes without the label are one value among the others, not each its own', () => {
  const Placement = { Preferences: [{ Spread: { SpreadDescriptor: 'node.labels.zone' } }] };
  const nodes = [labelled('n1', 'a'), node('n2'), node('n3')];
  assert.deepEqual(outcome(nodes, many(6, { Placement })), { n1: 3, n2: 2, n3: 1 });
});

test('preferences of several levels: even over zones first, then over the racks of each, then over nodes', () => {
  const Placement = {
    Preferences: ['node.labels.zone', 'node.labels.rack'].map((SpreadDescriptor) => ({
      Spread: { SpreadDescriptor },
    })),
  };
  const at = (id: string, zone: string, rack: string, cpus = 100) =>
    node(id, {
      spec: { Labels: { zone, rack }, Role: 'worker', Availability: 'active' },
      description: { ...node(id).description!, resources: { nanoCpus: cpus * 1e9, memoryBytes: 0 } },
    });
  const nodes = [at('n1', 'a', '1'), at('n2', 'b', '1'), at('n3', 'b', '2'), at('n4', 'b', '2')];
  assert.deepEqual(outcome(nodes, many(8, { Placement })), { n1: 4, n2: 2, n3: 1, n4: 1 });
  // What a full branch cannot take goes to the others.
  const Resources = { Reservations: { NanoCPUs: 1e9 } };
  const small = [at('n1', 'a', '1', 1), ...nodes.slice(1)];
  assert.deepEqual(outcome(small, many(8, { Placement, Resources })), { n1: 1, n2: 4, n3: 2, n4: 1 });
});

test('every refusal is explained, the most frequent first', () => {
  const Placement = { Constraints: ['node.labels.zone == a'] };
  const Resources = { Reservations: { NanoCPUs: 3e9 } };
  const drained = node('n4', { spec: { Labels: {}, Role: 'worker', Availability: 'drain' } });
  assert.deepEqual(outcome([labelled('n1', 'b'), labelled('n2', 'b'), drained], many(1, { Placement })), {
    t1: 'no suitable node (scheduling constraints not satisfied on 2 nodes; 1 node not available for new tasks)',
  });
  assert.deepEqual(outcome([node('n1')], many(1, { Resources })), {
    t1: 'no suitable node (insufficient resources on 1 node)',
  });
  assert.deepEqual(outcome([], many(1)), { t1: 'no suitable node' });
});

test('host ports and the maximum a node limit what fits', () => {
  const Ports = [
    { Protocol: 'tcp' as const, TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' as const },
  ];
  const tasks = many(3).map((t) => ({ ...t, endpointSpec: { Ports } }));
  assert.deepEqual(outcome([node('n1'), node('n2')], tasks), {
    n1: 1,
    n2: 1,
    t3: 'no suitable node (host-mode port already in use on 2 nodes)',
  });
  assert.deepEqual(outcome([node('n1')], many(2, { Placement: { MaxReplicas: 1 } })), {
    n1: 1,
    t2: 'no suitable node (max replicas per node limit exceed)',
  });
});

const reserve = (Reservations: object) => ({ Resources: { Reservations } });
const described = (id: string, patch: Partial<NonNullable<Node['description']>>): Node =>
  node(id, { description: { ...node(id).description!, ...patch } });
const place = (Placement: object) => ({ Placement });
const hosted = (id: string, PublishedPort: number) =>
  task(id, {
    serviceId: 'other' as never,
    nodeId: 'n1' as never,
    endpointSpec: { Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort, PublishMode: 'host' }] },
  });

/** What a task is told of two nodes that do not suit it, filter by filter. */
const EXPLAINED: [string, Partial<TaskSpec>, Node[], Task[]?, Partial<Task>?][] = [
  [
    '2 nodes not available for new tasks',
    {},
    [
      node('n1', { spec: { Labels: {}, Role: 'worker', Availability: 'pause' } }),
      node('n2', { status: { ...node('n2').status, state: 'down' } }),
    ],
  ],
  ['1 node not available for new tasks', {}, [node('n1', { description: undefined })]],
  [
    'scheduling constraints not satisfied on 2 nodes',
    place({ Constraints: ['node.labels.zone == a', 'node.id == n2'] }),
    [labelled('n1', 'a'), labelled('n2', 'b')],
  ],
  ['insufficient resources on 2 nodes', reserve({ NanoCPUs: 3e9 }), [node('n1'), node('n2')]],
  ['insufficient resources on 2 nodes', reserve({ MemoryBytes: 5 * 2 ** 30 }), [node('n1'), node('n2')]],
  [
    'insufficient resources on 2 nodes',
    reserve({ GenericResources: [discrete('GPU', 1)] }),
    [
      node('n1'),
      described('n2', { resources: { nanoCpus: 1, memoryBytes: 1, generic: [discrete('SSD', 1)] } }),
    ],
  ],
  [
    'scheduling constraints not satisfied on 2 nodes',
    place({ Constraints: ['node.role == manager'] }),
    [node('n1'), node('n2')],
  ],
  [
    'unsupported platform on 2 nodes',
    place({ Platforms: [{ OS: 'windows', Architecture: 'amd64' }] }),
    [node('n1'), node('n2')],
  ],
  [
    '1 node not available for new tasks; host-mode port already in use on 1 node',
    {},
    [node('n1'), node('n2', { spec: { Labels: {}, Role: 'worker', Availability: 'drain' } })],
    [hosted('h', 8080)],
    { endpointSpec: hosted('x', 8080).endpointSpec },
  ],
  [
    'max replicas per node limit exceed',
    place({ MaxReplicas: 1 }),
    [node('n1'), node('n2')],
    ['n1', 'n2'].map((n) => task(`on-${n}`, { nodeId: n as never })),
  ],
];
for (const [why, spec, nodes, there = [], patch = {}] of EXPLAINED)
  test(`no suitable node (${why})`, () => {
    assert.deepEqual(outcome(nodes, [...there, pending('t1', spec, patch)]), {
      t1: `no suitable node (${why})`,
    });
  });

test('generic resources: given by name or number, never twice, and free again when their task has ended', () => {
  const generic = [named('GPU', 'a'), named('GPU', 'b'), discrete('SSD', 3)];
  const n1 = described('n1', { resources: { nanoCpus: 0, memoryBytes: 0, generic } });
  const ask = (GPU: number, SSD: number) => ({
    ...reserve({ GenericResources: [discrete('GPU', GPU), discrete('SSD', SSD)] }),
  });
  const given = (tasks: Task[]) =>
    plan([n1], tasks).map((step) =>
      step.kind === 'assign-task' ? step.genericResources : step.kind === 'explain-task' && step.err,
    );
  assert.deepEqual(given([pending('t1', ask(1, 1)), pending('t2', ask(1, 2))]), [
    [named('GPU', 'a'), discrete('SSD', 1)],
    [named('GPU', 'b'), discrete('SSD', 2)],
  ]);
  assert.deepEqual(
    given([pending('t1', ask(2, 1)), pending('t2', ask(1, 1))])[1],
    'no suitable node (insufficient resources on 1 node)',
  );
  const running = task('r', {
    nodeId: 'n1' as never,
    genericResources: [named('GPU', 'a'), discrete('SSD', 3)],
  });
  assert.deepEqual(given([running, pending('t1', ask(1, 0))]), [[named('GPU', 'b'), discrete('SSD', 0)]]);
  assert.deepEqual(given([running, pending('t1', ask(1, 1))]), [
    'no suitable node (insufficient resources on 1 node)',
  ]);
  const ended = { ...running, status: status('complete') };
  assert.deepEqual(given([ended, pending('t1', ask(1, 3))]), [[named('GPU', 'a'), discrete('SSD', 3)]]);
  // Tasks of global services stand on their node before they are given anything.
  const fixed = (id: string) =>
    pending(id, ask(1, 0), { nodeId: 'n1' as never, slot: 0, serviceId: `s-${id}` as never });
  assert.deepEqual(given([fixed('t1'), fixed('t2'), pending('t3', ask(1, 0))]), [
    [named('GPU', 'a'), discrete('SSD', 0)],
    [named('GPU', 'b'), discrete('SSD', 0)],
    'no suitable node (insufficient resources on 1 node)',
  ]);
});

test('architecture names of kernel and registry mean the same', () => {
  const Placement = { Platforms: [{ Architecture: 'amd64', OS: 'linux' }] };
  assert.deepEqual(outcome([node('n1')], many(1, { Placement })), { n1: 1 });
  const arm = { Platforms: [{ Architecture: 'arm64', OS: 'linux' }] };
  assert.deepEqual(outcome([node('n1')], many(1, { Placement: arm })), {
    t1: 'no suitable node (unsupported platform on 1 node)',
  });
});

test('a node that failed the service five times lately comes last; a task of a global service is only checked', () => {
  const at = timestamp(T0 - 60_000);
  const failed = Array.from({ length: 5 }, (_, i) =>
    task(`f${i}`, { status: status('failed', { timestamp: at }) }),
  );
  assert.deepEqual(outcome([node('n1'), node('n2')], [...failed, ...many(2)]), { n2: 2 });
  const fixed = pending('g', {}, { nodeId: 'n1' as never, slot: 0 });
  assert.deepEqual(outcome([node('n1'), node('n2')], [fixed]), { n1: 1 });
  const large = { ...fixed, spec: { ...fixed.spec, ...reserve({ NanoCPUs: 3e9 }) } };
  assert.deepEqual(outcome([node('n1'), node('n2')], [large]), {
    g: 'no suitable node (insufficient resources on 1 node)',
  });
});

test('who found no node asks again as soon as a task of its service only stops', () => {
  const placement = { Placement: { MaxReplicas: 1 } };
  const runs = task('t1', { nodeId: 'n1' as never });
  const waits = pending('t2', placement);
  const view = viewOf(
    { kind: 'node', object: node('n1') },
    ...[runs, waits].map((object) => ({ kind: 'task', object }) as const),
  );
  const scheduler = schedule();
  assert.deepEqual([...scheduler.reset(view, T0)], ['t2']);
  const [step] = scheduler.plan(view, new Set(['t2']), T0).steps;
  assert.equal(step?.kind, 'explain-task');
  const stops = { ...runs, desiredState: 'shutdown' } as const;
  const change = { kind: 'task', id: runs.id, before: runs, after: stops } as const;
  assert.deepEqual([...scheduler.changed(change, view, T0)], ['t2']);
  assert.equal(scheduler.plan(view, new Set(['t2']), T0).steps[0]?.kind, 'assign-task');
});

test('a node that is gone carries nothing, nor do its tasks that go after it', () => {
  const runs = task('t1', { nodeId: 'n1' as never });
  const gone = { kind: 'node', id: node('n1').id, before: node('n1'), after: undefined } as const;
  const ended = { kind: 'task', id: runs.id, before: runs, after: undefined } as const;
  const tasksAfter = (...transitions: Transition[]) => {
    const ledger = new Ledger();
    ledger.rebuild(viewOf({ kind: 'node', object: node('n1') }, { kind: 'task', object: runs }));
    for (const transition of transitions) ledger.follow(transition);
    return ledger.load(node('n1').id).tasks;
  };
  assert.deepEqual([tasksAfter(), tasksAfter(gone), tasksAfter(gone, ended)], [1, 0, 0]);
});

test('never over the resources of a node, and nobody waits while something fits', () => {
  const size = fc.integer({ min: 1, max: 8 });
  fc.assert(
    fc.property(
      fc.array(size, { minLength: 1, maxLength: 6 }),
      fc.array(size, { maxLength: 30 }),
      (nodes, tasks) => {
        const of = (id: string, cpus: number) =>
          node(id, {
            description: { ...node(id).description!, resources: { nanoCpus: cpus * 1e9, memoryBytes: 0 } },
          });
        const ask = (cpus: number) => ({ Resources: { Reservations: { NanoCPUs: cpus * 1e9 } } });
        const free = new Map(nodes.map((cpus, i) => [`n${i}`, cpus]));
        const all = tasks.map((cpus, i) =>
          pending(`t${i}`, ask(cpus), { serviceId: `s${i % 3}-${cpus}` as never }),
        );
        const waiting: number[] = [];
        for (const step of plan(
          nodes.map((cpus, i) => of(`n${i}`, cpus)),
          all,
        )) {
          if (step.kind === 'assign-task') {
            const left = free.get(step.nodeId)! - step.task.spec.Resources!.Reservations!.NanoCPUs! / 1e9;
            assert.ok(left >= 0);
            free.set(step.nodeId, left);
          } else if (step.kind === 'explain-task')
            waiting.push(step.task.spec.Resources!.Reservations!.NanoCPUs! / 1e9);
        }
        for (const cpus of waiting) assert.ok([...free.values()].every((left) => left < cpus));
      },
    ),
  );
});
