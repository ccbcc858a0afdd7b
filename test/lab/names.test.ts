/** Names inside the containers of a real cluster: every kind of question, the world outside, and daemons that die. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { decode, encode } from 'dns-packet';
import { framed } from '../../src/dns/forward.ts';
import { isRunning } from '../../src/kit/detached.ts';
import { runProcess } from '../../src/kit/process.ts';
import { until } from '../../src/lab/cluster.ts';
import { downLab, Lab } from '../../src/lab/lab.ts';
import { skipWithoutDocker } from '../docker.ts';
import { IMAGE, Stage } from './stage.ts';
import { Stalls } from './stalls.ts';

const NAME = 'dns-a';
/** Where the world's name server is, outside of the cluster. */
const WORLD = '192.0.2.200';

/** Knows example.org and what is in it, is silent about everything that begins with "silent"; prints what it is asked. */
const WORLD_SERVER = `
const socket = require('node:dgram').createSocket('udp4');
socket.on('message', (query, from) => {
  const labels = [];
  for (let at = 12; query[at] > 0; at += 1 + query[at]) labels.push(query.toString('latin1', at + 1, at + 1 + query[at]));
  process.stdout.write(labels.join('.') + '\\n');
  if (query.includes('silent')) return;
  const reply = Buffer.concat([query, Buffer.from('c00c000100010000003c0004cb007109', 'hex')]);
  const known = query.includes('example') && query.readUInt16BE(query.indexOf(0, 12) + 1) === 1;
  reply.writeUInt16BE(0x8180 | (known ? 0 : 3), 2);
  reply.writeUInt16BE(known ? 1 : 0, 6);
  socket.send(known ? reply : reply.subarray(0, query.length), from.port, from.address);
});
socket.bind(53, '${WORLD}', () => process.stdout.write('up\\n'));
`;

/** Asks [type, name] after each other; prints what each was answered with and how long that took. */
const CLIENT = `
const { Resolver } = require('node:dns/promises');
const resolver = new Resolver({ timeout: 20_000, tries: 1 });
resolver.setServers(['127.0.0.11']);
(async () => {
  const answers = [];
  for (const [type, name] of JSON.parse(process.argv[1])) {
    const start = performance.now();
    const found = await (type === 'PTR' ? resolver.reverse(name) : resolver.resolve(name, type)).then((a) => a.sort(), (e) => e.code);
    answers.push({ found, ms: performance.now() - start });
  }
  process.stdout.write(JSON.stringify(answers));
})();
`;

/** Asks for a name until it is told to stop; then prints how often, and how often in vain. */
const STEADY = `
const { Resolver } = require('node:dns/promises');
const resolver = new Resolver({ timeout: 5_000, tries: 1 });
resolver.setServers(['127.0.0.11']);
let [asked, failed, go] = [0, [], true];
process.stdin.resume().on('end', () => (go = false));
(async () => {
  while (go) {
    asked++;
    await resolver.resolve4(process.argv[1]).then((a) => a[0] === process.argv[2] || failed.push(a[0]), (e) => failed.push(e.code));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  process.stdout.write(JSON.stringify({ asked, failed }));
  process.exit(0);
})();
`;

interface Answered {
  readonly found: string | readonly string[];
  readonly ms: number;
}

interface Container {
  readonly Id: string;
  readonly Name: string;
  readonly State: { readonly Pid: number };
  readonly NetworkSettings: { readonly Networks: Record<string, { readonly IPAddress: string }> };
}

