import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { timestamp } from '../../kit/clock.ts';
import type { Node, Task } from '../../model/objects.ts';
import type { TaskSpec } from '../../model/spec.ts';
import { node, status, T0, task, viewOf } from '../testing/builders.ts';
import { Ledger } from './ledger.ts';
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
