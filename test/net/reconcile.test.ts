/** The kernel kept in agreement: idempotence, drift, strangers, reboot, size. */
import assert from 'node:assert/strict';
import { readdirSync, readlinkSync } from 'node:fs';
import { after, before, mock, test } from 'node:test';
import type { NetworkId, ServiceId } from '../../src/model/ids.ts';
import { interfaceAddress, parseIpv4 } from '../../src/kit/cidr.ts';
import {
  addressAfter,
  endpoint,
  hostPort,
  macFor,
  network,
  peer,
  port,
  sandbox,
  service,
  view,
} from '../../src/net/builders.ts';
import type { KernelNetwork } from '../../src/net/kernel-network.ts';
import { diff } from '../../src/net/diff-plan.ts';
import { execute, makeExecutors, runs } from '../../src/net/executors.ts';
import { emptyState } from '../../src/net/known-state.ts';
import { LibNft } from '../../src/net/libnft.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../src/net/netlink.ts';
import { Places } from '../../src/net/places.ts';
import { bindPort } from '../../src/net/port-holder.ts';
import { planNode } from '../../src/net/plan.ts';
import { loadLibc } from '../../src/kit/libc.ts';
import { inNetns, isNetns, removeNetns } from '../../src/kit/netns.ts';
import { Transactions } from '../../src/net/transactions.ts';
import { TwoNodes } from './two-nodes.ts';

const WEB = 'web' as ServiceId;
const MYNET = 'mynet' as NetworkId;

const full = view({
  peers: [peer('b', '192.0.2.5'), peer('c', '192.0.2.6')],
  networks: [network('ingress'), network('mynet', { mtu: 1400 })],
  endpoints: [
    endpoint('a', undefined, '10.255.0.2'),
    endpoint('a', 't1', '10.255.0.7', { serviceId: WEB }),
    endpoint('b', 't2', '10.255.0.8', { serviceId: WEB }),
    endpoint('c', 't3', '10.255.0.9', { serviceId: WEB }),
    endpoint('b', 't2', '10.0.1.8', { networkId: MYNET, serviceId: WEB }),
  ],
  services: [
    {
      ...service('web', port(80, 8080), port(53, 53, { Protocol: 'udp' })),
      virtualIps: [{ networkId: MYNET, address: parseIpv4('10.0.1.2') }],
    },
  ],
});
const box = sandbox(1, '10.255.0.7', {
  hostPorts: [port(8000, 8080, { PublishMode: 'host' }), hostPort(8001, 8080, '127.0.0.1')],
  attachments: [
    ...sandbox(1, '10.255.0.7').attachments,
    { networkId: MYNET, address: interfaceAddress(parseIpv4('10.0.1.7'), 24), mac: macFor('10.0.1.7') },
  ],
});

function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return ''; // that of the list itself
  }
}

let lab: TwoNodes;
let a: KernelNetwork;
let root: string;
let fabric: string;
let inside: string;

before(async () => {
  lab = new TwoNodes();
  a = await lab.open('a');
  await a.apply(full);
  inside = (await a.attach(box)).netnsPath;
  root = lab.host('a');
  fabric = lab.fabric('a');
});
after(() => lab.close());

test('a second apply and an audit find nothing to do', async () => {
  await a.apply(full);
  assert.deepEqual(a.lastReport, { readBack: false, steps: {}, total: 0 });
  assert.deepEqual(await a.audit(), { readBack: true, steps: {}, total: 0 });
});

test('a second attach changes nothing and gives the same answer', async () => {
  const again = await a.attach(box);
  assert.equal(again.netnsPath, inside);
  assert.equal(again.hostPorts[0]?.PublishedPort, 8000);
  assert.deepEqual(await a.audit(), { readBack: true, steps: {}, total: 0 });
});

