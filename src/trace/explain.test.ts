/** Explained ways through the golden cases of net/: the tables, every reason to be lost, and that a walk always ends. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseIpv4 } from '../kit/cidr.ts';
import type { Ipv4, NodeId } from '../model/ids.ts';
import type { Protocol } from '../model/spec.ts';
import { macFor } from '../net/builders.ts';
import { CASES } from '../net/cases.ts';
import { readIptables, readNft } from '../net/firewall-plan.ts';
import type { Desired } from '../net/plan.ts';
import { steer } from '../net/steering-plan.ts';
import { OPENING_SIZE, type WalkStart } from '../rpc/explain.ts';
import { explain, type Explanation } from './explain.ts';
import { renderExplanation } from './explain-text.ts';
import { ANY_ADDRESS } from './explain-walk.ts';
import type { WalkedNode } from './explain-node.ts';
import { type Change, FakeExplained } from './fake-explained.ts';
import type { TraceNames } from './table.ts';

const CLIENT = parseIpv4('192.0.2.100');
const A = 'a' as NodeId;
const B = 'b' as NodeId;

interface Call {
  readonly protocol?: Protocol;
  readonly from?: WalkStart['from'];
  readonly source?: Ipv4;
  readonly size?: number;
}

const start = (to: string, port: number, call: Call = {}): WalkStart => ({
  from: call.from ?? { at: 'uplink' },
  packet: {
    protocol: call.protocol ?? 'tcp',
    source: { ip: call.source ?? CLIENT, port: 50_000 },
    destination: { ip: parseIpv4(to), port },
    reply: false,
    size: call.size ?? OPENING_SIZE,
  },
  tracked: [],
});

const fromContainer = (address: string) =>
  ({ from: { at: 'container', mac: macFor(address) }, source: ANY_ADDRESS }) as const;

const go = (cluster: FakeExplained, nodeId: NodeId, begun: WalkStart, backend?: Ipv4): Promise<Explanation> =>
  explain(cluster.journey([{ nodeId, start: begun }], backend), cluster.ask);

const lossOf = async (cluster: FakeExplained, nodeId: NodeId, begun: WalkStart): Promise<string> => {
  const { paths } = await go(cluster, nodeId, begun);
  return paths.map(({ loss }) => `${loss?.code}: ${loss?.text}`).join('\n');
};

const THREE = CASES['three replicas on two nodes']!;
const three = (change: Record<string, Change> = {}, silent: string[] = []) =>
  new FakeExplained(THREE, change, new Set(silent));
const WEB = start('192.0.2.4', 80);

// ---- golden tables

const folder = fileURLToPath(new URL('golden', import.meta.url));
const write = process.env['SKEIN_GOLDEN'] === 'write';
const names: TraceNames = { addresses: new Map() };

/** Everything that may be called: ports of each node from outside, virtual IPs and ports from each container of a's. */
function calls(cluster: FakeExplained): (readonly [title: string, nodeId: NodeId, start: WalkStart])[] {
  const found: (readonly [string, NodeId, WalkStart])[] = [];
  for (const [nodeId, { plan, vtep, view }] of cluster.nodes)
    for (const [place, { frontends }] of view.self?.ingress ? plan.tables : [])
      for (const frontend of frontends.values())
        if (frontend.kind === 'port') {
          const { protocol, port } = frontend;
          found.push([`${CLIENT} -> ${nodeId}:${port}/${protocol}`, nodeId, start(vtep, port, { protocol })]);
        } else {
          const mac = [...plan.links.values()].find((l) => l.place === place && l.name === 'eth0')!.mac!;
          const call = { from: { at: 'container', mac }, source: ANY_ADDRESS } as const;
          const title = `container ${place.slice(0, 12)} on ${nodeId} -> ${frontend.address}:80/tcp`;
          found.push([title, nodeId, start(frontend.address, 80, call)]);
        }
  return found;
}

const textOf = async (cluster: FakeExplained): Promise<string> => {
  const texts: string[] = [];
  for (const [title, nodeId, begun] of calls(cluster)) {
    const text = renderExplanation(await go(cluster, nodeId, begun), names, { rules: true });
    texts.push(`# ${title}\n\n${text}\n`);
  }
  return texts.join('\n');
};

