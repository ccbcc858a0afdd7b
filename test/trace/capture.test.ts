/** Real packets in real namespaces: two nodes joined by VXLAN, translation on the first, a server on the second. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { until } from '../../src/lab/cluster.ts';
import { SERVER } from '../../src/lab/image-server.ts';
import { downLab, Lab } from '../../src/lab/lab.ts';
import { translationsTo } from '../../src/trace/conntrack.ts';
import { openingTuples } from '../../src/trace/flow.ts';
import { joinConnections } from '../../src/trace/join.ts';
import { observe } from '../../src/trace/observe.ts';
import { Capture } from '../../src/trace/packet-socket.ts';
import { renderConnections } from '../../src/trace/render.ts';

const NAME = 'test-trace';
const IDLE = 'setInterval(() => {}, 1e6)';

after(() => downLab(NAME));

async function network(lab: Lab): Promise<void> {
  for (const [index, name] of ['node1', 'node2'].entries()) {
    const [self, peer] = [11 + index, 12 - index];
    const batch = [
      `link add vx0 type vxlan id 4096 local 192.0.2.${self} remote 192.0.2.${peer} dstport 4789`,
      `address add 10.255.0.${self}/16 dev vx0`,
      'link set vx0 up',
      '',
    ].join('\n');
    await lab.exec(name, ['ip', '-batch', '-'], { input: batch });
  }
  const rules = `table ip t {
    chain pre { type nat hook prerouting priority -100; tcp dport 80 dnat to 10.255.0.12:8080; }
    chain post { type nat hook postrouting priority 100; oifname "vx0" masquerade; }
  }`;
  await lab.exec('node1', ['nft', '-f', '-'], { input: rules });
  await lab.exec('node1', ['busybox', 'sysctl', '-qw', 'net.ipv4.ip_forward=1']);
}

test('a connection through translation and tunnel is seen hop by hop', async () => {
  const lab = await Lab.up(
    { name: NAME, nodes: 2, cluster: false },
    { daemon: (node) => [process.execPath, '-e', IDLE, node.runRoot], isUp: () => Promise.resolve(true) },
  );
  await network(lab);
  const script = join(lab.plan.dataFolder, 'answer.pl');
  mkdirSync(lab.plan.dataFolder, { recursive: true });
  writeFileSync(script, SERVER);
  const [command, ...enter] = lab.enter('node2') as [string, ...string[]];
  const server = spawn(command, [...enter, 'perl', script, 'port=8080'], { stdio: 'inherit' });
  const points = ['node1', 'node2'].map((name) => ({ name, netns: lab.node(name).netns }));
  const get = (url: string) =>
    lab.exec('client', ['busybox', 'wget', '-q', '-O', '-', url], { accept: [0, 1] });
  try {
    await until('the server', async () => (await get('http://192.0.2.12:8080/')).code === 0 || 'refused', {
      timeoutMs: 20_000,
    });
    const capture = Capture.start(points, { any: [{ ports: [80, 8080] }] });
    for (let i = 0; i < 3; i++) assert.match((await get('http://192.0.2.11/')).stdout, /^container /);
    const backends = new Set(['10.255.0.12']);
    const entrances = [{ address: '192.0.2.11', port: 80, protocol: 'tcp' }] as const;
    // Who has its answer has ended: the last packets of it may still be on their way.
    const ended = () => {
      const observations = observe(capture.frames());
      const connections = joinConnections({ observations, entrances, backends, translations: [] });
      return connections.filter(({ outcome }) => outcome === 'closed').length;
    };
    await until('the connections to end', async () => ended() === 3 || `${ended()} have`, {
      timeoutMs: 20_000,
    });
    const frames = capture.stop();
    const observations = observe(frames);
    const known = translationsTo(lab.node('node1').netns, openingTuples(observations));
    assert.equal(known.length, 3);
    for (const translations of [known, []]) {
      const connections = joinConnections({ observations, entrances, backends, translations });
      assert.equal(connections.length, 3);
      for (const connection of connections) {
        assert.equal(connection.joinedBy, translations.length > 0 ? 'conntrack' : 'sequence number');
        assert.equal(connection.kind, 'cross host');
        assert.deepEqual(connection.backend, { ip: '10.255.0.12', port: 8080 });
        assert.deepEqual(
          connection.hops.map(({ way, outside, flags, tunnel }) => [way, outside, flags.join(), tunnel?.vni]),
          [
            ['forward', true, 'SYN', undefined],
            ['forward', false, 'SYN', 4096],
            ['back', false, 'SYN,ACK', 4096],
            ['back', true, 'SYN,ACK', undefined],
          ],
        );
        assert.deepEqual(
          [...new Set(connection.hops[1]!.sightings.map((s) => `${s.point} ${s.link} ${s.direction}`))],
          ['node1 vx0 out', 'node1 eth0 out', 'node2 eth0 in', 'node2 vx0 in'],
        );
        assert.equal(connection.outcome, 'closed');
        assert.ok(connection.answeredIn! > 0);
        assert.equal(connection.hops[0]!.source.mac, lab.plan.client.mac);
      }
      const table = renderConnections(connections, { addresses: new Map([['192.0.2.200', 'client']]) });
      assert.equal(table.split('\n').length, 2 + 3 * 3);
    }
    assert.ok(frames.every((frame, i) => i === 0 || frame.time >= frames[i - 1]!.time));
    assert.ok(
      frames.some(({ direction }) => direction === 'out') &&
        frames.some(({ direction }) => direction === 'in'),
    );
  } finally {
    server.kill('SIGKILL');
    await lab.down();
  }
});

test('the filter lets nothing else in, and the bound holds', async () => {
  const lab = await Lab.up(
    { name: NAME, nodes: 1, cluster: false },
    { daemon: (node) => [process.execPath, '-e', IDLE, node.runRoot], isUp: () => Promise.resolve(true) },
  );
  const points = [{ name: 'node1', netns: lab.node('node1').netns }];
  const [silent, bounded] = [
    Capture.start(points, { any: [{ ports: [80] }] }),
    Capture.start(points, { any: [{ ports: [9] }], icmp: true }, { maxPackets: 2 }),
  ];
  try {
    await lab.exec('client', ['busybox', 'ping', '-c', '3', '-i', '0.2', '192.0.2.11']);
    assert.deepEqual(silent.stop(), []);
    assert.equal(bounded.stop().length, 2);
    assert.ok(bounded.dropped >= 4);
  } finally {
    await lab.down();
  }
});
