import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConntrack } from './conntrack.ts';
import { decode } from './decode.ts';
import { buildFrame, encapsulate, type FrameSpec } from './fake-frame.ts';
import { joinConnections, type Observation } from './join.ts';
import { renderConnections, renderTunnel } from './render.ts';

const CLIENT = { ip: '192.0.2.200', mac: '52:54:00:00:02:c8' };
const NODE = { ip: '192.0.2.11', mac: '52:54:00:00:02:0b' };
const ENDPOINT = { ip: '10.255.0.2', mac: NODE.mac };
const NEAR = { ip: '10.255.0.4', mac: '02:aa:00:00:00:04' };
const FAR = { ip: '10.255.0.5', mac: '02:aa:00:00:00:05' };
const VTEPS = { source: '192.0.2.11', destination: '192.0.2.12' };

interface Side {
  readonly ip: string;
  readonly mac: string;
}

const frame = (
  from: Side,
  to: Side,
  ports: readonly [number, number],
  rest: Partial<FrameSpec> = {},
): Buffer =>
  buildFrame({
    source: from.ip,
    sourceMac: from.mac,
    destination: to.ip,
    destinationMac: to.mac,
    sourcePort: ports[0],
    destinationPort: ports[1],
    ...rest,
  });

let clock = 0n;
const seen = (point: string, bytes: Buffer, direction: Observation['direction'] = 'in'): Observation => ({
  point,
  time: clock++,
  direction,
  packet: decode(bytes)!,
});

/** One connection as the mesh carries it; the far container answers over the tunnel. */
function handshake(port: number, backend: Side, sequence: number, far: boolean): Observation[] {
  const synAck: Partial<FrameSpec> = {
    flags: ['SYN', 'ACK'],
    sequence: 9,
    acknowledgement: (sequence + 1) >>> 0,
  };
  const inside = frame(ENDPOINT, backend, [port + 1, 8080], { sequence });
  const back = frame(backend, ENDPOINT, [8080, port + 1], synAck);
  const through = (bytes: Buffer) => (far ? encapsulate(VTEPS, 4096, bytes) : bytes);
  return [
    seen('node1', frame(CLIENT, NODE, [port, 80], { sequence })),
    seen('node1', inside, 'out'),
    seen('node1', through(inside), 'out'),
    ...(far ? [seen('node2', through(inside))] : []),
    seen('node1', through(back)),
    seen('node1', back),
    seen('node1', frame(NODE, CLIENT, [80, port], synAck), 'out'),
  ];
}

const ENTRANCE = { point: 'node1', address: NODE.ip, port: 80, protocol: 'tcp' } as const;
const NAMES = {
  addresses: new Map([
    [CLIENT.ip, 'client'],
    [NODE.ip, 'node A'],
    [ENDPOINT.ip, 'ingress endpoint of A'],
    [FAR.ip, 'web.2'],
  ]),
  macs: new Map([[NODE.mac, 'node A uplink']]),
};

const client = ['192.0.2.200 (client)', CLIENT.mac];
const node = ['192.0.2.11 (node A)', '52:54:00:00:02:0b (node A uplink)'];
const endpoint = ['10.255.0.2 (ingress endpoint of A)', '52:54:00:00:02:0b (node A uplink)'];
const near = [NEAR.ip, NEAR.mac];
const far = ['10.255.0.5 (web.2)', FAR.mac];

