import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { SkeinError } from '../model/errors.ts';
import type { ContainerInfo } from '../containerd/runtime.ts';
import type { ContainerId, SecretId } from '../model/ids.ts';
import { FakeNode, IMAGE, idOf, taskItem } from './fake-node.ts';

async function node(t: TestContext, ...tasks: ReturnType<typeof taskItem>[]): Promise<FakeNode> {
  const made = await FakeNode.make();
  t.after(() => made.close());
  made.runtime.images.offer(IMAGE);
  for (const task of tasks) made.assign(task.id, task);
  made.start();
  return made;
}

test('a task goes through its states to running, in its networks and with its names', async (t) => {
  const n = await node(
    t,
    taskItem('t1', {
      spec: { ContainerSpec: { Image: IMAGE, Hostname: '{{.Node.Hostname}}-{{.Task.Slot}}' } },
    }),
  );
  n.send();
  await n.untilState('t1', 'running');
  assert.deepEqual(n.states('t1'), ['accepted', 'preparing', 'ready', 'starting', 'running']);
  const [info] = await n.runtime.list();
  assert.equal(info!.name, 'web.1.t1');
  assert.equal(info!.config.hostname, 'n1-1');
  assert.equal(info!.labels['com.docker.swarm.task.name'], 'web.1.t1');
  assert.equal(n.tasks.get('t1')!.status.container?.pid, info!.pid);
  assert.deepEqual(await n.network.sandboxes(), [idOf('t1')]);
  assert.deepEqual(n.applied, [1]);
});

test('a task that should be ready is made and not started before it should run', async (t) => {
  const n = await node(t, taskItem('t1', { desiredState: 'ready' }));
  n.send();
  await n.untilState('t1', 'ready');
  await n.clock.advance(60_000);
  assert.deepEqual(n.calls('start'), []);
  n.want('t1', 'running');
  await n.untilState('t1', 'running');
});

test('an image that does not exist rejects the task in words', async (t) => {
  const n = await node(t, taskItem('t1', { spec: { ContainerSpec: { Image: 'nowhere:1' } } }));
  n.send();
  await n.untilState('t1', 'rejected');
  assert.equal(n.tasks.get('t1')!.status.err, 'No such image: nowhere:1');
  await n.clock.advance(60_000);
  assert.equal(n.calls('pull').length, 1);
});

test('the credentials of a service go to the registry with the pull; what is no credential does not', async (t) => {
  const auth = { username: 'me', password: 'secret' };
  const encoded = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64');
  for (const [registryAuth, shown] of [
    [encoded(auth), auth],
    [encoded('me'), undefined],
    ['%%%', undefined],
    [undefined, undefined],
  ] as const) {
    const n = await node(t, taskItem('t1', { registryAuth }));
    const asked: unknown[] = [];
    n.runtime.images.authorize = (_reference, given) => (asked.push(given), true);
    n.send();
    await n.untilState('t1', 'running');
    assert.deepEqual(asked, [shown]);
  }
});

test('a registry that refuses rejects the task with what it says', async (t) => {
  const n = await node(t, taskItem('t1'));
  n.runtime.images.authorize = () => false;
  n.send();
  await n.untilState('t1', 'rejected');
  assert.match(n.tasks.get('t1')!.status.err, /^pull access denied for registry.example\/web/);
});

test('an image that is here is not pulled, and found once: the container is made of what was found', async (t) => {
  const n = await node(t, taskItem('t1'));
  const { id } = n.runtime.images.add(IMAGE);
  const made = t.mock.method(n.runtime, 'create');
  n.send();
  await n.untilState('t1', 'running');
  assert.deepEqual(n.calls('pull'), []);
  assert.deepEqual(
    made.mock.calls.map((call) => call.arguments[1]?.image?.id),
    [id],
  );
});

test('a container that somebody took away before its start is made again of the image that is here', async (t) => {
  const n = await node(t, taskItem('t1', { desiredState: 'ready' }));
  n.runtime.images.add(IMAGE);
  n.send();
  await n.untilState('t1', 'ready');
  await n.runtime.remove(idOf('t1'));
  n.want('t1', 'running');
  await n.untilState('t1', 'running');
  assert.deepEqual([n.calls('pull').length, n.calls('create').length], [0, 2]);
});

