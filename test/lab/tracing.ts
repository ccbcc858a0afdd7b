/** What `skein trace` shows, in a lab of two nodes with the services of network.test.ts. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { runProcess } from '../../src/kit/process.ts';
import { until } from '../../src/lab/cluster.ts';
import { answerTo, type Box, boxesOf, virtualIp } from './boxes.ts';
import type { Stage } from './stage.ts';
import { readPcapng, type Traced, TraceRun } from './trace-run.ts';

const NODES = ['node1', 'node2'] as const;
const ADDRESS = { node1: '192.0.2.11', node2: '192.0.2.12' } as const;
const CLIENT = '192.0.2.200';

export function tracing(stageOf: () => Stage): void {
  const boxes = (service: string) => boxesOf(stageOf(), service);
  const ask = (from: Box | 'client' | 'node1', url: string) => answerTo(stageOf(), from, url);
  const trace = async (service: string, ...args: string[]) => {
    const run = new TraceRun(stageOf().lab.node('node1').socket, service, ...args);
    for (const node of NODES) await run.says(`capturing on ${node}`);
    return run;
  };
  /** Packet sockets of a node, in its own namespace and in the fabric. */
  const packetSockets = async (name: (typeof NODES)[number]) => {
    const { netns, runRoot } = stageOf().lab.node(name);
    let count = 0;
    for (const path of [netns, join(runRoot, 'netns', 'fabric')]) {
      const { stdout } = await runProcess(['nsenter', `--net=${path}`, '--', 'cat', '/proc/net/packet']);
      count += stdout.trim().split('\n').length - 1;
    }
    return count;
  };
  const noneCaptures = () =>
    until(
      'no packet socket to be left',
      async () => (await Promise.all(NODES.map(packetSockets))).every((n) => n === 0) || 'some are',
      { timeoutMs: 20_000 },
    );
  const way = ({ hops }: Traced) =>
    hops
      .filter((hop) => hop.way === 'forward')
      .map((hop) => `${hop.source.ip} > ${hop.destination.ip} ${hop.translated ?? ''}`.trim());

  void test('published ports, hop by hop as the reference capture, bounded, and a file that a reader takes', async () => {
    await noneCaptures();
    const folder = mkdtempSync(join(tmpdir(), 'skein-trace-'));
    const file = join(folder, 'hidden.pcapng');
    try {
      const run = await trace('hidden', '--count', '7', '--write', file);
      assert.deepEqual(await Promise.all(NODES.map(packetSockets)), [2, 2]);
      for (let i = 0; i < 9; i++) await ask('client', `http://${ADDRESS.node1}:82/`);
      const traced = await run.ends();
      assert.match(run.notes, /ended: 7 connections shown/);
      assert.equal(traced.length, 7);
      assert.deepEqual(new Set(traced.map((c) => c.case)), new Set(['same host', 'cross host']));
      const hidden = await boxes('hidden');
      for (const connection of traced) {
        const box = hidden.find(({ addresses }) => addresses['ingress'] === connection.backend!.ip)!;
        assert.equal(connection.case, box.node === 'node1' ? 'same host' : 'cross host');
        assert.equal(connection.backend!.name, `${box.name.split('.').slice(0, 2).join('.')} on ${box.node}`);
        assert.deepEqual(way(connection), [
          `${CLIENT} > ${ADDRESS.node1}`,
          `10.255.0.2 > ${connection.backend!.ip} DNAT + SNAT`,
        ]);
        const [first, second] = connection.hops;
        assert.equal(first!.source.mac, stageOf().lab.plan.client.mac);
        assert.equal(first!.destination.mac, stageOf().lab.node('node1').mac);
        assert.equal(second!.source.mac, stageOf().lab.node('node1').mac);
        assert.equal(second!.tunnel?.destination, box.node === 'node1' ? undefined : ADDRESS.node2);
        assert.ok(first!.tookNs! > 0 && second!.tookNs! > 0);
        assert.equal(second!.seen.at(-1)!.node, box.node);
        assert.match(second!.seen.at(-1)!.link, /^fabric\/sk[0-9a-f]{10}-\d$/);
        assert.deepEqual([connection.outcome, connection.joinedBy], ['closed', 'conntrack']);
      }
      const { interfaces, times } = readPcapng(readFileSync(file));
      for (const name of ['node1/eth0', 'node1/sk-ingress', 'node1/fabric/vx-4096', 'node2/eth0'])
        assert.ok(interfaces.includes(name), `${name} is among ${interfaces.join()}`);
      assert.ok(times.length > 100 && times.every((time, i) => i === 0 || time >= times[i - 1]!));
      await noneCaptures();
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  void test('virtual IPs, clients that keep their addresses, UDP, and only the clients asked for', async () => {
    const [caller] = await boxes('caller');
    const address = await virtualIp(stageOf(), 'web', 'front');
    const calls = await trace('web', '--count', '1');
    await ask(caller!, `http://${address}/`);
    const [call] = await calls.ends();
    const own = caller!.addresses['front']!;
    assert.deepEqual(way(call!), [`${own} > ${address}`, `${own} > ${call!.backend!.ip} DNAT`]);
    assert.deepEqual([call!.hops[0]!.source.mac, call!.hops[0]!.seen], [undefined, []], 'never on a wire');

    const kept = await trace('kept', '--count', '1', '--client', `${CLIENT}/32`);
    await ask('node1', `http://${ADDRESS.node2}:81/`); // another client
    await ask('client', `http://${ADDRESS.node2}:81/`);
    const [preserved] = await kept.ends();
    assert.deepEqual(way(preserved!), [
      `${CLIENT} > ${ADDRESS.node2}`,
      `${CLIENT} > ${preserved!.backend!.ip} DNAT`,
    ]);

    const datagrams = await trace('hidden', '--count', '1');
    assert.ok(await stageOf().askUdp('client', ADDRESS.node1, 82));
    const [flow] = await datagrams.ends();
    assert.deepEqual([flow!.protocol, flow!.joinedBy, flow!.outcome], ['udp', 'conntrack', 'open']);
    assert.deepEqual(way(flow!), [
      `${CLIENT} > ${ADDRESS.node1}`,
      `10.255.0.2 > ${flow!.backend!.ip} DNAT + SNAT`,
    ]);
    assert.ok(flow!.answeredInNs! > 0);
  });

  void test('what reaches nobody, a node that dies, a service that goes; nothing hangs and nothing is left', async (t) => {
    assert.match(await stageOf().docker('node2').fails('service', 'ls'), /not a swarm manager/);
    const worker = new TraceRun(stageOf().lab.node('node2').socket, 'hidden');
    await worker.ends(1);
    assert.match(worker.notes, /skein: This node is not a swarm manager/);

    const run = await trace('hidden', '--count', '100', '--timeout', '60');
    t.after(() => stageOf().lab.start('node2'));
    await stageOf().lab.kill('node2');
    await run.says('not on node2: its connection to the leader was lost');
    await stageOf().lab.start('node2');
    await until(
      'node2 to capture again',
      async () => run.notes.split('capturing on node2').length === 3 || run.notes,
      {
        timeoutMs: 20_000,
      },
    );
    await stageOf().ok('service', 'scale', '--detach', 'hidden=0');
    await until(
      'the port to refuse',
      async () =>
        (await ask('client', `http://${ADDRESS.node2}:82/`))['container'] === undefined || 'answered',
      { timeoutMs: 20_000 },
    );
    await run.prints('"case":"lost"');
    await stageOf().ok('service', 'rm', 'hidden');
    const traced = await run.ends();
    assert.match(run.notes, /ended: the service was removed/);
    const lost = traced.find(({ case: kind }) => kind === 'lost');
    assert.deepEqual([lost?.outcome, lost?.resetBy, lost?.backend], ['reset', 'node', undefined]);

    const interrupted = await trace('web');
    interrupted.interrupt();
    await interrupted.ends();
    assert.match(interrupted.notes, /ended: interrupted/);
    const timed = new TraceRun(stageOf().lab.node('node1').socket, 'web', '--timeout', '1');
    await timed.ends();
    assert.match(timed.notes, /ended: the time is over/);
    await noneCaptures();
  });
}