const GOLDEN = [
  'three replicas on two nodes',
  'one replica out of rotation',
  'no replica left',
  'same port on TCP and UDP and SCTP',
  'virtual IPs on a network',
  'clients keep their addresses',
  'VXLAN on another port',
  'host mode ports',
  'published port wins over a host mode port',
] as const;

const fileOf = (name: string) => `${name.toLowerCase().replaceAll(' ', '-')}.txt`;

for (const name of GOLDEN)
  test(`golden: ${name}`, async () => {
    const text = await textOf(new FakeExplained(CASES[name]!));
    mkdirSync(folder, { recursive: true });
    if (write) writeFileSync(join(folder, fileOf(name)), text);
    assert.equal(text, readFileSync(join(folder, fileOf(name)), 'utf8'));
  });

test('every golden file belongs to a case', () =>
  assert.deepEqual(readdirSync(folder).toSorted(), GOLDEN.map(fileOf).toSorted()));

// ---- reasons to be lost

/** The plan without the objects that `gone` names, by kind and key. */
const without =
  (kind: 'fdb' | 'neighbours' | 'links', gone: (key: string) => boolean): Change =>
  (node) => ({
    ...node,
    plan: {
      ...node.plan,
      [kind]: new Map([...(node.plan[kind] as ReadonlyMap<string, unknown>)].filter(([key]) => !gone(key))),
    } as Desired,
  });

const LOST: Record<string, readonly [expected: RegExp, () => Promise<string>]> = {
  'no healthy task': [
    /^no-backend: no healthy task: service web has no task in rotation$/,
    () => lossOf(new FakeExplained(CASES['no replica left']!), A, WEB),
  ],
  'every task out of rotation': [
    /^no-backend: no task of service idle to go to|no healthy task: service idle/,
    () => {
      const begun = start('10.0.1.3', 80, fromContainer('10.0.1.9'));
      return lossOf(new FakeExplained(CASES['virtual IPs on a network']!), A, begun);
    },
  ],
  'port not published': [
    /^not-published: a publishes no port tcp\/81$/,
    () => lossOf(three(), A, start('192.0.2.4', 81)),
  ],
  'published over another protocol': [
    /^not-published: a publishes no port udp\/80$/,
    () => lossOf(three(), A, start('192.0.2.4', 80, { protocol: 'udp' })),
  ],
  'no FDB entry': [
    /no-fdb: a, bridge sk-4096: no FDB entry for 02:42:0a:ff:00:08$/m,
    () => lossOf(three({ a: without('fdb', (key) => key === 'fabric|vx-4096|02:42:0a:ff:00:08') }), A, WEB),
  ],
  'no neighbour': [
    /no-neighbour: nobody on sk-ingress in a, root is known as 10\.255\.0\.8$/m,
    () =>
      lossOf(
        three({
          a: without('neighbours', (key) => key.endsWith('|10.255.0.8')),
        }),
        A,
        WEB,
      ),
  ],
  'the container is gone at the other end': [
    /no-fdb: b, bridge sk-4096: no FDB entry for 02:42:0a:ff:00:08$/m,
    () => lossOf(three({ b: without('fdb', (key) => key.endsWith('|02:42:0a:ff:00:08')) }), A, WEB),
  ],
  'the other end takes no part in the network': [
    /no-such-container: b takes no part in the network with VNI 4096$/m,
    () => lossOf(three({ b: without('links', (key) => key.startsWith('fabric|vx-')) }), A, WEB),
  ],
  'the answer finds no way back': [
    /no-fdb: b, bridge sk-4096: no FDB entry for 02:42:0a:ff:00:02$/m,
    () => lossOf(three({ b: without('fdb', (key) => key === 'fabric|vx-4096|02:42:0a:ff:00:02') }), A, WEB),
  ],
  'a node that says nothing': [
    /no-answer: b says nothing of its part of the way: no session with the managers$/m,
    () => lossOf(three({}, ['b']), A, WEB),
  ],
  'no route out of an internal network': [
    /^no-route: a, container 0000000001cc has no route to 192\.0\.2\.9: its networks are internal$/,
    () => {
      const begun = start('192.0.2.9', 80, fromContainer('10.0.1.7'));
      return lossOf(new FakeExplained(CASES['internal network']!), A, begun);
    },
  ],
  'nobody has that address': [
    /^no-neighbour: nobody on eth0 in a, container 0000000001cc is known as 10\.0\.1\.77$/,
    () => {
      const begun = start('10.0.1.77', 80, fromContainer('10.0.1.7'));
      return lossOf(new FakeExplained(CASES['internal network']!), A, begun);
    },
  ],
  'no such container': [
    /^no-such-container: a has no such container on its networks$/,
    () => lossOf(three(), A, start('10.255.0.8', 80, fromContainer('10.9.9.9'))),
  ],
  'a datagram too large for the overlay': [
    /mtu: 1500 bytes do not fit sk-ingress in a, root \(MTU 1450\), which answers "fragmentation needed"/,
    () => {
      const cluster = new FakeExplained(CASES['service with several ports']!);
      return lossOf(cluster, A, start('192.0.2.4', 53, { protocol: 'udp', size: 1500 }));
    },
  ],
};