test('whoever comes after an agent that was killed at a start knows that there was one', async (t) => {
  const n = await node(t, taskItem('t1'));
  let known: boolean | undefined;
  n.runtime.program = () => (known = existsSync(join(n.dataRoot, 'tasks', idOf('t1'), 'started')));
  n.send();
  await n.untilState('t1', 'running');
  assert.equal(known, true);
});

for (const [code, state, err] of [
  [0, 'complete', ''],
  [3, 'failed', 'task: non-zero exit (3)'],
] as const)
  test(`a container that exits with ${code} makes its task ${state}, keeps its logs and gives up its network`, async (t) => {
    const n = await node(t, taskItem('t1'));
    n.send();
    await n.untilState('t1', 'running');
    n.runtime.exit(idOf('t1'), code);
    await n.untilState('t1', state);
    assert.equal(n.tasks.get('t1')!.status.err, err);
    assert.equal(n.tasks.get('t1')!.status.container?.exitCode, code);
    await n.until('detached', async () => (await n.network.sandboxes()).length === 0);
    assert.equal((await n.runtime.list()).length, 1);
    n.assign('t1', undefined);
    n.send();
    await n.until('removed', async () => (await n.runtime.list()).length === 0);
  });

test('a container that cannot start fails its task with the reason, and is not tried again', async (t) => {
  const n = await node(t, taskItem('t1'));
  n.runtime.fail('start', new SkeinError('internal', 'exec: "nope": executable file not found in $PATH'));
  n.send();
  await n.untilState('t1', 'failed');
  assert.match(n.tasks.get('t1')!.status.err, /^starting container failed: exec: "nope"/);
  await n.clock.advance(60_000);
  assert.equal(n.calls('start').length, 1);
  assert.deepEqual(await n.network.sandboxes(), []);
});

test('containerd that is away for a while costs time, not the task', async (t) => {
  const n = await node(t, taskItem('t1'));
  n.runtime.down();
  n.send();
  await n.clock.advance(5_000);
  n.runtime.up();
  await n.untilState('t1', 'running');
});

test('a kernel that is busy costs a few tries more of the sandbox, and nothing half made', async (t) => {
  const n = await node(t, taskItem('t1'));
  const attach = n.network.attach.bind(n.network);
  const made: number[] = [];
  n.network.attach = async (spec) => {
    made.push((await n.runtime.list()).length);
    return made.length < 4 ? Promise.reject(new SkeinError('internal', 'EBUSY')) : attach(spec);
  };
  n.send();
  await n.untilState('t1', 'running');
  assert.deepEqual(made, [1, 1, 1, 1], 'the container is known before anything else of it is made');
  assert.equal((await n.runtime.list()).length, 1);
});

for (const [code, tries] of [
  ['internal', 5],
  ['failed-precondition', 1],
] as const)
  test(`a sandbox that cannot be made (${code}) rejects the task in its words after ${tries} tries`, async (t) => {
    const n = await node(t, taskItem('t1'));
    let asked = 0;
    n.network.attach = () => Promise.reject(new SkeinError(code, `no (${++asked})`));
    n.send();
    await n.untilState('t1', 'rejected');
    assert.equal(n.tasks.get('t1')!.status.err, `no (${tries})`);
    await n.clock.advance(60_000);
    assert.deepEqual([asked, await n.runtime.list()], [tries, []]);
  });

for (const [grace, seconds] of [
  [{ StopGracePeriod: 3e9 }, 3],
  [{}, 10],
] as const)
  test(`a stop sends the signal once, and SIGKILL after the grace period: ${seconds} s`, async (t) => {
    const spec = { ContainerSpec: { Image: IMAGE, StopSignal: 'SIGINT', ...grace } };
    const n = await node(t, taskItem('t1', { spec }));
    n.send();
    await n.untilState('t1', 'running');
    n.want('t1', 'shutdown');
    await n.until('signal', () => n.calls('kill').length === 1);
    const asked = n.clock.now();
    await n.untilState('t1', 'shutdown');
    assert.deepEqual(n.calls('kill'), [`kill ${idOf('t1')} SIGINT`, `kill ${idOf('t1')} SIGKILL`]);
    const took = (n.clock.now() - asked) / 1000;
    assert.ok(took > seconds - 0.2 && took < seconds + 1, `killed after ${took} s`);
    assert.equal(n.tasks.get('t1')!.status.err, '');
  });

