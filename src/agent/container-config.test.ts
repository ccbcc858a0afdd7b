import assert from 'node:assert/strict';
import { test } from 'node:test';
import { discrete, named } from '../model/generic-resources.ts';
import type { ContainerId, NetworkId } from '../model/ids.ts';
import type { ContainerSpec } from '../model/spec.ts';
import type { TaskItem } from '../rpc/messages.ts';
import { containerConfig, fileContents, sandboxSpec } from './container-config.ts';
import { taskItem } from './fake-node.ts';

const NODE = {
  id: 'node1' as never,
  hostname: 'host1',
  platform: { architecture: 'x86_64', os: 'linux' },
};
const ID = 'c'.repeat(64) as ContainerId;
const PLACE = { id: ID, netnsPath: '/run/n', files: { '/etc/hosts': '/f' } };

const of = (spec: Partial<ContainerSpec>, patch: Partial<TaskItem> = {}): TaskItem =>
  taskItem('t1', {
    serviceLabels: { tier: 'front' },
    ...patch,
    spec: { ...patch.spec, ContainerSpec: { Image: 'web:1', ...spec } },
  });
const config = (spec: Partial<ContainerSpec>, patch: Partial<TaskItem> = {}, image = {}) =>
  containerConfig(of(spec, patch), NODE, PLACE, image);
const files = (spec: Partial<ContainerSpec>, resolvConf = '', patch: Partial<TaskItem> = {}) =>
  fileContents(of(spec, patch), NODE, ID, resolvConf);

test('a container has its task’s name, the labels of both, its limits, its log and its place', () => {
  const limits = { NanoCPUs: 1, MemoryBytes: 2, Pids: 3 };
  const logging = { Name: 'json-file', Options: { 'max-file': '2' } };
  const made = config(
    { Labels: { made: 'here', 'com.docker.swarm.task.id': 'forged' } },
    { spec: { Resources: { Limits: limits }, LogDriver: logging } as never },
  );
  assert.deepEqual(made.labels, {
    made: 'here',
    'com.docker.swarm.node.id': 'node1',
    'com.docker.swarm.service.id': 'svc',
    'com.docker.swarm.service.name': 'web',
    'com.docker.swarm.task': '',
    'com.docker.swarm.task.id': 't1',
    'com.docker.swarm.task.name': 'web.1.t1',
  });
  assert.deepEqual(
    [made.name, made.image, made.limits, made.logging],
    ['web.1.t1', 'web:1', limits, logging],
  );
  assert.deepEqual([made.id, made.netnsPath, made.files], [PLACE.id, PLACE.netnsPath, PLACE.files]);
  assert.equal(made.hostname, ID.slice(0, 12), 'its own where none is asked for');
});

test('templates are filled in host name, environment and mounts, and nowhere else', () => {
  const made = config({
    Hostname: '{{.Service.Name}}-{{.Task.Slot}}',
    Env: ['A={{.Node.Hostname}}', 'B={{index .Service.Labels "tier"}}', 'C={{.Task.Name}}'],
    Args: ['{{.Task.ID}}'],
    Mounts: [
      {
        Type: 'volume',
        Source: 'v-{{.Task.Slot}}',
        Target: '/{{.Service.ID}}',
        VolumeOptions: {
          NoCopy: true,
          Labels: { of: '{{.Task.ID}}' },
          DriverConfig: { Name: 'local', Options: { device: '/{{.Node.ID}}' } },
        },
      },
    ],
  });
  assert.equal(made.hostname, 'web-1');
  assert.deepEqual(made.spec.Env, ['A=host1', 'B=front', 'C=web.1.t1']);
  assert.deepEqual(made.spec.Args, ['{{.Task.ID}}']);
  assert.deepEqual(made.spec.Mounts, [
    {
      Type: 'volume',
      Source: 'v-1',
      Target: '/svc',
      VolumeOptions: {
        NoCopy: true,
        Labels: { of: 't1' },
        DriverConfig: { Name: 'local', Options: { device: '/node1' } },
      },
    },
  ]);
});

/** Every placeholder, of a slot's task and of a node's. */
test('what each placeholder stands for', () => {
  const words = [
    ...['.Service.ID', '.Service.Name', '.Service.Labels.tier', '.Node.ID', '.Node.Hostname'],
    ...['.Node.Platform.Architecture', '.Node.Platform.OS', '.Task.ID', '.Task.Name', '.Task.Slot'],
  ];
  const Env = words.map((word) => `{{${word}}}`);
  assert.deepEqual(config({ Env }).spec.Env, [
    ...['svc', 'web', 'front', 'node1', 'host1', 'x86_64', 'linux', 't1', 'web.1.t1', '1'],
  ]);
  const perNode = config({ Env: ['{{.Task.Name}}', '{{.Task.Slot}}'] }, { slot: 0 }).spec.Env;
  assert.deepEqual(perNode, ['web.node1.t1', 'node1']);
});

