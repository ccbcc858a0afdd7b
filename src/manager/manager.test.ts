import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import type { NodeId, ServiceId } from '../model/ids.ts';
import type { ServiceSpec } from '../model/spec.ts';
import { nodeDraft, spec } from './testing/builders.ts';
import { TestCluster } from './testing/cluster.ts';

async function cluster(t: TestContext, ...nodes: string[]): Promise<TestCluster> {
  const started = await new TestCluster().start(...nodes);
  t.after(() => started.stop());
  return started;
}

const SECOND = 1e9;
const replicas = (n: number) => ({ Replicated: { Replicas: n } });
const image = (Image: string) => ({ ContainerSpec: { Image } });
const to =
  (Image: string) =>
  (s: ServiceSpec): ServiceSpec => ({ ...s, TaskTemplate: { ...s.TaskTemplate, ...image(Image) } });
const published = {
  Ports: [{ Protocol: 'tcp' as const, TargetPort: 80, PublishedPort: 80, PublishMode: 'ingress' as const }],
};

test('the first objects: ingress network with VNI 4096 and one endpoint a node that carries its uplink MAC', async (t) => {
  const c = await cluster(t, 'n1', 'n2');
  assert.deepEqual(c.view.ingress?.state, { vni: 4096, subnet: '10.0.0.0/24', gateway: '10.0.0.1' });
  for (const node of c.view.all('node').values()) {
    assert.equal(node.attachments[0]?.mac, node.description?.uplinkMac);
    assert.match(node.attachments[0]!.address, /^10\.0\.0\.[23]\/24$/);
  }
});

test('three replicas run, spread over two nodes, each with its own address on ingress', async (t) => {
  const c = await cluster(t, 'n1', 'n2');
  await c.create(spec({ Mode: replicas(3), EndpointSpec: published }));
  await c.run(2000);
  assert.equal(c.running('web').length, 3);
  assert.ok(c.on('n1') >= 1 && c.on('n2') >= 1);
  assert.equal(new Set(c.running('web').map((task) => task.attachments[0]!.address)).size, 3);
  const { endpoint } = c.control.service('web');
  assert.equal(endpoint?.virtualIps.length, 1);
  assert.equal(endpoint?.ports[0]?.PublishedPort, 80);
});

test('tasks are made, given their addresses and a node, and their service its port, in one write', async (t) => {
  const c = await cluster(t, 'n1', 'n2');
  const first = new Map<string, string>();
  c.view.onChange((transitions, revision) => {
    for (const { kind, id, before, after } of transitions)
      if (kind === 'task' && !before)
        first.set(id, `${after!.status.state} ${after!.attachments.length} ${revision}`);
  });
  const id = await c.create(spec({ Mode: replicas(3), EndpointSpec: published }));
  await c.clock.advance(1);
  const { version, endpoint } = c.view.get('service', id as ServiceId)!;
  assert.equal(endpoint?.ports[0]?.PublishedPort, 80);
  assert.deepEqual([...first.values()], Array(3).fill(`assigned 1 ${version}`));
  assert.deepEqual(
    c
      .tasks('web')
      .map(({ nodeId }) => nodeId)
      .sort(),
    ['n1', 'n1', 'n2'],
  );
});

test('a node with room for one global task that reserves memory is given one, made and placed in one write', async (t) => {
  const c = await cluster(t, 'n1');
  const { memoryBytes } = c.view.get('node', 'n1' as NodeId)!.description!.resources;
  const Resources = { Reservations: { MemoryBytes: 0.6 * memoryBytes } };
  const TaskTemplate = { ...image('web:1'), Resources };
  await c.create(spec({ Mode: { Global: {} }, TaskTemplate }));
  await c.create(spec({ Name: 'too', Mode: { Global: {} }, TaskTemplate }));
  await c.run(1000);
  assert.equal(c.running('web').length, 1);
  assert.match(c.tasks('too')[0]!.status.err, /insufficient resources on 1 node/);
});

test('scaling adds in free slots and removes from the fullest node; removing a service removes its tasks', async (t) => {
  const c = await cluster(t, 'n1', 'n2');
  await c.create(spec({ Mode: replicas(2) }));
  await c.run(2000);
  await c.update('web', (s) => ({ ...s, Mode: replicas(6) }));
  await c.run(2000);
  assert.deepEqual(
    c.running('web').map((task) => task.slot),
    [1, 2, 3, 4, 5, 6],
  );
  await c.update('web', (s) => ({ ...s, Mode: replicas(2) }));
  await c.run(2000);
  assert.equal(c.running('web').length, 2);
  assert.deepEqual([c.on('n1'), c.on('n2')], [1, 1]);
  assert.equal(c.tasks('web').length, 2, 'tasks of removed slots are deleted');
  await c.control.removeService('web');
  await c.run(2000);
  assert.equal(c.tasks('web').length, 0);
});

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