for (const [name, [expected, lost]] of Object.entries(LOST))
  test(`lost: ${name}`, async () => assert.match(await lost(), expected));

test('a segment of TCP fits the overlay, whatever the client would send', async () => {
  const { paths } = await go(three(), A, start('192.0.2.4', 80, { size: 1500 }));
  assert.deepEqual(
    paths.map(({ loss }) => loss),
    [undefined, undefined, undefined],
  );
});

/** Node b does not answer a's probes. */
const awayFromB =
  (ms: number): Change =>
  (node) => {
    const view = steer(node.managersView, new Set([B]), new WeakMap());
    const [only] = new FakeExplained({ ...THREE, view }).nodes.values();
    return { ...node, plan: only!.plan, view, away: new Map([[B, ms]]) };
  };

test('steered away: the others are chosen, and who is not, and since when', async () => {
  const { paths, passedOver } = await go(three({ a: awayFromB(430) }), A, WEB);
  assert.deepEqual(
    paths.map(({ backend, kind }) => [backend, kind]),
    [
      ['10.255.0.7', 'same host'],
      ['10.255.0.9', 'same host'],
    ],
  );
  assert.deepEqual(passedOver, ['t2 on b: b steered away 0.4 s ago']);
});

test('lost: the only task is on a node that is steered away', async () => {
  const endpoints = new Map([...THREE.view.endpoints].filter(([, e]) => e.nodeId === B || !e.taskId));
  const view = { ...THREE.view, endpoints };
  const change: Change = (node) => {
    const steered = steer(view, new Set([B]), new WeakMap());
    const [only] = new FakeExplained({ view: steered, sandboxes: [] }).nodes.values();
    return { ...node, plan: only!.plan, view: steered, away: new Map([[B, 1_260]]) };
  };
  assert.equal(
    await lossOf(new FakeExplained({ view, sandboxes: [] }, { a: change }), A, WEB),
    'no-backend: no task of service web to go to: t2 on b: b steered away 1.3 s ago',
  );
});

test('not chosen: a task that is not in rotation', async () => {
  const { passedOver, paths } = await go(new FakeExplained(CASES['one replica out of rotation']!), A, WEB);
  assert.deepEqual(passedOver, ['t3 on a: not in rotation (not healthy yet, or draining)']);
  assert.equal(paths.length, 2);
});

test('one backend alone, where it is named', async () => {
  const { paths } = await go(three(), A, WEB, parseIpv4('10.255.0.8'));
  assert.deepEqual(
    paths.map(({ backend, kind }) => [backend, kind]),
    [['10.255.0.8', 'cross host']],
  );
});

test('a backend that is named and not chosen is no way, and is said why', async () => {
  const cluster = new FakeExplained(CASES['one replica out of rotation']!);
  const { paths, passedOver } = await go(cluster, A, WEB, parseIpv4('10.255.0.9'));
  assert.deepEqual(
    paths.map(({ loss }) => loss?.text),
    ['the rules do not lead to 10.255.0.9'],
  );
  assert.match(passedOver.join(), /^t3 on a: not in rotation/);
});

