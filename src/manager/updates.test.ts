/** Rolling updates and rollbacks by the whole manager, in virtual time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { image, published, replicas, SECOND, spec, to } from './testing/builders.ts';
import { type TestCluster, testCluster as cluster } from './testing/cluster.ts';

for (const order of ['stop-first', 'start-first'] as const)
  test(`update ${order}, two at a time`, async (t) => {
    const c = await cluster(t, 'n1', 'n2');
    const UpdateConfig = { Parallelism: 2, Order: order, Monitor: SECOND };
    await c.create(spec({ Mode: replicas(4), UpdateConfig }));
    await c.run(2000);
    await c.update('web', to('web:2'));
    let least = 4;
    for (let i = 0; i < 60; i++) {
      await c.run(100);
      least = Math.min(least, c.running('web').length);
    }
    assert.ok(least >= (order === 'start-first' ? 4 : 2), `${least} running at the least`);
    assert.deepEqual(
      c.running('web').map((task) => task.spec.ContainerSpec.Image),
      Array(4).fill('web:2'),
    );
    const { updateStatus } = c.control.service('web');
    assert.equal(updateStatus?.state, 'completed');
    assert.equal(updateStatus?.message, 'update completed');
  });

test('a change of labels, replicas or published ports replaces no task', async (t) => {
  const c = await cluster(t, 'n1');
  await c.create(spec({ Mode: replicas(2), EndpointSpec: published }));
  await c.run(2000);
  const before = c.running('web').map((task) => task.id);
  const Ports = [{ ...published.Ports[0]!, PublishedPort: 81 }];
  await c.update('web', (s) => ({ ...s, Labels: { a: 'b' }, Mode: replicas(3), EndpointSpec: { Ports } }));
  await c.run(3000);
  const after = c.running('web').map((task) => task.id);
  assert.equal(after.length, 3);
  for (const id of before) assert.ok(after.includes(id));
  assert.equal(c.control.service('web').endpoint?.ports[0]?.PublishedPort, 81);
});

test('a bad update pauses, or rolls back where that is asked for', async (t) => {
  const c = await cluster(t, 'n1', 'n2');
  c.agents.ends.set('bad', { state: 'failed', err: 'task: non-zero exit (1)' });
  await c.create(spec({ Mode: replicas(3) }));
  await c.create(
    spec({ Name: 'back', Mode: replicas(3), UpdateConfig: { Parallelism: 1, FailureAction: 'rollback' } }),
  );
  await c.run(2000);
  await c.update('web', to('bad'));
  await c.update('back', to('bad'));
  await c.run(30_000);
  assert.match(
    c.control.service('web').updateStatus!.message,
    /^update paused due to failure or early termination of task \w+$/,
  );
  // As in Swarm the second slot's turn comes when the first task runs, which is before that one fails.
  assert.equal(c.running('web').filter((task) => task.spec.ContainerSpec.Image === 'web:1').length, 1);
  assert.equal(c.control.service('back').updateStatus?.message, 'rollback completed');
  assert.equal(c.control.service('back').previousSpec, undefined, 'not to go back to what was bad');
  assert.deepEqual(
    c.running('back').map((task) => task.spec.ContainerSpec.Image),
    Array(3).fill('web:1'),
  );
});

test('a paused update goes on when asked again, or back: what was not changed is left alone', async (t) => {
  const c = await cluster(t, 'n1', 'n2');
  c.agents.ends.set('bad', { state: 'failed', err: 'task: non-zero exit (1)' });
  await c.create(spec({ Mode: replicas(3) }));
  await c.run(2000);
  const state = () => c.control.service('web').updateStatus?.state;
  const old = () => c.running('web').filter((task) => task.spec.ContainerSpec.Image === 'web:1');
  await c.update('web', to('bad'));
  await c.run(30_000);
  assert.equal(state(), 'paused');
  const untouched = old().map((task) => task.id);
  assert.equal(untouched.length, 1);

  const rollback = async () => {
    const { version, spec: now } = c.control.service('web');
    await c.control.updateService('web', version, now, { rollback: true });
    await c.run(30_000);
  };
  await rollback();
  assert.equal(state(), 'rollback_completed');
  assert.equal(old().length, 3);
  assert.ok(old().some((task) => task.id === untouched[0]));
  assert.ok(
    old().every((task) => c.control.isUpToDate(task)),
    'nothing that the CLI would wait for',
  );

  c.agents.ends.delete('bad');
  await rollback(); // takes the rollback back, and this time the image is good
  assert.deepEqual(
    c.running('web').map((task) => task.spec.ContainerSpec.Image),
    Array(3).fill('bad'),
  );

  c.agents.ends.set('worse', { state: 'failed', err: 'task: non-zero exit (1)' });
  await c.update('web', to('worse'));
  await c.run(30_000);
  assert.equal(state(), 'paused');
  c.agents.ends.delete('worse');
  await c.update('web', (s) => s);
  await c.run(60_000);
  assert.equal(state(), 'completed');
});

const badImage = (c: TestCluster) =>
  c.agents.ends.set('bad', { state: 'failed', err: 'task: non-zero exit (1)' });
const images = (c: TestCluster) => c.running('web').map((task) => task.spec.ContainerSpec.Image);

test('an update that is to continue goes over every slot, whatever fails, and completes', async (t) => {
  const c = await cluster(t, 'n1', 'n2');
  badImage(c);
  const UpdateConfig = { Parallelism: 1, FailureAction: 'continue' as const };
  await c.create(spec({ Mode: replicas(3), UpdateConfig }));
  await c.run(2000);
  await c.update('web', to('bad'));
  await c.run(30_000);
  assert.equal(c.control.service('web').updateStatus?.state, 'completed');
  assert.ok(
    !c
      .tasks('web')
      .some((task) => task.spec.ContainerSpec.Image === 'web:1' && task.desiredState === 'running'),
  );
});

for (const [MaxFailureRatio, outcome] of [
  [0.4, 'paused'],
  [0.6, 'completed'],
] as const)
  test(`one of two slots fails, ${MaxFailureRatio} of them may: ${outcome}`, async (t) => {
    const c = await cluster(t, 'n1', 'n2');
    const UpdateConfig = { Parallelism: 1, MaxFailureRatio, Monitor: 3 * SECOND };
    const RestartPolicy = { Delay: SECOND };
    await c.create(
      spec({ Mode: replicas(2), UpdateConfig, TaskTemplate: { ...image('web:1'), RestartPolicy } }),
    );
    await c.run(2000);
    badImage(c);
    await c.update('web', to('bad'));
    await c.run(600); // the first new task has failed
    assert.equal(c.tasks('web').filter((task) => task.status.state === 'failed').length, 1);
    c.agents.ends.delete('bad');
    await c.run(30_000);
    assert.equal(c.control.service('web').updateStatus?.state, outcome);
  });

test('a new task that fails after the time of the monitor is no failure of an update that goes on', async (t) => {
  const c = await cluster(t, 'n1', 'n2');
  const UpdateConfig = { Parallelism: 1, Delay: 10 * SECOND, Monitor: SECOND };
  await c.create(spec({ Mode: replicas(2), UpdateConfig }));
  await c.run(2000);
  await c.update('web', to('web:2'));
  await c.run(5000);
  assert.equal(images(c).filter((name) => name === 'web:2').length, 1);
  c.agents.ends.set('web:2', { state: 'failed', err: 'task: non-zero exit (1)' });
  await c.run(200);
  c.agents.ends.delete('web:2');
  assert.equal(c.tasks('web').filter((task) => task.status.state === 'failed').length, 1);
  await c.run(30_000);
  assert.equal(c.control.service('web').updateStatus?.state, 'completed');
  assert.deepEqual(images(c), ['web:2', 'web:2']);
});

test('a rollback goes by its own config, and pauses when it fails too', async (t) => {
  const c = await cluster(t, 'n1', 'n2');
  const RollbackConfig = { Parallelism: 3, Monitor: SECOND };
  const UpdateConfig = { Parallelism: 1, FailureAction: 'rollback' as const, Delay: SECOND };
  await c.create(spec({ Mode: replicas(3), UpdateConfig, RollbackConfig }));
  await c.run(2000);
  badImage(c);
  await c.update('web', to('bad'));
  const state = () => c.control.service('web').updateStatus?.state;
  for (let i = 0; state() !== 'rollback_started'; i++) {
    assert.ok(i < 100, `the update is ${state()}`);
    await c.run(100);
  }
  assert.match(c.control.service('web').updateStatus!.message, /^update rolled back due to failure or early/);
  c.agents.ends.set('web:1', { state: 'failed', err: 'task: non-zero exit (2)' });
  await c.run(30_000);
  assert.equal(state(), 'rollback_paused');
  assert.match(c.control.service('web').updateStatus!.message, /^rollback paused due to failure or early/);
});

test('an update during an update: the newer one replaces what both had changed, and the older is what it goes back to', async (t) => {
  const c = await cluster(t, 'n1', 'n2');
  await c.create(spec({ Mode: replicas(4), UpdateConfig: { Parallelism: 1, Delay: 2 * SECOND } }));
  await c.run(2000);
  await c.update('web', to('web:2'));
  await c.run(3000);
  assert.ok(images(c).includes('web:2') && images(c).includes('web:1'));
  await c.update('web', to('web:3'));
  await c.run(1000);
  assert.equal(c.control.service('web').updateStatus?.state, 'updating');
  await c.run(30_000);
  assert.deepEqual(images(c), Array(4).fill('web:3'));
  assert.equal(c.control.service('web').updateStatus?.state, 'completed');
  assert.equal(c.control.service('web').previousSpec?.TaskTemplate.ContainerSpec.Image, 'web:2');
});

test('a change that replaces nothing does not disturb an update: it goes on from where it is', async (t) => {
  const c = await cluster(t, 'n1', 'n2');
  await c.create(spec({ Mode: replicas(3), UpdateConfig: { Parallelism: 1, Delay: 2 * SECOND } }));
  await c.run(2000);
  await c.update('web', to('web:2'));
  await c.run(3000);
  const before = c.control.service('web').updateStatus;
  assert.equal(before?.state, 'updating');
  await c.update('web', (s) => ({ ...s, Labels: { a: 'b' } }));
  assert.deepEqual(c.control.service('web').updateStatus, before);
  await c.run(30_000);
  assert.deepEqual(images(c), Array(3).fill('web:2'));
  const { updateStatus } = c.control.service('web');
  assert.deepEqual([updateStatus?.state, updateStatus?.startedAt], ['completed', before?.startedAt]);
  assert.ok(updateStatus!.completedAt! > before!.startedAt!);
  await c.update('web', (s) => ({ ...s, Labels: {} }));
  assert.equal(c.control.service('web').updateStatus, undefined, 'the report of an update that is over goes');
});

for (const lost of ['drained', 'down'])
  test(`start-first: the node of the new task is ${lost} before that is up; the slot gets another`, async (t) => {
    const c = await cluster(t, 'n1', 'n2', 'n3');
    const UpdateConfig = { Parallelism: 1, Order: 'start-first' as const };
    await c.create(spec({ UpdateConfig }));
    await c.run(2000);
    await c.update('web', to('web:2'));
    await c.run(200);
    const fresh = c.tasks('web').find((task) => task.spec.ContainerSpec.Image === 'web:2');
    assert.ok(fresh?.nodeId && fresh.status.state !== 'running');
    const { status } = c.view.get('node', fresh.nodeId)!;
    await c.agents.setNode(
      fresh.nodeId,
      lost === 'down'
        ? { status: { ...status, state: 'down' } }
        : { spec: { Labels: {}, Role: 'worker', Availability: 'drain' } },
    );
    let least = 1;
    for (let i = 0; i < 200; i++) {
      await c.run(100);
      least = Math.min(least, c.running('web').length);
    }
    assert.deepEqual([least, images(c)], [1, ['web:2']]);
    assert.equal(c.control.service('web').updateStatus?.state, 'completed');
  });

test('--force replaces every task, though nothing else has changed', async (t) => {
  const c = await cluster(t, 'n1');
  await c.create(spec({ Mode: replicas(2), UpdateConfig: { Parallelism: 0 } }));
  await c.run(2000);
  const before = c.running('web').map((task) => task.id);
  await c.update('web', (s) => ({ ...s, TaskTemplate: { ...s.TaskTemplate, ForceUpdate: 1 } }));
  await c.run(10_000);
  assert.equal(c.running('web').length, 2);
  assert.ok(c.running('web').every((task) => !before.includes(task.id)));
  assert.equal(c.control.service('web').updateStatus?.state, 'completed');
});
