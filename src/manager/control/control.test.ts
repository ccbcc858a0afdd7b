import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { SkeinError } from '../../model/errors.ts';
import type { NodeRole, ServiceSpec } from '../../model/spec.ts';
import { nodeDraft, spec } from '../testing/builders.ts';
import { TestCluster } from '../testing/cluster.ts';

const code = (name: string, words: string) => (error: unknown) => {
  assert.ok(error instanceof SkeinError, String(error));
  assert.equal(error.message, `rpc error: code = ${name} desc = ${words}`);
  return true;
};

async function cluster(t: TestContext): Promise<TestCluster> {
  const c = await new TestCluster().start('n1', 'n2');
  t.after(() => c.stop());
  return c;
}

const container = (patch: object): Partial<ServiceSpec> => ({
  TaskTemplate: { ContainerSpec: { Image: 'web:1', ...patch } },
});
const template = (patch: object): Partial<ServiceSpec> => ({
  TaskTemplate: { ContainerSpec: { Image: 'web:1' }, ...patch },
});
const port = (patch: object) =>
  ({ Protocol: 'tcp', TargetPort: 80, PublishedPort: 80, PublishMode: 'ingress', ...patch }) as never;

test('a taken name, a taken port and an unknown network are refused and change nothing', async (t) => {
  const c = await cluster(t);
  const id = await c.create(spec({ EndpointSpec: { Ports: [port({})] } }));
  await c.run(2000);
  const before = c.view.revision;
  await assert.rejects(
    c.create(spec()),
    code('AlreadyExists', 'name conflicts with an existing object: service web already exists'),
  );
  await assert.rejects(
    c.create(spec({ Name: 'b', EndpointSpec: { Ports: [port({ TargetPort: 81 })] } })),
    code('InvalidArgument', `port '80' is already in use by service 'web' (${id}) as an ingress port`),
  );
  await assert.rejects(c.create(spec({ Name: 'b', ...template({ Networks: [{ Target: 'nope' }] }) })), {
    code: 'not-found',
    message: 'network nope not found',
  });
  const hostPort = port({ PublishMode: 'host' });
  await assert.rejects(
    c.create(spec({ Name: 'b', EndpointSpec: { Ports: [hostPort] } })),
    code('InvalidArgument', `port '80' is already in use by service 'web' (${id}) as an ingress port`),
  );
  assert.equal(c.view.revision, before);
  await c.create(spec({ Name: 'udp', EndpointSpec: { Ports: [port({ Protocol: 'udp' })] } }));
});

test('a host-published port is taken for the mesh, and not for other services on other nodes', async (t) => {
  const c = await cluster(t);
  const own = spec({ EndpointSpec: { Ports: [port({ PublishMode: 'host' })] } });
  const id = await c.create(own);
  await assert.rejects(
    c.create(spec({ Name: 'b', EndpointSpec: { Ports: [port({})] } })),
    code('InvalidArgument', `port '80' is already in use by service 'web' (${id}) as a host-published port`),
  );
  await c.create({ ...own, Name: 'c' });
});

test('a port that was chosen for a service is taken as one that it asked for is', async (t) => {
  const c = await cluster(t);
  const id = await c.create(spec({ EndpointSpec: { Ports: [port({ PublishedPort: 0 })] } }));
  await c.run(500);
  const [{ PublishedPort: chosen } = {}] = c.control.service('web').endpoint!.ports;
  await assert.rejects(
    c.create(spec({ Name: 'b', EndpointSpec: { Ports: [port({ PublishedPort: chosen })] } })),
    code('InvalidArgument', `port '${chosen}' is already in use by service 'web' (${id}) as an ingress port`),
  );
});

test('a network given twice, by its name and by its id, is refused', async (t) => {
  const c = await cluster(t);
  const id = await c.control.createNetwork({ Name: 'net', Driver: 'overlay' });
  await assert.rejects(
    c.create(spec(template({ Networks: [{ Target: 'net' }, { Target: id }] }))),
    code('InvalidArgument', 'networks must not be specified more than once'),
  );
});

