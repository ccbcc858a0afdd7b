import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Translation, Tuple } from './conntrack.ts';
import type { Connection } from './connection.ts';
import * as fake from './fake-connection.ts';
import { CLIENT, ENDPOINT, FAR, frame, NEAR, NODE, Seen } from './fake-connection.ts';
import { encapsulate } from './fake-frame.ts';
import { type Entrance, joinConnections } from './join.ts';
import type { Observation } from './observe.ts';
import { renderConnections, renderOutcome, rowsOf } from './render.ts';

const join = (
  observations: readonly Observation[],
  rest: { entrances?: readonly Entrance[]; translations?: readonly Translation[] } = {},
): readonly Connection[] =>
  joinConnections({
    observations,
    entrances: [fake.ENTRANCE],
    backends: fake.BACKENDS,
    translations: [],
    ...rest,
  });

const tuple = (text: string): Tuple => {
  const [, protocol, source, from, destination, to] = /^(tcp|udp) (\S+):(\d+) > (\S+):(\d+)$/.exec(text)!;
  return {
    protocol: protocol as Tuple['protocol'],
    source: source!,
    sourcePort: Number(from),
    destination: destination!,
    destinationPort: Number(to),
  };
};

/** Case, ends, flags and translation of each row. */
const short = (connection: Connection): string[] =>
  rowsOf(connection).map(({ kind, source, destination, flags, translation }) =>
    [kind, `${source.ip} > ${destination.ip}:${destination.port}`, flags.join('+'), translation ?? '']
      .join(' ')
      .trim(),
  );

test('the table of the reference capture, same host and cross host', () => {
  const seen = new Seen();
  const connections = join([...seen.handshake(40001, NEAR, 100), ...seen.handshake(40002, FAR, 0xffffffff)]);
  assert.deepEqual(
    connections.map((c) => [c.kind, c.backend?.ip, c.joinedBy, c.outcome]),
    [
      ['same host', NEAR.ip, 'sequence number', 'open'],
      ['cross host', FAR.ip, 'sequence number', 'open'],
    ],
  );
  const cells = (text: string) => text.split('\n').map((row) => row.split(/ {2,}/));
  const expected = `
case        hop  source IP                           source MAC                         destination IP        destination MAC                    ports, flags                translated   took
same host   1    192.0.2.200 (client)                52:54:00:00:02:c8                  192.0.2.11 (node A)   52:54:00:00:02:0b (node A uplink)  40001 -> 80 [SYN]           0.010 ms
same host   2    10.255.0.2 (ingress endpoint of A)  52:54:00:00:02:0b (node A uplink)  10.255.0.4            02:aa:00:00:00:04                  40002 -> 8080 [SYN]         DNAT + SNAT  0.010 ms
cross host  1    192.0.2.200 (client)                52:54:00:00:02:c8                  192.0.2.11 (node A)   52:54:00:00:02:0b (node A uplink)  40002 -> 80 [SYN]           0.010 ms
cross host  2    10.255.0.2 (ingress endpoint of A)  52:54:00:00:02:0b (node A uplink)  10.255.0.5 (web.2)    02:aa:00:00:00:05                  40003 -> 8080 [SYN]         DNAT + SNAT  0.030 ms
cross host  3    10.255.0.5 (web.2)                  02:aa:00:00:00:05                  10.255.0.2 (ingress endpoint of A)  52:54:00:00:02:0b (node A uplink)  8080 -> 40003 [SYN, ACK]  0.020 ms`.trim();
  const table = renderConnections(connections, fake.NAMES);
  assert.deepEqual(
    cells(table).filter((_, line) => line !== 1),
    cells(expected),
  );
  assert.equal(
    renderOutcome(connections[1]!),
    'open, seen for 0.130 ms; first answer after 0.080 ms; carried in VXLAN 4096 from 192.0.2.11 to 192.0.2.12, ' +
      'UDP port 4789; hops joined by sequence number',
  );
});

test('times between two nodes bear what their clocks may be off; on one node they are exact', () => {
  const seen = new Seen();
  const [connection] = join(seen.handshake(40002, FAR, 5));
  const clocks = new Map([['node2', 50_000]]);
  assert.deepEqual(
    rowsOf(connection!, clocks).map(({ took, uncertainty }) => [took, uncertainty]),
    [
      [10_000, 0],
      [30_000, 50_000],
      [20_000, 50_000],
    ],
  );
  assert.match(renderConnections([connection!], fake.NAMES, clocks), /0\.030 ms ± 0\.050 ms$/m);
});