const BRIDGE = 'sk-4096';
const drifts: Record<string, () => unknown> = {
  'a rule deleted': () => lab.exec(root, 'nft', 'flush', 'chain', 'ip', 'skein', 'postrouting'),
  'a foreign rule in our chain': () => lab.exec(root, 'nft', 'add', 'rule', 'ip', 'skein', 'forward', 'drop'),
  'a port chain emptied': () => lab.exec(root, 'nft', 'flush', 'chain', 'ip', 'skein', 'tcp-80-2'),
  'a rule of the balance emptied': () => lab.exec(root, 'nft', 'flush', 'chain', 'ip', 'skein', 'balance'),
  'a count deleted': () => lab.exec(root, 'nft', 'delete element ip skein counts { tcp . 80 }'),
  'a wrong count': () =>
    lab.exec(
      root,
      'nft',
      'delete element ip skein counts { tcp . 80 }; add element ip skein counts { tcp . 80 : 0:1 }',
    ),
  'a backend element deleted': () => lab.exec(root, 'nft', 'delete element ip skein slots-tcp-0 { 80 . 1 }'),
  'a backend element added': () =>
    lab.exec(root, 'nft', 'add element ip skein slots-tcp-0 { 80 . 9 : 10.9.9.9 . 1 }'),
  'a port of one address deleted': () =>
    lab.exec(root, 'nft', 'delete element ip skein bound { 127.0.0.1 . tcp . 8001 }'),
  'a port of one address added': () =>
    lab.exec(root, 'nft', 'add element ip skein bound { 127.0.0.1 . udp . 9 : 10.9.9.9 . 1 }'),
  'a way to a round robin deleted': () =>
    lab.exec(root, 'nft', 'delete element ip skein published { tcp . 80 . 0:2 }'),
  'the table deleted': () => lab.exec(root, 'nft', 'delete', 'table', 'ip', 'skein'),
  'a table of another layout': () => {
    for (const line of ['delete table', 'add table']) lab.exec(root, 'nft', `${line} ip skein`);
    lab.exec(root, 'nft', 'add chain ip skein prerouting { type nat hook prerouting priority -100 ; }');
  },
  'a remote FDB entry deleted': () =>
    lab.exec(fabric, 'bridge', 'fdb', 'del', macFor('10.255.0.8'), 'dev', 'vx-4096', 'self'),
  'a remote FDB entry that leads elsewhere': () =>
    lab.exec(
      fabric,
      'bridge',
      'fdb',
      'replace',
      macFor('10.255.0.8'),
      'dev',
      'vx-4096',
      'dst',
      '192.0.2.6',
      'self',
    ),
  'a flood entry deleted': () =>
    lab.exec(
      fabric,
      'bridge',
      'fdb',
      'del',
      '00:00:00:00:00:00',
      'dev',
      'vx-4096',
      'dst',
      '192.0.2.6',
      'self',
    ),
  'a local FDB entry deleted': () =>
    lab.exec(fabric, 'bridge', 'fdb', 'del', macFor('10.255.0.7'), 'dev', 'sk0000000001-0', 'master'),
  'a neighbour deleted': () => lab.ip(fabric, ['neigh del 10.255.0.9 dev vx-4096']),
  'a neighbour with a wrong MAC': () =>
    lab.ip(fabric, ['neigh replace 10.255.0.9 lladdr 02:00:00:00:00:99 dev vx-4096 nud permanent']),
  'the ingress endpoint address deleted': () => lab.ip(root, ['addr del 10.255.0.2/16 dev sk-ingress']),
  'a foreign address on our link': () => lab.ip(root, ['addr add 10.77.0.1/24 dev sk-ingress']),
  'the ingress endpoint deleted': () => lab.ip(root, ['link del sk-ingress']),
  'the ingress endpoint down': () => lab.ip(root, ['link set sk-ingress down']),
  'a bridge deleted': () => lab.ip(fabric, [`link del ${BRIDGE}`]),
  'a VXLAN device deleted': () => lab.ip(fabric, ['link del vx-4096']),
  'a VXLAN device down': () => lab.ip(fabric, ['link set vx-4096 down']),
  'an MTU changed': () => lab.ip(fabric, ['link set vx-4097 mtu 1200']),
  'a port off its bridge': () => lab.ip(fabric, ['link set sk0000000001-1 nomaster']),
  'a port that learns': () => lab.ip(fabric, ['link set sk0000000001-1 type bridge_slave learning on']),
  'a link of a container deleted': () => lab.ip(inside, ['link del eth1']),
  'a default route deleted': () => lab.ip(inside, ['route del default']),
  'an address of a container deleted': () => lab.ip(inside, ['addr del 10.0.1.7/24 dev eth1']),
  'a link of a container down': () => lab.ip(inside, ['link set eth0 down']),
  'the table of a container deleted': () => lab.exec(inside, 'nft', 'delete', 'table', 'ip', 'skein'),
  'a rule of a container deleted': () => lab.exec(inside, 'nft', 'flush', 'chain', 'ip', 'skein', 'output'),
  'a virtual IP of a container deleted': () =>
    lab.exec(inside, 'nft', 'delete element ip skein counts { 10.0.1.2 }'),
  'a way to a round robin of a container deleted': () =>
    lab.exec(inside, 'nft', 'delete element ip skein vips { 10.0.1.2 . 0:1 }'),
  'a backend of a virtual IP deleted': () =>
    lab.exec(inside, 'nft', 'delete element ip skein slots-vip-2 { 10.0.1.2 . 0 }'),
  'forwarding switched off': () => lab.exec(root, 'busybox', 'sysctl', '-w', 'net.ipv4.ip_forward=0'),
  'a link of ours that nobody wants': () => lab.ip(fabric, ['link add vx-999 type bridge']),
};
for (const [name, drift] of Object.entries(drifts))
  test(`drift is repaired: ${name}`, async () => {
    drift();
    const report = await a.audit();
    assert.ok(report.total > 0, 'the audit saw it');
    assert.deepEqual(await a.audit(), { readBack: true, steps: {}, total: 0 });
  });