test('update: stale versions, renames and changes of mode are refused; only what tasks depend on makes a version', async (t) => {
  const c = await cluster(t);
  await c.create(spec());
  const stale = c.control.service('web').version;
  await c.run(500);
  await assert.rejects(
    c.control.updateService('web', stale - 1, spec(), { rollback: false }),
    code('Unknown', 'update out of sequence'),
  );
  await assert.rejects(
    c.update('web', (s) => ({ ...s, Mode: { Global: {} } })),
    code('Unimplemented', 'service mode change is not allowed'),
  );
  await assert.rejects(
    c.update('web', (s) => ({ ...s, Name: 'x' })),
    code('Unimplemented', 'renaming services is not supported'),
  );
  await c.update('web', (s) => ({ ...s, Labels: { a: 'b' } }));
  assert.equal(c.control.service('web').specVersion, 1);
  await c.update('web', (s) => ({ ...s, TaskTemplate: { ...s.TaskTemplate, ForceUpdate: 1 } }));
  assert.equal(c.control.service('web').specVersion, 2);
  assert.equal(c.control.service('web').previousSpec?.TaskTemplate.ForceUpdate, 0);
});

test('registry credentials are kept by an update that gives none', async (t) => {
  const c = await cluster(t);
  await c.control.createService(spec(), 'first');
  await c.update('web', (s) => s);
  assert.equal(c.control.service('web').registryAuth, 'first');
  const { version, spec: now } = c.control.service('web');
  await c.control.updateService('web', version, now, { rollback: false, registryAuth: 'second' });
  assert.equal(c.control.service('web').registryAuth, 'second');
});

test('how many is filled in where a mode does not say it', async (t) => {
  const c = await cluster(t);
  await c.create(spec({ Mode: { Replicated: {} } }));
  await c.create(spec({ Name: 'job', Mode: { ReplicatedJob: {} } }));
  await c.create(spec({ Name: 'wide', Mode: { ReplicatedJob: { MaxConcurrent: 3 } } }));
  const mode = (name: string) => c.control.service(name).spec.Mode;
  assert.deepEqual(mode('web'), { Replicated: { Replicas: 1 } });
  assert.deepEqual(mode('job'), { ReplicatedJob: { MaxConcurrent: 1, TotalCompletions: 1 } });
  assert.deepEqual(mode('wide'), { ReplicatedJob: { MaxConcurrent: 3, TotalCompletions: 3 } });
});

test('rollback goes back to the previous spec and says so; another takes it back', async (t) => {
  const c = await cluster(t);
  await c.create(spec());
  await assert.rejects(
    c.control.updateService('web', c.control.service('web').version, spec(), { rollback: true }),
    code('FailedPrecondition', `service ${c.control.service('web').id} does not have a previous spec`),
  );
  await c.run(1500);
  await c.update('web', (s) => ({ ...s, ...container({ Image: 'web:2' }) }));
  await c.run(10_000);
  const { version } = c.control.service('web');
  await c.control.updateService('web', version, spec(), { rollback: true });
  assert.equal(c.control.service('web').updateStatus?.state, 'rollback_started');
  await c.run(10_000);
  assert.equal(c.running('web')[0]!.spec.ContainerSpec.Image, 'web:1');
  assert.equal(c.control.service('web').updateStatus?.message, 'rollback completed');
  const again = c.control.service('web').version;
  await c.control.updateService('web', again, spec(), { rollback: true });
  await c.run(10_000);
  assert.equal(c.running('web')[0]!.spec.ContainerSpec.Image, 'web:2');
});

