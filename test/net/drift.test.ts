/** What others change of a node's network is seen by an audit and repaired; what nobody changed is not. */
import assert from 'node:assert/strict';
import { after, before, mock, test } from 'node:test';
import { endpoint, macFor, port, sandbox, service } from '../../src/net/builders.ts';
import type { KernelNetwork } from '../../src/net/kernel-network.ts';
import { NetlinkSocket } from '../../src/net/netlink.ts';
import { bindPort } from '../../src/net/port-holder.ts';
import { loadLibc } from '../../src/kit/libc.ts';
import { inNetns } from '../../src/kit/netns.ts';
import { box, full, fullNode, WEB } from './full-node.ts';
import { TwoNodes } from './two-nodes.ts';

let lab: TwoNodes;
let a: KernelNetwork;
let root: string;
let fabric: string;
let inside: string;

before(async () => {
  lab = new TwoNodes();
  ({ a, root, fabric, inside } = await fullNode(lab));
});
after(() => lab.close());

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

test('an audit leaves a container the settings that it was made with, or has made: they are its own', async () => {
  const own = a.netnsPath(box.id);
  for (const [name, value] of [
    ['ip_unprivileged_port_start', '1024'],
    ['conf/all/rp_filter', '1'],
  ]) {
    const setting = `/proc/sys/net/ipv4/${name}`;
    const before = lab.exec(own, 'cat', setting).trim();
    lab.exec(own, 'sh', '-c', `echo ${value} > ${setting}`);
    assert.equal((await a.audit()).total, 0);
    await a.attach(box);
    assert.equal(lab.exec(own, 'cat', setting).trim(), value);
    lab.exec(own, 'sh', '-c', `echo ${before} > ${setting}`);
  }
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
