/** Packets through the real kernel: the overlay between two nodes, and the routing mesh in front of it. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Mac, ServiceId } from '../../src/model/ids.ts';
import { type EndpointItem, endpointKey } from '../../src/model/network-view.ts';
import { endpoint, hostPort, peer, port, sandbox, service, view } from '../../src/net/builders.ts';
import type { KernelNetwork } from '../../src/net/kernel-network.ts';
import { loadLibc } from '../../src/kit/libc.ts';
import { inNetns } from '../../src/kit/netns.ts';
import { runProcess } from '../../src/kit/process.ts';
import type { HostPort } from '../../src/model/spec.ts';
import { bindPort } from '../../src/net/port-holder.ts';
import { until } from '../../src/lab/cluster.ts';
import { ADDRESS, TwoNodes } from './two-nodes.ts';

const WEB = 'web' as ServiceId;
const TASKS = { t1: ['a', '10.255.0.7'], t2: ['b', '10.255.0.8'], t3: ['a', '10.255.0.9'] } as const;
type Task = keyof typeof TASKS;

const services = [
  service('web', port(80, 8080), port(53, 8080, { Protocol: 'udp' })),
  service('empty', port(81, 8080), port(54, 8080, { Protocol: 'udp' })),
];

/** As in the reference capture, an ingress endpoint carries the MAC of its node's uplink. */
const uplinks: Partial<Record<'a' | 'b', Mac>> = {};

const viewOf = (node: 'a' | 'b', over: Partial<Record<Task, Partial<EndpointItem>>> = {}) =>
  view({
    node,
    ingress: node === 'a' ? '10.255.0.2' : '10.255.0.3',
    ingressMac: uplinks[node]!,
    peers: [peer(node === 'a' ? 'b' : 'a', ADDRESS[node === 'a' ? 'b' : 'a'])],
    endpoints: [
      endpoint('a', undefined, '10.255.0.2', { mac: uplinks.a! }),
      endpoint('b', undefined, '10.255.0.3', { mac: uplinks.b! }),
      ...(Object.keys(TASKS) as Task[]).map((task) =>
        endpoint(TASKS[task][0], task, TASKS[task][1], { serviceId: WEB, ...over[task] }),
      ),
    ],
    services,
  });

let lab: TwoNodes;
let a: KernelNetwork;
let b: KernelNetwork;
const sandboxes: Record<string, string> = {};

before(async () => {
  lab = new TwoNodes();
  a = await lab.open('a');
  b = await lab.open('b');
  uplinks.a = (await a.uplink(ADDRESS.a)).mac;
  uplinks.b = (await b.uplink(ADDRESS.b)).mac;
  await a.apply(viewOf('a'));
  await b.apply(viewOf('b'));
  for (const [n, task] of (Object.keys(TASKS) as Task[]).entries()) {
    const [node, address] = TASKS[task];
    const made = await (node === 'a' ? a : b).attach(sandbox(n + 1, address));
    sandboxes[task] = made.netnsPath;
    await lab.serve(made.netnsPath, task, 8080);
  }
});
after(() => lab.close());

const names = (answers: readonly string[]) => answers.map((line) => line.split(' ')[0]!);
const count = (answers: readonly string[]) =>
  Object.fromEntries(
    [...new Set(names(answers))]
      .sort()
      .map((name) => [name, names(answers).filter((n) => n === name).length]),
  );

test('containers reach each other on the same host and across hosts, without a first packet lost', () => {
  for (const [from, to] of [
    ['t1', '10.255.0.9'],
    ['t1', '10.255.0.8'],
    ['t2', '10.255.0.7'],
    ['t2', '10.255.0.2'],
  ] as const)
    assert.match(lab.exec(sandboxes[from]!, 'busybox', 'ping', '-c', '2', '-W', '2', to), / 0% packet loss/);
});

test('packets of the full MTU cross hosts unfragmented', () => {
  const size = String(1450 - 28);
  const output = lab.exec(
    sandboxes['t1']!,
    'busybox',
    'ping',
    '-c',
    '1',
    '-W',
    '2',
    '-s',
    size,
    '10.255.0.8',
  );
  assert.match(output, / 0% packet loss/);
});

for (const node of ['a', 'b'] as const)
  test(`node ${node} answers with all tasks in turn, from its ingress endpoint`, async () => {
    const answers = await lab.dial(lab.host('client'), 'tcp', ADDRESS[node], 80, 9);
    assert.deepEqual(count(answers), { t1: 3, t2: 3, t3: 3 });
    const source = node === 'a' ? '10.255.0.2' : '10.255.0.3';
    assert.ok(
      answers.every((line) => line.endsWith(` ${source}`)),
      answers.join(),
    );
    assert.deepEqual(names(answers.slice(0, 3)), names(answers.slice(3, 6)));
  });