test('what it was given of its node’s resources is in its environment', () => {
  const genericResources = [named('GPU', 'one'), named('GPU', 'two'), discrete('SSD', 3)];
  assert.deepEqual(config({ Env: ['A=1'] }, { genericResources }).spec.Env, [
    ...['A=1', 'DOCKER_RESOURCE_GPU=one,two', 'DOCKER_RESOURCE_SSD=3'],
  ]);
});

test('stop signal and health check are the image’s where the service says none', () => {
  const Healthcheck = { Test: ['CMD', 'x'], Interval: 5, Retries: 2 };
  const image = { StopSignal: 'SIGQUIT', Healthcheck };
  assert.deepEqual(config({}, {}, image).spec.Healthcheck, Healthcheck);
  assert.equal(config({}, {}, image).spec.StopSignal, 'SIGQUIT');
  const own = config({ StopSignal: 'SIGINT', Healthcheck: { Test: [], Interval: 7, Retries: 0 } }, {}, image);
  assert.deepEqual(own.spec.Healthcheck, { Test: ['CMD', 'x'], Interval: 7, Retries: 2 });
  assert.equal(own.spec.StopSignal, 'SIGINT');
});

test('hosts: itself on each of its networks, and those of the spec', () => {
  assert.equal(
    files({ Hostname: 'h', Hosts: ['10.1.2.3 db  db.test', '10.1.2.4 cache'] })['/etc/hosts'],
    '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n' +
      '10.1.2.3\tdb\tdb.test\n10.1.2.4\tcache\n10.255.0.7\th\n',
  );
  assert.equal(files({ Hostname: 'h' })['/etc/hostname'], 'h\n');
});

const NODE_FILE = 'nameserver 127.0.0.53\nnameserver 192.0.2.1\nsearch node.test\noptions edns0\n';
const own = { Nameservers: ['192.0.2.53'], Search: ['a.test', 'b.test'], Options: ['timeout:3', 'ndots:2'] };

test('resolv.conf on a network: the one resolver, and search and options of the spec over the node’s', () => {
  const text = (DNSConfig: ContainerSpec['DNSConfig']) =>
    files(DNSConfig ? { DNSConfig } : {}, NODE_FILE)['/etc/resolv.conf'];
  assert.equal(text(undefined), 'nameserver 127.0.0.11\nsearch node.test\noptions edns0 ndots:0\n');
  assert.equal(text(own), 'nameserver 127.0.0.11\nsearch a.test b.test\noptions timeout:3 ndots:2\n');
  assert.equal(text({ Search: ['.'] }), 'nameserver 127.0.0.11\noptions edns0 ndots:0\n', 'none at all');
});

test('resolv.conf without a network: the node’s resolvers that can be reached, or those of the spec', () => {
  const text = (DNSConfig: ContainerSpec['DNSConfig']) =>
    files(DNSConfig ? { DNSConfig } : {}, NODE_FILE, { attachments: [] })['/etc/resolv.conf'];
  assert.equal(text(undefined), 'nameserver 192.0.2.1\nsearch node.test\noptions edns0\n');
  assert.equal(text(own), 'nameserver 192.0.2.53\nsearch a.test b.test\noptions timeout:3 ndots:2\n');
});

test('a sandbox gets the stands, the host ports and the resolvers of its task; internal if all its networks are', () => {
  const port = (PublishedPort: number, PublishMode: 'host' | 'ingress') =>
    ({ Protocol: 'tcp', TargetPort: 80, PublishedPort, PublishMode }) as const;
  const task = of({ DNSConfig: own }, { endpointSpec: { Ports: [port(80, 'ingress'), port(81, 'host')] } });
  const view = (internal: boolean) =>
    ({ networks: new Map([[task.attachments[0]!.networkId, { internal }]]) }) as never;
  const { networkId, address, mac } = task.attachments[0]!;
  assert.deepEqual(sandboxSpec(task, ID, view(false)), {
    id: ID,
    serviceId: 'svc',
    attachments: [{ networkId, address, mac }],
    hostPorts: [port(81, 'host')],
    dnsServers: ['192.0.2.53'],
    internal: false,
  });
  assert.equal(sandboxSpec(task, ID, view(true)).internal, true);
  const two = {
    ...task,
    attachments: [...task.attachments, { ...task.attachments[0]!, networkId: 'x' as NetworkId }],
  };
  assert.equal(sandboxSpec(two, ID, view(true)).internal, false);
});
