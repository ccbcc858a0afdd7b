/** A user's own containers that are started again by a policy, and those that he ended. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LogLine } from '../containerd/runtime.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import type { RestartPolicy, StandaloneSpec } from '../model/standalone.ts';
import type { ContainerControl } from './container-control.ts';
import { IMAGE } from './fake-node.ts';
import { host, on, spec } from './standalone-under-test.ts';

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