// ---- the host's firewall

const firewalled =
  (hook: 'forward' | 'input', text: string): Change =>
  (node) => ({
    ...node,
    chains: [readIptables('iptables-nft', hook, text)],
  });
const OURS = `-A FORWARD -o sk-ingress -m conntrack --ctstate DNAT -m comment --comment "skein:into-the-mesh" -j ACCEPT
-A FORWARD -i sk-ingress -m conntrack --ctstate DNAT -m comment --comment "skein:out-of-the-mesh" -j ACCEPT
`;

const FIREWALLS: Record<
  string,
  readonly [hook: 'forward' | 'input', text: string, lost: RegExp | undefined]
> = {
  'a policy that drops': [
    'forward',
    '-P FORWARD DROP\n',
    /^firewall: host firewall of a drops in FORWARD: iptables-nft, table ip filter, chain FORWARD, policy drop$/m,
  ],
  'a policy that drops behind our accepts': ['forward', `-P FORWARD DROP\n${OURS}`, undefined],
  'a rule in front of ours': [
    'forward',
    `-P FORWARD ACCEPT\n-A FORWARD -p tcp -m tcp --dport 8080 -j DROP\n${OURS}`,
    /chain FORWARD, rule 1: -A FORWARD -p tcp -m tcp --dport 8080 -j DROP$/m,
  ],
  'a rule about another port': [
    'forward',
    `-P FORWARD ACCEPT\n-A FORWARD -p tcp -m tcp --dport 22 -j REJECT --reject-with icmp-port-unreachable\n`,
    undefined,
  ],
  'a rule about other sources': [
    'forward',
    '-P FORWARD ACCEPT\n-A FORWARD -s 198.51.100.0/24 -j DROP\n',
    undefined,
  ],
  'a rule that only the answer meets': [
    'forward',
    '-P FORWARD ACCEPT\n-A FORWARD ! -s 192.0.2.0/24 -j DROP\n',
    /chain FORWARD, rule 1: -A FORWARD ! -s 192\.0\.2\.0\/24 -j DROP$/m,
  ],
  'an accept of its own': [
    'forward',
    '-P FORWARD DROP\n-A FORWARD -i eth+ -m conntrack --ctstate NEW -j ACCEPT\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n',
    undefined,
  ],
  'tunnels that are not let in': [
    'input',
    '-P INPUT DROP\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n',
    /^firewall: host firewall of a drops in INPUT: iptables-nft, table ip filter, chain INPUT, policy drop$/m,
  ],
};

for (const [name, [hook, text, lost]] of Object.entries(FIREWALLS))
  test(`firewall: ${name}`, async () => {
    const loss = await lossOf(three({ a: firewalled(hook, text) }), A, WEB);
    if (lost) assert.match(loss, lost);
    else assert.doesNotMatch(loss, /firewall/);
  });

test('a jump that cannot be followed is said, and loses nothing', async () => {
  const change = firewalled('forward', '-P FORWARD ACCEPT\n-A FORWARD -j ufw-before-forward\n');
  const { paths } = await go(three({ a: change }), A, WEB);
  assert.ok(paths.every(({ loss }) => loss === undefined));
  assert.match(
    paths[0]!.decisions.join('\n'),
    /may drop in FORWARD: .*rule 1: -A FORWARD -j ufw-before-forward/,
  );
});

test('a chain of nft itself that drops', async () => {
  const chain = { name: 'way', hook: 'forward', policy: 'drop', type: 'filter' };
  const change: Change = (node) => ({ ...node, chains: readNft('inet guard', [{ chain }]) });
  assert.match(await lossOf(three({ a: change }), A, WEB), /nft, table inet guard, chain way, policy drop/);
});

// ---- properties

