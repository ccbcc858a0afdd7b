/** A user's own containers on overlay networks, connected and disconnected by hand. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIpv4 } from '../kit/cidr.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import type { FakeNetwork } from '../net/fake-network.ts';
import { host, on, spec } from './standalone-under-test.ts';

/** The links of the sandbox by network, and the gateway's. */
async function linksOf(kernel: FakeNetwork, id: ContainerId) {
  const links = [...(kernel.state?.links.values() ?? [])].filter((link) => link.place === id);
  const named = new Map(
    [...(kernel.state?.addresses.values() ?? [])].map((a) => [`${a.place} ${a.link}`, a]),
  );
  return Object.fromEntries(
    links.filter((l) => l.name !== 'lo').map((l) => [l.name, named.get(`${id} ${l.name}`)!.address]),
  );
}

test('connected and disconnected while it runs: links that stay keep their names, notes say what comes next', async (t) => {
  const { control, network, calls, info, runtime, until } = await host(t);
  const id = await control.create(spec({ ...on('mynet'), hostname: 'shell' }));
  await control.start(await info(id));
  const [gateway] = Object.values(await linksOf(network, id)).filter((a) => a.startsWith('172.'));
  await control.connect(await info(id), { target: 'other', aliases: [], address: parseIpv4('10.0.1.3') });
  assert.equal(calls.at(-1), 'join shell other as 10.0.1.3');
  assert.deepEqual(await linksOf(network, id), {
    ...{ eth0: '10.0.1.2/24', eth1: gateway, eth2: '10.0.1.3/24' },
  });
  await assert.rejects(control.connect(await info(id), { target: 'other', aliases: [] }), {
    message: 'shell is already attached to network other',
  });
  await control.disconnect(await info(id), 'mynet', false);
  assert.equal(calls.at(-1), 'leave mynet');
  assert.deepEqual(await linksOf(network, id), { eth1: gateway, eth2: '10.0.1.3/24' });
  await assert.rejects(control.disconnect(await info(id), 'mynet', false), {
    message: `container ${id} is not connected to the network mynet`,
  });
  runtime.exit(id, 0);
  await until('it left', async () => (await network.sandboxes()).length === 0);
  await control.start(await info(id));
  assert.equal(calls.at(-1), 'join shell other as 10.0.1.3');
  await control.disconnect(await info(id), 'other', true);
  assert.equal(calls.at(-1), 'abandon other');
  assert.deepEqual(await linksOf(network, id), {}, 'on no network there is no way out either');
});

test('connected while it does not run: at its next start; an internal network alone has no way out', async (t) => {
  const { control, network, calls, info } = await host(t);
  const id = await control.create(spec(on('mynet')));
  await control.connect(await info(id), { target: 'inside', aliases: ['db'] });
  await control.disconnect(await info(id), 'mynet', false);
  assert.deepEqual(calls, []);
  await control.start(await info(id));
  assert.deepEqual([calls, await linksOf(network, id)], [['join shell inside'], { eth0: '10.0.1.4/24' }]);
  await control.connect(await info(id), { target: 'mynet', aliases: [] });
  const links = await linksOf(network, id);
  assert.deepEqual(Object.keys(links).sort(), ['eth0', 'eth1', 'eth2'], 'the way out comes with it');
  assert.equal(links['eth1'], '10.0.1.2/24');
  const alone = await control.create(spec({ name: 'alone', network: { mode: 'none', networks: [] } }));
  await assert.rejects(control.connect(await info(alone), { target: 'mynet', aliases: [] }), {
    message:
      'container cannot be connected to multiple networks with one of the networks in private (none) mode',
  });
});

test('a connect that fails leaves what was; a task’s container is not connected by hand', async (t) => {
  const { control, network, calls, info } = await host(t);
  const id = await control.create(spec({ network: { mode: 'bridge', networks: [] } }));
  await control.start(await info(id));
  network.failNext = new SkeinError('internal', 'no');
  await assert.rejects(control.connect(await info(id), { target: 'mynet', aliases: [] }), { message: 'no' });
  assert.deepEqual(calls, ['join shell mynet', 'leave mynet']);
  await control.connect(await info(id), { target: 'mynet', aliases: [] });
  assert.deepEqual(Object.keys(await linksOf(network, id)).sort(), ['eth0', 'eth1']);
  const task = { ...(await info(id)), id: 'd'.repeat(64) as ContainerId };
  for (const call of [
    control.connect(task, { target: 'mynet', aliases: [] }),
    control.disconnect(task, 'mynet', true),
  ])
    await assert.rejects(call, { code: 'permission-denied', message: /belongs to a task/ });
});