test('the node itself reaches a published port by its own address and by 127.0.0.1', async () => {
  for (const address of [ADDRESS.a, '127.0.0.1']) {
    const answers = await lab.dial(lab.host('a'), 'tcp', address, 80, 3);
    assert.deepEqual(count(answers), { t1: 1, t2: 1, t3: 1 });
  }
});

test('UDP is balanced too', async () => {
  const answers = await lab.dial(lab.host('client'), 'udp', ADDRESS.b, 53, 6);
  assert.deepEqual(count(answers), { t1: 2, t2: 2, t3: 2 });
});

test('a port without backends is refused at once, on TCP and UDP, from outside and from the node', async () => {
  for (const from of ['client', 'a'])
    for (const [protocol, number] of [
      ['tcp', 81],
      ['udp', 54],
    ] as const)
      assert.deepEqual(
        await lab.dial(lab.host(from), protocol, ADDRESS.a, number),
        ['ECONNREFUSED'],
        `${from} ${protocol}`,
      );
});

test('a backend out of rotation gets no new connection; the ones it has go on', async () => {
  const held = lab.hold(lab.host('client'), 'tcp', ADDRESS.a, 80);
  const name = names([await held.ask()])[0]! as Task;
  const flows = lab.hold(lab.host('client'), 'udp', ADDRESS.a, 53);
  const first = names([await flows.ask()])[0]! as Task;
  await a.apply(viewOf('a', { [name]: { inRotation: false }, [first]: { inRotation: false } }));
  assert.ok(!names(await lab.dial(lab.host('client'), 'tcp', ADDRESS.a, 80, 6)).includes(name));
  assert.equal(names([await held.ask()])[0], name);
  // UDP has no connection to go on: the flow moves to a backend that is left.
  assert.notEqual(names([await flows.ask()])[0], first);
  await a.apply(viewOf('a'));
  await Promise.all([held.stop(), flows.stop()]);
});

test('a connection that a backend did not answer before it left goes to another', async () => {
  const silent = [`--net=${sandboxes['t2']!}`, 'nft', '-f', '-'];
  const rules = 'table ip silent { chain in { type filter hook input priority 0; tcp dport 8080 drop; }; }';
  await runProcess(['nsenter', ...silent], { input: rules });
  const held = [1, 2, 3].map(() => lab.hold(lab.host('client'), 'tcp', ADDRESS.a, 80));
  const answers: string[] = [];
  const asked = held.map(async (talk) => void answers.push(await talk.ask()));
  await until('two of three to be answered', async () => answers.length === 2 || answers.join(), {
    timeoutMs: 20_000,
  });
  await a.apply(viewOf('a', { t2: { inRotation: false } }));
  await Promise.all(asked);
  assert.deepEqual(new Set(names(answers)), new Set(['t1', 't3']), answers.join());
  await runProcess(['nsenter', ...silent], { input: 'delete table ip silent' });
  await a.apply(viewOf('a'));
  await Promise.all(held.map((talk) => talk.stop()));
});

test('a new daemon on a working node changes nothing, and connections live on', async () => {
  const held = lab.hold(lab.host('client'), 'tcp', ADDRESS.a, 80);
  const before = await held.ask();
  const next = await lab.open('a');
  await next.apply(viewOf('a'));
  assert.deepEqual(next.lastReport, { readBack: true, steps: {}, total: 0 });
  assert.equal(await held.ask(), before);
  await held.stop();
});

test('loopback addresses of a node can not be reached over the ingress network', async () => {
  lab.ip(sandboxes['t1']!, [
    'route del local 127.0.0.0/8 dev lo table local',
    'route add 127.0.0.77/32 via 10.255.0.2 dev eth0',
  ]);
  // So that the answer of a node that lets us in is heard.
  lab.exec(sandboxes['t1']!, 'busybox', 'sysctl', '-w', 'net.ipv4.conf.all.route_localnet=1');
  const knock = () => lab.dial(sandboxes['t1']!, 'udp', '127.0.0.77', 9);
  assert.deepEqual(await knock(), ['ETIMEDOUT']);
  // The way is open but for the guard: without it the node answers.
  lab.exec(lab.host('a'), 'nft', 'flush', 'chain', 'ip', 'skein', 'guard');
  assert.deepEqual(await knock(), ['ECONNREFUSED']);
  assert.equal((await a.audit()).total, 1);
});