test('every backend in rotation is reached by some way, and every way ends at one', async () => {
  for (const [name, given] of Object.entries(CASES)) {
    const cluster = new FakeExplained(given);
    for (const [, nodeId, begun] of calls(cluster)) {
      const { paths } = await go(cluster, nodeId, begun);
      const { tables } = cluster.nodes.get(nodeId)!.plan;
      const wanted = [...tables.values()].flatMap(({ frontends }) =>
        [...frontends.values()].flatMap((f) =>
          f.kind === 'port'
            ? f.port === begun.packet.destination.port &&
              f.protocol === begun.packet.protocol &&
              begun.from.at === 'uplink'
              ? f.backends.map((b) => b.address)
              : []
            : f.address === begun.packet.destination.ip
              ? f.backends
              : [],
        ),
      );
      if (wanted.length === 0)
        assert.deepEqual(
          paths.map((p) => p.loss?.code),
          ['no-backend'],
          name,
        );
      else
        assert.deepEqual(
          [...new Set(paths.map((p) => p.backend))].toSorted(),
          [...new Set(wanted)].toSorted(),
          name,
        );
      assert.deepEqual(
        paths.filter((p) => p.loss && p.loss.code !== 'no-backend'),
        [],
        name,
      );
    }
  }
});

/** The same numbers each time. */
function* numbers(seed: number): Generator<number> {
  for (let n = seed; ; ) yield (n = (Math.imul(n, 1_664_525) + 1_013_904_223) >>> 0);
}

/** Every entry that leads somewhere may lead anywhere else where an entry of its kind leads. */
function shuffled(node: WalkedNode, random: Generator<number>): WalkedNode {
  const next = (below: number): number => (random.next().value as number) % below;
  const mix = <T>(map: ReadonlyMap<string, T>, join: (own: T, other: T) => T): Map<string, T> => {
    const values = [...map.values()];
    return new Map(
      [...map].flatMap(([key, own]) => {
        const draw = next(8);
        if (draw === 0) return [];
        return [[key, draw === 1 ? join(own, values[next(values.length)]!) : own] as const];
      }),
    );
  };
  const plan: Desired = {
    ...node.plan,
    fdb: mix(node.plan.fdb, (own, { vtep }) => ({ ...own, vtep: own.vtep && (vtep ?? node.vtep) })),
    neighbours: mix(node.plan.neighbours, (own, { mac }) => ({ ...own, mac })),
    routes: mix(node.plan.routes, (own, { via }) => ({ ...own, via })),
    links: mix(node.plan.links, (own, { master }) =>
      own.master ? { ...own, master: master ?? own.master } : own,
    ),
  };
  return { ...node, plan };
}

test('whatever entries are missing or lead astray, every walk ends: at a task, or lost with a reason', async () => {
  const random = numbers(7);
  const codes = new Set<string>();
  for (let n = 0; n < 40; n++)
    for (const given of [THREE, CASES['virtual IPs on a network']!, CASES['clients keep their addresses']!]) {
      const astray: Change = (node) => shuffled(node, random);
      const cluster = new FakeExplained(given, { a: astray, b: astray, c: astray });
      for (const [, nodeId, begun] of calls(new FakeExplained(given))) {
        const { paths } = await go(cluster, nodeId, begun);
        assert.ok(paths.length > 0);
        for (const { loss, backend } of paths) {
          assert.ok(loss ? loss.text !== '' : backend !== undefined);
          codes.add(loss?.code ?? 'arrives');
        }
      }
    }
  for (const code of ['arrives', 'no-fdb', 'no-neighbour', 'no-such-container'])
    assert.ok(codes.has(code), `${code} of ${[...codes].join()}`);
});

test('a walk ends whatever entries lead where', async () => {
  // Each node believes that everything is at the other one, and none that anything is here.
  const elsewhere: Change = (node) => {
    const fdb = new Map(
      [...node.plan.fdb].map(([key, entry]) => [key, entry.vtep ? { ...entry, vtep: node.vtep } : entry]),
    );
    return { ...node, plan: { ...node.plan, fdb } };
  };
  const { paths } = await go(three({ a: elsewhere, b: elsewhere }), A, WEB);
  assert.deepEqual(paths.map(({ loss }) => loss?.code ?? 'arrives').toSorted(), [
    'arrives',
    'arrives',
    'no-fdb',
  ]);
});
