/** The routes of cluster and nodes, over fakes; and what a node says that is in no cluster, or no manager. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { STARTING } from './http-error.ts';
import { startingServers } from './server-under-test.ts';

const start = startingServers();

test('cluster requests outside a swarm and on a worker have their two wordings', async () => {
  const { call, backends } = await start();
  const outside = await call('GET', '/services');
  assert.equal(outside.status, 503);
  assert.match(outside.json.message, /Use "docker swarm init" or "docker swarm join"/);
  backends.membership = 'worker';
  const worker = await call('GET', '/nodes');
  assert.equal(worker.status, 503);
  assert.match(worker.json.message, /Worker nodes can't be used to view or modify cluster state/);
  backends.membership = 'manager';
  backends.cluster = () => undefined; // it has no view of the store yet
  const starting = await call('GET', '/nodes');
  assert.deepEqual([starting.status, starting.json.message], [503, STARTING]);
});

test("a second init and a leave without force are 503 in Docker's words", async () => {
  const { call } = await start('manager');
  const again = await call('POST', '/swarm/init', {});
  assert.equal(again.status, 503);
  assert.match(again.json.message, /^This node is already part of a swarm/);
  assert.equal((await call('POST', '/swarm/leave')).status, 503);
  assert.equal((await call('POST', '/swarm/leave?force=1')).status, 200);
});

test('node and swarm, with the fields of Docker', async () => {
  const { call } = await start('manager');
  const [self, other] = (await call('GET', '/nodes')).json;
  assert.deepEqual(self.ManagerStatus, { Leader: true, Reachability: 'reachable', Addr: '192.0.2.1:2377' });
  assert.equal('ManagerStatus' in other, false);
  assert.deepEqual(other.Status, { State: 'ready', Addr: '192.0.2.2' });
  assert.equal((await call('GET', '/nodes?filters={"role":["worker"]}')).json.length, 1);
  const swarm = (await call('GET', '/swarm')).json;
  assert.deepEqual(swarm.JoinTokens, { Worker: 'SWMTKN-1-aaa-worker', Manager: 'SWMTKN-1-aaa-manager' });
  assert.equal(swarm.Spec.CAConfig.NodeCertExpiry, 7776000000000000);
  assert.equal(JSON.stringify(swarm).includes('key'), false);
  const { Swarm } = (await call('GET', '/info')).json;
  assert.deepEqual(
    [Swarm.LocalNodeState, Swarm.ControlAvailable, Swarm.Nodes, Swarm.Managers],
    ['active', true, 2, 1],
  );
  assert.equal('JoinTokens' in Swarm.Cluster, false);
});