test('a clock that is set, ahead or back, neither cuts the grace of a stop short nor draws it out', async (t) => {
  const spec = { ContainerSpec: { Image: IMAGE, StopGracePeriod: 60e9 } };
  const n = await node(t, taskItem('t1', { spec }));
  n.runtime.endsOnTerm = false;
  n.send();
  await n.untilState('t1', 'running');
  n.want('t1', 'shutdown');
  await n.until('signal', () => n.calls('kill').length === 1);
  const asked = n.clock.monotonic();
  n.clock.set(3_600_000);
  await n.clock.advance(40_000); // every container is looked at on the way
  assert.equal(n.calls('kill').length, 1);
  n.clock.set(-7_200_000);
  await n.untilState('t1', 'shutdown');
  const took = (n.clock.monotonic() - asked) / 1000;
  assert.ok(took > 59.8 && took < 61.5, `killed after ${took} s`);
});

test("the image's stop signal is used where the service has none", async (t) => {
  const n = await node(t, taskItem('t1'));
  n.runtime.images.add(IMAGE, { config: { StopSignal: 'SIGQUIT' } });
  n.send();
  await n.untilState('t1', 'running');
  n.want('t1', 'shutdown');
  await n.untilState('t1', 'shutdown');
  assert.equal(n.calls('kill')[0], `kill ${idOf('t1')} SIGQUIT`);
});

test('a task that is no longer wanted while its image comes is shut down at once', async (t) => {
  const n = await node(t, taskItem('t1'));
  n.runtime.delays.pull = 60_000; // the fake's registry does not hear of an abort
  n.send();
  await n.until('pulling', () => n.calls('pull').length === 1);
  n.want('t1', 'shutdown');
  await n.untilState('t1', 'shutdown');
  assert.deepEqual(n.calls('create'), []);
  await n.clock.advance(60_000);
  assert.equal(n.tasks.get('t1')!.status.state, 'shutdown');
});

test('events that were missed are made up for by a look at everything', async (t) => {
  const n = await node(t, taskItem('t1'));
  n.send();
  await n.untilState('t1', 'running');
  n.runtime.down();
  n.runtime.exit(idOf('t1'), 9);
  await n.clock.advance(1_000);
  n.runtime.up();
  await n.untilState('t1', 'failed');
});

test('nothing is touched before the first snapshot; then what nobody wants is removed', async (t) => {
  const n = await node(t, taskItem('t1'));
  n.send();
  await n.untilState('t1', 'running');
  await n.stop();
  n.assign('t1', undefined);
  const before = n.runtime.calls.length;
  n.start();
  await n.clock.advance(120_000);
  assert.deepEqual(
    n.runtime.calls.slice(before).filter((call) => /^(kill|remove|create|start)/.test(call)),
    [],
  );
  n.send();
  await n.until('removed', async () => (await n.runtime.list()).length === 0);
  await n.until('detached', async () => (await n.network.sandboxes()).length === 0);
});

test('containers of somebody else in the same containerd are left alone, a copy of a task’s too', async (t) => {
  const n = await node(t, taskItem('t1'));
  n.send();
  await n.untilState('t1', 'running');
  const [{ config }] = (await n.runtime.list()) as [ContainerInfo];
  const foreign = ['e', 'f'].map((letter) => letter.repeat(64) as ContainerId);
  await n.runtime.create({ ...config, id: foreign[0]!, name: 'other', labels: {} });
  await n.runtime.create({ ...config, id: foreign[1]!, name: 'copy' });
  for (const id of foreign) await n.runtime.start(id);
  await n.clock.advance(120_000);
  n.want('t1', 'remove');
  await n.until('removed', async () => !(await n.runtime.list()).some(({ id }) => id === config.id));
  await n.clock.advance(120_000);
  const left = await n.runtime.list();
  assert.deepEqual(
    left.map(({ id, status }) => [id, status]),
    foreign.map((id) => [id, 'running']),
  );
});

test('after a reboot a task that ran has failed, with the reason', async (t) => {
  const n = await node(t, taskItem('t1'));
  n.send();
  await n.untilState('t1', 'running');
  await n.stop();
  n.runtime.reboot();
  await n.network.detach(idOf('t1'));
  n.start().send();
  await n.untilState('t1', 'failed');
  assert.match(n.tasks.get('t1')!.status.err, /the node restarted/);
  assert.equal(n.calls('start').length, 1);
});