test('an audit notices that the link under the tunnel has another MTU', async () => {
  for (const mtu of [1450, 1500]) {
    lab.ip(root, [`link set eth0 mtu ${mtu}`]);
    assert.ok((await a.audit()).total > 0);
    assert.match(lab.ip(fabric, ['link show vx-4096']), new RegExp(`mtu ${mtu - 50} `));
  }
});

test('changes that come during an audit are made between two looks of it, and are not taken for drift', async () => {
  const more = endpoint('b', 'tn', '10.255.0.50', { serviceId: WEB });
  const grown = { ...full, endpoints: new Map([...full.endpoints, ['n', more]]) };
  let done = false;
  const audit = a.audit().finally(() => (done = true));
  let changes = 0;
  for (; !done; changes++) await a.apply(changes % 2 ? full : grown);
  assert.ok(changes >= 5, `${changes} changes were made during the audit`);
  assert.equal((await audit).total, 0);
  const other = sandbox(2, '10.255.0.51');
  const all = await Promise.all([a.audit(), a.attach(other), a.apply(full), a.audit(), a.detach(other.id)]);
  assert.deepEqual([all[0].total, all[3].total], [0, 0]);
  assert.equal((await a.audit()).total, 0);
});

test('an audit leaves a container what is said of its ports and pings: that is its own', async () => {
  const setting = '/proc/sys/net/ipv4/ip_unprivileged_port_start';
  const own = a.netnsPath(box.id);
  lab.exec(own, 'sh', '-c', `echo 1024 > ${setting}`);
  assert.equal((await a.audit()).total, 0);
  assert.equal(lab.exec(own, 'cat', setting).trim(), '1024');
});

test('a published port that another program had is held from the audit on after he let go of it', async () => {
  const his = inNetns(root, () => bindPort('tcp', 81));
  const other = service('other', port(81, 80));
  await a.apply({ ...full, services: new Map([...full.services, [other.serviceId, other]]) });
  assert.deepEqual([...a.notHeld.keys()], ['tcp/81']);
  loadLibc().close(his);
  assert.equal((await a.audit()).total, 0);
  assert.deepEqual([...a.notHeld.keys()], []);
  await a.apply(full);
});

test('the mesh is read again when somebody else has changed nftables of the node, and only then', async () => {
  const dumps = mock.method(NetlinkSocket.prototype, 'dump').mock;
  const maps = async () => {
    dumps.resetCalls();
    assert.equal((await a.audit()).total, 0);
    return dumps.calls.map((call) => call.arguments[2]).filter((what) => /tcp|published/.test(what)).length;
  };
  await a.audit();
  assert.equal(await maps(), 0);
  const more = endpoint('b', 'tn', '10.255.0.50', { serviceId: WEB });
  await a.apply({ ...full, endpoints: new Map([...full.endpoints, ['n', more]]) });
  await a.apply(full);
  assert.equal(await maps(), 0, 'our own transactions are known');
  lab.exec(root, 'nft', 'add', 'table', 'ip', 'foreign');
  assert.ok((await maps()) > 0);
  lab.exec(root, 'nft', 'delete', 'table', 'ip', 'foreign');
  assert.ok((await maps()) > 0);
  assert.equal(await maps(), 0);
  dumps.restore();
});

