import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { parseIpv4 } from '../kit/cidr.ts';
import type { NetworkId, ServiceId } from '../model/ids.ts';
import type { EndpointItem, NetworkView } from '../model/network-view.ts';
import { endpoint, INGRESS, network, peer, port, service, view, type ViewParts } from './builders.ts';
import { CASES, facts } from './cases.ts';
import { planDelta } from './delta-plan.ts';
import { diff } from './diff-plan.ts';
import { type Desired, planNode } from './plan.ts';

const SERVICES = [
  {
    ...service('web', port(80, 8080), port(53, 53, { Protocol: 'udp' })),
    virtualIps: [{ networkId: 'mynet' as NetworkId, address: parseIpv4('10.0.1.2') }],
  },
  service('dns', port(5353, 53, { Protocol: 'udp' })),
];

/** One container on the ingress network alone, one on both. */
const boxes = [
  CASES['three replicas on two nodes']!.sandboxes[0]!,
  CASES['virtual IPs on a network']!.sandboxes[0]!,
];

const stand = fc.record({
  task: fc.integer({ min: 0, max: 9 }),
  node: fc.constantFrom('a', 'b', 'c'),
  address: fc.integer({ min: 10, max: 20 }),
  net: fc.constantFrom('ingress', 'mynet'),
  service: fc.constantFrom('web', 'dns', undefined),
  inRotation: fc.boolean(),
  /** The task goes. */
  gone: fc.boolean(),
});
type Stand = typeof stand extends fc.Arbitrary<infer T> ? T : never;

function viewWith(stands: Iterable<Stand>, services: typeof SERVICES): NetworkView {
  const used = new Set<string>();
  const endpoints = [...stands].flatMap((t): EndpointItem[] => {
    const address = t.net === 'ingress' ? `10.255.0.${t.address}` : `10.0.1.${t.address}`;
    if (t.gone || used.has(address)) return [];
    used.add(address);
    const over = {
      networkId: (t.net === 'ingress' ? INGRESS : 'mynet') as NetworkId,
      serviceId: t.service as ServiceId | undefined,
      inRotation: t.inRotation,
    };
    return [endpoint(t.node, `t${t.task}`, address, over)];
  });
  return view({
    networks: [network('ingress'), network('mynet')],
    peers: [peer('b', '192.0.2.5'), peer('c', '192.0.2.6')],
    endpoints,
    services,
  });
}

/** Each view differs from the one before it in a few of the tasks: the others stand where they stood. */
const chains = fc
  .array(
    fc.record({ stands: fc.array(stand, { maxLength: 8 }), few: fc.nat(3), services: fc.subarray(SERVICES) }),
    { minLength: 2, maxLength: 6 },
  )
  .map((changes) => {
    const standing = new Map<number, Stand>();
    return changes.map(({ stands, few, services }, i) => {
      for (const one of i === 0 ? stands : stands.slice(0, few)) standing.set(one.task, one);
      return viewWith(standing.values(), services);
    });
  });

const plain = (d: Desired) => ({
  fdb: d.fdb,
  neighbours: d.neighbours,
  nft: d.nft,
  tables: d.tables,
  links: d.links,
});

test('a chain of deltas ends where the whole plan does, by the same steps', () => {
  fc.assert(
    fc.property(chains, (chain) => {
      const known = planNode(chain[0]!, boxes, facts);
      for (let i = 1; i < chain.length; i++) {
        const whole = planNode(chain[i]!, boxes, facts);
        const delta = planDelta(chain[i - 1]!, chain[i]!, known, facts, boxes);
        assert.ok(delta);
        const published = (d: Desired) => [...d.tables.get('root')!.frontends.keys()].sort();
        assert.equal(delta.ports, !isDeepStrictEqual(published(known), published(whole)));
        const byText = (steps: readonly unknown[]) => steps.map((s) => inspectStep(s)).sort();
        assert.deepEqual(byText(delta.steps), byText(diff(whole, planNode(chain[i - 1]!, boxes, facts))));
        delta.settle();
        assert.deepEqual(plain(known), plain(whole));
      }
    }),
  );
});

/** A step as text; maps and sets in the order of their keys. */
const inspectStep = (step: unknown): string =>
  JSON.stringify(step, (_, value: unknown) =>
    value instanceof Map
      ? [...value].sort()
      : value instanceof Set
        ? [...value].sort()
        : Array.isArray(value)
          ? [...value].sort()
          : value,
  );

const [NODE_B, WEB] = [peer('b', '192.0.2.5'), SERVICES[0]!];

for (const [what, before, after] of [
  ['a peer', { peers: [NODE_B] }, { peers: [] }],
  ['the place of a peer', { peers: [NODE_B] }, { peers: [peer('b', '192.0.2.9')] }],
  ['a network', {}, { networks: [network('ingress', { mtu: 1400 })] }],
  ['this node', {}, { ingress: '10.255.0.3' }],
  [
    "a node's ingress endpoint",
    { peers: [NODE_B] },
    { peers: [NODE_B], endpoints: [endpoint('b', undefined, '10.255.0.3')] },
  ],
  [
    'whether clients keep their addresses',
    { services: [WEB] },
    { services: [{ ...WEB, preserveClientIp: true }] },
  ],
] as const satisfies [string, ViewParts, ViewParts][])
  test(`a change of ${what} is no delta, one way or the other`, () => {
    const [one, other] = [view(before), view(after)];
    for (const [from, to] of [
      [one, other],
      [other, one],
    ] as const)
      assert.equal(planDelta(from, to, planNode(from, [], facts), facts, []), undefined);
  });
