import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodeId, TaskId } from '../model/ids.ts';
import type { Item } from '../rpc/messages.ts';
import { Assignments, type AssignmentsChange } from './assignments.ts';

const task = (id: string, desiredState = 'running'): Record<string, Item> => ({
  [`task/${id}`]: { kind: 'task', value: { id, desiredState, spec: {} } } as unknown as Item,
});
const peer = (id: string): Record<string, Item> => ({
  [`peer/${id}`]: { kind: 'peer', value: { nodeId: id, hostname: id, vtep: '192.0.2.1' } } as unknown as Item,
});

function watched(): { assignments: Assignments; changes: AssignmentsChange[] } {
  const assignments = new Assignments();
  const changes: AssignmentsChange[] = [];
  assignments.onChange((change) => changes.push(change));
  return { assignments, changes };
}

test('nothing is known before the first snapshot, and a delta before it is refused', () => {
  const { assignments } = watched();
  assert.equal(assignments.revision, undefined);
  assert.equal(assignments.networkView(), undefined);
  assert.throws(() => assignments.apply(5, {}, []), { code: 'internal' });
});

test('a snapshot replaces, a delta changes, listeners hear which tasks', () => {
  const { assignments, changes } = watched();
  assignments.replace(5, { ...task('a'), ...task('b'), ...peer('n') });
  assignments.apply(6, task('a', 'shutdown'), ['task/b']);
  assignments.replace(7, { ...task('a', 'shutdown') });
  assert.deepEqual(changes, [
    { tasks: ['a', 'b'], network: true },
    { tasks: ['b', 'a'], network: true },
    { tasks: [], network: true },
  ]);
  assert.equal(assignments.tasks.get('a' as TaskId)?.desiredState, 'shutdown');
  assert.equal(assignments.networkView()?.peers.size, 0);
});

test('what is not in a snapshot is gone, of every kind', () => {
  const { assignments } = watched();
  const kinds = ['self', 'task', 'peer', 'network', 'endpoint', 'service', 'secret', 'config'] as const;
  const item = (kind: string) => ({ kind, value: { nodeId: 'n', serviceId: 's', spec: {} } });
  const all = kinds.map((kind) => [kind === 'self' ? kind : `${kind}/x`, item(kind)]);
  const sizes = () => {
    const { self, peers, networks, endpoints, services } = assignments.networkView()!;
    const { secrets, configs } = assignments.payloads;
    const maps = [assignments.tasks, peers, networks, endpoints, services, secrets, configs];
    return [Number(self !== undefined), ...maps.map(({ size }) => size)];
  };
  assignments.replace(1, Object.fromEntries(all) as Record<string, Item>);
  assert.deepEqual(sizes(), [1, 1, 0, 1, 1, 1, 1, 1], 'all but this node among its peers');
  assignments.replace(2, {});
  assert.deepEqual(sizes(), [0, 0, 0, 0, 0, 0, 0, 0]);
});

test('a snapshot that says what is known tells nobody', () => {
  const { assignments, changes } = watched();
  assignments.replace(5, { ...task('a'), ...peer('n') });
  assignments.replace(5, { ...task('a'), ...peer('n') });
  assert.equal(changes.length, 1);
});

test('a view handed out does not change any more', () => {
  const { assignments } = watched();
  assignments.replace(5, peer('n'));
  const before = assignments.networkView()!;
  assignments.apply(6, peer('m'), ['peer/n']);
  assert.deepEqual([...before.peers.keys()], ['n' as NodeId]);
  assert.deepEqual([...assignments.networkView()!.peers.keys()], ['m' as NodeId]);
});

test('a service is joined from its parts on each network; this node is no peer of itself', () => {
  const { assignments } = watched();
  const part = (networkId: string, ports: unknown[]): Record<string, Item> => ({
    [`service/s/${networkId}`]: {
      kind: 'service',
      value: {
        serviceId: 's',
        name: 's',
        ingressPorts: ports,
        virtualIps: [{ networkId, address: '10.0.0.2' }],
        names: [{ networkId, aliases: [] }],
      },
    } as unknown as Item,
  });
  const self = { self: { kind: 'self', value: { nodeId: 'n' } } as unknown as Item };
  assignments.replace(5, {
    ...part('ingress', [80]),
    ...part('mine', []),
    ...peer('n'),
    ...peer('m'),
    ...self,
  });
  const [service] = assignments.networkView()!.services.values();
  assert.deepEqual(service?.ingressPorts, [80]);
  assert.equal(service?.virtualIps.length, 2);
  assert.equal(service?.names.length, 2);
  assert.deepEqual([...assignments.networkView()!.peers.keys()], ['m']);
  const before = assignments.networkView()!;
  assignments.apply(6, {}, ['service/s/mine']);
  assert.equal(assignments.networkView()!.services.get('s' as never)?.virtualIps.length, 1);
  assert.equal(assignments.networkView()!.peers, before.peers);
});

test('attachment tasks run no container: they are kept apart from the tasks', () => {
  const assignments = new Assignments();
  const value = { id: 's1', desiredState: 'running', spec: { Runtime: 'attachment' } };
  const stand = { 'task/s1': { kind: 'task', value } as unknown as Item };
  assignments.replace(1, { ...task('t1'), ...stand });
  assert.deepEqual([...assignments.tasks.keys()], ['t1']);
  assert.deepEqual([...assignments.attachments.keys()], ['s1']);
  assignments.apply(2, {}, ['task/s1']);
  assert.deepEqual([assignments.tasks.size, assignments.attachments.size], [1, 0]);
});
