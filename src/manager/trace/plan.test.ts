import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Cidr, InterfaceAddress, Mac, NetworkId, NodeId, ServiceId, Vni } from '../../model/ids.ts';
import type { Attachment, Service } from '../../model/objects.ts';
import type { PortSpec } from '../../model/spec.ts';
import type { AnyObject } from '../../store/store.ts';
import { cluster, network, node, service, status, task, viewOf } from '../testing/builders.ts';
import { planTrace } from './plan.ts';

const stand = (networkId: string, address: string, mac: string): Attachment => ({
  networkId: networkId as NetworkId,
  address: `${address}/24` as InterfaceAddress,
  mac: mac as Mac,
  aliases: [],
});
const port = (published: number, target: number, rest: Partial<PortSpec> = {}): PortSpec => ({
  Protocol: 'tcp',
  PublishedPort: published,
  TargetPort: target,
  PublishMode: 'ingress',
  ...rest,
});
const published = (ports: readonly PortSpec[], virtualIps: Service['endpoint'] | undefined = undefined) =>
  service({ endpoint: { spec: {}, ports, virtualIps: virtualIps?.virtualIps ?? [] } });
const ON_FRONT = {
  spec: {},
  ports: [],
  virtualIps: [{ networkId: 'front' as NetworkId, address: '10.0.1.2/24' as InterfaceAddress }],
};

const nodes = [
  node('n1', { attachments: [stand('ingress', '10.255.0.2', '02:aa:00:00:00:01')] }),
  node('n2'),
  node('n3', { status: { ...node('n3').status, state: 'down', message: 'heartbeat failure' } }),
];
const query = { service: 'svc' as ServiceId, clients: ['192.0.2.0/24'], maxPackets: 5, maxMs: 5 };
const plan = (...objects: AnyObject[]) =>
  planTrace(
    viewOf(
      { kind: 'cluster', object: cluster({ dataPathPort: 4790 }) },
      ...nodes.map((object): AnyObject => ({ kind: 'node', object })),
      ...objects,
    ),
    query,
  );
const told = (found: ReturnType<typeof plan>) => found!.nodes.map(({ id, absent }) => [id, absent]);

test('a port of the mesh: every node takes part, one that is down is named', () => {
  const found = plan(
    { kind: 'service', object: published([port(80, 8080), port(53, 53, { Protocol: 'udp' })]) },
    {
      kind: 'task',
      object: task('t1', { attachments: [stand('ingress', '10.255.0.7', '02:00:00:00:00:07')] }),
    },
    { kind: 'task', object: task('t0', { nodeId: undefined }) },
    {
      kind: 'task',
      object: task('t9', {
        status: status('shutdown'),
        attachments: [stand('ingress', '10.255.0.9', '02:00:00:00:00:09')],
      }),
    },
  )!;
  assert.deepEqual(told(found), [
    ['n1', undefined],
    ['n2', undefined],
    ['n3', 'it is down: heartbeat failure'],
  ]);
  assert.deepEqual(found.filter, { hosts: ['10.255.0.7'], ports: [80, 53], clients: ['192.0.2.0/24'] });
  assert.deepEqual(found.scene.backends, ['10.255.0.7']);
  assert.equal(found.scene.vxlanPort, 4790);
  assert.deepEqual(found.scene.entrances.slice(0, 2), [
    { address: '192.0.2.1', port: 80, protocol: 'tcp' },
    { address: '192.0.2.1', port: 53, protocol: 'udp' },
  ]);
  const { addresses, macs } = found.scene.names;
  assert.equal(addresses['192.0.2.2'], 'n2');
  assert.equal(addresses['10.255.0.2'], 'ingress endpoint of n1');
  assert.equal(addresses['10.255.0.7'], 'web.1 on n1');
  assert.deepEqual(
    [macs['02:00:00:00:00:07'], macs['02:aa:00:00:00:01']],
    ['web.1', 'n1 uplink'],
    'an endpoint that bears the uplink’s MAC is told as the reference capture does',
  );
});

test('a virtual IP: the nodes of those that may call it, and their names', () => {
  const found = plan(
    { kind: 'network', object: network('front') },
    { kind: 'service', object: published([], ON_FRONT) },
    { kind: 'task', object: task('t1', { attachments: [stand('front', '10.0.1.7', '02:00:00:00:00:07')] }) },
    {
      kind: 'task',
      object: task('c1', {
        serviceId: 'other' as ServiceId,
        serviceName: 'caller',
        nodeId: 'n2' as NodeId,
        attachments: [stand('front', '10.0.1.8', '02:00:00:00:00:08')],
      }),
    },
    {
      kind: 'task',
      object: task('by-hand', {
        ...{ serviceId: '' as ServiceId, serviceName: '', slot: 0, nodeId: 'n2' as NodeId },
        spec: {
          ContainerSpec: { Image: '' },
          NetworkAttachmentSpec: { ContainerID: 'c0ffee', ContainerName: 'shell' },
        },
        attachments: [stand('front', '10.0.1.9', '02:00:00:00:00:09')],
      }),
    },
  )!;
  assert.deepEqual(told(found), [
    ['n1', undefined],
    ['n2', undefined],
  ]);
  assert.deepEqual(found.filter.hosts, ['10.0.1.7']);
  assert.equal(found.scene.names.addresses['10.0.1.2'], 'virtual IP of web');
  assert.equal(found.scene.names.addresses['10.0.1.8'], 'caller.1 on n2');
  assert.equal(found.scene.names.addresses['10.0.1.9'], 'shell on n2');
});

test('host mode: the target port as well, on the nodes of the tasks alone', () => {
  const found = plan(
    { kind: 'service', object: published([port(8080, 80, { PublishMode: 'host' })]) },
    { kind: 'task', object: task('t1', { nodeId: 'n2' as NodeId }) },
  )!;
  assert.deepEqual(told(found), [['n2', undefined]]);
  assert.deepEqual(found.filter.ports, [8080, 80]);
  assert.deepEqual(
    found.scene.entrances.map(({ address, port: entrance }) => `${address}:${entrance}`),
    ['192.0.2.2:8080', '127.0.0.1:8080'],
  );
});

test('a service of very many tasks is captured by its networks, whose programs are bounded', () => {
  const state = {
    vni: 4097 as Vni,
    subnet: '10.0.0.0/16' as Cidr,
    gateway: '10.0.0.1' as never,
    ipRange: undefined,
  };
  const tasks = Array.from(
    { length: 300 },
    (_, i): AnyObject => ({
      kind: 'task',
      object: task(`t${i}`, {
        attachments: [stand('front', `10.0.${i >> 7}.${i & 127}`, '02:00:00:00:00:01')],
      }),
    }),
  );
  const found = plan(
    { kind: 'network', object: network('front', { state }) },
    { kind: 'service', object: published([], ON_FRONT) },
    ...tasks,
  )!;
  assert.deepEqual(found.filter.hosts, ['10.0.0.0/16']);
  assert.equal(found.scene.backends.length, 300);
});

test('no service, no plan', () => {
  assert.equal(plan(), undefined);
});