test('the table of the reference capture, same host and cross host', () => {
  const connections = joinConnections({
    observations: [...handshake(40001, NEAR, 100, false), ...handshake(40002, FAR, 0xffffffff, true)],
    entrances: [ENTRANCE],
    conntrack: new Map(),
  });
  assert.deepEqual(
    connections.map((c) => [c.kind, c.backend.ip, c.joinedBy]),
    [
      ['same host', NEAR.ip, 'sequence number'],
      ['cross host', FAR.ip, 'sequence number'],
    ],
  );
  const rows = renderConnections(connections, NAMES).split('\n');
  assert.deepEqual(
    rows.map((row) => row.split(/ {2,}/)),
    [
      [
        ...['case', 'hop', 'source IP', 'source MAC', 'destination IP', 'destination MAC', 'ports, flags'],
        'translated',
      ],
      rows[1]!.split('  '),
      ['same host', '1', ...client, ...node, '40001 -> 80 [SYN]'],
      ['same host', '2', ...endpoint, ...near, '40002 -> 8080 [SYN]', 'DNAT + SNAT'],
      ['cross host', '1', ...client, ...node, '40002 -> 80 [SYN]'],
      ['cross host', '2', ...endpoint, ...far, '40003 -> 8080 [SYN]', 'DNAT + SNAT'],
      ['cross host', '3', ...far, ...endpoint, '8080 -> 40003 [SYN, ACK]'],
    ],
  );
  const columns = [...rows[1]!.matchAll(/ {2}-/g)].map(({ index }) => index);
  for (const row of rows) for (const at of columns) assert.match(row.slice(at, at + 3), /^ {2}\S|^$/);
  assert.equal(
    renderTunnel(connections[1]!),
    'carried in VXLAN 4096 from 192.0.2.11 to 192.0.2.12, UDP port 4789',
  );
  assert.equal(renderTunnel(connections[0]!), undefined);
});

test('conntrack joins what sequence numbers can not: UDP', () => {
  const udp = { protocol: 'udp' } as const;
  const connections = joinConnections({
    observations: [
      seen('node1', frame(CLIENT, NODE, [40001, 53], udp)),
      seen('node1', encapsulate(VTEPS, 4096, frame(ENDPOINT, FAR, [40001, 5353], udp)), 'out'),
      seen('node1', encapsulate(VTEPS, 4096, frame(FAR, ENDPOINT, [5353, 40001], udp))),
    ],
    entrances: [{ point: 'node1', address: NODE.ip, port: 53, protocol: 'udp' }],
    conntrack: new Map([
      [
        'node1',
        parseConntrack(
          'ipv4     2 udp      17 25 src=192.0.2.200 dst=192.0.2.11 sport=40001 dport=53 ' +
            'src=10.255.0.5 dst=10.255.0.2 sport=5353 dport=40001 mark=0 zone=0 use=2',
        ),
      ],
    ]),
  });
  assert.deepEqual(
    connections.map((c) => [c.kind, c.joinedBy, c.hops.map((h) => h.way)]),
    [['cross host', 'conntrack', ['forward', 'forward', 'back']]],
  );
});

test('a retransmitted SYN is no second connection, a connection never translated is none', () => {
  const first = handshake(40001, NEAR, 7, false);
  const connections = joinConnections({
    observations: [
      ...first,
      { ...first[0]!, time: clock++ },
      seen('node1', frame(CLIENT, NODE, [40009, 80], { sequence: 1234 })),
      seen('node1', frame(CLIENT, NODE, [40010, 22], { sequence: 7 })),
    ],
    entrances: [ENTRANCE],
    conntrack: new Map(),
  });
  assert.equal(connections.length, 1);
});

test('conntrack lines of other protocols and of nonsense are passed over', () => {
  const entries = parseConntrack(
    [
      'ipv4     2 tcp      6 117 SYN_SENT src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 [UNREPLIED] src=3.3.3.3 dst=4.4.4.4 sport=5 dport=6 mark=0 use=2',
      'ipv6     10 tcp      6 117 TIME_WAIT src=::1 dst=::1 sport=1 dport=2 src=::1 dst=::1 sport=2 dport=1 use=2',
      'nonsense',
      '',
    ].join('\n'),
  );
  assert.deepEqual(entries, [
    {
      original: {
        protocol: 'tcp',
        source: '1.1.1.1',
        destination: '2.2.2.2',
        sourcePort: 1,
        destinationPort: 2,
      },
      reply: {
        protocol: 'tcp',
        source: '3.3.3.3',
        destination: '4.4.4.4',
        sourcePort: 5,
        destinationPort: 6,
      },
      state: 'SYN_SENT',
    },
  ]);
});
