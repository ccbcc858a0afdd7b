/** What users say as CLIENT and NODE:PORT, and what is made of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SkeinError } from '../model/errors.ts';
import type { Ipv4, NodeId } from '../model/ids.ts';
import type { Id, Node, Objects, Service, Task } from '../model/objects.ts';
import type { ExplainQuestion, WalkStart } from '../rpc/explain.ts';
import { type ClusterObjects, explainConnection, journeyOf } from './explain-question.ts';

const INGRESS = 'ingress-id';
const MYNET = 'mynet-id';

const node = (id: string, last: number) =>
  ({
    id,
    description: { hostname: `host-${id}`, uplinkMac: `02:00:00:00:00:0${last}` },
    status: { state: 'ready', addr: `192.0.2.${last}` },
    dataPathAddr: `198.51.100.${last}`,
    attachments: [],
  }) as unknown as Node;

const stand = (networkId: string, ip: string) => ({ networkId, address: `${ip}/24`, mac: `02:42:${ip}` });

const task = (id: string, slot: number, nodeId: string, over: object = {}) =>
  ({
    id,
    ...{ serviceId: 'web-id', serviceName: 'web', slot, nodeId, spec: {}, desiredState: 'running' },
    status: { state: 'running', container: { containerId: `container-of-${id}` }, ports: [] },
    attachments: [stand(INGRESS, `10.255.0.${slot}`), stand(MYNET, `10.0.1.${slot}`)],
    ...over,
  }) as unknown as Task;

const PUBLISHED = [{ PublishMode: 'ingress', Protocol: 'udp', TargetPort: 53, PublishedPort: 53 }];
const service = (id: string, name: string, vip?: string) =>
  ({
    id,
    spec: { Name: name },
    endpoint: {
      ports: { web: PUBLISHED, held: HELD }[name] ?? [],
      virtualIps: vip ? [{ networkId: MYNET, address: `${vip}/24` }] : [],
    },
  }) as unknown as Service;

const HELD = [{ PublishMode: 'host', Protocol: 'tcp', TargetPort: 80, PublishedPort: 8000 }];

const SHELL = 'c0ffee'.repeat(10) + 'abcd';

const stored = {
  node: [node('a', 1), node('b', 2)],
  task: [
    task('t1', 11, 'a'),
    task('t2', 12, 'b'),
    task('t0', 13, 'b', { desiredState: 'shutdown', status: { state: 'shutdown', ports: [] } }),
    task('r1', 21, 'a', { serviceId: 'rr-id', serviceName: 'rr' }),
    task('r2', 22, 'b', { serviceId: 'rr-id', serviceName: 'rr' }),
    task('r0', 23, 'b', { serviceId: 'rr-id', serviceName: 'rr', status: { state: 'starting', ports: [] } }),
    // What `docker run` stands on a network with: a task of no service, known by its container.
    task('shell-task', 0, 'b', {
      ...{ serviceId: '', serviceName: '', attachments: [stand(MYNET, '10.0.1.40')] },
      spec: { NetworkAttachmentSpec: { ContainerID: SHELL, ContainerName: 'shell' } },
      status: { state: 'running', container: undefined, ports: [] },
    }),
    task('h1', 31, 'b', {
      ...{ serviceId: 'held-id', serviceName: 'held', attachments: [] },
      status: { state: 'running', ports: HELD },
    }),
    task('waits', 41, 'a', {
      nodeId: undefined,
      desiredState: 'running',
      status: { state: 'pending', ports: [] },
    }),
  ],
  service: [
    ...[service('web-id', 'web', '10.0.1.2'), service('rr-id', 'rr')],
    ...[service('far-id', 'far'), service('held-id', 'held')],
  ],
  network: [
    { id: INGRESS, spec: { Ingress: true } },
    { id: MYNET, spec: {} },
  ],
};

const find = <T extends { readonly id: string }>(
  kind: string,
  all: readonly T[],
  is: (t: T) => boolean,
): T => {
  const found = all.find(is);
  if (!found) throw new SkeinError('not-found', `no such ${kind}`);
  return found;
};

const objects: ClusterObjects = {
  view: {
    all: <K extends keyof typeof stored>(kind: K) =>
      new Map((stored[kind] as readonly { id: string }[]).map((o) => [o.id, o])) as unknown as ReadonlyMap<
        Id<K>,
        Objects[K]
      >,
  },
  node: (ref) => find('node', stored.node, (n) => n.id === ref || n.description!.hostname === ref),
  task: (ref) => find('task', stored.task, (t) => t.id === ref),
};

const ask = (client: string, target: string, over: Partial<ExplainQuestion> = {}): ExplainQuestion => ({
  ...{ client, target, protocol: 'tcp', clientPort: 50_000, backend: undefined, size: 60 },
  ...over,
});
const startsOf = (client: string, target: string): string[] =>
  journeyOf(ask(client, target), objects).starts.map(({ nodeId, start: { from, packet } }) => {
    const who = from.at === 'container' ? `${from.at} ${from.id ?? `with ${from.mac}`}` : from.at;
    return `${nodeId} ${who}: ${packet.source.ip} -> ${packet.destination.ip}:${packet.destination.port}`;
  });

const CONTAINER = 'a container container-of-t1: 0.0.0.0 ->';
const BY_HAND = 'b container with 02:42:10.0.1.40: 0.0.0.0 ->';
const UNDERSTOOD: readonly [client: string, target: string, starts: string[]][] = [
  ['203.0.113.9', 'host-a:80', ['a uplink: 203.0.113.9 -> 198.51.100.1:80']],
  ['203.0.113.9', 'b:80', ['b uplink: 203.0.113.9 -> 198.51.100.2:80']],
  ['203.0.113.9', '192.0.2.2:80', ['b uplink: 203.0.113.9 -> 192.0.2.2:80']],
  ['host-a', '127.0.0.1:80', ['a node: 0.0.0.0 -> 127.0.0.1:80']],
  ['198.51.100.1', 'host-b:80', ['a node: 0.0.0.0 -> 198.51.100.2:80']],
  ['web.11', 'web:80', [`${CONTAINER} 10.0.1.2:80`]],
  ['t1', '10.0.1.2:80', [`${CONTAINER} 10.0.1.2:80`]],
  ['10.0.1.11', 'rr:80', [`${CONTAINER} 10.0.1.21:80`, `${CONTAINER} 10.0.1.22:80`]],
  ['shell', 'web:80', [`${BY_HAND} 10.0.1.2:80`]],
  ['10.0.1.40', 'rr:80', [`${BY_HAND} 10.0.1.21:80`, `${BY_HAND} 10.0.1.22:80`]],
  [SHELL.slice(0, 12), 'host-a:80', [`${BY_HAND} 198.51.100.1:80`]],
  [SHELL, '203.0.113.1:443', [`${BY_HAND} 203.0.113.1:443`]],
  ['web.11', 'host-b:80', [`${CONTAINER} 198.51.100.2:80`]],
  ['web.11', '203.0.113.1:443', [`${CONTAINER} 203.0.113.1:443`]],
];
for (const [client, target, starts] of UNDERSTOOD)
  test(`${client} to ${target}`, () => assert.deepEqual(startsOf(client, target), starts));

const REFUSED: readonly [client: string, target: string, RegExp][] = [
  ['203.0.113.9', 'host-a', /^host-a is not NODE:PORT$/],
  ['203.0.113.9', 'host-a:70000', /is not NODE:PORT$/],
  ['203.0.113.9', 'host-c:80', /^no such node: host-c$/],
  ['203.0.113.9', '192.0.2.77:80', /^no such node: 192\.0\.2\.77$/],
  ['web.11', 'host-c:80', /^no such node or service: host-c$/],
  ['nobody', 'host-a:80', /^no such client: nobody is no address, node, task or container$/],
  ['203.0.113.9', 'web:80', /^web is inside an overlay network: only containers on it reach it/],
  ['203.0.113.9', '10.0.1.2:80', /^10\.0\.1\.2 is inside an overlay network/],
  ['held.31', 'web:80', /^held\.31 has no name web: they share no network$/],
  [SHELL.slice(0, 11), 'host-a:80', /is no address, node, task or container$/],
  ['shell', 'far:80', /^shell has no name far: they share no network$/],
  ['waits', 'host-a:80', /^web\.41 is on no node yet$/],
  ['fe80::1', 'host-a:80', /^fe80::1 is an IPv6 address: networks and published ports are of IPv4 alone$/],
  ['203.0.113.9', '[::1]:80', /^\[::1\] is an IPv6 address/],
];
for (const [client, target, words] of REFUSED)
  test(`refused: ${client} to ${target}`, () =>
    assert.throws(() => startsOf(client, target), { message: words }));

test('a task is an address of the network that the target leads to', () => {
  const backend = (client: string, target: string) =>
    journeyOf(ask(client, target, { backend: 'web.12' }), objects).backend;
  assert.equal(backend('203.0.113.9', 'host-a:80'), '10.255.0.12');
  assert.equal(backend('web.11', 'web:80'), '10.0.1.12');
});

test('a port that is published in host mode elsewhere, or for another protocol, is said to be; addresses bear their names', async () => {
  const asked: (readonly [NodeId, readonly WalkStart[]])[] = [];
  const loss = { code: 'not-published', text: 'host-a publishes no port tcp/8000' } as const;
  const leg = { hops: [], decisions: [], tracked: [], end: { kind: 'lost', loss }, passedOver: [] } as const;
  const answer = await explainConnection(
    ask('203.0.113.9', 'host-a:8000'),
    objects,
    async (nodeId, starts) => {
      asked.push([nodeId, starts]);
      return [[leg]];
    },
  );
  assert.deepEqual(
    answer.paths.map((path) => path.loss?.text),
    ['host-a publishes no port tcp/8000; in host mode it is published by held.31 on host-b alone'],
  );
  const other = await explainConnection(ask('203.0.113.9', 'host-a:53'), objects, async () => [[leg]]);
  assert.match(other.paths[0]!.loss!.text, /; it is published for udp by web$/);
  const unknown = ask('203.0.113.9', 'host-a:8000', { protocol: 'udp' });
  const plain = await explainConnection(unknown, objects, async () => [[leg]]);
  assert.equal(plain.paths[0]!.loss!.text, loss.text, 'neither here nor for this protocol');
  assert.deepEqual(
    asked.map(([nodeId, starts]) => [nodeId, starts.length]),
    [['a', 1]],
  );
  const { addresses } = answer.names;
  assert.equal(addresses['10.0.1.2' as Ipv4], 'virtual IP of web');
  assert.equal(addresses['10.255.0.12'], 'web.12 on host-b');
  assert.equal(addresses['198.51.100.2'], 'host-b');
});
