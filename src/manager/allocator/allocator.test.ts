import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Cidr, Ipv4, Mac } from '../../model/ids.ts';
import type { AnyObject } from '../../store/store.ts';
import {
  cluster,
  counterIds,
  network,
  node,
  service,
  spec,
  status,
  T0,
  task,
  viewOf,
} from '../testing/builders.ts';
import { TestCluster } from '../testing/cluster.ts';
import { AddressPool, QUARANTINE_MS } from './address-pool.ts';
import { Book } from './book.ts';
import { freeSubnet } from './network-plan.ts';
import { planAllocation } from './plan.ts';

const cidr = (text: string) => text as Cidr;

test('addresses are next-fit, quarantined when freed, and run out in the end', () => {
  const pool = new AddressPool(cidr('10.0.0.0/29'), undefined, ['10.0.0.1' as Ipv4]);
  const next = (now: number) => pool.next(now, new Set());
  assert.equal(next(0), '10.0.0.2');
  pool.hold('10.0.0.2' as Ipv4, 'a');
  pool.release('10.0.0.2' as Ipv4, 'a', 0);
  assert.equal(next(1), '10.0.0.3', 'a freed address is not the next one');
  for (const ip of ['10.0.0.3', '10.0.0.4', '10.0.0.5', '10.0.0.6']) pool.hold(ip as Ipv4, ip);
  assert.equal(next(QUARANTINE_MS - 1), undefined);
  assert.equal(next(QUARANTINE_MS), '10.0.0.2');
});

test('an address held by two is free only when both let go', () => {
  const pool = new AddressPool(cidr('10.0.0.0/30'), undefined, ['10.0.0.1' as Ipv4]);
  pool.hold('10.0.0.2' as Ipv4, 'a');
  pool.hold('10.0.0.2' as Ipv4, 'b');
  pool.release('10.0.0.2' as Ipv4, 'a', 0);
  assert.equal(pool.next(QUARANTINE_MS, new Set()), undefined);
});

test('subnets of the pools never overlap what is taken', () => {
  const block = fc.tuple(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 22, max: 28 }));
  fc.assert(
    fc.property(fc.array(block, { maxLength: 40 }), (taken) => {
      const cidrs = taken.map(([third, size]) =>
        cidr(`10.0.${size < 24 ? third & -(2 ** (24 - size)) : third}.0/${size}`),
      );
      const free = freeSubnet([cidr('10.0.0.0/16')], 24, cidrs);
      const thirds = new Set(
        taken.flatMap(([third, size]) =>
          size < 24
            ? [...Array(2 ** (24 - size)).keys()].map((i) => (third & -(2 ** (24 - size))) + i)
            : [third],
        ),
      );
      const first = [...Array(256).keys()].find((third) => !thirds.has(third));
      assert.equal(free, first === undefined ? undefined : `10.0.${first}.0/24`);
    }),
  );
});

function plan(keys: string[], ...objects: AnyObject[]) {
  const view = viewOf({ kind: 'cluster', object: cluster() }, ...objects);
  const book = new Book();
  book.rebuild(view, T0);
  return planAllocation(view, book, keys, T0, counterIds());
}

test('networks: VNI 4096 for ingress only; given subnet, gateway and range are honoured', () => {
  const mine = network('mine', {
    spec: {
      Name: 'mine',
      Driver: 'overlay',
      IPAM: { Config: [{ Subnet: '10.0.0.0/16', Gateway: '10.0.0.9', IPRange: '10.0.5.0/24' }] },
    },
  });
  const steps = plan(
    ['network/auto', 'network/mine'],
    { kind: 'network', object: network('auto') },
    { kind: 'network', object: mine },
  ).steps;
  assert.deepEqual(
    steps.map((step) => step.kind === 'allocate-network' && step.state),
    [
      { vni: 4097, subnet: '10.1.0.0/24', gateway: '10.1.0.1', ipRange: undefined },
      { vni: 4098, subnet: '10.0.0.0/16', gateway: '10.0.0.9', ipRange: '10.0.5.0/24' },
    ],
  );
});

test('addresses come from the range alone, and never the gateway or an auxiliary one', () => {
  const fixed = ['10.0.5.0', '10.0.5.1'] as Ipv4[];
  const pool = new AddressPool(cidr('10.0.0.0/16'), cidr('10.0.5.0/30'), fixed);
  const given: Ipv4[] = [];
  for (let ip = pool.next(0, new Set()); ip !== undefined; ip = pool.next(0, new Set())) {
    pool.hold(ip, `task ${ip}`);
    given.push(ip);
  }
  assert.deepEqual(given, ['10.0.5.2', '10.0.5.3']);
});

