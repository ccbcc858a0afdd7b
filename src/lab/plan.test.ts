import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  benchLab,
  checkFreeName,
  cutPairBatch,
  DEMO_LAB,
  isLabNetns,
  nodeOf,
  planLab,
  stationBatch,
  stationOf,
} from './plan.ts';

test('names and addresses follow from the name of the lab and the number of the node', () => {
  const plan = planLab({ name: 'x', nodes: 3, managers: 2, mtus: { node2: 9000 } });
  assert.deepEqual(
    plan.nodes.map((n) => [n.name, n.address, n.netns, n.manager, n.mtu]),
    [
      ['node1', '192.0.2.11', '/run/netns/skein-x-node1', true, 1500],
      ['node2', '192.0.2.12', '/run/netns/skein-x-node2', true, 9000],
      ['node3', '192.0.2.13', '/run/netns/skein-x-node3', false, 1500],
    ],
  );
  assert.equal(plan.client.address, '192.0.2.200');
  assert.equal(plan.nodes[0]!.dataRoot, '/var/lib/skein-lab/x/node1');
  assert.equal(plan.nodes[0]!.socket, '/run/skein-lab/x/node1/skein.sock');
});

test('two labs share no name of a file, namespace or cgroup', () => {
  const names = (lab: string) =>
    planLab({ name: lab, nodes: 2 }).nodes.flatMap((n) => [n.netns, n.dataRoot, n.runRoot, n.cgroupParent]);
  assert.equal(new Set([...names('a'), ...names('b')]).size, 16);
});

test('a person gives a lab no name under which the demo or a benchmark takes down what it finds', () => {
  for (const name of [DEMO_LAB, benchLab('mesh')])
    assert.throws(() => checkFreeName(name), /would be taken down by skein (demo|bench mesh): use another/);
  for (const name of ['lab', 'bench', 'demo-2']) assert.equal(checkFreeName(name), name);
});

test('a lab never takes the namespaces of another whose name begins alike', () => {
  assert.ok(isLabNetns('x', 'skein-x-node12'));
  assert.ok(isLabNetns('x', 'skein-x-underlay'));
  assert.ok(!isLabNetns('x', 'skein-x-node1-client'));
  assert.ok(!isLabNetns('x', 'skein-xx-node1'));
});

test('a station gets an address and no way out of the segment', () => {
  const batch = stationBatch(stationOf(planLab({ name: 'x', nodes: 1 }), 'client'));
  assert.match(batch, /address add 192\.0\.2\.200\/24 dev eth0/);
  assert.doesNotMatch(batch, /route/);
});

test('what can not be is refused in words', () => {
  assert.throws(() => planLab({ name: 'A/b', nodes: 1 }), /invalid lab name "A\/b"/);
  assert.throws(() => planLab({ name: 'x', nodes: 0 }), /1 to 100 nodes/);
  assert.throws(() => planLab({ name: 'x', nodes: 2, managers: 3 }), /of 2 nodes 3 can not be managers/);
  assert.throws(() => planLab({ name: 'x', nodes: 1, mtus: { node9: 1400 } }), /no such node: node9/);
  const plan = planLab({ name: 'x', nodes: 1 });
  assert.throws(() => stationOf(plan, 'node2'), /no such node in lab x: node2 \(there are: node1, client\)/);
  assert.throws(() => nodeOf(plan, 'client'), /client is not a node/);
});

test('a pair is cut in both directions', () => {
  const plan = planLab({ name: 'x', nodes: 2 });
  const batch = cutPairBatch(plan.nodes[0]!, plan.nodes[1]!, true);
  assert.equal(batch, 'add element bridge skein_lab cut { "p-node1" . "p-node2", "p-node2" . "p-node1" }\n');
});