test('a container reaches its node and what lies behind it by the gateway bridge', () => {
  for (const to of [ADDRESS.a, ADDRESS.client])
    assert.match(lab.exec(sandboxes['t1']!, 'busybox', 'ping', '-c', '1', '-W', '2', to), / 0% packet loss/);
});

test('a port of one address is reached at that alone, and at a loopback address by the node alone', async () => {
  const at = (n: number, ...hostPorts: HostPort[]) => a.attach(sandbox(n, `10.255.0.${n}`, { hostPorts }));
  const udp = { Protocol: 'udp' } as const;
  const near = [hostPort(8001, 8080, '127.0.0.9'), hostPort(8002, 8080, '127.0.0.9', udp)];
  const far = [hostPort(8001, 8080, ADDRESS.a), hostPort(8002, 8080, ADDRESS.a, udp)];
  const ids = [sandbox(22, '10.255.0.22').id, sandbox(23, '10.255.0.23').id];
  const servers = [
    await lab.serve((await at(22, ...near)).netnsPath, 'near', 8080),
    await lab.serve((await at(23, ...far)).netnsPath, 'far', 8080),
  ];
  const dial = async (from: string, to: string, protocol: 'tcp' | 'udp' = 'tcp') =>
    names(await lab.dial(from, protocol, to, protocol === 'tcp' ? 8001 : 8002)).join();
  const [client, host, task] = [lab.host('client'), lab.host('a'), sandboxes['t1']!];
  assert.deepEqual([await dial(client, ADDRESS.a), await dial(client, ADDRESS.a, 'udp')], ['far', 'far']);
  assert.deepEqual([await dial(host, ADDRESS.a), await dial(task, ADDRESS.a)], ['far', 'far']);
  assert.deepEqual([await dial(host, '127.0.0.9'), await dial(host, '127.0.0.9', 'udp')], ['near', 'near']);
  assert.equal(await dial(host, '127.0.0.1'), 'ECONNREFUSED');
  // Whoever stands beside the node and sends it packets for its loopback address.
  lab.ip(client, [
    'route del local 127.0.0.0/8 dev lo table local',
    `route add 127.0.0.9/32 via ${ADDRESS.a}`,
  ]);
  lab.exec(client, 'busybox', 'sysctl', '-w', 'net.ipv4.conf.all.route_localnet=1');
  assert.equal(await dial(client, '127.0.0.9', 'udp'), 'ETIMEDOUT');
  lab.ip(client, ['route del 127.0.0.9/32', 'route add local 127.0.0.0/8 dev lo table local']);
  // What a service publishes it publishes at every address, until it does so no more.
  const taken = service('taken', port(8001, 8080));
  await a.apply({ ...viewOf('a'), services: new Map([...viewOf('a').services, [taken.serviceId, taken]]) });
  assert.deepEqual(
    [await dial(client, ADDRESS.a), await dial(host, '127.0.0.9')],
    [...['ECONNREFUSED', 'ECONNREFUSED']],
  );
  await a.apply(viewOf('a'));
  assert.deepEqual([await dial(client, ADDRESS.a), await dial(host, '127.0.0.9')], ['far', 'near']);
  await Promise.all(servers.map((server) => server.stop()));
  for (const id of ids) await a.detach(id);
  assert.equal(await dial(client, ADDRESS.a), 'ECONNREFUSED');
  assert.equal((await a.audit()).total, 0);
});

test('a port that the node cannot give is refused in Docker’s words, and nothing stays of it', async () => {
  const own = (hostPorts: readonly HostPort[]) => a.attach(sandbox(24, '10.255.0.24', { hostPorts }));
  const his = inNetns(lab.host('a'), () => bindPort('tcp', 8003));
  const refused = (where: string, why: string) => ({
    message: new RegExp(`^failed to bind host port for ${where}:172\\.\\d+\\.0\\.\\d+:80/tcp: ${why}$`),
  });
  const foreign = [hostPort(8004, 80, '127.0.0.1'), hostPort(8004, 80, '203.0.113.9')];
  await assert.rejects(own(foreign), refused('203.0.113.9:8004', 'cannot assign requested address'));
  for (const [ports, where] of [
    [hostPort(8003, 80, '127.0.0.1'), '127.0.0.1:8003'],
    [port(8003, 80, { PublishMode: 'host' }), '0.0.0.0:8003'],
  ] as const)
    await assert.rejects(own([ports]), refused(where, 'address already in use'));
  assert.ok(!(await a.sandboxes()).includes(sandbox(24, '10.255.0.24').id));
  loadLibc().close(inNetns(lab.host('a'), () => bindPort('tcp', 8004)));
  loadLibc().close(his);
  await own([port(8003, 80, { PublishMode: 'host' })]);
  await a.detach(sandbox(24, '10.255.0.24').id);
});

