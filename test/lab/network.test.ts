/** User networks of a real cluster: virtual IPs, isolation, and clients that keep their addresses. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { runProcess } from '../../src/kit/process.ts';
import { until } from '../../src/lab/cluster.ts';
import { downLab, Lab } from '../../src/lab/lab.ts';
import { skipWithoutDocker } from '../docker.ts';
import { overlays } from './overlays.ts';
import { IMAGE, Stage } from './stage.ts';
import { readPcapng, type Traced, TraceRun } from './trace-run.ts';

const NAME = 'test-network';
const NODES = ['node1', 'node2'] as const;
const ADDRESS = { node1: '192.0.2.11', node2: '192.0.2.12' } as const;
const CLIENT = '192.0.2.200';

interface Box {
  readonly name: string;
  readonly node: string;
  readonly pid: number;
  readonly id: string;
  readonly addresses: Readonly<Record<string, string>>;
}

describe('networks', { skip: skipWithoutDocker, timeout: 600_000 }, () => {
  let stage: Stage;
  const docker = (...args: string[]) => stage.docker('node1').ok(...args);
  const create = (name: string, ...args: readonly string[]) =>
    docker('service', 'create', '--no-resolve-image', '--update-monitor', '300ms', '--name', name, ...args);

  /** The running containers of a service, with the way into their namespaces. */
  async function boxes(service: string): Promise<Box[]> {
    const found: Box[] = [];
    for (const node of NODES) {
      const cli = stage.docker(node);
      const ids = (await cli.ok('ps', '-q', '--no-trunc', '--filter', `name=${service}.`))
        .split('\n')
        .filter(Boolean);
      if (ids.length === 0) continue;
      const inspected = JSON.parse(await cli.ok('inspect', ...ids)) as {
        Id: string;
        Name: string;
        State: { Pid: number };
        NetworkSettings: { Networks: Record<string, { IPAddress: string }> };
      }[];
      for (const c of inspected)
        found.push({
          name: c.Name.slice(1),
          node,
          pid: c.State.Pid,
          id: c.Id,
          addresses: Object.fromEntries(
            Object.entries(c.NetworkSettings.Networks).map(([net, { IPAddress }]) => [net, IPAddress]),
          ),
        });
    }
    return found.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  const inside = (box: Box, ...argv: string[]) =>
    runProcess(['nsenter', `--net=/proc/${box.pid}/ns/net`, '--', ...argv], {
      accept: [0, 1],
      timeoutMs: 20_000,
    });

  /** The answer's lines as a record: container, addresses, client. */
  async function ask(from: Box | 'client' | 'node1', url: string): Promise<Record<string, string>> {
    const argv = ['busybox', 'wget', '-q', '-O', '-', url];
    const { stdout } =
      typeof from === 'string'
        ? await stage.lab.exec(from, argv, { accept: [0, 1], timeoutMs: 10_000 })
        : await inside(from, ...argv);
    return Object.fromEntries(
      stdout.split('\n').map((line) => [line.split(' ')[0]!, line.split(' ').slice(1).join(' ')]),
    );
  }

  async function vip(service: string, network: string): Promise<string> {
    const [found] = JSON.parse(await docker('service', 'inspect', service)) as {
      Endpoint: { VirtualIPs: { NetworkID: string; Addr: string }[] };
    }[];
    const id = (await docker('network', 'inspect', '-f', '{{.Id}}', network)).trim();
    return found!.Endpoint.VirtualIPs.find((v) => v.NetworkID === id)!.Addr.split('/')[0]!;
  }

  before(async () => {
    stage = new Stage(await Lab.up({ name: NAME, nodes: 2 }));
    await stage.loadImage();
    await stage.setHeartbeat(20);
    await docker('network', 'create', '-d', 'overlay', '--subnet', '10.50.0.0/24', 'front');
    await docker('network', 'create', '-d', 'overlay', '--subnet', '10.60.0.0/24', 'back');
    await create('web', '--replicas', '3', '--network', 'front', IMAGE, 'udp=53');
    // Where no route leads: a name of nobody is known to be that at once.
    await create('caller', '--replicas', '2', '--network', 'front', '--dns', '203.0.113.53', IMAGE);
  });
  after(async () => {
    stage.close();
    await downLab(NAME);
  });

  test('a virtual IP goes round all tasks on all nodes, and the backend sees the true source', async () => {
    const address = await vip('web', 'front');
    for (const caller of await boxes('caller')) {
      const counts = new Map<string, number>();
      for (let i = 0; i < 6; i++) {
        const answer = await ask(caller, `http://${address}/`);
        counts.set(answer['container']!, (counts.get(answer['container']!) ?? 0) + 1);
        assert.match(answer['client']!, new RegExp(`^${caller.addresses['front']}:`));
      }
      assert.deepEqual([...counts.values()], [2, 2, 2]);
      assert.equal((await inside(caller, 'busybox', 'ping', '-c', '1', '-W', '1', address)).code, 0);
    }
  });

  test('a task reaches its own virtual IP, itself among the backends', async () => {
    const address = await vip('web', 'front');
    for (const box of await boxes('web')) {
      const answered = new Set<string>();
      for (let i = 0; i < 6; i++) answered.add((await ask(box, `http://${address}/`))['container'] ?? 'none');
      assert.equal(answered.size, 3, [...answered].join());
      assert.ok(!answered.has('none'));
    }
  });

  /** What the container's own resolver makes of a name, through its libc and its resolv.conf. */
  async function resolve(box: Box, name: string): Promise<string[]> {
    const script = 'print join " ", map { join ".", unpack "C4", $_ } @{[gethostbyname(shift)]}[4..99]';
    const argv = ['nsenter', '--all', `--target=${box.pid}`, '--', '/usr/bin/perl', '-e', script, name];
    const { stdout } = await runProcess(argv, { accept: [0, 1], timeoutMs: 30_000 });
    return stdout
      .split(' ')
      .filter((a) => /^[\d.]+$/.test(a))
      .sort();
  }

  /** What has just been made or changed is known on every node a moment later. */
  const resolves = (box: Box, name: string, addresses: readonly string[]) =>
    until(
      `${name} to be ${addresses.join()}`,
      async () => {
        const now = await resolve(box, name);
        return now.join() === addresses.join() || now.join();
      },
      { timeoutMs: 20_000 },
    );

  test('names: a service is its virtual IP, tasks. its tasks, a container itself, on its networks alone', async () => {
    const [caller] = await boxes('caller');
    const webs = await boxes('web');
    assert.deepEqual(await resolve(caller!, 'web'), [await vip('web', 'front')]);
    assert.deepEqual(await resolve(caller!, 'WEB.front'), [await vip('web', 'front')]);
    assert.deepEqual(await resolve(caller!, 'tasks.web'), webs.map((b) => b.addresses['front']!).sort());
    assert.deepEqual(await resolve(caller!, webs[0]!.name), [webs[0]!.addresses['front']]);
    assert.deepEqual(await resolve(caller!, webs[0]!.id.slice(0, 12)), [webs[0]!.addresses['front']]);
    assert.equal((await ask(caller!, `http://${await vip('web', 'front')}/`))['container']!.length, 12);
    const start = Date.now();
    assert.deepEqual(await resolve(caller!, 'nosuch.invalid'), []);
    assert.ok(Date.now() - start < 10_000);
  });

  test('names: aliases, dnsrr, and nothing of other networks', async () => {
    await create(
      'rr',
      '--replicas',
      '2',
      '--network',
      'name=front,alias=round',
      '--endpoint-mode',
      'dnsrr',
      IMAGE,
    );
    await create('hidden-db', '--network', 'back', IMAGE);
    const [caller] = await boxes('caller');
    const own = (await boxes('rr')).map((b) => b.addresses['front']!).sort();
    await resolves(caller!, 'rr', own);
    await resolves(caller!, 'round', own);
    assert.deepEqual(await resolve(caller!, 'hidden-db'), []);
    await docker('service', 'rm', 'hidden-db');
    await docker('service', 'scale', 'rr=1');
    const left = (await boxes('rr')).map((b) => b.addresses['front']!);
    await resolves(caller!, 'rr', left);
    await docker('service', 'rm', 'rr');
  });

  test('names go on while skeind is dead, and are true again when it is back', async () => {
    const [caller] = await boxes('caller');
    const address = [await vip('web', 'front')];
    await stage.lab.kill(caller!.node);
    for (let i = 0; i < 5; i++) assert.deepEqual(await resolve(caller!, 'web'), address);
    await stage.lab.start(caller!.node);
    await until(
      'the manager to answer',
      async () => (await stage.docker('node1').run('service', 'ls')).code === 0 || 'not yet',
      { timeoutMs: 20_000 },
    );
    await create('fresh', '--network', 'front', IMAGE);
    await resolves(caller!, 'fresh', [await vip('fresh', 'front')]);
    await docker('service', 'rm', 'fresh');
  });

  test('a container is told where names are, and may say where to ask on', async () => {
    await create(
      ...['asker', '--network', 'front', '--dns', '192.0.2.99', '--dns-search', 'example.org'],
      ...['--dns-option', 'timeout:1', '--host', 'extra:203.0.113.7', IMAGE],
    );
    const [asker] = await boxes('asker');
    const file = async (path: string) =>
      (await runProcess(['nsenter', '--mount', `--target=${asker!.pid}`, '--', '/bin/cat', path])).stdout;
    assert.equal(
      await file('/etc/resolv.conf'),
      'nameserver 127.0.0.11\nsearch example.org\noptions timeout:1 ndots:0\n',
    );
    assert.match(await file('/etc/hosts'), /203\.0\.113\.7\s+extra/);
    assert.deepEqual(await resolve(asker!, 'extra'), ['203.0.113.7']);
    await resolves(asker!, 'web', [await vip('web', 'front')]);
    await docker('service', 'rm', 'asker');
  });

  test('a change of backends reaches the tables of all containers', async () => {
    const address = await vip('web', 'front');
    await docker('service', 'scale', 'web=1');
    const [only] = await boxes('web');
    for (const caller of await boxes('caller'))
      await until(
        'the one that is left to answer alone',
        async () => {
          const names = [];
          for (let i = 0; i < 3; i++) names.push((await ask(caller, `http://${address}/`))['container']);
          return names.every((name) => name === only!.id.slice(0, 12)) || names.join();
        },
        { timeoutMs: 20_000 },
      );
    await docker('service', 'scale', 'web=0');
    const [caller] = await boxes('caller');
    await until(
      'a refusal, as nobody serves it',
      async () => {
        const { stdout, stderr } = await inside(caller!, 'busybox', 'wget', '-O', '-', `http://${address}/`);
        return /Connection refused/.test(stderr) || stdout + stderr;
      },
      { timeoutMs: 20_000 },
    );
    await docker('service', 'scale', 'web=3');
  });

  test('networks are closed to each other, whatever their subnets', async () => {
    await create('other', '--replicas', '2', '--network', 'back', IMAGE);
    const [other] = await boxes('other');
    for (const box of await boxes('web')) {
      const ping = await inside(other!, 'busybox', 'ping', '-c', '1', '-W', '1', box.addresses['front']!);
      assert.equal(ping.code, 1);
    }
    // The same subnet once more is another segment: the same address is another container there.
    await docker('network', 'create', '-d', 'overlay', '--subnet', '10.50.0.0/24', 'twin');
    await create('twins', '--replicas', '2', '--network', 'twin', IMAGE);
    const [one, two] = await boxes('twins');
    const twin = async () => (await ask(one!, `http://${two!.addresses['twin']!}/`))['container'];
    await until('the twin', async () => (await twin()) === two!.id.slice(0, 12) || String(await twin()), {
      timeoutMs: 20_000,
    });
    await docker('service', 'rm', 'twins');
    const [first, second] = await boxes('other');
    const ping = ['busybox', 'ping', '-c', '1', '-W', '1', second!.addresses['back']!];
    await until('the other one', async () => (await inside(first!, ...ping)).code === 0 || 'no answer', {
      timeoutMs: 20_000,
    });
    await docker('service', 'rm', 'other');
  });

  const publish = (name: string, port: number, ...args: string[]) =>
    create(name, '--replicas', '3', '-p', `${port}:80`, '-p', `${port}:53/udp`, ...args, IMAGE, 'udp=53');

  test('skein.client-ip=preserve: tasks see their clients, same host and cross host, beside services that do not', async () => {
    await publish('kept', 81, '--label', 'skein.client-ip=preserve');
    await publish('hidden', 82);
    for (const node of NODES)
      for (const port of [81, 82])
        await until(
          `all three to answer through ${node}`,
          async () => (await stage.askMany('client', ADDRESS[node], port, 3)).size === 3 || 'not yet',
          { timeoutMs: 20_000 },
        );
    for (const node of NODES) {
      const seen = new Set<string>();
      for (let i = 0; i < 6; i++) {
        const answer = await ask('client', `http://${ADDRESS[node]}:81/`);
        assert.match(answer['client']!, new RegExp(`^${CLIENT}:`), `through ${node}`);
        seen.add(answer['container']!);
        const other = await ask('client', `http://${ADDRESS[node]}:82/`);
        assert.match(other['client']!, /^10\.255\.0\.[23]:/);
      }
      assert.equal(seen.size, 3);
      for (let i = 0; i < 6; i++)
        assert.ok(await stage.askUdp('client', ADDRESS[node], 81), 'UDP answers too');
    }
    // From the node itself: by loopback there is no address to keep, by its own there is.
    assert.match((await ask('node1', 'http://127.0.0.1:81/'))['client']!, /^10\.255\.0\.2:/);
    assert.match((await ask('node1', `http://${ADDRESS.node1}:81/`))['client']!, /^192\.0\.2\.11:/);
    // What such a task asks of the world itself still comes back to it.
    const [own] = await boxes('kept');
    const world = ['busybox', 'wget', '-q', '-O', '-', `http://${ADDRESS.node2}:82/`];
    assert.match(await stage.docker(own!.node).ok('exec', own!.id, ...world), /^container /m);
  });

  test('the rules that docs/networking.md shows are those of a live node', async () => {
    /** One kind of rule: the numbers of this cluster are others than those of the page. */
    const kindOf = (rule: string) =>
      rule
        .replaceAll(/\d+\.\d+\.\d+\.\d+/g, 'ADDRESS')
        .replaceAll(/{.*}/g, '{}')
        .replaceAll(/(mod|"eth|slots-tcp-|slots-vip-) ?\d+/g, '$1 N');
    const page = readFileSync(new URL('../../docs/networking.md', import.meta.url), 'utf8');
    const shown = [...page.matchAll(/^ {4}(?:root|sandbox), [\w.-]+ +(.*?)(?: +#.*)?$/gm)]
      .map(([, text]) => text!)
      .filter((text) => /^(ct|dnat|fib|iifname|ip|meta|oifname) /.test(text));
    assert.ok(shown.length > 10, `${shown.length} rules are shown`);
    const tables = await Promise.all([
      stage.lab.exec('node1', ['nft', 'list', 'table', 'ip', 'skein']),
      ...[...(await boxes('kept')), ...(await boxes('caller'))].map((box) =>
        inside(box, 'nft', 'list', 'table', 'ip', 'skein'),
      ),
    ]);
    const live = new Set(
      tables.flatMap(({ stdout }) =>
        stdout.split('\n').map((line) => kindOf(line.trim().replace(/ comment ".*"$/, ''))),
      ),
    );
    assert.deepEqual(
      shown.filter((rule) => !live.has(kindOf(rule))),
      [],
    );
  });

  test('the label is turned on and off without touching a task', async () => {
    const ids = (await boxes('hidden')).map((b) => b.id);
    await docker('service', 'update', '--label-add', 'skein.client-ip=preserve', 'hidden');
    const sees = (pattern: RegExp) =>
      until(
        `clients to be seen as ${pattern}`,
        async () => {
          for (const node of NODES)
            for (let i = 0; i < 3; i++) {
              const { client = 'none' } = await ask('client', `http://${ADDRESS[node]}:82/`);
              if (!pattern.test(client)) return client;
            }
          return true;
        },
        { timeoutMs: 20_000 },
      );
    await sees(/^192\.0\.2\.200:/);
    await docker('service', 'update', '--label-rm', 'skein.client-ip', 'hidden');
    await sees(/^10\.255\.0\.[23]:/);
    assert.deepEqual(
      (await boxes('hidden')).map((b) => b.id),
      ids,
    );
  });

  const trace = async (service: string, ...args: string[]) => {
    const run = new TraceRun(stage.lab.node('node1').socket, service, ...args);
    for (const node of NODES) await run.says(`capturing on ${node}`);
    return run;
  };
  /** Packet sockets of a node, in its own namespace and in the fabric. */
  const packetSockets = async (name: (typeof NODES)[number]) => {
    const { netns, runRoot } = stage.lab.node(name);
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

  test('skein trace: published ports, hop by hop as the reference capture, bounded, and a file that a reader takes', async () => {
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
        assert.equal(first!.source.mac, stage.lab.plan.client.mac);
        assert.equal(first!.destination.mac, stage.lab.node('node1').mac);
        assert.equal(second!.source.mac, stage.lab.node('node1').mac);
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

  test('skein trace: virtual IPs, clients that keep their addresses, UDP, and only the clients asked for', async () => {
    const [caller] = await boxes('caller');
    const address = await vip('web', 'front');
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
    assert.ok(await stage.askUdp('client', ADDRESS.node1, 82));
    const [flow] = await datagrams.ends();
    assert.deepEqual([flow!.protocol, flow!.joinedBy, flow!.outcome], ['udp', 'conntrack', 'open']);
    assert.deepEqual(way(flow!), [
      `${CLIENT} > ${ADDRESS.node1}`,
      `10.255.0.2 > ${flow!.backend!.ip} DNAT + SNAT`,
    ]);
    assert.ok(flow!.answeredInNs! > 0);
  });

  test('skein trace: what reaches nobody, a node that dies, a service that goes; nothing hangs and nothing is left', async () => {
    assert.match(await stage.docker('node2').fails('service', 'ls'), /not a swarm manager/);
    const worker = new TraceRun(stage.lab.node('node2').socket, 'hidden');
    await worker.ends(1);
    assert.match(worker.notes, /skein: This node is not a swarm manager/);

    const run = await trace('hidden', '--count', '100', '--timeout', '60');
    await stage.lab.kill('node2');
    await run.says('not on node2: its connection to the leader was lost');
    await stage.lab.start('node2');
    await until(
      'node2 to capture again',
      async () => run.notes.split('capturing on node2').length === 3 || run.notes,
      {
        timeoutMs: 20_000,
      },
    );
    await docker('service', 'scale', '--detach', 'hidden=0');
    await until(
      'the port to refuse',
      async () =>
        (await ask('client', `http://${ADDRESS.node2}:82/`))['container'] === undefined || 'answered',
      { timeoutMs: 20_000 },
    );
    await run.prints('"case":"lost"');
    await docker('service', 'rm', 'hidden');
    const traced = await run.ends();
    assert.match(run.notes, /ended: the service was removed/);
    const lost = traced.find(({ case: kind }) => kind === 'lost');
    assert.deepEqual([lost?.outcome, lost?.resetBy, lost?.backend], ['reset', 'node', undefined]);

    const interrupted = await trace('web');
    interrupted.interrupt();
    await interrupted.ends();
    assert.match(interrupted.notes, /ended: interrupted/);
    const timed = new TraceRun(stage.lab.node('node1').socket, 'web', '--timeout', '1');
    await timed.ends();
    assert.match(timed.notes, /ended: the time is over/);
    await noneCaptures();
  });

  describe('what a network is made with', () => overlays(() => stage));
});
