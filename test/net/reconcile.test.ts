/** The kernel kept in agreement: idempotence, strangers, reboot, death, size. Of drift: drift.test.ts. */
import assert from 'node:assert/strict';
import { readdirSync, readlinkSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { interfaceAddress, parseIpv4 } from '../../src/kit/cidr.ts';
import { addressAfter, endpoint, sandbox } from '../../src/net/builders.ts';
import type { KernelNetwork } from '../../src/net/kernel-network.ts';
import { diff } from '../../src/net/diff-plan.ts';
import { execute, makeExecutors, runs } from '../../src/net/executors.ts';
import { emptyState } from '../../src/net/known-state.ts';
import { LibNft } from '../../src/net/libnft.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../src/net/netlink.ts';
import { Places } from '../../src/net/places.ts';
import { planNode } from '../../src/net/plan.ts';
import { inNetns, isNetns, removeNetns } from '../../src/kit/netns.ts';
import { Transactions } from '../../src/net/transactions.ts';
import { box, full, fullNode, WEB } from './full-node.ts';
import { TwoNodes } from './two-nodes.ts';

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
  ({ a, root, fabric, inside } = await fullNode(lab));
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
  const sockets = () =>
    new Set(
      readdirSync('/proc/self/fd')
        .map(linkOf)
        .filter((to) => to.startsWith('socket:')),
    );
  const before = sockets(); // those of a program that has ended may still be closed
  await broken;
  await assert.rejects(first.attach(sandbox(5, '10.255.0.11')), { code: 'canceled' });
  await assert.rejects(first.apply(full), { code: 'canceled' });
  assert.deepEqual(
    [...sockets()].filter((to) => !before.has(to)),
    [],
  );
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
