import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../kit/clock.ts';
import { silentLog } from '../kit/log.ts';
import type { ContainerId, NetworkId, TaskId } from '../model/ids.ts';
import { network } from '../net/builders.ts';
import { FakeNetwork } from '../net/fake-network.ts';
import type { Item } from '../rpc/messages.ts';
import { Assignments } from './assignments.ts';
import { ClusterPlace, type ClusterPlaceOptions } from './cluster-place.ts';
import { taskItem } from './fake-node.ts';
import { NetworkLoop } from './network-loop.ts';

const SHELL = 'shell' as ContainerId;
const NET = network('mynet');
const HOLDER = { ContainerID: SHELL, ContainerName: 'shell' };

const stand: Item = {
  kind: 'task',
  value: taskItem('stand1', {
    spec: { ContainerSpec: { Image: '' }, Runtime: 'attachment', NetworkAttachmentSpec: HOLDER },
    attachments: [{ ...taskItem('stand1').attachments[0]!, networkId: 'mynet' as NetworkId }],
  }),
};

/** A place whose leader gives stands under the id `stand1`, on a kernel that can be held up. */
function place() {
  const clock = new VirtualClock();
  const assignments = new Assignments();
  const kernel = new FakeNetwork();
  const held = { until: Promise.resolve() };
  const apply = kernel.apply.bind(kernel);
  kernel.apply = async (view) => {
    await held.until;
    await apply(view);
  };
  const networkLoop = new NetworkLoop({
    ...{ network: kernel, view: () => assignments.networkView(), applied: () => {} },
    ...{ random: () => 0, clock, log: silentLog },
  });
  assignments.onChange(() => networkLoop.mark());
  const calls: string[] = [];
  const call = async (name: string) => {
    calls.push(name);
    return { taskId: 'stand1' as TaskId };
  };
  const cluster = new ClusterPlace({
    ...{ network: kernel, networkLoop, assignments, clock, log: silentLog },
    sink: { report: () => {}, applied: () => {} },
    client: (() => ({ call })) as unknown as ClusterPlaceOptions['client'],
    isStandalone: () => true,
  });
  networkLoop.start();
  return { cluster, assignments, clock, held, calls };
}

test('a stand has come the moment that its network is in the kernel, without a look at the clock', async () => {
  const { cluster, assignments, clock, held, calls } = place();
  let come: string | undefined;
  void cluster.join(SHELL, 'shell', { target: 'mynet', aliases: [] }).then(({ name }) => (come = name));
  await clock.advance(0);
  const kernel = Promise.withResolvers<void>();
  held.until = kernel.promise;
  assignments.replace(1, { 'network/mynet': { kind: 'network', value: NET }, 'task/stand1': stand });
  await clock.advance(0);
  assert.equal(come, undefined, 'the kernel is not there yet');
  kernel.resolve();
  await clock.advance(0);
  assert.equal(come, NET.name);
  assert.deepEqual(calls, ['network.attach']);
});

test('a stand on a network that is here already has come with its assignment', async () => {
  const { cluster, assignments, clock } = place();
  assignments.replace(1, { 'network/mynet': { kind: 'network', value: NET } });
  await clock.advance(1000);
  let come = false;
  void cluster.join(SHELL, 'shell', { target: 'mynet', aliases: [] }).then(() => (come = true));
  await clock.advance(0);
  assert.equal(come, false);
  assignments.apply(2, { 'task/stand1': stand }, []);
  await clock.advance(0);
  assert.equal(come, true);
});

test('a stand on a network that the kernel is just losing, with the last stand before, has come when it is there again', async () => {
  const { cluster, assignments, clock, held } = place();
  const mynet: Item = { kind: 'network', value: NET };
  assignments.replace(1, { 'network/mynet': mynet });
  await clock.advance(1000);
  const kernel = Promise.withResolvers<void>();
  held.until = kernel.promise;
  assignments.apply(2, {}, ['network/mynet']);
  await clock.advance(0);
  let come = false;
  void cluster.join(SHELL, 'shell', { target: 'mynet', aliases: [] }).then(() => (come = true));
  assignments.apply(3, { 'network/mynet': mynet, 'task/stand1': stand }, []);
  await clock.advance(0);
  assert.equal(come, false, 'whoever attached a container to it now would be told that it is not here');
  kernel.resolve();
  await clock.advance(1000);
  assert.equal(come, true);
});

test('a stand that does not come in fifteen seconds is given back, and whoever asked hears why', async () => {
  const { cluster, clock, calls } = place();
  const why: { code?: string }[] = [];
  cluster
    .join(SHELL, 'shell', { target: 'mynet', aliases: [] })
    .catch((error: { code?: string }) => why.push(error));
  await clock.advance(14_999);
  assert.deepEqual(why, []);
  await clock.advance(1);
  assert.deepEqual(
    why.map(({ code }) => code),
    ['deadline-exceeded'],
  );
  assert.deepEqual(calls, ['network.attach', 'network.detach']);
});
