/** The plans against their golden files; `SKEIN_GOLDEN=write` writes them anew, for a person to read the difference. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import type { NetworkId, Vni } from '../model/ids.ts';
import { network, view } from './builders.ts';
import { CASES, facts } from './cases.ts';
import { diff } from './diff-plan.ts';
import { emptyState } from './known-state.ts';
import { type Desired, planNode } from './plan.ts';
import { emptyNft, OTHER_LAYOUT } from './state.ts';
import { renderIpBatch, renderNft } from './render.ts';

const folder = fileURLToPath(new URL('golden', import.meta.url));
const fileOf = (name: string, kind: string) =>
  join(folder, `${name.toLowerCase().replaceAll(' ', '-')}.${kind}`);
const write = process.env['SKEIN_GOLDEN'] === 'write';
/** The tables of sandboxes that say more than how to reach the resolver, and one that does not. */
const sandboxTables = (desired: Desired, name: string) =>
  [...desired.tables].filter(
    ([place, { frontends, bases }]) =>
      place !== 'root' &&
      (frontends.size > 0 || bases.length > 1 || (name === 'internal network' && place.startsWith('0'))),
  );
const planOf = (name: string) => planNode(CASES[name]!.view, CASES[name]!.sandboxes, facts);

const textsOf = (desired: Desired, name: string): readonly (readonly [kind: string, text: string])[] => [
  ['nft', renderNft(desired)],
  ['ipbatch', renderIpBatch(desired)],
  ...sandboxTables(desired, name).map(([place]) => ['sandbox.nft', renderNft(desired, place)] as const),
];

for (const name of Object.keys(CASES))
  test(`golden: ${name}`, () => {
    const desired = planOf(name);
    for (const [kind, text] of textsOf(desired, name)) {
      mkdirSync(folder, { recursive: true });
      if (write) writeFileSync(fileOf(name, kind), text);
      assert.equal(text, readFileSync(fileOf(name, kind), 'utf8'));
    }
  });

test('a network is as large as the uplink less the tunnel, unless it says its own size', () => {
  const sized = view({ networks: [network('ingress'), network('small', { vni: 4097 as Vni, mtu: 1300 })] });
  for (const [uplinkMtu, ingress] of [
    [1400, 1350],
    [9000, 8950],
  ] as const) {
    const { links } = planNode(sized, [], { ...facts, uplinkMtu });
    const mtus = new Map([...links.values()].map(({ name, mtu }) => [name, mtu]));
    assert.deepEqual(
      ['sk-ingress', 'sk-4096', 'vx-4096', 'sk-4097', 'vx-4097'].map((name) => mtus.get(name)),
      [ingress, ingress, ingress, 1300, 1300],
    );
    const nft = renderNft(planNode(sized, [], { ...facts, uplinkMtu }));
    assert.match(nft, new RegExp(`maxseg size set ${ingress - 40}\\b`), 'and TCP is told');
  }
});

test('every golden file belongs to a case', () => {
  const known = Object.keys(CASES).flatMap((name) =>
    textsOf(planOf(name), name).map(([kind]) => fileOf(name, kind)),
  );
  assert.deepEqual(
    readdirSync(folder)
      .map((file) => join(folder, file))
      .sort(),
    known.sort(),
  );
});

test('a plan is its own fixpoint: nothing differs from itself', () => {
  for (const name of Object.keys(CASES)) assert.deepEqual(diff(planOf(name), planOf(name)), [], name);
});

test('from any case to any other, the steps of a case and back are not empty and end where they should', () => {
  const names = Object.keys(CASES);
  for (const from of names)
    for (const to of names) {
      const steps = diff(planOf(to), planOf(from));
      // The MAC of the ingress endpoint alone is a change, too.
      if (from !== to) assert.ok(steps.length > 0, `${from} -> ${to}`);
    }
});

test('links come before what hangs on them, deletions of links before all', () => {
  const kinds = diff(planOf('three replicas on two nodes'), emptyState(['root'])).map((step) => step.kind);
  const order = [
    'netns.create',
    'link.create',
    'port.set',
    'address.add',
    'fdb.set',
    'neighbour.set',
    'nft.base',
    'nft.frontends',
  ];
  const firsts = order.map((kind) => kinds.indexOf(kind as (typeof kinds)[number]));
  assert.deepEqual(
    firsts,
    [...firsts].sort((a, b) => a - b),
  );
  assert.ok(firsts.every((index) => index >= 0));
});

test('a bridge made anew takes its ports back, with their flags and entries', () => {
  const desired = planOf('three replicas on two nodes');
  const links = new Map([...desired.links].filter(([key]) => key !== 'fabric|sk-4096'));
  const steps = diff(desired, { ...desired, links });
  const of = (kind: string) => steps.filter((s) => s.kind === kind).length;
  // Ports: VXLAN, the ingress endpoint and two containers.
  assert.deepEqual([of('link.create'), of('link.set'), of('port.set'), of('fdb.set')], [1, 4, 4, 3]);
});

test('one backend more is a slot and the count, in one transaction and without a rule', () => {
  const fewer = planOf('one replica out of rotation');
  const all = planNode(
    CASES['three replicas on two nodes']!.view,
    CASES['one replica out of rotation']!.sandboxes,
    facts,
  );
  const [step, ...others] = diff(all, { ...all, nft: fewer.nft });
  assert.deepEqual(others, []);
  assert.ok(step?.kind === 'nft.frontends');
  assert.deepEqual([...step.changes.addSlots], [['tcp/80/2', '10.255.0.9:8080']]);
  assert.deepEqual([step.changes.deleteCounts, [...step.changes.addCounts]], [['tcp/80'], [['tcp/80', '3']]]);
  const { addChains, setChains, deleteChains, addPublished, deletePublished, deleteSlots } = step.changes;
  assert.deepEqual(
    [addChains, setChains, addPublished].map((map) => map.size),
    [0, 0, 0],
  );
  assert.deepEqual([deleteChains, deletePublished, deleteSlots], [[], [], []]);
});

test('a table of another version is replaced as a whole, in one transaction', () => {
  const desired = planOf('three replicas on two nodes');
  const nft = new Map([...desired.nft, ['root', { ...emptyNft, present: OTHER_LAYOUT }] as const]);
  assert.deepEqual(diff(desired, { ...desired, nft }), [
    { kind: 'nft.base', place: 'root', table: desired.tables.get('root'), replace: [], remove: [] },
  ]);
});

test('links of a container on a network that the view does not hold are left alone', () => {
  const { view, sandboxes } = CASES['second network with its own MTU']!;
  const full = planNode(view, sandboxes, facts);
  const networks = new Map([...view.networks].filter(([id]) => id !== ('mynet' as NetworkId)));
  const steps = diff(planNode({ ...view, networks }, sandboxes, facts), full);
  const deleted = steps.flatMap((s) => (s.kind === 'link.delete' ? [s.name] : []));
  assert.deepEqual(deleted.sort(), ['sk-4097', 'vx-4097']);
});
