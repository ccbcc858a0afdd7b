/** A lab of real daemons: formed into a cluster, its nodes restarted, rebooted and joined by hand. */
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { awaitReady, initCluster, joinAll } from '../../src/lab/cluster.ts';
import { downLab, Lab } from '../../src/lab/lab.ts';
import { machineState } from './machine.ts';

const NAME = 'test-cluster';

afterEach(async () => {
  await downLab(NAME);
});

test(
  'a cluster forms, survives a restart and a reboot of its nodes, and goes',
  { timeout: 600_000 },
  async () => {
    const before = await machineState(NAME);
    const lab = await Lab.up({ name: NAME, nodes: 2 });
    const [first, second] = lab.report().nodes;
    for (const name of ['skeind', 'containerd', 'etcd'] as const)
      assert.ok(first!.pids[name], `${name} runs on a manager`);
    assert.ok(second!.pids.containerd);
    assert.equal(second!.pids.etcd, null, 'a worker has no store');
    const network = await lab
      .engine('node1')
      .get<{ IPAM: { Config: { Subnet: string }[] } }>('/networks/ingress');
    assert.equal(network.IPAM.Config[0]!.Subnet, '10.255.0.0/16');

    for (const node of ['node1', 'node2']) await lab.kill(node);
    for (const node of ['node1', 'node2']) await lab.start(node);
    const after = lab.report().nodes;
    assert.notEqual(after[0]!.pids.skeind, first!.pids.skeind);
    assert.equal(after[0]!.pids.containerd, first!.pids.containerd, 'containerd is adopted');
    assert.equal(after[0]!.pids.etcd, first!.pids.etcd, 'etcd is adopted');
    await awaitReady(lab.plan);

    for (const node of ['node1', 'node2']) await lab.reboot(node);
    await awaitReady(lab.plan);
    await lab.down();
    assert.deepEqual(await machineState(NAME), before);
  },
);

test('nodes left alone form a cluster of two managers when told to', { timeout: 600_000 }, async () => {
  const lab = await Lab.up({ name: NAME, nodes: 2, managers: 2, cluster: false });
  const info = await lab.engine('node1').get<{ Swarm: { LocalNodeState: string } }>('/info');
  assert.equal(info.Swarm.LocalNodeState, 'inactive');
  await initCluster(lab.plan);
  await joinAll(lab.plan, () => {});
  await awaitReady(lab.plan);
  const nodes = await lab.engine('node2').get<{ ManagerStatus?: { Reachability: string } }[]>('/nodes');
  assert.equal(nodes.filter((node) => node.ManagerStatus).length, 2);
});