test('credentials go with the spec they were given for: kept by an update, given back by a rollback', async (t) => {
  const c = await cluster(t);
  const { id } = await c.control.createService(spec(), 'first');
  await c.run(1500);
  const update = async (options: Partial<Parameters<typeof c.control.updateService>[3]>, Image = 'web:2') => {
    const { version } = c.control.service(id);
    await c.control.updateService(id, version, spec(container({ Image })), { rollback: false, ...options });
    await c.run(10_000);
    return new Set(c.running('web').map(({ registryAuth }) => registryAuth));
  };
  assert.deepEqual(await update({}), new Set(['first']));
  assert.deepEqual(await update({ registryAuth: 'second' }, 'web:3'), new Set(['second']));
  assert.deepEqual(await update({ rollback: true }), new Set(['first']));
  assert.deepEqual(await update({ rollback: true }), new Set(['second']), 'and again');
  assert.deepEqual(await update({ registryAuthFrom: 'previous-spec' }, 'web:4'), new Set(['first']));
  assert.deepEqual(await update({ rollback: true, registryAuth: 'third' }), new Set(['third']));
});

test('networks: in use, ingress rules, overlap', async (t) => {
  const c = await cluster(t);
  const id = await c.control.createNetwork({
    Name: 'net',
    Driver: 'overlay',
    IPAM: { Config: [{ Subnet: '10.9.0.0/24' }] },
  });
  await c.run(300);
  const service = await c.create(spec(template({ Networks: [{ Target: 'net' }] })));
  assert.equal(c.control.service('web').spec.TaskTemplate.Networks?.[0]?.Target, id);
  await c.run(1500);
  await assert.rejects(
    c.control.removeNetwork('net'),
    code('FailedPrecondition', `network ${id} is in use by service ${service}`),
  );
  await assert.rejects(c.control.createNetwork({ Name: 'net', Driver: 'overlay' }), {
    code: 'already-exists',
  });
  const other = (Subnet: string, Options = {}) =>
    c.control.createNetwork({ Name: 'other', Driver: 'overlay', Options, IPAM: { Config: [{ Subnet }] } });
  await assert.rejects(other(c.view.ingress!.state!.subnet), { code: 'failed-precondition' });
  const VNI_LIST = 'com.docker.network.driver.overlay.vxlanid_list';
  const vni = c.control.network('net').state!.vni;
  await assert.rejects(other('10.9.0.0/16', { [VNI_LIST]: `${vni}` }), { code: 'failed-precondition' });
  for (const bad of ['0', '16777216', 'x'])
    await assert.rejects(other('10.9.0.0/16', { [VNI_LIST]: bad }), { code: 'invalid-argument' });
  await other('10.9.0.0/16', { [VNI_LIST]: '7000' });
  await assert.rejects(
    c.create(spec({ Name: 'x', ...template({ Networks: [{ Target: 'net' }, { Target: 'other' }] }) })),
    code(
      'InvalidArgument',
      'networks net (10.9.0.0/24) and other (10.9.0.0/16) overlap: one service can not be on both',
    ),
  );
  await c.run(300);
  assert.equal(c.control.network('other').state?.vni, 7000);
  await assert.rejects(c.control.createNetwork({ Name: 'in2', Driver: 'overlay', Ingress: true }), {
    code: 'already-exists',
  });
  await assert.rejects(c.create(spec({ Name: 'x', ...template({ Networks: [{ Target: 'ingress' }] }) })), {
    code: 'invalid-argument',
  });
  await c.control.removeService('web');
  const removed = c.control.removeNetwork('net');
  await c.clock.advance(10);
  assert.ok(c.control.network('net'), 'its last task has not ended');
  await c.run(1500);
  await removed;
  assert.throws(() => c.control.network('net'), { code: 'not-found' });
});