test('of transactions, those of others are told from our own', () => {
  const socket = inNetns(root, () => new NetlinkSocket(NETLINK_NETFILTER));
  const nft = inNetns(root, () => new LibNft());
  const transactions = new Transactions(() => socket);
  const see = () => transactions.saw(transactions.unseen()!);
  see();
  transactions.own(1, () => nft.run('add table ip foreign'));
  transactions.own(1, () => nft.run('add table ip foreign'));
  transactions.own(2, () => ['add', 'delete'].forEach((verb) => nft.run(`${verb} table ip other`)));
  assert.equal(transactions.unseen(), undefined, 'ours, of which one changed nothing');
  lab.exec(root, 'nft', 'delete', 'table', 'ip', 'foreign');
  const mark = transactions.unseen();
  assert.notEqual(mark, undefined);
  lab.exec(root, 'nft', 'add', 'table', 'ip', 'foreign');
  transactions.saw(mark!);
  assert.notEqual(transactions.unseen(), undefined, 'what came after the mark is not seen');
  see();
  transactions.own(1, () => {
    nft.run('delete table ip foreign');
    lab.exec(root, 'nft', 'add', 'table', 'ip', 'foreign');
  });
  assert.notEqual(transactions.unseen(), undefined, 'somebody was quicker than we could count');
  see();
  assert.throws(() => transactions.own(1, () => nft.run('delete table ip nothing')));
  assert.notEqual(transactions.unseen(), undefined, 'one of ours failed');
  nft.run('delete table ip foreign');
  nft.close();
  socket.close();
});

test('links, tables and addresses of others are not touched', async () => {
  for (const line of [
    'table ip foreign',
    'chain ip foreign c { type filter hook input priority 0 ; }',
    'rule ip foreign c accept',
  ])
    lab.exec(root, 'nft', `add ${line}`);
  lab.ip(root, ['link add skfoo type bridge', 'addr add 10.66.0.1/24 dev skfoo', 'link set skfoo up']);
  const before = [
    lab.exec(root, 'nft', 'list', 'table', 'ip', 'foreign'),
    lab.exec(root, 'ip', 'addr', 'show', 'skfoo'),
  ];
  await a.audit();
  lab.exec(root, 'nft', 'delete', 'table', 'ip', 'skein');
  await a.audit();
  assert.deepEqual(
    [lab.exec(root, 'nft', 'list', 'table', 'ip', 'foreign'), lab.exec(root, 'ip', 'addr', 'show', 'skfoo')],
    before,
  );
});

test('an endpoint that comes, moves and goes costs its own steps only', async () => {
  const withNew = (node: string) => ({
    ...full,
    endpoints: new Map([...full.endpoints, ['n', endpoint(node, 'tn', '10.255.0.50')]]),
  });
  await a.apply(withNew('b'));
  assert.deepEqual(a.lastReport?.steps, { 'fdb.set': 1, 'neighbour.set': 2 });
  await a.apply(withNew('c'));
  assert.deepEqual(a.lastReport?.steps, { 'fdb.set': 1 });
  await a.apply(full);
  assert.deepEqual(a.lastReport?.steps, { 'fdb.delete': 1, 'neighbour.delete': 2 });
  assert.equal((await a.audit()).total, 0);
});

test('after a reboot (no namespace, no rule) an apply builds everything again', async () => {
  await a.close();
  removeNetns(fabric);
  lab.exec(root, 'nft', 'flush', 'ruleset');
  removeNetns(inside);
  const next = await lab.open('a');
  await next.apply(full);
  assert.equal((await next.audit()).total, 0);
  assert.deepEqual(await next.sandboxes(), [box.id], 'what was there is known, so that it can be removed');
  assert.equal(isNetns(inside), false);
  await next.attach(box);
  assert.ok(isNetns(inside));
  assert.equal((await next.audit()).total, 0);
  a = next;
});

