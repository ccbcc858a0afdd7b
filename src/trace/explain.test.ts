/** Explained ways through the golden cases of net/: the tables, that they lead to every backend, and that a walk always ends. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { NodeId } from '../model/ids.ts';
import { parseIpv4 } from '../kit/cidr.ts';
import { CASES } from '../net/cases.ts';
import type { Desired } from '../net/plan.ts';
import type { WalkStart } from '../rpc/explain.ts';
import type { WalkedNode } from './explain-node.ts';
import { renderExplanation } from './explain-text.ts';
import { ANY_ADDRESS } from './explain-walk.ts';
import { A, type Change, CLIENT, FakeExplained, go, start, THREE, three, WEB } from './fake-explained.ts';
import type { TraceNames } from './table.ts';

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

test('a port of one address leads to its container from there alone; from outside none of a loopback address', async () => {
  const cluster = new FakeExplained(CASES['host mode ports of one address']!, {
    a: (node) => ({ ...node, addresses: new Set([...node.addresses, parseIpv4('192.0.2.40')]) }),
  });
  const host = { from: { at: 'node' }, source: ANY_ADDRESS } as const;
  for (const [to, port, call, way] of [
    ['192.0.2.4', 8000, {}, '172.18.0.2'],
    ['192.0.2.4', 8053, { protocol: 'udp' }, '172.18.0.2'],
    ['192.0.2.4', 8053, {}, 'not-published'],
    ['192.0.2.40', 8000, {}, 'not-published'],
    ['127.0.0.1', 8000, host, '172.18.0.2'],
    ['127.0.0.2', 8000, host, '172.18.0.3'],
    ['127.0.0.3', 8000, host, 'not-published'],
    ['127.0.0.1', 8000, {}, 'not-published'],
  ] as const) {
    const [path] = (await go(cluster, A, start(to, port, call))).paths;
    assert.equal(path?.loss?.code ?? path?.backend, way, `${to}:${port}`);
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
