import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LogLine } from '../containerd/runtime.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import { FakeNode, IMAGE, taskItem } from './fake-node.ts';
import { host, on, spec, view } from './standalone-under-test.ts';

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
