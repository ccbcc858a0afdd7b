import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { FakeRuntime } from '../containerd/fake.ts';
import type { LogLine } from '../containerd/runtime.ts';
import { interfaceAddress, parseIpv4 } from '../kit/cidr.ts';
import { VirtualClock } from '../kit/clock.ts';
import { silentLog } from '../kit/log.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId, NetworkId } from '../model/ids.ts';
import type { HealthSpec } from '../model/spec.ts';
import type { RestartPolicy, StandaloneSpec } from '../model/standalone.ts';
import { macFor, network, view as networkView } from '../net/builders.ts';
import { FakeNetwork } from '../net/fake-network.ts';
import { ContainerControl } from './container-control.ts';
import { FakeNode, IMAGE, taskItem } from './fake-node.ts';
import { Standalone } from './standalone.ts';
import type { NetworkPlace, Stand } from './standalone-networks.ts';
import { TaskFiles } from './task-files.ts';

const spec = (patch: Partial<StandaloneSpec> = {}): StandaloneSpec => ({
  ...{ name: 'shell', container: { Image: IMAGE }, limits: undefined, hostname: '', labels: {} },
  ...{ network: { mode: 'bridge', networks: [] }, ports: [], autoRemove: false, stdinOnce: false },
  ...patch,
});

const NETWORKS = ['mynet', 'other', 'inside'];
const view = networkView({ networks: NETWORKS.map((id) => network(id)) });

const standOn = (target: string): Stand => {
  const n = NETWORKS.indexOf(target) + 2;
  const networkId = target as NetworkId;
  const address = interfaceAddress(parseIpv4(`10.0.1.${n}`), 24);
  const mac = macFor(`10.0.1.${n}`);
  return { networkId, name: target, address, mac, aliases: [], internal: target === 'inside' };
};
const on = (...targets: string[]) => ({
  network: { mode: 'overlay' as const, networks: targets.map((target) => ({ target, aliases: [] })) },
});