test('a network whose last task does not stop stays, and it is said which that is', async (t) => {
  const c = await cluster(t);
  const id = await c.control.createNetwork({ Name: 'net', Driver: 'overlay' });
  await c.create(spec(template({ Networks: [{ Target: 'net' }] })));
  await c.run(2000);
  const [task] = c.running('web');
  c.agents.silent.add(task!.nodeId!);
  await c.control.removeService('web');
  const refused = assert.rejects(
    c.control.removeNetwork('net'),
    code('FailedPrecondition', `network ${id} is in use by task ${task!.id}`),
  );
  await c.clock.advance(60_000);
  await refused;
  assert.equal(c.control.network('net').id, id);
});

test('networks that can not be are refused in words, and none is made', async (t) => {
  const c = await cluster(t);
  const ipam = (config: object) => ({ IPAM: { Config: [config] } });
  const vni = (list: string) => ({ Options: { 'com.docker.network.driver.overlay.vxlanid_list': list } });
  const refused: [name: string, words: string, spec: object][] = [
    ['InvalidArgument', 'invalid CIDR address: 300.1.1.0/24', ipam({ Subnet: '300.1.1.0/24' })],
    [
      'InvalidArgument',
      'ipam configuration: subnet 10.9.0.0/30 is too small',
      ipam({ Subnet: '10.9.0.0/30' }),
    ],
    [
      'InvalidArgument',
      'ipam configuration: address 10.8.0.1 is not in subnet 10.9.0.0/24',
      ipam({ Subnet: '10.9.0.0/24', Gateway: '10.8.0.1' }),
    ],
    [
      'InvalidArgument',
      'ipam configuration: ip-range 10.9.0.0/16 is not in subnet 10.9.0.0/24',
      ipam({ Subnet: '10.9.0.0/24', IPRange: '10.9.0.0/16' }),
    ],
    [
      'InvalidArgument',
      'ipam configuration: subnet must be specified with gateway or ip-range',
      ipam({ Gateway: '10.9.0.1' }),
    ],
    ['InvalidArgument', 'invalid vxlan id value x passed', vni('x')],
    ['InvalidArgument', 'invalid vxlan id value 16777216 passed', vni('16777216')],
    ['FailedPrecondition', 'vxlan id 4096 is already in use by network ingress', vni('4096')],
    ['Unimplemented', 'IPv6 on overlay networks is not served by Skein yet', { EnableIPv6: true }],
    [
      'Unimplemented',
      'encrypted overlay networks are not served by Skein yet',
      { Options: { encrypted: '' } },
    ],
    ['Unimplemented', 'network driver macvlan is not served by Skein', { Driver: 'macvlan' }],
  ];
  const before = c.view.all('network').size;
  for (const [name, words, spec] of refused)
    await assert.rejects(
      c.control.createNetwork({ Name: 'net', Driver: 'overlay', ...spec }),
      code(name, words),
      words,
    );
  assert.equal(c.view.all('network').size, before);
});

test('an ingress network is neither attachable nor internal', async (t) => {
  const c = await cluster(t);
  const { id } = c.view.ingress!;
  const removed = c.control.removeNetwork('ingress');
  await c.run(500);
  await removed;
  assert.equal(c.view.get('network', id), undefined);
  for (const [words, patch] of [
    ['ingress network cannot be attachable', { Attachable: true }],
    ['ingress network cannot be internal', { Internal: true }],
  ] as const)
    await assert.rejects(
      c.control.createNetwork({ Name: 'own', Driver: 'overlay', Ingress: true, ...patch }),
      code('InvalidArgument', words),
    );
});

test('the ingress network may be replaced by one with a subnet of its own; nodes get a new endpoint', async (t) => {
  const c = await cluster(t);
  await c.control.removeNetwork('ingress');
  await c.run(500);
  assert.deepEqual(
    [...c.view.all('node').values()].map((n) => n.attachments.length),
    [0, 0],
  );
  await assert.rejects(c.create(spec({ EndpointSpec: { Ports: [port({})] } })), {
    code: 'failed-precondition',
  });
  await c.control.createNetwork({
    Name: 'ingress',
    Driver: 'overlay',
    Ingress: true,
    IPAM: { Config: [{ Subnet: '10.255.0.0/16' }] },
  });
  await c.run(500);
  assert.equal(c.view.ingress?.state?.vni, 4096);
  for (const node of c.view.all('node').values())
    assert.match(node.attachments[0]!.address, /^10\.255\.0\.[23]\/16$/);
});

