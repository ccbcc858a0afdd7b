/** The whole manager, in virtual time: which tasks there are, where, and why not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodeId, ServiceId } from '../model/ids.ts';
import { image, nodeDraft, published, replicas, SECOND, spec, to } from './testing/builders.ts';
import { testCluster as cluster } from './testing/cluster.ts';

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

test('where there is room for one, a task that waits is placed before one that is made in the same round', async (t) => {
  const c = await cluster(t, 'n1');
  const node = c.view.get('node', 'n1' as NodeId)!;
  const availability = (Availability: 'active' | 'pause') => ({ spec: { ...node.spec, Availability } });
  await c.agents.setNode('n1', availability('pause'));
  const { memoryBytes } = node.description!.resources;
  const Resources = { Reservations: { MemoryBytes: 0.6 * memoryBytes } };
  const one = (Name: string) => spec({ Name, TaskTemplate: { ...image('web:1'), Resources } });
  await c.create(one('waits'));
  await c.run(1000);
  await c.depose();
  await c.agents.setNode('n1', availability('active'));
  await c.create(one('comes'));
  c.lead(); // sees both at once
  await c.run(1000);
  assert.deepEqual([c.running('waits').length, c.running('comes').length], [1, 0]);
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

test('a clock that is set back neither lets a failed task run again at once, nor forgets the newest of a slot', async (t) => {
  const c = await cluster(t, 'n1');
  const made: string[] = [];
  c.view.onChange((transitions) => {
    for (const { kind, id, before } of transitions) if (kind === 'task' && !before) made.push(id);
  });
  await c.create(spec({ TaskTemplate: image('bad') }));
  await c.run(2000);
  c.clock.set(-3_600_000);
  c.agents.ends.set('bad', { state: 'failed', err: 'x' });
  const wanted = () => c.tasks('web').map(({ desiredState }) => desiredState);
  await c.run(5000);
  assert.deepEqual(wanted(), ['shutdown', 'ready']);
  await c.run(1000);
  assert.deepEqual(wanted(), ['shutdown', 'shutdown', 'ready']);
  await c.run(60_000);
  assert.deepEqual(
    c.tasks('web').map(({ id }) => id),
    made.slice(-5),
  );
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