test('subnets come from the pools and of the size that swarm init was given', () => {
  const settings = { ...cluster(), addressPools: [cidr('10.30.0.0/16')], subnetSize: 26 };
  const view = viewOf(
    { kind: 'cluster', object: settings },
    { kind: 'network', object: network('one') },
    { kind: 'network', object: network('two') },
  );
  const book = new Book();
  book.rebuild(view, T0);
  const { steps } = planAllocation(view, book, ['network/one', 'network/two'], T0, counterIds());
  assert.deepEqual(
    steps.map((step) => step.kind === 'allocate-network' && step.state.subnet),
    ['10.30.0.0/26', '10.30.0.64/26'],
  );
});

const ingress = network('ingress', {
  spec: { Name: 'ingress', Driver: 'overlay', Ingress: true },
  state: { vni: 4096 as never, subnet: cidr('10.0.0.0/24'), gateway: '10.0.0.1' as Ipv4, ipRange: undefined },
});

test('an uplink MAC that two nodes share goes to one endpoint only', () => {
  const same = { ...node('n1').description!, uplinkMac: '02:aa:00:00:00:07' as Mac };
  const nodes = ['n1', 'n2'].map(
    (id): AnyObject => ({ kind: 'node', object: node(id, { description: same }) }),
  );
  const { steps } = plan(['node/n1', 'node/n2'], { kind: 'network', object: ingress }, ...nodes);
  const macs = steps.map((step) => step.kind === 'allocate-node' && step.attachments[0]!.mac);
  assert.equal(macs[0], same.uplinkMac);
  assert.notEqual(macs[1], same.uplinkMac);
});

test('a port that was chosen stays where an update brings another', () => {
  const port = (TargetPort: number, PublishedPort?: number) => ({
    ...({ Protocol: 'tcp', PublishMode: 'ingress' } as const),
    TargetPort,
    PublishedPort,
  });
  const changed = service({
    id: 'web' as never,
    spec: spec({ EndpointSpec: { Ports: [port(80), port(81)] } }),
    endpoint: { spec: { Ports: [port(80)] }, ports: [port(80, 30_005)], virtualIps: [] },
  });
  const { steps } = plan(
    ['service/web'],
    { kind: 'network', object: ingress },
    { kind: 'service', object: changed },
  );
  assert.deepEqual(
    steps.map((s) => s.kind === 'allocate-service' && s.endpoint.ports.map((p) => p.PublishedPort)),
    [[30_005, 30_000]],
  );
});

test('dynamic ports start at 30000; a port that another service has is refused in words on the task', () => {
  const Ports = (PublishedPort?: number) => [
    { Protocol: 'tcp' as const, TargetPort: 80, PublishMode: 'ingress' as const, PublishedPort },
  ];
  const of = (id: string, port?: number) =>
    service({ id: id as never, spec: spec({ Name: id, EndpointSpec: { Ports: Ports(port) } }) });
  const late = of('late', 80);
  const first = { ...of('first', 80), endpoint: { spec: {}, ports: Ports(80), virtualIps: [] } };
  const waiting = task('t', {
    serviceId: late.id,
    nodeId: undefined,
    endpointSpec: late.spec.EndpointSpec,
    status: status('new'),
  });
  const { steps } = plan(
    ['service/dyn', 'service/late', 'task/t'],
    { kind: 'network', object: ingress },
    { kind: 'service', object: first },
    { kind: 'service', object: late },
    { kind: 'service', object: of('dyn') },
    { kind: 'task', object: waiting },
  );
  assert.deepEqual(
    steps.map((s) =>
      s.kind === 'allocate-service'
        ? s.endpoint.ports[0]!.PublishedPort
        : s.kind === 'explain-task'
          ? s.err
          : s.kind,
    ),
    [30_000, "port '80' is already in use by service 'first' (first)"],
  );
});