test('UDP is joined by what connection tracking says', () => {
  const seen = new Seen();
  const udp = { protocol: 'udp' } as const;
  const observations = [
    seen.at('node1 eth0 in', frame(CLIENT, NODE, [40001, 53], udp)),
    seen.at('node1 eth0 out', encapsulate(fake.VTEPS, 4096, frame(ENDPOINT, FAR, [40001, 5353], udp))),
    seen.at('node1 eth0 in', encapsulate(fake.VTEPS, 4096, frame(FAR, ENDPOINT, [5353, 40001], udp))),
  ];
  const entrances = [{ address: NODE.ip, port: 53, protocol: 'udp' }] as const;
  const translations = [
    {
      before: tuple('udp 192.0.2.200:40001 > 192.0.2.11:53'),
      after: tuple('udp 10.255.0.2:40001 > 10.255.0.5:5353'),
    },
  ];
  const [connection, ...others] = join(observations, { entrances, translations });
  assert.equal(others.length, 0);
  assert.equal(connection!.joinedBy, 'conntrack');
  assert.deepEqual(short(connection!), [
    'cross host 192.0.2.200 > 192.0.2.11:53',
    'cross host 10.255.0.2 > 10.255.0.5:5353  DNAT + SNAT',
    'cross host 10.255.0.5 > 10.255.0.2:40001',
  ]);
  // Joined in the middle of the flow: the first packet seen is an answer.
  const [late] = join(
    observations.toReversed().map((o, i) => ({ ...o, time: BigInt(i) })),
    {
      entrances,
      translations,
    },
  );
  assert.equal(late!.client.ip, CLIENT.ip);
});

test('a virtual IP is translated before the packet is on any wire', () => {
  const seen = new Seen();
  const caller = { ip: '10.50.0.9', mac: '02:bb:00:00:00:09' };
  const sequence = 77;
  const observations = [
    seen.at('node1 fabric/ska-1 in', frame(caller, NEAR, [41000, 8080], { sequence })),
    seen.at('node1 fabric/skc-1 out', frame(caller, NEAR, [41000, 8080], { sequence })),
  ];
  const translations = [
    {
      before: tuple('tcp 10.50.0.9:41000 > 10.50.0.2:8080'),
      after: tuple('tcp 10.50.0.9:41000 > 10.255.0.4:8080'),
    },
  ];
  const [connection] = join(observations, { translations });
  assert.deepEqual(short(connection!), [
    'same host 10.50.0.9 > 10.50.0.2:8080 SYN',
    'same host 10.50.0.9 > 10.255.0.4:8080 SYN DNAT',
  ]);
  assert.deepEqual(connection!.target, { ip: '10.50.0.2', port: 8080 });
  assert.equal(connection!.outcome, 'unanswered');
  assert.match(renderOutcome(connection!), /^unanswered, last seen on node1, fabric\/skc-1 out; hops/);
  const [row] = renderConnections([connection!], fake.NAMES).split('\n').slice(2);
  assert.match(row!, /10\.50\.0\.9 +- +10\.50\.0\.2 +- +41000 -> 8080 \[SYN\]$/);
});

test('a client that keeps its address; a container that is asked at its own', () => {
  const seen = new Seen();
  const kept = (to: fake.Side, port: number, sequence: number) => [
    seen.at('node1 eth0 in', frame(CLIENT, NODE, [port, 80], { sequence })),
    seen.at('node1 sk-ingress out', frame({ ...CLIENT, mac: NODE.mac }, to, [port, 8080], { sequence })),
  ];
  const direct = seen.at('node1 fabric/skc-0 out', frame(ENDPOINT, NEAR, [5, 8080], { sequence: 3 }));
  const [straight, preserved] = join([...kept(NEAR, 40001, 1), direct]);
  assert.deepEqual(short(preserved!), [
    'same host 192.0.2.200 > 192.0.2.11:80 SYN',
    'same host 192.0.2.200 > 10.255.0.4:8080 SYN DNAT',
  ]);
  assert.deepEqual([straight!.joinedBy, straight!.hops.length], ['address', 1]);
  assert.match(renderOutcome(straight!), /; not translated$/);
});