test('nodes: a ready one stays unless forced, a manager until it is a worker', async (t) => {
  const c = await cluster(t);
  await assert.rejects(
    c.control.removeNode('n2', false),
    code('FailedPrecondition', "node n2 is not down and can't be removed"),
  );
  const { version, spec: has } = c.control.node('n2');
  await c.control.updateNode('n2', version, { ...has, Availability: 'drain', Labels: { zone: 'a' } });
  assert.equal(c.control.node('n2').spec.Labels.zone, 'a');
  await c.control.removeNode('n2', true);
  assert.throws(() => c.control.node('n2'), { code: 'not-found', message: 'node n2 not found' });
  await c.store.transact([
    {
      op: 'create',
      kind: 'node',
      object: nodeDraft('n9', { spec: { Labels: {}, Role: 'manager', Availability: 'active' } }),
    },
  ]);
  await c.run(200);
  await assert.rejects(c.control.removeNode('n9', true), { code: 'failed-precondition' });
});

test('roles: what is wanted is written; of two demotions at once the second must look again', async (t) => {
  const c = await cluster(t);
  const write = (id: string, role: NodeRole) => {
    const { version, spec: has } = c.control.node(id);
    return c.control.updateNode(id, version, { ...has, Role: role });
  };
  const managers = ['m1', 'm2', 'm3'];
  await c.store.transact(
    managers.map((id) => ({
      op: 'create',
      kind: 'node',
      object: nodeDraft(id, {
        spec: { Labels: {}, Role: 'manager', Availability: 'active' },
        manager: { addr: id, etcdName: id, etcdPeerUrl: id },
      }),
    })),
  );
  await c.run(200);
  await write('n2', 'manager');
  assert.equal(c.control.node('n2').spec.Role, 'manager');
  await write('n2', 'worker');
  const [one, two] = await Promise.allSettled([write('m1', 'worker'), write('m2', 'worker')]);
  assert.equal(one!.status, 'fulfilled');
  assert.match(String((two as PromiseRejectedResult).reason), /update out of sequence/);
  await write('m2', 'worker');
  await assert.rejects(
    write('m3', 'worker'),
    code('FailedPrecondition', 'attempting to demote the last manager of the swarm'),
  );
  await assert.rejects(
    c.control.removeNode('m1', true),
    /node m1 is a cluster manager .* It must be demoted to worker before removal/,
  );
});

test('nodes and the swarm: a stale version is refused and changes nothing', async (t) => {
  const c = await cluster(t);
  const { version: old, spec: has } = c.control.node('n2');
  await c.control.updateNode('n2', old, { ...has, Labels: { zone: 'a' } });
  await assert.rejects(
    c.control.updateNode('n2', old, { ...has, Availability: 'drain' }),
    code('Unknown', 'update out of sequence'),
  );
  assert.deepEqual(c.control.node('n2').spec, { ...has, Labels: { zone: 'a' } });
  const { version, spec: wanted, joinTokens } = c.view.cluster!;
  await assert.rejects(
    c.control.updateSwarm(version - 1, wanted, { workerToken: true, managerToken: true }),
    code('Unknown', 'update out of sequence'),
  );
  assert.deepEqual(c.view.cluster!.joinTokens, joinTokens);
});

test('swarm update: tokens rotate one by one', async (t) => {
  const c = await cluster(t);
  const { version, spec: has } = c.view.cluster!;
  const after = await c.control.updateSwarm(version, has, { workerToken: true, managerToken: false });
  assert.deepEqual(after.joinTokens, { worker: 'new-worker', manager: 'm' });
});