test('a full network says so, and goes on when an address comes out of quarantine', async (t) => {
  const c = await new TestCluster().start('n1');
  t.after(() => c.stop());
  const id = await c.control.createNetwork({
    Name: 'small',
    Driver: 'overlay',
    IPAM: { Config: [{ Subnet: '10.9.0.0/29' }] },
  });
  await c.run(200);
  const TaskTemplate = { ContainerSpec: { Image: 'x' }, Networks: [{ Target: 'small' }] };
  await c.create(spec({ TaskTemplate, Mode: { Replicated: { Replicas: 5 } } }));
  await c.run(2000);
  assert.equal(c.running('web').length, 4);
  const stuck = c.tasks('web').find((x) => x.status.state === 'new')!;
  assert.equal(stuck.status.err, 'no available IP addresses on network small (10.9.0.0/29)');
  const gone = c.running('web')[0]!.attachments[0]!.address;
  const { version, spec: now } = c.control.service('web');
  await c.control.updateService(
    'web',
    version,
    { ...now, Mode: { Replicated: { Replicas: 0 } } },
    { rollback: false },
  );
  await c.run(1000);
  await c.update('web', (s) => ({ ...s, Mode: { Replicated: { Replicas: 4 } } }));
  await c.run(30_000);
  assert.equal(c.running('web').length, 0, 'all addresses are in quarantine');
  await c.run(40_000);
  assert.equal(c.running('web').length, 4);
  assert.ok(
    c.running('web').some((x) => x.attachments[0]!.address === gone && x.attachments[0]!.networkId === id),
  );
});

test('never two holders of one address, whatever happens', async () => {
  const action = fc.oneof(
    fc.record({
      do: fc.constant('scale' as const),
      to: fc.integer({ min: 0, max: 9 }),
      of: fc.constantFrom('a', 'b'),
    }),
    fc.record({
      do: fc.constant('image' as const),
      to: fc.integer({ min: 1, max: 3 }),
      of: fc.constantFrom('a', 'b'),
    }),
    fc.record({ do: fc.constant('leader' as const) }),
    fc.record({ do: fc.constant('node' as const), to: fc.constantFrom('down' as const, 'ready' as const) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(action, { minLength: 3, maxLength: 12 }), async (actions) => {
      const c = await new TestCluster().start('n1', 'n2');
      await c.control.createNetwork({
        Name: 'net',
        Driver: 'overlay',
        IPAM: { Config: [{ Subnet: '10.9.0.0/27' }] },
      });
      const TaskTemplate = { ContainerSpec: { Image: 'x:1' }, Networks: [{ Target: 'net' }] };
      const UpdateConfig = { Parallelism: 0, Order: 'start-first' as const };
      for (const Name of ['a', 'b']) await c.create(spec({ Name, TaskTemplate, UpdateConfig }));
      for (const act of actions) {
        if (act.do === 'scale')
          await c.update(act.of, (s) => ({ ...s, Mode: { Replicated: { Replicas: act.to } } }));
        if (act.do === 'image')
          await c.update(act.of, (s) => ({
            ...s,
            TaskTemplate: { ...s.TaskTemplate, ContainerSpec: { Image: `x:${act.to}` } },
          }));
        if (act.do === 'leader') {
          await c.depose();
          c.lead();
        }
        if (act.do === 'node')
          await c.agents.setNode('n2', { status: { ...node('n2').status, state: act.to } });
        for (let i = 0; i < 5; i++) {
          await c.run(100);
          const held = [
            ...[...c.view.all('task').values()]
              .filter((x) => !['shutdown', 'failed', 'orphaned'].includes(x.status.state))
              .flatMap((x) => x.attachments),
            ...[...c.view.all('service').values()].flatMap((s) => s.endpoint?.virtualIps ?? []),
            ...[...c.view.all('node').values()].flatMap((n) => n.attachments),
          ].map(({ networkId, address }) => `${networkId} ${address}`);
          assert.equal(new Set(held).size, held.length);
        }
      }
      await c.stop();
    }),
    { numRuns: 15 },
  );
});

test('a new leader keeps the quarantine that the one before it began', async (t) => {
  const c = await new TestCluster().start('n1');
  t.after(() => c.stop());
  await c.control.createNetwork({
    Name: 'small',
    Driver: 'overlay',
    IPAM: { Config: [{ Subnet: '10.9.0.0/29' }] },
  });
  const TaskTemplate = { ContainerSpec: { Image: 'x' }, Networks: [{ Target: 'small' }] };
  await c.create(spec({ TaskTemplate, Mode: { Replicated: { Replicas: 4 } } }));
  await c.run(2000);
  assert.equal(c.running('web').length, 4);
  await c.update('web', (s) => ({ ...s, Mode: { Replicated: { Replicas: 0 } } }));
  await c.run(2000);
  await c.depose();
  c.lead();
  await c.update('web', (s) => ({ ...s, Mode: { Replicated: { Replicas: 4 } } }));
  await c.run(20_000);
  assert.equal(c.running('web').length, 0, 'every address is in quarantine still');
  await c.run(QUARANTINE_MS);
  assert.equal(c.running('web').length, 4);
});