test('retransmissions are counted where a segment passes twice, by who sends it again', () => {
  const seen = new Seen();
  const syn = { sequence: 50 };
  const lost = seen.pass('forward', 40001, FAR, syn).slice(0, 3);
  seen.wait(1_000);
  const data = { flags: ['PSH', 'ACK'], sequence: 10, payload: Buffer.alloc(20) } as const;
  const [connection] = join([
    ...lost,
    ...seen.handshake(40001, FAR, 50),
    ...seen.pass('back', 40001, FAR, data),
    ...seen.pass('back', 40001, FAR, data),
    ...seen.pass('back', 40001, FAR, { ...data, sequence: 30 }),
    ...seen.pass('back', 40001, FAR, { flags: ['ACK'], sequence: 50 }),
    ...seen.pass('back', 40001, FAR, { flags: ['ACK'], sequence: 50 }),
  ]);
  assert.deepEqual(connection!.retransmissions, { forward: 1, back: 1 });
  assert.match(
    renderOutcome(connection!),
    /; 1 retransmission by the client; 1 retransmission by the container; carried/,
  );
  assert.equal(shortHops(connection!), 3, 'what is sent again is no further hop');
});
const shortHops = (connection: Connection) => rowsOf(connection).length;

test('who resets: the container, the client, or the node that has nobody to give it to', () => {
  const seen = new Seen();
  const reset = { flags: ['RST', 'ACK'], sequence: 0 } as const;
  const [refused, broken, nobody] = join([
    ...seen.pass('forward', 40001, NEAR, { sequence: 1 }),
    ...seen.pass('back', 40001, NEAR, { ...reset, acknowledgement: 2 }),
    ...seen.handshake(40003, NEAR, 2),
    ...seen.pass('forward', 40003, NEAR, reset),
    seen.at('node1 eth0 in', frame(CLIENT, NODE, [40005, 80], { sequence: 3 })),
    seen.at('node1 eth0 out', frame(NODE, CLIENT, [80, 40005], { ...reset, acknowledgement: 4 })),
  ]);
  assert.deepEqual(
    [refused, broken, nobody].map((c) => [c!.kind, c!.outcome, c!.resetBy]),
    [
      ['same host', 'reset', 'container'],
      ['same host', 'reset', 'client'],
      ['lost', 'reset', 'node'],
    ],
  );
  assert.deepEqual(short(nobody!), [
    'lost 192.0.2.200 > 192.0.2.11:80 SYN',
    'lost 192.0.2.11 > 192.0.2.200:40005 RST+ACK',
  ]);
  assert.match(renderOutcome(nobody!), /^reset by the node after 0\.010 ms/);
});

test('a container that asks the published port of another node is translated on both', () => {
  const seen = new Seen();
  const caller = { ip: '172.18.0.3', mac: '02:cc:00:00:00:03' };
  const gateway = { ip: NODE.ip, mac: '02:cc:00:00:00:01' };
  const sequence = 9;
  const other = { ip: '192.0.2.12', mac: '52:54:00:00:02:0c' };
  const [connection, ...rest] = join(
    [
      seen.at('node1 fabric/ska-g in', frame(caller, { ...gateway, ip: other.ip }, [5000, 80], { sequence })),
      seen.at('node1 eth0 out', frame(NODE, other, [6000, 80], { sequence })),
      seen.at('node2 eth0 in', frame(NODE, other, [6000, 80], { sequence })),
      seen.at('node2 sk-ingress out', frame(ENDPOINT, FAR, [7000, 8080], { sequence })),
    ],
    { entrances: [{ ...fake.ENTRANCE, address: other.ip }] },
  );
  assert.equal(rest.length, 0);
  assert.deepEqual(short(connection!), [
    'same host 172.18.0.3 > 192.0.2.12:80 SYN',
    'same host 192.0.2.11 > 192.0.2.12:80 SYN SNAT',
    'same host 10.255.0.2 > 10.255.0.5:8080 SYN DNAT + SNAT',
  ]);
});

test('what neither comes in here nor goes to a container of the service is nobody’s', () => {
  const seen = new Seen();
  const elsewhere = { ip: '198.51.100.1', mac: '52:54:00:00:02:01' };
  assert.deepEqual(
    join([
      seen.at('node1 eth0 out', frame(NODE, elsewhere, [40001, 80], { sequence: 1 })),
      seen.at('node1 fabric/skc-0 in', frame(NEAR, elsewhere, [40002, 443], { sequence: 2 })),
      seen.at('node1 eth0 in', frame(CLIENT, NODE, [40003, 22], { sequence: 3 })),
    ]),
    [],
  );
});