async function host(t: TestContext) {
  const root = await mkdtemp(join(tmpdir(), 'skein-own-'));
  const clock = new VirtualClock();
  const runtime = new FakeRuntime({ clock });
  runtime.images.add(IMAGE);
  const kernel = new FakeNetwork();
  await kernel.apply(view);
  const calls: string[] = [];
  const said: string[] = [];
  const stands: Stand[] = [];
  const member = { is: true, reaches: true };
  const place: NetworkPlace = {
    network: kernel,
    ready: true,
    join: async (_id, name, { target, address }) => {
      calls.push(`join ${name} ${target}${address ? ` as ${address}` : ''}`);
      const stand = standOn(target);
      stands.push(stand);
      return stand;
    },
    leave: async (_id, networkId) => {
      if (!member.reaches && stands.length > 0)
        throw new SkeinError('unavailable', 'no manager can be reached at the moment; try again');
      if (stands.length > 0) calls.push(networkId ? `leave ${networkId}` : 'leave');
      stands.splice(0, stands.length, ...stands.filter((s) => networkId && s.networkId !== networkId));
    },
    abandon: (_id, networkId) => {
      calls.push(`abandon ${networkId ?? 'all'}`);
      stands.splice(0, stands.length, ...stands.filter((s) => networkId && s.networkId !== networkId));
    },
    stands: () => [...stands],
  };
  let next = 0;
  const opened: Standalone[] = [];
  const open = async ({ runs = true } = {}) => {
    const standalone = await Standalone.open({
      ...{ runtime, files: new TaskFiles(root, 'standalone'), place: () => (member.is ? place : undefined) },
      ...{ runRoot: root, resolvConf: () => '', random: () => 0, clock, log: silentLog },
      hash: (text) => text,
      tell: ({ action }) => said.push(action),
      newId: () => (++next).toString(16).padStart(64, 'f') as ContainerId,
    });
    if (runs) standalone.run();
    opened.push(standalone);
    return { standalone, control: new ContainerControl({ runtime, standalone, clock }) };
  };
  t.after(async () => {
    for (const standalone of opened) await standalone.stop(); // none writes into the folder that goes
    await rm(root, { recursive: true, force: true });
  });
  const until = async (what: string, done: () => Promise<boolean>) => {
    // Its files are real: how often the clock goes on meanwhile says nothing.
    for (const deadline = Date.now() + 20_000; Date.now() < deadline; ) {
      if (await done()) return;
      await clock.advance(50);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    assert.fail(`never came true: ${what}`);
  };
  const info = async (id: ContainerId) => (await runtime.get(id))!;
  return { ...(await open()), open, until, runtime, network: kernel, calls, said, member, info, clock };
}

test('made, started, ended, started again, removed: on the network only while it runs', async (t) => {
  const { control, standalone, runtime, network, until, calls, info } = await host(t);
  const id = await control.create(spec(on('mynet')));
  assert.deepEqual([(await info(id)).status, await network.sandboxes(), calls], ['created', [], []]);
  assert.ok(standalone.owns(id));
  for (let run = 1; run <= 2; run++) {
    assert.equal(await control.start(await info(id)), true);
    assert.equal(await control.start(await info(id)), false, 'it runs already');
    assert.deepEqual(await network.sandboxes(), [id]);
    assert.equal(calls.at(-1), 'join shell mynet');
    runtime.exit(id, run);
    await until('it left the network', async () => (await network.sandboxes()).length === 0);
    await until('its stand was given back', async () => calls.at(-1) === 'leave');
    assert.deepEqual([(await info(id)).status, (await info(id)).exitCode], ['stopped', run]);
  }
  await control.remove(await info(id), { force: false, keepVolumes: true });
  assert.equal(await runtime.get(id), undefined);
  assert.ok(!standalone.owns(id));
});

test('stopped and removed while no manager can be reached: one is told later', async (t) => {
  const { control, runtime, network, calls, member, info } = await host(t);
  const id = await control.create(spec(on('mynet')));
  await control.start(await info(id));
  member.reaches = false;
  await control.remove(await info(id), { force: true, keepVolumes: true });
  assert.deepEqual([await runtime.get(id), await network.sandboxes()], [undefined, []]);
  assert.equal(calls.at(-1), 'abandon all');
});

test('removed while its node leaves the cluster: whoever does that takes the network away', async (t) => {
  const { control, runtime, network, member, info } = await host(t);
  const id = await control.create(spec(on('mynet')));
  await control.start(await info(id));
  network.detach = async () => {
    member.is = false;
    throw new SkeinError('canceled', "this node's network was let go of");
  };
  await control.remove(await info(id), { force: true, keepVolumes: true });
  assert.equal(await runtime.get(id), undefined);
});

test('names: made up where none is given, refused where taken', async (t) => {
  const { control, info } = await host(t);
  const first = await control.create(spec());
  await assert.rejects(control.create(spec()), {
    code: 'already-exists',
    message: `Conflict. The container name "/shell" is already in use by container "${first}". You have to remove (or rename) that container to be able to reuse that name.`,
  });
  const names = [await control.create(spec({ name: '' })), await control.create(spec({ name: '' }))];
  assert.deepEqual(await Promise.all(names.map(async (id) => (await info(id)).name)), [
    'amber_arkwright',
    'amber_arkwright1',
  ]);
});

test('--rm: gone when it has ended, but not before its last words are read', async (t) => {
  const { control, runtime, until, info } = await host(t);
  const id = await control.create(spec({ autoRemove: true }));
  const created = await info(id);
  const lines: LogLine[] = [];
  const output = control.attach(created, false, new AbortController().signal);
  const first = output.next();
  await control.start(created);
  runtime.print(id, 'stdout', 'one\ntwo\n');
  runtime.exit(id, 0);
  lines.push((await first).value as LogLine);
  await until('some time passed', async () => true);
  assert.ok(await runtime.get(id), 'a client reads');
  for await (const line of output) lines.push(line);
  assert.equal(lines.length, 2);
  await until('it was removed', async () => (await runtime.get(id)) === undefined);
});

test('--rm of what cannot start: gone at once, with the reason told', async (t) => {
  const { control, runtime, network, info, member } = await host(t);
  const id = await control.create(spec({ autoRemove: true }));
  runtime.fail('start', new SkeinError('invalid-argument', 'no such program'));
  await assert.rejects(control.start(await info(id)), { message: 'no such program' });
  assert.deepEqual([await runtime.get(id), await network.sandboxes()], [undefined, []]);
  member.is = false;
  const other = await control.create(spec());
  await assert.rejects(control.start(await info(other)), {
    code: 'unavailable',
    message: /^this node is not part of a swarm/,
  });
});

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

test('skeind restarts: what runs keeps its sandbox, what ended meanwhile is cleared up after', async (t) => {
  const { control, standalone, open, runtime, network, until, info } = await host(t);
  const ids = [await control.create(spec()), await control.create(spec({ name: 'other' }))];
  for (const id of ids) await control.start(await info(id));
  await standalone.stop();
  runtime.exit(ids[1]!, 0);
  const again = await open();
  await until('one sandbox is left', async () => (await network.sandboxes()).length === 1);
  assert.deepEqual(await network.sandboxes(), [ids[0]]);
  assert.ok(ids.every((id) => again.standalone.owns(id)));
  assert.equal((await info(ids[0]!)).status, 'running');
});

test('stop: the signal, the grace, the kill; wait tells the code', async (t) => {
  const { control, runtime, info } = await host(t);
  const id = await control.create(spec());
  await assert.rejects(control.kill(await info(id), 'SIGTERM'), { code: 'failed-precondition' });
  await control.start(await info(id));
  const never = new AbortController().signal;
  const waiting = control.wait(id, 'next-exit', never);
  await assert.rejects(control.remove(await info(id), { force: false, keepVolumes: true }), {
    message:
      'cannot remove container "/shell": container is running: stop the container before removing or force remove',
  });
  runtime.endsOnTerm = false;
  assert.equal(await control.stop(await info(id), { timeoutMs: 20 }), true);
  assert.equal(await waiting, 137);
  assert.equal(await control.wait(id, 'not-running', never), 137);
  assert.equal(await control.stop(await info(id), {}), false);
});

test('the worker leaves a user’s own containers and their sandboxes alone, and attachment tasks too', async (t) => {
  const node = await FakeNode.make();
  t.after(() => node.close());
  const own = 'f'.repeat(64) as ContainerId;
  node.standalone.add(own);
  await node.network.apply(view);
  await node.network.attach({
    id: own,
    attachments: [],
    hostPorts: [],
    internal: false,
    serviceId: undefined,
    dnsServers: [],
  });
  node.assign('stand', taskItem('stand', { spec: { ContainerSpec: { Image: '' }, Runtime: 'attachment' } }));
  node.assign('t1', taskItem('t1'));
  node.runtime.images.add(IMAGE);
  node.start().send();
  await node.untilState('t1', 'running');
  await node.until('a full pass went by', async () => (await node.clock.advance(60_000), true));
  assert.ok((await node.network.sandboxes()).includes(own));
  assert.deepEqual(node.states('stand'), [], 'the worker says nothing of it');
  assert.equal(node.calls('create').length, 1);
});

test('of two that want one name at the same time one gets it; made-up names are two as well', async (t) => {
  const { control, info } = await host(t);
  const words = (outcomes: readonly PromiseSettledResult<unknown>[]) =>
    outcomes.map((one) => (one.status === 'fulfilled' ? 'done' : (one.reason as SkeinError).code));
  const made = await Promise.allSettled([control.create(spec()), control.create(spec())]);
  assert.deepEqual(words(made), ['done', 'already-exists']);
  const ids = await Promise.all([control.create(spec({ name: '' })), control.create(spec({ name: '' }))]);
  const infos = await Promise.all(ids.map(info));
  assert.notEqual(infos[0]!.name, infos[1]!.name);
  const renamed = await Promise.allSettled(infos.map((one) => control.rename(one, 'new')));
  assert.deepEqual(words(renamed), ['done', 'already-exists']);
});

const restart = (name: RestartPolicy['name'], maxRetries = 0) => ({ restart: { name, maxRetries } });

test('what ends by itself is started again by its policy, on its network, and counted', async (t) => {
  const { control, standalone, runtime, network, until, info } = await host(t);
  const id = await control.create(spec({ ...on('mynet'), ...restart('on-failure', 2) }));
  await control.start(await info(id));
  for (let count = 1; count <= 2; count++) {
    const { startedAt } = await info(id);
    runtime.exit(id, 1);
    const again = async () =>
      (await info(id)).status === 'running' && (await info(id)).startedAt !== startedAt;
    await until('it runs again', again);
    assert.deepEqual(await standalone.restarts(await info(id)), { count, waiting: false });
    assert.deepEqual(await network.sandboxes(), [id]);
  }
  runtime.exit(id, 1);
  await until('it left the network', async () => (await network.sandboxes()).length === 0);
  assert.equal((await info(id)).status, 'stopped', 'that was its second');
  assert.deepEqual(await standalone.restarts(await info(id)), { count: 2, waiting: false });
  // Who starts it begins to count anew.
  await control.start(await info(id));
  assert.deepEqual(await standalone.restarts(await info(id)), { count: 0, waiting: false });
  const { notes: _, ...config } = (await info(id)).config;
  const task = 'd'.repeat(64) as ContainerId;
  await runtime.create({ ...config, id: task, name: 'web.1.t1' });
  assert.equal(await standalone.restarts(await info(task)), undefined, 'a task is none of these');
});

test('a clock that is set back does not keep one from its next run', async (t) => {
  const { control, runtime, until, info, clock } = await host(t);
  const id = await control.create(spec(restart('always')));
  await control.start(await info(id));
  runtime.exit(id, 1);
  const { startedAt } = await info(id);
  clock.set(-3_600_000);
  await until('it runs again', async () => (await info(id)).startedAt !== startedAt);
  assert.equal((await info(id)).status, 'running');
});

test('what a user ends stays ended, also while it waits for its next run', async (t) => {
  const { control, standalone, runtime, until, info, clock } = await host(t);
  const ended = async (id: ContainerId) => {
    await until('it has ended', async () => (await info(id)).status === 'stopped');
    await clock.advance(120_000);
    assert.equal((await info(id)).status, 'stopped');
    assert.ok(!(await standalone.restarts(await info(id)))?.waiting);
  };
  const start = async (name: string) => {
    const id = await control.create(spec({ name, ...restart('always') }));
    await control.start(await info(id));
    return id;
  };
  const [one, two, three] = [await start('one'), await start('two'), await start('three')];
  runtime.exit(three, 0);
  assert.equal((await standalone.restarts(await info(three)))?.waiting, true);
  assert.equal(await control.stop(await info(three), {}), false, 'it does not run');
  await ended(three);
  await control.kill(await info(one), 'SIGHUP');
  assert.equal((await info(one)).status, 'running');
  await control.kill(await info(one), 'SIGKILL');
  await ended(one);
  await control.setRestart(await info(two), restart('no').restart);
  runtime.exit(two, 1);
  await ended(two);
});

test('who is attached to what is started again sees one run to its end, as in Docker, and the wait ends with it', async (t) => {
  const { control, runtime, until, info } = await host(t);
  const id = await control.create(spec(restart('on-failure', 3)));
  const created = await info(id);
  const { signal } = new AbortController();
  const output = control.attach(created, false, signal);
  const first = output.next();
  const code = control.wait(id, 'next-exit', signal);
  await control.start(created);
  runtime.print(id, 'stdout', 'one\n');
  runtime.exit(id, 3);
  assert.deepEqual([String(((await first).value as LogLine).data), await code], ['one\n', 3]);
  assert.equal((await output.next()).done, true);
  await until('it runs again', async () => (await info(id)).status === 'running');
});

test('what waits for its next run is removed by force only; so is what runs by now, though it did not when looked at', async (t) => {
  const { control, standalone, runtime, until, info } = await host(t);
  const id = await control.create(spec(restart('on-failure', 1)));
  await control.start(await info(id));
  runtime.exit(id, 1);
  const refused = (state: string) => ({
    code: 'failed-precondition',
    message: `cannot remove container "/shell": container is ${state}: stop the container before removing or force remove`,
  });
  const [byHand, byForce] = [false, true].map((force) => ({ force, keepVolumes: true }));
  const ended = await info(id);
  await assert.rejects(control.remove(ended, byHand!), refused('restarting'));
  await until('it runs again', async () => (await info(id)).status === 'running');
  await assert.rejects(control.remove(ended, byHand!), refused('running'));
  assert.equal((await info(id)).status, 'running');
  const other = await control.create(spec({ name: 'other', ...restart('always') }));
  await control.start(await info(other));
  runtime.exit(other, 1);
  assert.equal((await standalone.restarts(await info(other)))?.waiting, true);
  await control.remove(await info(other), byForce!);
  assert.equal(await runtime.get(other), undefined);
  runtime.exit(id, 1);
  await control.remove(await info(id), byHand!);
  assert.equal(await runtime.get(id), undefined, 'that was its one restart');
});

test('what a user ends stays ended whichever way he ends it, and what he only signals goes on', async (t) => {
  const { control, standalone, runtime, until, info, clock } = await host(t);
  const started = async (name: string, more: Partial<StandaloneSpec> = {}) => {
    const id = await control.create(spec({ name, ...restart('always'), ...more }));
    await control.start(await info(id));
    return id;
  };
  const waiting = async (id: ContainerId) => (await standalone.restarts(await info(id)))?.waiting;
  const signalled = await started('signalled');
  await control.kill(await info(signalled), 'SIGHUP');
  runtime.exit(signalled, 1);
  assert.equal(await waiting(signalled), true, 'it did not end because of that');
  const asked = await started('asked', { container: { Image: IMAGE, StopSignal: 'SIGQUIT' } });
  await control.kill(await info(asked), 'SIGQUIT');
  runtime.exit(asked, 131);
  assert.equal(await waiting(asked), false, 'that is what asks it to end');
  const broken = await started('broken');
  await control.stop(await info(broken), {});
  runtime.fail('start', new SkeinError('internal', 'no such program'));
  await assert.rejects(control.start(await info(broken)), { message: 'no such program' });
  const onItsWay = await started('on-its-way');
  const seen = { ...(await info(onItsWay)), status: 'stopped' } as const;
  assert.equal(await control.stop(seen, {}), true, 'it was started again since it was looked at');
  const kept = await started('kept');
  runtime.fail('remove', new SkeinError('internal', 'no'));
  await assert.rejects(control.remove(await info(kept), { force: true, keepVolumes: true }), {
    message: 'no',
  });
  await until('the first runs again', async () => (await info(signalled)).status === 'running');
  await clock.advance(120_000);
  for (const id of [asked, broken, onItsWay, kept])
    assert.deepEqual([(await info(id)).status, await waiting(id)], ['stopped', false]);
});

test('what a user ends before skeind has looked at it stays ended, though it is always to run', async (t) => {
  const { control, standalone, runtime, info, open, until } = await host(t);
  const make = async (name: string) => {
    const id = await control.create(spec({ name, ...restart('always') }));
    await control.start(await info(id));
    return id;
  };
  const [id, other] = [await make('one'), await make('other')];
  await standalone.stop();
  const again = await open({ runs: false });
  assert.equal(await again.control.stop(await info(id), {}), true);
  again.standalone.run();
  for (let run = 1; run <= 2; run++) {
    runtime.exit(other, 1);
    await until('the other runs again', async () => (await info(other)).status === 'running');
  }
  assert.equal((await info(id)).status, 'stopped');
  assert.equal((await again.standalone.restarts(await info(id)))?.waiting, false);
});

test('another policy holds from the next end on', async (t) => {
  const { control, standalone, runtime, until, info, clock } = await host(t);
  const id = await control.create(spec());
  await control.start(await info(id));
  runtime.exit(id, 1);
  await control.setRestart(await info(id), restart('always').restart);
  await clock.advance(120_000);
  assert.equal((await info(id)).status, 'stopped', 'it had ended for good');
  assert.deepEqual(await standalone.restarts(await info(id)), { count: 0, waiting: false });
  await control.start(await info(id));
  runtime.exit(id, 1);
  await until('it runs again', async () => (await info(id)).status === 'running');
});

test('of the policies that are given to what runs the last one holds at its end, be it none', async (t) => {
  const { control, standalone, runtime, until, info, clock } = await host(t);
  const id = await control.create(spec());
  await control.start(await info(id));
  for (const name of ['always', 'no', 'always'] as const)
    await control.setRestart(await info(id), restart(name).restart);
  runtime.exit(id, 0);
  await until('it runs again', async () => (await info(id)).status === 'running');
  await control.setRestart(await info(id), restart('no').restart);
  runtime.exit(id, 0);
  await clock.advance(120_000);
  assert.equal((await info(id)).status, 'stopped');
  assert.equal(await standalone.restarts(await info(id)), undefined, 'it has none');
});

test('a policy given to what had ended brings it back when skeind starts, unless a user had ended it, or never started it', async (t) => {
  const { control, standalone, runtime, until, info, open } = await host(t);
  const policies = ['unless-stopped', 'always', 'on-failure', 'unless-stopped', 'unless-stopped'] as const;
  const ids: ContainerId[] = [];
  for (const n of policies.keys()) ids.push(await control.create(spec({ name: `c${n}` })));
  const [one, two, three, stopped, late] = ids as [
    ContainerId,
    ContainerId,
    ContainerId,
    ContainerId,
    ContainerId,
  ];
  const never = await control.create(spec({ name: 'never' }));
  for (const id of ids) await control.start(await info(id));
  for (const id of [one, two, late]) runtime.exit(id, 0);
  runtime.exit(three, 0);
  await control.stop(await info(stopped), {});
  const give = async (to: ContainerControl, id: ContainerId, name: RestartPolicy['name']) =>
    to.setRestart(await info(id), restart(name).restart);
  for (const [n, name] of policies.entries()) if (ids[n] !== late) await give(control, ids[n]!, name);
  await give(control, never, 'always');
  await standalone.stop();
  const again = await open({ runs: false });
  await give(again.control, late, 'always'); // skeind had started by then
  again.standalone.run();
  const statuses = () => Promise.all([...ids, never].map(async (id) => (await info(id)).status));
  await until('two run', async () => (await statuses()).filter((s) => s === 'running').length >= 2);
  let turns = 0;
  await until('seconds passed', async () => ++turns > 60);
  assert.deepEqual(await statuses(), ['running', 'running', 'stopped', 'stopped', 'stopped', 'created']);
});

test('another policy: heard of, but not of what goes when it ends, nor of a task', async (t) => {
  const { control, runtime, info } = await host(t);
  const id = await control.create(spec());
  const heard = new AbortController();
  t.after(() => heard.abort());
  const events = runtime.events(heard.signal);
  await events.next(); // it listens
  await control.setRestart(await info(id), restart('always').restart);
  const { value: event } = await events.next();
  assert.deepEqual(event, { type: 'announced', id, action: 'update', attributes: {} });
  const fleeting = await control.create(spec({ name: 'fleeting', autoRemove: true }));
  await assert.rejects(control.setRestart(await info(fleeting), restart('always').restart), {
    code: 'invalid-argument',
    message: /AutoRemove is enabled/,
  });
  const task = { ...(await info(id)), id: 'd'.repeat(64) as ContainerId };
  await assert.rejects(control.setRestart(task, restart('always').restart), {
    code: 'permission-denied',
    message: /use docker service update --restart-condition$/,
  });
});

test('a restart of skeind goes on with it: what was wanted, what is always to run, once there is a network', async (t) => {
  const { control, standalone, runtime, until, info, open, member, clock } = await host(t);
  const policies = ['always', 'unless-stopped', 'always', 'unless-stopped', 'no'] as const;
  const ids: ContainerId[] = [];
  for (const [n, name] of policies.entries()) {
    const id = await control.create(spec({ name: `c${n}`, ...restart(name) }));
    await control.start(await info(id));
    ids.push(id);
  }
  for (const id of ids.slice(2, 4)) await control.kill(await info(id), 'SIGKILL');
  await standalone.stop();
  for (const n of [0, 1, 4]) runtime.exit(ids[n]!, 255); // as of a machine that went down
  member.is = false;
  const again = await open();
  const running = async () => {
    const all = await Promise.all(ids.map(info));
    return all.flatMap(({ status }, n) => (status === 'running' ? [n] : []));
  };
  let turns = 0;
  await until('seconds passed', async () => ++turns > 60);
  assert.deepEqual(await running(), [], 'there is no network yet');
  member.is = true;
  await until('they run', async () => (await running()).length >= 3);
  assert.deepEqual(
    await again.standalone.restarts(await info(ids[0]!)),
    { count: 1, waiting: false },
    'what had to wait is one start',
  );
  await clock.advance(60_000);
  assert.deepEqual(await running(), [0, 1, 2]);
});

test('health: probed from the start of a run, each run anew, over a restart of skeind', async (t) => {
  const { control, standalone, runtime, until, info, open, said } = await host(t);
  const Healthcheck = { Test: ['CMD', 'probe'], Interval: 1e9, Retries: 2 };
  const id = await control.create(spec({ container: { Image: IMAGE, Healthcheck } }));
  let code = 0;
  runtime.execProgram = ({ exit }) => exit(code);
  const status = async (of: Standalone) => (await of.health(id))?.status;
  const becomes = (word: string, of = standalone) =>
    until(`it is ${word}`, async () => (await status(of)) === word);
  await control.start(await info(id));
  await becomes('healthy');
  code = 1;
  await becomes('unhealthy');
  assert.equal((await info(id)).status, 'running', 'nothing else happens to it');
  // It is on disk before anybody hears of it.
  await until('it is told', async () => said.includes('health_status: unhealthy'));
  const told = said.filter((action) => action.startsWith('health'));
  assert.deepEqual(told, ['health_status: healthy', 'health_status: unhealthy']);
  for (const action of ['exec_create: probe ', 'exec_start: probe ', 'exec_die'])
    assert.ok(said.includes(action));
  await control.stop(await info(id), {});
  await control.start(await info(id));
  assert.equal(await status(standalone), undefined, 'nothing is known yet of this run');
  code = 0;
  await becomes('healthy');
  await standalone.stop();
  const later = (await open()).standalone;
  assert.equal(await status(later), 'healthy');
  code = 1;
  await becomes('unhealthy', later);
});

test('health: what a probe still brings of a container that is being removed is not written into its folder', async (t) => {
  const { control, standalone, runtime, until, said, clock, info } = await host(t);
  const Healthcheck = { Test: ['CMD', 'probe'], Interval: 1e9 };
  const id = await control.create(spec({ container: { Image: IMAGE, Healthcheck } }));
  const probes: ((code: number) => void)[] = [];
  runtime.execProgram = ({ exit }) => void probes.push(exit);
  await control.start(await info(id));
  await until('it is probed', async () => probes.length === 1);
  runtime.delays.remove = 10_000;
  const removed = standalone.remove(id, { force: true, keepVolumes: false });
  await until('its removal has begun', async () => runtime.calls.includes(`remove ${id}`));
  probes[0]!(137);
  await until('the probe has ended', async () => said.includes('exec_die'));
  await until('there was time to write', async () => clock.now() > 1_000);
  assert.equal(await standalone.health(id), undefined);
  await clock.advance(10_000);
  await removed;
  assert.equal(standalone.owns(id), false);
});

test('the health check of the image is that of a container which has none of its own', async (t) => {
  const { control, runtime, info } = await host(t);
  const image = { Test: ['CMD', 'probe'], Interval: 5e9 };
  runtime.images.add('checked:1', { config: { Healthcheck: image } });
  const made = async (name: string, Healthcheck?: HealthSpec) => {
    const container = { Image: 'checked:1', ...(Healthcheck && { Healthcheck }) };
    return (await info(await control.create(spec({ name, container })))).config.spec.Healthcheck;
  };
  assert.deepEqual(await made('one'), image);
  assert.deepEqual(await made('two', { Retries: 7 }), { ...image, Retries: 7 });
  assert.deepEqual(await made('three', { Test: ['NONE'] }), { ...image, Test: ['NONE'] });
});
