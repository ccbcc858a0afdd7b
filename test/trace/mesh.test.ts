/** The packet tables of the reference capture, from the real mesh: same host, cross host, TCP and UDP. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { ServiceId } from '../../src/model/ids.ts';
import { endpoint, peer, port, sandbox, service, view } from '../../src/net/builders.ts';
import { translationsTo } from '../../src/trace/conntrack.ts';
import type { Connection } from '../../src/trace/connection.ts';
import { openingTuples } from '../../src/trace/flow.ts';
import { type Entrance, joinConnections } from '../../src/trace/join.ts';
import { observe } from '../../src/trace/observe.ts';
import { Capture } from '../../src/trace/packet-socket.ts';
import { shownHops } from '../../src/trace/render.ts';
import { ADDRESS, TwoNodes } from '../net/two-nodes.ts';

const WEB = 'web' as ServiceId;
const TASKS = [
  ['a', 'near', '10.255.0.7'],
  ['b', 'far', '10.255.0.8'],
] as const;
const services = [service('web', port(80, 8080), port(53, 8080, { Protocol: 'udp' }))];
const other = { a: 'b', b: 'a' } as const;

const viewOf = (node: 'a' | 'b') =>
  view({
    node,
    ingress: node === 'a' ? '10.255.0.2' : '10.255.0.3',
    peers: [peer(other[node], ADDRESS[other[node]])],
    endpoints: [
      endpoint('a', undefined, '10.255.0.2'),
      endpoint('b', undefined, '10.255.0.3'),
      ...TASKS.map(([on, task, address]) => endpoint(on, task, address, { serviceId: WEB })),
    ],
    services,
  });

let nodes: TwoNodes;

before(async () => {
  nodes = new TwoNodes();
  const networks = { a: await nodes.open('a'), b: await nodes.open('b') };
  for (const name of ['a', 'b'] as const) await networks[name].apply(viewOf(name));
  for (const [n, [on, task, address]] of TASKS.entries()) {
    const { netnsPath } = await networks[on].attach(sandbox(n + 1, address));
    await nodes.serve(netnsPath, task, 8080);
  }
});
after(() => nodes.close());

async function capture(entrance: Entrance, conntrack: boolean): Promise<readonly Connection[]> {
  const points = (['a', 'b'] as const).map((name) => ({ name, netns: nodes.host(name) }));
  const running = Capture.start(points, { any: [{ ports: [entrance.port, 8080] }] });
  await nodes.dial(nodes.host('client'), entrance.protocol, ADDRESS.a, entrance.port, 4);
  const observations = observe(running.stop());
  return joinConnections({
    observations,
    entrances: [entrance],
    backends: new Set(TASKS.map(([, , address]) => address)),
    translations: conntrack ? translationsTo(nodes.host('a'), openingTuples(observations)) : [],
  });
}

const linkMac = (netns: string, link: string): string =>
  /link\/ether (\S+)/.exec(nodes.exec(netns, 'ip', 'link', 'show', link))![1]!;

for (const conntrack of [true, false])
  test(`TCP, joined by ${conntrack ? 'conntrack' : 'sequence number'}`, async () => {
    const entrance = { address: ADDRESS.a, port: 80, protocol: 'tcp' } as const;
    const connections = await capture(entrance, conntrack);
    assert.equal(connections.length, 4);
    const [client, node] = [linkMac(nodes.host('client'), 'eth0'), linkMac(nodes.host('a'), 'eth0')];
    for (const connection of connections) {
      const near = connection.kind === 'same host';
      assert.equal(connection.joinedBy, conntrack ? 'conntrack' : 'sequence number');
      assert.deepEqual(connection.backend, { ip: near ? '10.255.0.7' : '10.255.0.8', port: 8080 });
      const hops = shownHops(connection);
      assert.deepEqual(
        hops.map((hop) => [hop.source.ip, hop.destination.ip, hop.flags.join()]),
        [
          [ADDRESS.client, ADDRESS.a, 'SYN'],
          ['10.255.0.2', connection.backend.ip, 'SYN'],
          ...(near ? [] : [[connection.backend.ip, '10.255.0.2', 'SYN,ACK']]),
        ],
      );
      assert.deepEqual([hops[0]!.source.mac, hops[0]!.destination.mac], [client, node]);
      if (!near) {
        assert.equal(hops[2]!.source.mac, hops[1]!.destination.mac);
        assert.equal(hops[2]!.destination.mac, hops[1]!.source.mac);
        assert.deepEqual([hops[1]!.tunnel?.source, hops[1]!.tunnel?.destination], [ADDRESS.a, ADDRESS.b]);
      }
    }
    assert.deepEqual(new Set(connections.map(({ kind }) => kind)), new Set(['same host', 'cross host']));
  });

test('UDP, joined by conntrack', async () => {
  const entrance = { address: ADDRESS.a, port: 53, protocol: 'udp' } as const;
  const connections = await capture(entrance, true);
  assert.deepEqual(new Set(connections.map(({ kind }) => kind)), new Set(['same host', 'cross host']));
  for (const { joinedBy, hops } of connections) {
    assert.equal(joinedBy, 'conntrack');
    assert.deepEqual(
      hops.map(({ way, outside }) => `${way} ${outside ? 'outside' : 'inside'}`),
      ['forward outside', 'forward inside', 'back inside', 'back outside'],
    );
  }
});