test('a running container whose namespace is gone fails its task and is stopped', async (t) => {
  const n = await node(t, taskItem('t1'));
  n.send();
  await n.untilState('t1', 'running');
  await n.network.detach(idOf('t1'));
  n.runtime.resync();
  await n.untilState('t1', 'failed');
  assert.match(n.tasks.get('t1')!.status.err, /namespace/);
  await n.until('stopped', async () => (await n.runtime.list())[0]?.status === 'stopped');
});

test('host ports are reported as bound', async (t) => {
  const Ports = [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' } as const];
  const n = await node(t, taskItem('t1', { endpointSpec: { Ports } }));
  n.send();
  await n.untilState('t1', 'running');
  assert.equal(n.tasks.get('t1')!.status.ports[0]?.PublishedPort, 8080);
});

test('a running task of a life before says nothing new and is left alone', async (t) => {
  const n = await node(t, taskItem('t1'));
  n.send();
  await n.untilState('t1', 'running');
  await n.stop();
  const reports = n.reports.length;
  n.start().send();
  await n.clock.advance(60_000);
  assert.equal(n.reports.length, reports);
  assert.equal(n.calls('start').length, 1);
});

test('secrets are there before the container is, and gone once its task has ended', async (t) => {
  // Files may be given to others by root only; these tests need no root.
  const [uid, gid] = [String(process.getuid!()), String(process.getgid!())];
  const Secrets = [
    { SecretID: 's1', SecretName: 'key', File: { Name: 'key', UID: uid, GID: gid, Mode: 0o400 } },
  ];
  const n = await node(t, taskItem('t1', { spec: { ContainerSpec: { Image: IMAGE, Secrets } } }));
  n.secrets.set('s1', {
    id: 's1' as SecretId,
    name: 'key',
    data: Buffer.from('xyzzy').toString('base64'),
    isTemplate: false,
  });
  n.send();
  await n.untilState('t1', 'running');
  const path = (await n.runtime.get(idOf('t1')))!.config.files['/run/secrets/key']!;
  assert.equal(readFileSync(path, 'utf8'), 'xyzzy');
  assert.equal(statSync(path).mode & 0o777, 0o400);
  n.runtime.exit(idOf('t1'), 0);
  await n.untilState('t1', 'complete');
  await n.until('the secret gone', () => !existsSync(path));
});

test('secrets go with a task that is taken off the node while it runs', async (t) => {
  const File = { Name: 'key', UID: String(process.getuid!()), GID: String(process.getgid!()), Mode: 0o400 };
  const Secrets = [{ SecretID: 's1', SecretName: 'key', File }];
  const n = await node(t, taskItem('t1', { spec: { ContainerSpec: { Image: IMAGE, Secrets } } }));
  n.secrets.set('s1', { id: 's1' as SecretId, name: 'key', data: 'eHl6enk=', isTemplate: false });
  n.send();
  await n.untilState('t1', 'running');
  const path = (await n.runtime.get(idOf('t1')))!.config.files['/run/secrets/key']!;
  n.assign('t1', undefined);
  n.send();
  await n.until('the secret gone', () => !existsSync(path));
  await n.until('removed', async () => (await n.runtime.list()).length === 0);
});

test('secrets of a container that nothing else is left of go with the first look', async (t) => {
  const n = await FakeNode.make();
  t.after(() => n.close());
  const left = join(n.dataRoot, 'secrets', idOf('gone'));
  mkdirSync(left, { recursive: true });
  n.start().send();
  await n.until('they are gone', () => !existsSync(left));
});

test('a task whose secret is missing is rejected in words', async (t) => {
  const Secrets = [
    { SecretID: 's1', SecretName: 'key', File: { Name: 'key', UID: '0', GID: '0', Mode: 0o400 } },
  ];
  const n = await node(t, taskItem('t1', { spec: { ContainerSpec: { Image: IMAGE, Secrets } } }));
  n.send();
  await n.untilState('t1', 'rejected');
  assert.match(n.tasks.get('t1')!.status.err, /^secret key \(s1\) of this task is not there/);
});
