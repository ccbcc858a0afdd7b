import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TraceEvent, TraceScene } from '../rpc/trace-messages.ts';
import { connectionJson } from './connection-json.ts';
import { CLIENT, ENDPOINT, FAR, frame, NODE } from './fake-connection.ts';
import { TraceReport } from './report.ts';

const scene: TraceScene = {
  service: 'web',
  entrances: [{ address: NODE.ip, port: 80, protocol: 'tcp' }],
  backends: [FAR.ip],
  vxlanPort: 4789,
  names: { addresses: { [FAR.ip]: 'web.2 on node2' }, macs: {} },
};

/** What two nodes send of one first packet; the second one's clock is not the leader's. */
function events(): TraceEvent[] {
  const frameOf = (link: string, direction: 'in' | 'out', time: string, bytes: Buffer) => ({
    ...{ link, direction, time, length: bytes.length },
    bytes: bytes.toString('base64'),
  });
  const inside = frame(ENDPOINT, FAR, [40002, 8080], { sequence: 5 });
  return [
    { type: 'scene', scene },
    { type: 'node', node: 'node1' },
    { type: 'node', node: 'node3', why: 'it is down' },
    {
      type: 'packets',
      node: 'node2',
      batch: { frames: [frameOf('fabric/skc-0', 'out', '3000', inside)], translations: [], uncertainty: 800 },
    },
    {
      type: 'packets',
      node: 'node1',
      batch: {
        frames: [
          frameOf('eth0', 'in', '1000', frame(CLIENT, NODE, [40001, 80], { sequence: 5 })),
          frameOf('sk-ingress', 'out', '2000', inside),
        ],
        translations: [],
        uncertainty: 0,
      },
    },
    { type: 'end', why: 'the time is over' },
  ];
}

function reportOf(clients: readonly string[]): TraceReport {
  const report = new TraceReport({ clients, keepFrames: true });
  for (const event of events()) report.take(event, 0);
  return report;
}

test('a stream of events to a connection, as JSON', () => {
  const report = reportOf(['192.0.2.0/24']);
  const [connection] = report.connections(10_000);
  assert.deepEqual(connectionJson(connection!, report.names, report.clocks), {
    protocol: 'tcp',
    case: 'same host',
    client: { ip: CLIENT.ip, port: 40001 },
    target: { ip: NODE.ip, port: 80 },
    backend: { ip: FAR.ip, port: 8080, name: 'web.2 on node2' },
    outcome: 'unanswered',
    retransmissions: { client: 0, container: 0 },
    started: '1000',
    lastedNs: 2000,
    joinedBy: 'sequence number',
    hops: [
      {
        ...{ hop: 1, way: 'forward', flags: ['SYN'], tookNs: 1000 },
        source: { ip: CLIENT.ip, port: 40001, mac: CLIENT.mac },
        destination: { ip: NODE.ip, port: 80, mac: NODE.mac },
        seen: [{ node: 'node1', link: 'eth0', direction: 'in', afterNs: 0 }],
      },
      {
        ...{ hop: 2, way: 'forward', flags: ['SYN'], translated: 'DNAT + SNAT' },
        ...{ tookNs: 1000, uncertaintyNs: 800 },
        source: { ip: ENDPOINT.ip, port: 40002, mac: ENDPOINT.mac },
        destination: { ip: FAR.ip, port: 8080, mac: FAR.mac, name: 'web.2 on node2' },
        seen: [
          { node: 'node1', link: 'sk-ingress', direction: 'out', afterNs: 1000 },
          { node: 'node2', link: 'fabric/skc-0', direction: 'out', afterNs: 2000 },
        ],
      },
    ],
  });
  assert.deepEqual(
    [...report.nodes],
    [
      ['node1', undefined],
      ['node3', 'it is down'],
    ],
  );
  assert.equal(report.end, 'the time is over');
});

test('clients that were not asked for are not shown; every frame is kept for the file, in order', () => {
  const report = reportOf(['198.51.100.7']);
  assert.deepEqual(report.connections(10_000), []);
  assert.deepEqual(
    report.frames().map(({ point, time }) => [point, time]),
    [
      ['node1', 1000n],
      ['node1', 2000n],
      ['node2', 3000n],
    ],
  );
});

test('a late packet of a container that has gone still belongs to the service', () => {
  const report = new TraceReport({ clients: [], keepFrames: false });
  report.take({ type: 'scene', scene }, 0);
  report.take({ type: 'scene', scene: { ...scene, backends: [] } }, 0);
  for (const event of events().filter(({ type }) => type === 'packets')) report.take(event, 0);
  assert.deepEqual(
    report.connections(10_000).map(({ backend }) => backend?.ip),
    [FAR.ip],
  );
});