test('killed after any step, the next daemon completes the work', async () => {
  const places = new Places(lab.runRoot('b'), lab.host('b'));
  const executors = makeExecutors(places);
  const facts = {
    uplinkMtu: 1500,
    vtep: parseIpv4('192.0.2.5'),
    gateway: interfaceAddress(parseIpv4('172.18.0.1'), 16),
  };
  const steps = diff(planNode(full, [], facts), emptyState(['root']));
  assert.ok(steps.length > 30);
  for (let done = 0; done <= steps.length; done++) {
    for (const part of runs(steps.slice(0, done))) execute(executors, part[0].kind, part, part[0].place);
    places.close();
    const next = await lab.open('b');
    await next.apply(full);
    const report = await next.audit();
    assert.deepEqual(report.steps, {}, `killed after step ${done}, ${steps[done - 1]?.kind}`);
    await next.close();
    removeNetns(lab.fabric('b'));
    lab.exec(lab.host('b'), 'nft', 'flush', 'ruleset');
    await gone(() => /sk-/.test(lab.exec(lab.host('b'), 'ip', 'link')));
  }
});

async function gone(isThere: () => boolean): Promise<void> {
  for (
    const deadline = Date.now() + 30_000;
    isThere();
    await new Promise((resolve) => setTimeout(resolve, 5))
  )
    assert.ok(Date.now() < deadline, 'the kernel took the links down in time');
}

test('detach leaves nothing of a sandbox, whole or half-made, and may be repeated', async () => {
  await a.detach(box.id);
  await a.detach(box.id);
  assert.deepEqual(await a.sandboxes(), []);
  assert.doesNotMatch(lab.ip(fabric, ['link show']), /sk0000000001/);
  assert.doesNotMatch(lab.ip(root, ['neigh show dev sk-gw']), /PERMANENT/);
  assert.equal((await a.audit()).total, 0);
});

test('5,000 endpoints: one more is its own entries, one sandbox more its own objects, and nothing has drifted', async () => {
  const many = Array.from({ length: 5000 }, (_, n) =>
    endpoint(n % 2 ? 'b' : 'c', `m${n}`, addressAfter('10.255.1.0', n), n < 1000 ? { serviceId: WEB } : {}),
  );
  const big = { ...full, endpoints: new Map(many.map((e) => [e.name, e])) };
  const next = await lab.open('a');
  await next.apply(big);
  const more = endpoint('b', 'x', '10.255.99.1');
  await next.apply({ ...big, endpoints: new Map([...big.endpoints, ['x', more]]) });
  assert.deepEqual(next.lastReport, {
    readBack: false,
    steps: { 'fdb.set': 1, 'neighbour.set': 2 },
    total: 3,
  });
  await next.attach(sandbox(77, '10.255.99.2'));
  assert.deepEqual(await next.audit(), { readBack: true, steps: {}, total: 0 });
});

test('of a network that is closed nothing is made any more, and nothing opened again', async () => {
  const first = await lab.open('b');
  await first.apply(full);
  await first.attach(box);
  const broken = assert.rejects(first.detach(box.id), { code: 'canceled' });
  while (isNetns(first.netnsPath(box.id))) await new Promise((resolve) => setImmediate(resolve));
  await first.close(); // while it waits for the links to go
  const sockets = () => readdirSync('/proc/self/fd').filter((fd) => linkOf(fd).startsWith('socket:')).length;
  const before = sockets();
  await broken;
  await assert.rejects(first.attach(sandbox(5, '10.255.0.11')), { code: 'canceled' });
  await assert.rejects(first.apply(full), { code: 'canceled' });
  assert.equal(sockets(), before);
  const next = await lab.open('b');
  assert.deepEqual(await next.sandboxes(), []);
  await next.clear();
});

test('clear takes away all that is of Skein, nothing else, and may be repeated', async () => {
  const next = await lab.open('b');
  await next.apply(full);
  await next.attach(box);
  lab.exec(lab.host('b'), 'nft', 'add', 'table', 'ip', 'foreign');
  for (let n = 0; n < 2; n++) {
    await next.clear();
    assert.deepEqual(await next.sandboxes(), []);
    assert.equal(isNetns(lab.fabric('b')), false);
    assert.equal(lab.exec(lab.host('b'), 'nft', 'list', 'tables').trim(), 'table ip foreign');
    assert.doesNotMatch(lab.exec(lab.host('b'), 'ip', 'link'), /sk-/);
  }
  await next.apply(full);
  assert.deepEqual((await next.audit()).steps, {}, 'the node may join again at once');
});