describe('names', { skip: skipWithoutDocker, timeout: 600_000 }, () => {
  let stage: Stage;
  let world: ChildProcess;
  /** What the world's name server was asked. */
  let asked = '';
  const docker = (...args: string[]) => stage.docker('node1').ok(...args);
  const create = (name: string, ...args: string[]) =>
    docker('service', 'create', '--no-resolve-image', '--update-monitor', '300ms', '--name', name, ...args);

  async function containers(service: string): Promise<Container[]> {
    const ids = await docker('ps', '-q', '--no-trunc', '--filter', `name=${service}.`);
    return JSON.parse(await docker('inspect', ...ids.split('\n').filter(Boolean))) as Container[];
  }
  const enter = ({ State: { Pid } }: Container) => ['nsenter', `--net=/proc/${Pid}/ns/net`, '--'];

  async function ask(from: string, ...questions: [type: string, name: string][]): Promise<Answered[]> {
    const [container] = await containers(from);
    const argv = [...enter(container!), process.execPath, '-e', CLIENT, JSON.stringify(questions)];
    return JSON.parse((await runProcess(argv, { timeoutMs: 60_000 })).stdout) as Answered[];
  }
  const found = async (from: string, type: string, name: string) => (await ask(from, [type, name]))[0]!.found;

  async function vip(service: string): Promise<string> {
    const format = '{{range .Endpoint.VirtualIPs}}{{.Addr}}{{end}}';
    return (await docker('service', 'inspect', '-f', format, service)).trim().split('/')[0]!;
  }

  before(async () => {
    stage = new Stage(await Lab.up({ name: NAME, nodes: 1 }));
    const [command = '', ...args] = [...stage.lab.enter('client'), process.execPath, '-e', WORLD_SERVER];
    world = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    world.stdout!.on('data', (chunk: Buffer) => (asked += chunk.toString()));
    await until('the world’s name server', async () => asked === 'up\n' || asked, { timeoutMs: 20_000 });
    await stage.loadImage();
    await docker('network', 'create', '-d', 'overlay', 'front');
    await docker('network', 'create', '-d', 'overlay', '--internal', 'vault');
    await create('web', '--replicas', '2', '--network', 'name=front,alias=www', IMAGE);
    await create('caller', '--network', 'front', '--dns', WORLD, IMAGE);
    await create('locked', '--network', 'vault', '--dns', WORLD, IMAGE);
  });
  after(async () => {
    stage.close();
    world.kill();
    await downLab(NAME);
  });

  test('every kind of name, and addresses back to names', async () => {
    const webs = await containers('web');
    const address = (c: Container) => c.NetworkSettings.Networks['front']!.IPAddress;
    const all = webs.map(address).sort();
    const virtual = await vip('web');
    const names: [name: string, addresses: readonly string[]][] = [
      ['web', [virtual]],
      ['wEb.fRont', [virtual]],
      ['www', [virtual]],
      ['tasks.web', all],
      ['tasks.www', all],
      [webs[0]!.Name.slice(1), [address(webs[0]!)]],
      [webs[1]!.Id.slice(0, 12), [address(webs[1]!)]],
    ];
    const answers = await ask('caller', ...names.map(([name]): [string, string] => ['A', name]));
    assert.deepEqual(
      answers.map((a) => a.found),
      names.map(([, addresses]) => addresses),
    );
    assert.deepEqual(await found('caller', 'PTR', virtual), ['web.front']);
    assert.deepEqual(await found('caller', 'PTR', address(webs[0]!)), [`${webs[0]!.Name.slice(1)}.front`]);
  });

  test('AAAA of our names is answered at once with nothing, and nobody outside is asked', async () => {
    asked = '';
    for (const [type, name] of [
      ['AAAA', 'web'],
      ['AAAA', 'tasks.web'],
      ['MX', 'www'],
    ] as const) {
      const answers = await ask('caller', [type, name], [type, name], [type, name]);
      for (const { found: answer } of answers) assert.equal(answer, 'ENODATA');
      // A process that has to wait for its turn makes one of them late, and not each.
      const times = answers.map(({ ms }) => ms);
      assert.ok(Math.min(...times) < 1_000, `${times.join()} ms`);
    }
    assert.equal(asked, '');
  });

  test('other names are asked on of --dns, also what it says does not exist; its silence ends in bounded time', async () => {
    const stalls = new Stalls();
    const [known, unknown, silent] = await ask(
      'caller',
      ['A', 'example.org'],
      ['A', 'nobody.org'],
      ['A', 'silent.org'],
    );
    const stalled = stalls.ms;
    await stalls.close();
    assert.deepEqual(known!.found, ['203.0.113.9']);
    assert.equal(unknown!.found, 'ENOTFOUND');
    assert.equal(silent!.found, 'ESERVFAIL');
    assert.ok(silent!.ms < 5_500 + stalled, `${silent!.ms} ms, ${stalled} of them in wait for a processor`);
  });

  test('over TCP too, at port 53 of 127.0.0.11', async () => {
    const [caller] = await containers('caller');
    const script = `
      const socket = require('node:net').connect(53, '127.0.0.11');
      socket.write(Buffer.from(process.argv[1], 'base64'));
      socket.once('data', (reply) => socket.end(() => process.stdout.write(reply.toString('base64'))));`;
    const query = encode({ type: 'query', id: 1, questions: [{ name: 'web', type: 'A' }] });
    const argv = [process.execPath, '-e', script, framed(query).toString('base64')];
    const { stdout } = await runProcess([...enter(caller!), ...argv], { timeoutMs: 30_000 });
    const { answers } = decode(Buffer.from(stdout, 'base64').subarray(2));
    assert.deepEqual(
      answers!.map((a) => (a as { data?: unknown }).data),
      [await vip('web')],
    );
  });

  /** As programs in the container ask: its libc, its resolv.conf. */
  const byLibc = async ({ State: { Pid } }: Container, name: string) => {
    const script = 'print join " ", map { join ".", unpack "C4", $_ } @{[gethostbyname(shift)]}[4..99]';
    const argv = ['nsenter', '--all', `--target=${Pid}`, '--', '/usr/bin/perl', '-e', script, name];
    return (await runProcess(argv, { accept: [0, 1], timeoutMs: 60_000 })).stdout.split(' ')[0];
  };

  test('--dns-search completes names, --dns-option says when; our own come first without', async () => {
    const search = ['--network', 'front', '--dns', WORLD, '--dns-search', 'example.org'];
    await create('seeker', ...search, IMAGE);
    await create('doubter', ...search, '--dns-option', 'ndots:2', IMAGE);
    const [[seeker], [doubter]] = [await containers('seeker'), await containers('doubter')];
    const asks = async (container: Container, name: string, address: string, ...questions: string[]) => {
      asked = '';
      assert.equal(await byLibc(container, name), address);
      // Once each: a question may be asked again, also the one of before.
      const heard = () => [...new Set(asked.split('\n').filter((q) => q.startsWith(name)))].join();
      const told = async () => heard() === questions.join() || heard();
      await until(`the world to be asked for ${questions.join() || 'nothing'}`, told, { timeoutMs: 20_000 });
    };
    await asks(seeker!, 'web', await vip('web'));
    await asks(seeker!, 'printer', '203.0.113.9', 'printer', 'printer.example.org');
    await asks(seeker!, 'a.b', '203.0.113.9', 'a.b', 'a.b.example.org');
    // One dot is fewer than two: as a part of a longer name first.
    await asks(doubter!, 'c.d', '203.0.113.9', 'c.d.example.org');
    await docker('service', 'rm', 'seeker', 'doubter');
  });

  test('a network knows nothing of the others, and an internal one nothing of the world', async () => {
    for (const name of ['web', 'tasks.web', 'web.front', 'example.org'])
      assert.equal(await found('locked', 'A', name), 'ENOTFOUND', name);
    const [web] = await containers('web');
    for (const address of [await vip('web'), web!.NetworkSettings.Networks['front']!.IPAddress])
      assert.equal(await found('locked', 'PTR', address), 'ENOTFOUND', address);
    assert.deepEqual(await found('locked', 'A', 'locked'), [await vip('locked')]);
    assert.equal(await found('caller', 'A', 'locked'), 'ENOTFOUND');
  });

  test('skeind is killed and started again, and no question in a container fails', async () => {
    const [caller] = await containers('caller');
    const [command = '', ...args] = [
      ...enter(caller!),
      process.execPath,
      '-e',
      STEADY,
      'web',
      await vip('web'),
    ];
    const steady = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    let out = '';
    steady.stdout!.on('data', (chunk: Buffer) => (out += chunk.toString()));
    await stage.lab.kill('node1');
    await new Promise((resolve) => setTimeout(resolve, 500)); // a while without it, asking all the time
    await stage.lab.start('node1');
    await stage.managerAnswers();
    await create('fresh', '--network', 'front', IMAGE);
    const [fresh, answer] = [await vip('fresh'), async () => String(await found('caller', 'A', 'fresh'))];
    await until('its name to be known', async () => (await answer()) === fresh || answer(), {
      timeoutMs: 20_000,
    });
    steady.stdin!.end();
    await new Promise((resolve) => steady.once('close', resolve));
    const { asked, failed } = JSON.parse(out) as { asked: number; failed: unknown[] };
    assert.ok(asked > 50, `${asked} asked`);
    assert.deepEqual(failed, []);
  });

  test('the resolver is killed: it is back with everything', async () => {
    const folder = join(stage.lab.node('node1').runRoot, 'resolver');
    const pidOf = () =>
      readdirSync(folder)
        .filter((name) => name.endsWith('.pid'))
        .map((name) => isRunning(join(folder, name)))
        .find((pid) => pid !== undefined);
    const before = pidOf();
    assert.ok(before);
    process.kill(before, 'SIGKILL');
    const virtual = await vip('web');
    await until(
      'names to be back',
      async () => {
        const answer = await found('caller', 'A', 'web');
        return answer[0] === virtual || String(answer);
      },
      { timeoutMs: 30_000 },
    );
    assert.notEqual(pidOf(), before);
    assert.equal((await found('caller', 'A', 'tasks.web')).length, 2);
  });
});