test('an open port of a container is none that another program has', async () => {
  const open = { hostPorts: [port(0, 80, { PublishMode: 'host' }), port(0, 81, { PublishMode: 'host' })] };
  const his = [32_768, 32_770].map((number) => inNetns(lab.host('a'), () => bindPort('tcp', number)));
  for (const spec of [
    sandbox(24, '10.255.0.24', open),
    { ...sandbox(24, '10.255.0.24', open), serviceId: WEB },
  ]) {
    const { hostPorts } = await a.attach(spec);
    assert.deepEqual(
      hostPorts.map(({ PublishedPort }) => PublishedPort),
      [32_769, 32_771],
    );
    assert.deepEqual([...a.notHeld.keys()], []);
    await a.detach(spec.id);
  }
  his.forEach((fd) => loadLibc().close(fd));
});

test('a host-mode port leads to its container, keeps the client address, and is given out once', async () => {
  const id = sandbox(20, '10.255.0.20', { hostPorts: [port(8000, 8080, { PublishMode: 'host' })] });
  const made = await a.attach(id);
  const server = await lab.serve(made.netnsPath, 'host', 8080);
  assert.deepEqual(await lab.dial(lab.host('client'), 'tcp', ADDRESS.a, 8000), [`host ${ADDRESS.client}`]);
  assert.deepEqual(names(await lab.dial(lab.host('a'), 'tcp', '127.0.0.1', 8000)), ['host']);
  assert.deepEqual(names(await lab.dial(sandboxes['t1']!, 'tcp', ADDRESS.a, 8000)), ['host']);
  await assert.rejects(a.attach(sandbox(21, '10.255.0.21', { hostPorts: id.hostPorts })), {
    code: 'already-exists',
  });
  await server.stop();
  await a.detach(id.id);
  assert.deepEqual(await lab.dial(lab.host('client'), 'tcp', ADDRESS.a, 8000), ['ECONNREFUSED']);
});

test('connections outlive a switch of whether clients keep their addresses, whichever node hears of it first', async () => {
  const KEPT = 'kept' as ServiceId;
  const box = sandbox(30, '10.255.0.30', { serviceId: KEPT });
  const task = endpoint('b', 't30', '10.255.0.30', { serviceId: KEPT });
  const keeping = (node: 'a' | 'b', preserveClientIp: boolean) => {
    const { endpoints, services: others, ...rest } = viewOf(node);
    const kept = { ...service('kept', port(90, 8080)), preserveClientIp };
    return {
      ...rest,
      endpoints: new Map([...endpoints, [endpointKey(task), task]]),
      services: new Map([...others, [KEPT, kept]]),
    };
  };
  const connection = () => lab.hold(lab.host('client'), 'tcp', ADDRESS.a, 90);
  const [translated, kept] = ['kept 10.255.0.2', `kept ${ADDRESS.client}`];
  await b.apply(keeping('b', false));
  const { netnsPath } = await b.attach(box);
  await lab.serve(netnsPath, 'kept', 8080);
  await a.apply(keeping('a', false));
  const early = connection();
  assert.equal(await early.ask(), translated);

  await a.apply(keeping('a', true));
  const between = connection();
  const answer = between.ask();
  const isHalfOpen = () =>
    / [0-9A-F]{8}:1F90 [0-9A-F:]+ 03 /.test(lab.exec(netnsPath, 'cat', '/proc/net/tcp'));
  await until('its first packet to have come', async () => isHalfOpen() || 'none has', { timeoutMs: 20_000 });
  await b.apply(keeping('b', true));
  assert.deepEqual([await answer, await early.ask()], [kept, translated]);

  await b.apply(keeping('b', false));
  const last = connection();
  assert.deepEqual([await last.ask(), await between.ask(), await early.ask()], [kept, kept, translated]);
  await a.apply(keeping('a', false));
  const next = await lab.open('b');
  await next.apply(keeping('b', false));
  assert.deepEqual(
    [await last.ask(), await early.ask(), await connection().ask()],
    [kept, translated, translated],
  );
  await next.close();
  await b.detach(box.id);
  await a.apply(viewOf('a'));
  await b.apply(viewOf('b'));
});