test('a paused node keeps its tasks and is given none, of global services neither', async (t) => {
  const c = await cluster(t, 'n1', 'n2');
  await c.create(spec({ Mode: replicas(2) }));
  await c.create(spec({ Name: 'g', Mode: { Global: {} } }));
  await c.run(2000);
  await c.agents.setNode('n2', { spec: { Labels: {}, Role: 'worker', Availability: 'pause' } });
  await c.run(500);
  await c.update('web', (s) => ({ ...s, Mode: replicas(5) }));
  await c.create(spec({ Name: 'late', Mode: { Global: {} } }));
  await c.run(3000);
  const on = (name: string, node: string) => c.running(name).filter((task) => task.nodeId === node).length;
  assert.deepEqual([on('web', 'n1'), on('web', 'n2')], [4, 1]);
  assert.deepEqual([on('g', 'n1'), on('g', 'n2')], [1, 1]);
  assert.deepEqual([on('late', 'n1'), on('late', 'n2')], [1, 0]);
});

test('a task leaves a node that lost the label it was placed by', async (t) => {
  const c = await cluster(t, 'n1', 'n2');
  const label = (id: string, Labels: Record<string, string>) =>
    c.agents.setNode(id, { spec: { Labels, Role: 'worker', Availability: 'active' } });
  await label('n1', { zone: 'a' });
  const Placement = { Constraints: ['node.labels.zone==a'] };
  await c.create(spec({ Mode: replicas(2), TaskTemplate: { ...image('web:1'), Placement } }));
  await c.run(2000);
  assert.equal(c.on('n1'), 2);
  await label('n2', { zone: 'a' });
  await label('n1', {});
  await c.run(3000);
  assert.deepEqual([c.on('n1'), c.on('n2')], [0, 2]);
});

test('a failing task is replaced in its slot after the delay, with the reason kept and bounded history', async (t) => {
  const c = await cluster(t, 'n1');
  c.agents.ends.set('bad', { state: 'failed', err: 'task: non-zero exit (1)' });
  await c.create(spec({ TaskTemplate: image('bad') }));
  await c.run(2000);
  const [first, second] = c.tasks('web');
  assert.equal(first?.status.err, 'task: non-zero exit (1)');
  assert.equal(first?.desiredState, 'shutdown');
  assert.equal(second?.desiredState, 'ready', 'prepared, but not run before the delay is over');
  await c.run(5000);
  assert.equal(c.tasks('web').length, 3);
  await c.run(60_000);
  assert.equal(c.tasks('web').length, 5);
});

test('restart policy: none and max attempts', async (t) => {
  const c = await cluster(t, 'n1');
  c.agents.ends.set('bad', { state: 'failed', err: 'x' });
  await c.create(
    spec({ Name: 'once', TaskTemplate: { ...image('bad'), RestartPolicy: { Condition: 'none' } } }),
  );
  await c.create(
    spec({
      Name: 'thrice',
      TaskTemplate: { ...image('bad'), RestartPolicy: { MaxAttempts: 2, Delay: SECOND } },
    }),
  );
  await c.run(20_000);
  assert.equal(c.tasks('once').length, 1);
  assert.equal(c.tasks('thrice').length, 3);
});

test('node down: replaced elsewhere after the delay; back: the old ones are shut down', async (t) => {
  const c = await cluster(t, 'n1', 'n2');
  await c.create(spec({ Mode: replicas(4) }));
  await c.run(2000);
  const status = c.view.get('node', 'n2' as never)!.status;
  await c.agents.setNode('n2', { status: { ...status, state: 'down' } });
  await c.run(3000);
  assert.equal(c.running('web').length, 2, 'the restart delay applies');
  await c.run(4000);
  assert.equal(c.running('web').length, 4);
  assert.ok(c.running('web').every((task) => task.nodeId === 'n1'));
  await c.agents.setNode('n2', { status: { ...status, state: 'ready' } });
  await c.run(2000);
  assert.equal(c.on('n2'), 0);
  assert.equal(c.running('web').length, 4);
});

test('a drained node is left at once; a global service has one task on each fit node', async (t) => {
  const c = await cluster(t, 'n1', 'n2', 'n3');
  await c.create(spec({ Mode: replicas(3) }));
  await c.create(spec({ Name: 'g', Mode: { Global: {} } }));
  await c.run(2000);
  assert.equal(c.running('g').length, 3);
  await c.agents.setNode('n3', { spec: { Labels: {}, Role: 'worker', Availability: 'drain' } });
  await c.run(2000);
  assert.equal(c.running('web').length, 3);
  assert.equal(c.running('g').length, 2);
  assert.equal(c.on('n3'), 0);
});

