/** What the demo compares of a capture: a hop that is missing, or differs in any column, is said. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { joinConnections } from '../../trace/join.ts';
import { BACKENDS, CLIENT, ENDPOINT, ENTRANCE, FAR, NEAR, NODE, Seen } from '../../trace/fake-connection.ts';
import { mismatches, type ReferenceCase, referenceHops } from './reference.ts';

const place: ReferenceCase = {
  client: CLIENT,
  node: { ...NODE, name: 'node1' },
  published: 80,
  target: 8080,
  ingress: [
    {
      node: 'node1',
      subnet: '10.255.0.0/16',
      peers: [],
      endpoint: { address: ENDPOINT.ip, mac: ENDPOINT.mac },
      containers: [{ name: 'web.1', address: NEAR.ip, mac: NEAR.mac }],
    },
    {
      node: 'node2',
      subnet: '10.255.0.0/16',
      peers: [],
      endpoint: undefined,
      containers: [{ name: 'web.2', address: FAR.ip, mac: FAR.mac }],
    },
  ],
};

function captured(backend: typeof NEAR) {
  const observations = new Seen().handshake(40_000, backend, 7);
  const facts = { entrances: [ENTRANCE], backends: BACKENDS, translations: [] };
  return joinConnections({ observations, ...facts })[0]!;
}

test('a connection of each case as the mesh carries it is the reference', () => {
  for (const backend of [NEAR, FAR]) {
    const connection = captured(backend);
    assert.deepEqual(mismatches(connection, referenceHops(place, connection)), []);
  }
});

test('a hop that was not captured is missed', () => {
  const connection = captured(FAR);
  const hops = connection.hops.filter(({ way }) => way === 'forward');
  assert.deepEqual(mismatches({ ...connection, hops }, referenceHops(place, connection)), ['2 hops, not 3']);
  const none = mismatches({ ...connection, hops: [] }, referenceHops(place, connection));
  assert.deepEqual(none, ['0 hops, not 3']);
});

for (const [what, otherwise, said] of [
  [
    'MAC of the endpoint',
    { node: { ...place.node, mac: '52:54:00:00:02:ff' } },
    [
      'hop 1 destination MAC is 52:54:00:00:02:0b, not 52:54:00:00:02:ff',
      'hop 2 source MAC is 52:54:00:00:02:0b, not 52:54:00:00:02:ff',
    ],
  ],
  ['published port', { published: 81 }, ['hop 1 destination port is 80, not 81']],
  [
    'port in the container',
    { target: 80 },
    ['hop 2 destination port is 8080, not 80', 'hop 3 source port is 8080, not 80'],
  ],
  [
    'endpoint that nobody knows',
    { ingress: place.ingress.slice(1) },
    [
      'hop 2 source IP is 10.255.0.2, not known',
      'hop 3 destination IP is 10.255.0.2, not known',
      'hop 3 destination MAC is 52:54:00:00:02:0b, not known',
    ],
  ],
] as const)
  test(`another ${what} is said`, () => {
    const connection = captured(FAR);
    assert.deepEqual(mismatches(connection, referenceHops({ ...place, ...otherwise }, connection)), said);
  });

test('an answer that is no answer is said', () => {
  const connection = captured(FAR);
  const hops = connection.hops.map((hop) => ({ ...hop, flags: ['RST'] as const }));
  assert.equal(mismatches({ ...connection, hops }, referenceHops(place, connection)).length, 3);
});
