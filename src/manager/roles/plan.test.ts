/** Who is let into the store and who is let go: tables of members and nodes, what is done now. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodeId } from '../../model/ids.ts';
import type { Node, NodeState } from '../../model/objects.ts';
import type { NodeRole } from '../../model/spec.ts';
import type { EtcdPeer } from '../../store/etcd/membership.ts';
import { node } from '../testing/builders.ts';
import { checkDemotion } from './demotion.ts';
import { planRoles, type RoleStep } from './plan.ts';
import { roleOf } from './role.ts';
import { viewOf } from '../testing/builders.ts';

const url = (name: string) => `https://${name}:2380`;

/** A node that is registered as a manager; `wanted` is what its user wants it to be. */
const manager = (id: string, wanted: NodeRole = 'manager', state: NodeState = 'ready', at = id): Node =>
  node(id, {
    spec: { Labels: {}, Role: wanted, Availability: 'active' },
    status: { ...node(id).status, state },
    manager: { addr: `${at}:2377`, etcdName: id, etcdPeerUrl: url(at) },
  });

const voter = (name: string): EtcdPeer => ({
  id: BigInt(name.length),
  name,
  peerUrl: url(name),
  learner: false,
});
const learner = (name: string): EtcdPeer => ({ ...voter(name), learner: true });
const announced = (at: string): EtcdPeer => ({ ...learner(at), name: '' });

const shown = (step: RoleStep): string => {
  switch (step.kind) {
    case 'resign':
      return 'resign';
    case 'unregister':
      return `unregister ${step.node.id}`;
    default:
      return `${step.kind} ${step.peer.name || step.peer.peerUrl}`;
  }
};
const plan = (nodes: Node[], peers: EtcdPeer[], self = 'a') =>
  planRoles(nodes, peers, self as NodeId).map(shown);

const all = ['a', 'b', 'c'];
const CASES: readonly [string, Node[], EtcdPeer[], string[]][] = [
  ['nothing is to do', all.map((n) => manager(n)), all.map(voter), []],
  [
    'a joined member gets its vote, an announced one must start first',
    [...all.map((n) => manager(n)), manager('d')],
    [voter('a'), learner('b'), announced('c'), announced('d')],
    ['give-vote b'],
  ],
  [
    'a manager that is to be a worker leaves the store first',
    [manager('a'), manager('b', 'worker'), manager('c')],
    all.map(voter),
    ['remove-member b'],
  ],
  [
    'and is a worker when it has left',
    [manager('a'), manager('b', 'worker'), manager('c')],
    [voter('a'), voter('c')],
    ['unregister b'],
  ],
  [
    'one at a time',
    [manager('a'), manager('b', 'worker'), manager('c', 'worker')],
    all.map(voter),
    ['remove-member b'],
  ],
  [
    'a dead manager is let go',
    [manager('a'), manager('b', 'worker', 'down'), manager('c')],
    all.map(voter),
    ['remove-member b'],
  ],
  [
    'a living one is not, where the rest would have no quorum',
    [manager('a'), manager('b', 'worker'), manager('c', 'manager', 'down')],
    all.map(voter),
    [],
  ],
  [
    'a leader makes room before it goes',
    [manager('a', 'worker'), manager('b'), manager('c', 'worker')],
    all.map(voter),
    ['resign'],
  ],
  [
    'but not while nobody else could lead',
    [manager('a', 'worker'), manager('b'), manager('c', 'manager', 'down')],
    [voter('a'), learner('b'), voter('c')],
    ['give-vote b'],
  ],
  [
    'one that was made a worker while it joined loses what was announced for it',
    [manager('a'), manager('b', 'worker')],
    [voter('a'), announced('b')],
    ['remove-member https://b:2380'],
  ],
  [
    'a learner that is to go gets no vote',
    [manager('a'), manager('b', 'worker')],
    [voter('a'), learner('b')],
    ['remove-member b'],
  ],
  [
    'what is announced for nobody goes too',
    [manager('a')],
    [voter('a'), announced('x')],
    ['remove-member https://x:2380'],
  ],
  [
    'a host that came back as another node keeps what was announced for it',
    [manager('a'), manager('old', 'worker', 'down', 'b'), manager('new', 'manager', 'ready', 'b')],
    [voter('a'), announced('b')],
    ['unregister old'],
  ],
];
for (const [name, nodes, peers, steps] of CASES)
  test(name, () => assert.deepEqual(plan(nodes, peers), steps));

test('whatever is wanted, the store is never without a member or a quorum of living ones', () => {
  // Every wish and every state of three managers, led by each of them in turn, until nothing is left to do.
  const bits = [0, 1, 2, 3, 4, 5, 6, 7];
  for (const wish of bits)
    for (const dead of bits)
      for (const [self] of Object.entries(all).filter(([i]) => !((dead >> Number(i)) & 1))) {
        let nodes = all.map((n, i) =>
          manager(n, (wish >> i) & 1 ? 'worker' : 'manager', (dead >> i) & 1 ? 'down' : 'ready'),
        );
        let peers = all.map(voter);
        let leader = all[Number(self)]!;
        for (let round = 0; round < 10; round++) {
          const [step] = planRoles(nodes, peers, leader as NodeId);
          if (!step) break;
          if (step.kind === 'remove-member') peers = peers.filter((peer) => peer.name !== step.peer.name);
          if (step.kind === 'unregister')
            nodes = nodes.map((n) => (n.id === step.node.id ? { ...n, manager: undefined } : n));
          if (step.kind === 'resign')
            leader = nodes.find((n) => n.spec.Role === 'manager' && n.status.state === 'ready')!.id;
          const alive = peers.filter(
            ({ name }) => nodes.find((n) => n.id === name)!.status.state === 'ready',
          );
          assert.ok(
            peers.some(({ name }) => name === leader),
            'the leader is a member',
          );
          if (step.kind === 'remove-member')
            assert.ok(alive.length > peers.length / 2, `wish ${wish}, dead ${dead}: quorum is kept`);
        }
        const left = new Set(peers.map(({ name }) => name));
        for (const n of nodes) assert.equal(roleOf(n) === 'manager', left.has(n.id), `${n.id} is what it is`);
      }
});

const demotion = (nodes: Node[], id: string) => {
  const view = viewOf(...nodes.map((object) => ({ kind: 'node' as const, object })));
  return () => checkDemotion(view, nodes.find((n) => n.id === id)!);
};

test('the last manager stays one, in the words of Docker', () => {
  const last = {
    code: 'failed-precondition',
    message: 'rpc error: code = FailedPrecondition desc = attempting to demote the last manager of the swarm',
  };
  assert.throws(demotion([manager('a'), node('w')], 'a'), last);
  assert.throws(demotion([manager('a'), manager('b', 'worker')], 'a'), last, 'the other is going already');
  const promised = node('b', { spec: { Labels: {}, Role: 'manager', Availability: 'active' } });
  assert.throws(demotion([manager('a'), promised], 'a'), last, 'the other has not come yet');
  demotion([manager('a'), manager('b')], 'a')();
});

test('who would take the quorum along stays', () => {
  const nodes = [manager('a'), manager('b'), manager('c', 'manager', 'down')];
  assert.throws(
    demotion(nodes, 'a'),
    /can't remove member from the raft: this would result in a loss of quorum/,
  );
  demotion(nodes, 'c')();
});