test('nodes come: a global service has a task on each, a global job on those alone that were there when it began', async (t) => {
  const c = await cluster(t, 'n1', 'n2');
  const availability = (id: string, Availability: 'active' | 'pause') =>
    c.agents.setNode(id, { spec: { Labels: {}, Role: 'worker', Availability } });
  c.agents.ends.set('once:1', { state: 'complete', err: '' });
  await availability('n2', 'pause');
  await c.create(spec({ Name: 'g', Mode: { Global: {} } }));
  await c.create(spec({ Name: 'once', Mode: { GlobalJob: {} }, TaskTemplate: image('once:1') }));
  await c.run(2000);
  const nodes = (name: string) =>
    c
      .tasks(name)
      .map((task) => task.nodeId)
      .sort();
  assert.deepEqual([nodes('g'), nodes('once')], [['n1'], ['n1']]);
  await c.store.transact([{ op: 'create', kind: 'node', object: nodeDraft('n3') }]);
  await availability('n2', 'active');
  await c.run(2000);
  assert.deepEqual(nodes('g'), ['n1', 'n2', 'n3']);
  assert.equal(c.running('g').length, 3);
  assert.deepEqual(nodes('once'), ['n1', 'n2']);
  await c.update('once', (s) => s);
  await c.run(2000);
  assert.deepEqual(nodes('once'), ['n1', 'n1', 'n2', 'n2', 'n3'], 'it runs again, now with the new one');
});

test('no node fits: the task says why, and runs when one does', async (t) => {
  const c = await cluster(t, 'n1', 'n2');
  const Resources = { Reservations: { NanoCPUs: 1e9 } };
  await c.create(spec({ Mode: replicas(5), TaskTemplate: { ...image('web:1'), Resources } }));
  await c.run(2000);
  assert.equal(c.running('web').length, 4);
  const waiting = c.tasks('web').find((task) => task.status.state === 'pending');
  assert.equal(waiting?.status.err, 'no suitable node (insufficient resources on 2 nodes)');
  await c.update('web', (s) => ({ ...s, Mode: replicas(4) }));
  await c.run(1000);
  assert.equal(c.tasks('web').length, 4);
});

test('a task that waits for room has it when another ends, or its node changes', async (t) => {
  const c = await cluster(t, 'n1');
  const all = { ...image('web:1'), Resources: { Reservations: { NanoCPUs: 2e9 } } };
  const Placement = { Constraints: ['node.labels.zone==a'] };
  await c.create(spec({ Name: 'first', TaskTemplate: all }));
  await c.run(2000);
  await c.create(spec({ Name: 'second', TaskTemplate: all }));
  await c.create(spec({ Name: 'placed', TaskTemplate: { ...image('web:1'), Placement } }));
  await c.run(2000);
  assert.deepEqual([c.running('second').length, c.running('placed').length], [0, 0]);
  await c.control.removeService('first');
  await c.run(2000);
  assert.deepEqual([c.running('second').length, c.running('placed').length], [1, 0]);
  await c.agents.setNode('n1', { spec: { Labels: { zone: 'a' }, Role: 'worker', Availability: 'active' } });
  await c.run(2000);
  assert.equal(c.running('placed').length, 1);
});

test('leaders come and go at any point; the cluster ends in the same state', async (t) => {
  const c = await cluster(t, 'n1', 'n2');
  c.agents.ends.set('bad', { state: 'failed', err: 'x' });
  await c.create(
    spec({ Mode: replicas(5), EndpointSpec: published, UpdateConfig: { Parallelism: 2, Monitor: SECOND } }),
  );
  await c.create(
    spec({
      Name: 'bad',
      TaskTemplate: { ...image('bad'), RestartPolicy: { MaxAttempts: 2, Delay: SECOND } },
    }),
  );
  for (let i = 0; i < 40; i++) {
    if (i === 5) await c.update('web', to('web:2'));
    await c.depose();
    c.lead();
    await c.run(100 + ((i * 137) % 300));
    const addresses = [...c.view.all('task').values()]
      .filter((x) => x.status.state === 'running')
      .flatMap((x) => x.attachments.map((a) => a.address));
    assert.equal(new Set(addresses).size, addresses.length);
  }
  await c.run(8000);
  assert.deepEqual(
    c.running('web').map((x) => x.slot),
    [1, 2, 3, 4, 5],
  );
  assert.ok(c.running('web').every((x) => x.spec.ContainerSpec.Image === 'web:2'));
  assert.equal(c.tasks('bad').length, 3);
  assert.equal(c.control.service('web').updateStatus?.state, 'completed');
});
