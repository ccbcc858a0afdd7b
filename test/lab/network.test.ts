/** User networks of a real cluster: virtual IPs, isolation, and clients that keep their addresses. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { runProcess } from '../../src/kit/process.ts';
import { until } from '../../src/lab/cluster.ts';
import { downLab, Lab } from '../../src/lab/lab.ts';
import { skipWithoutDocker } from '../docker.ts';
import { answerTo, type Box, boxesOf, inside, virtualIp } from './boxes.ts';
import { overlays } from './overlays.ts';
import { IMAGE, Stage } from './stage.ts';
import { tracing } from './tracing.ts';

const NAME = 'test-network';
const NODES = ['node1', 'node2'] as const;
const ADDRESS = { node1: '192.0.2.11', node2: '192.0.2.12' } as const;
const CLIENT = '192.0.2.200';

describe('networks', { skip: skipWithoutDocker, timeout: 600_000 }, () => {
  let stage: Stage;
  const docker = (...args: string[]) => stage.docker('node1').ok(...args);
  const create = (name: string, ...args: readonly string[]) =>
    docker('service', 'create', '--no-resolve-image', '--update-monitor', '300ms', '--name', name, ...args);

  const boxes = (service: string) => boxesOf(stage, service);
  const ask = (from: Box | 'client' | 'node1', url: string) => answerTo(stage, from, url);
  const vip = (service: string, network: string) => virtualIp(stage, service, network);

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
    const name = async (caller: Box) => (await ask(caller, `http://${address}/`))['container'] ?? 'none';
    for (const caller of await boxes('caller')) {
      await until(
        'all to answer',
        async () => {
          const names = new Set([await name(caller), await name(caller), await name(caller)]);
          return (names.size === 3 && !names.has('none')) || [...names].join();
        },
        { timeoutMs: 20_000 },
      );
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

  test('names go on while skeind is dead, and are true again when it is back', async (t) => {
    const [caller] = await boxes('caller');
    const address = [await vip('web', 'front')];
    t.after(() => stage.lab.start(caller!.node));
    await stage.lab.kill(caller!.node);
    for (let i = 0; i < 5; i++) assert.deepEqual(await resolve(caller!, 'web'), address);
    await stage.lab.start(caller!.node);
    await stage.managerAnswers();
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
    for (const port of [81, 82]) await stage.leads(port, 3, ...Object.values(ADDRESS));
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
        { timeoutMs: 30_000 },
      );
    await sees(/^192\.0\.2\.200:/);
    await docker('service', 'update', '--label-rm', 'skein.client-ip', 'hidden');
    await sees(/^10\.255\.0\.[23]:/);
    assert.deepEqual(
      (await boxes('hidden')).map((b) => b.id),
      ids,
    );
  });

  describe('skein trace', () => tracing(() => stage));
  describe('what a network is made with', () => overlays(() => stage));
});
