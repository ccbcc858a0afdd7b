/**
 * The stock docker CLI against the API with a cluster in memory behind it: what a person types, and what the CLI
 * prints. Needs the docker command; without it every test here is skipped, and says so.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pack } from 'tar-stream';
import { FakeBackends } from '../../src/api/fake-backends.ts';
import { type ApiServer, createApiServer } from '../../src/api/server.ts';
import { systemClock } from '../../src/kit/clock.ts';
import { silentLog } from '../../src/kit/log.ts';
import { SkeinError } from '../../src/model/errors.ts';
import { DockerCli, finished, skipWithoutDocker } from '../docker.ts';

const dir = mkdtempSync(join(tmpdir(), 'skein-api-'));
const socket = join(dir, 'api.sock');
const backends = new FakeBackends(systemClock);
let server: ApiServer;

before(async () => {
  server = await createApiServer({ backends, log: silentLog, version: '0.1.0' });
  await server.listen(socket, { mode: 0o660 });
});
after(async () => {
  await server.close();
  cli.close();
  rmSync(dir, { recursive: true, force: true });
});

const cli = new DockerCli(socket);
const start = cli.start.bind(cli);
const docker = cli.run.bind(cli);
const ok = cli.ok.bind(cli);
const fails = cli.fails.bind(cli);

async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!condition()) {
    assert.ok(Date.now() < deadline, `waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** An archive as `docker save` makes it, of one empty layer. */
async function archive(name: string): Promise<string> {
  const file = join(dir, 'image.tar');
  const tar = pack();
  const config = JSON.stringify({
    architecture: 'amd64',
    os: 'linux',
    config: {},
    rootfs: { type: 'layers', diff_ids: [] },
  });
  tar.entry({ name: 'config.json' }, config);
  tar.entry(
    { name: 'manifest.json' },
    JSON.stringify([{ Config: 'config.json', RepoTags: [name], Layers: [] }]),
  );
  tar.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of tar) chunks.push(chunk as Buffer);
  writeFileSync(file, Buffer.concat(chunks));
  return file;
}

describe('docker CLI', { skip: skipWithoutDocker }, () => {
  test('the socket is for its group only', () => {
    assert.equal(statSync(socket).mode & 0o777, 0o660);
  });

  test('version and info', async () => {
    const version = await ok('version');
    assert.match(
      version,
      /Server: Skein\n Engine:\n {2}Version:\s+0\.1\.0\n {2}API version:\s+1\.47 \(minimum version 1\.24\)/,
    );
    assert.match(version, / containerd:\n {2}Version:\s+1\.6\.20/);
    const info = await ok('info');
    assert.match(info, /Swarm: inactive/);
    assert.match(info, /Operating System: Debian GNU\/Linux 12/);
    assert.doesNotMatch(info, /WARNING/);
  });

  test('outside a swarm', async () => {
    assert.match(await fails('service', 'ls'), /This node is not a swarm manager\. Use "docker swarm init"/);
  });

  test('swarm init, join tokens, nodes', async () => {
    const init = await ok('swarm', 'init', '--advertise-addr', '192.0.2.1');
    assert.match(init, /Swarm initialized: current node \(node1a+\) is now a manager\./);
    assert.match(init, /docker swarm join --token SWMTKN-1-aaa-worker 192\.0\.2\.1:2377/);
    assert.match(await fails('swarm', 'init'), /already part of a swarm/);
    assert.equal(await ok('swarm', 'join-token', '-q', 'manager'), 'SWMTKN-1-aaa-manager\n');
    assert.match(await ok('swarm', 'update', '--task-history-limit', '7'), /Swarm updated/);
    const nodes = (await ok('node', 'ls')).trim().split('\n');
    assert.match(nodes[0]!, /^ID\s+HOSTNAME\s+STATUS\s+AVAILABILITY\s+MANAGER STATUS\s+ENGINE VERSION/);
    assert.match(nodes[1]!, /^node1a+ \*\s+host1\s+Ready\s+Active\s+Leader\s+0\.1\.0/);
    assert.match(nodes[2]!, /^node2a+\s+host2\s+Ready\s+Active\s+0\.1\.0/);
    assert.match(await ok('node', 'inspect', '--pretty', 'self'), /Raft Status:\s+Reachable\n Leader:\s+Yes/);
    assert.match(await ok('node', 'update', '--availability', 'drain', 'host2'), /host2/);
    assert.match(await ok('node', 'ls', '--filter', 'role=worker'), /Drain/);
    assert.match(
      await fails('node', 'update', '--availability', 'nonsense', 'host2'),
      /^Error response from daemon: invalid Availability: "nonsense"$/m,
    );
    assert.match(
      await fails('node', 'update', '--role', 'nonsense', 'host2'),
      /^Error response from daemon: invalid Role: "nonsense"$/m,
    );
  });

  test('service create reaches "converged" by the CLI\'s own progress display', async () => {
    const out = await ok(
      ...['service', 'create', '--name', 'web', '--replicas', '3', '--no-resolve-image'],
      ...['--publish', 'mode=ingress,target=80,published=80', 'nginx:latest'],
    );
    assert.match(out, /overall progress: 3 out of 3 tasks/);
    assert.match(out, /verify: Service \w+ converged/);
  });

  test('service ls, ps, inspect, scale', async () => {
    const [head, line] = (await ok('service', 'ls')).split('\n');
    assert.match(head!, /^ID\s+NAME\s+MODE\s+REPLICAS\s+IMAGE\s+PORTS/);
    assert.match(line!, /^service\w+\s+web\s+replicated\s+3\/3\s+nginx:latest\s+\*:80->80\/tcp/);
    const ps = (await ok('service', 'ps', 'web')).trim().split('\n');
    assert.equal(ps.length, 4);
    assert.match(ps[1]!, /web\.1\s+nginx:latest\s+host1\s+Running\s+Running/);
    const pretty = await ok('service', 'inspect', '--pretty', 'web');
    for (const part of [
      /Service Mode:\s+Replicated\n Replicas:\s+3/,
      /UpdateConfig:\n Parallelism:\s+1/,
      /Endpoint Mode:\s+vip/,
      /PublishedPort = 80\n {2}Protocol = tcp/,
    ])
      assert.match(pretty, part);
    assert.match(await ok('service', 'scale', '-d', 'web=2'), /web scaled to 2/);
    assert.match(await ok('service', 'ls', '--filter', 'name=web'), /2\/2/);
    assert.match(await ok('service', 'update', '-d', '--env-add', 'A=1', 'web'), /^web/);
    assert.match(await ok('service', 'rollback', '-d', 'web'), /^web/);
    assert.match(await ok('node', 'ps', 'self'), /web\.1/);
    assert.match(await ok('inspect', 'web'), /"Name": "web"/);
    assert.match(await fails('service', 'inspect', 'nosuch'), /no such service: nosuch/i);
    assert.match(
      await fails('service', 'create', '--no-resolve-image', '--network', 'nosuch', 'x'),
      /network nosuch not found/,
    );
  });

  test('service logs name task and node of each line; -f ends when the reader does', async () => {
    assert.match(await ok('service', 'logs', 'web'), /web\.1\.task\w+@host1\s+\| hello from task/);
    backends.control.closedLogs.length = 0;
    const child = start('service', 'logs', '-f', 'web');
    const result = finished(child);
    await until('the first line', () => child.stdout!.readableFlowing === true && child.pid !== undefined);
    await new Promise<void>((resolve) => child.stdout!.once('data', () => resolve()));
    child.kill('SIGKILL');
    await result;
    await until('the backend stream is cancelled', () => backends.control.closedLogs.includes('aborted'));
  });

  test('networks', async () => {
    assert.match(await ok('network', 'create', '-d', 'overlay', 'net1'), /^network/);
    assert.match(await ok('network', 'ls'), /ingress\s+overlay\s+swarm[^]*net1\s+overlay\s+swarm/);
    const ingress = JSON.parse(await ok('network', 'inspect', 'ingress')) as {
      Containers: object;
      Peers: object[];
    }[];
    assert.equal(ingress[0]!.Peers.length, 2);
    assert.ok(Object.keys(ingress[0]!.Containers).includes('ingress-sbox'));
    assert.equal(await ok('network', 'rm', 'net1'), 'net1\n');
    assert.match(await fails('network', 'create', 'br'), /overlay networks only/);
  });

  test('containers here: ps, inspect, logs', async () => {
    const ps = (await ok('ps')).trim().split('\n');
    assert.match(ps[1]!, /^\w{12}\s+nginx:latest\s.*Up .*\sweb\.1\.task/);
    const [id] = ps[1]!.split(' ');
    assert.match(await ok('inspect', id!), /"Status": "running"/);
    const container = backends.view.all('task').values().next().value!.status.container!;
    backends.runtime.print(container.containerId, 'stdout', 'out\n');
    backends.runtime.print(container.containerId, 'stderr', 'err\n');
    const logs = await docker('logs', container.containerId);
    assert.deepEqual([logs.stdout, logs.stderr], ['out\n', 'err\n']);
    assert.match(await ok('logs', '--tail', '1', '-t', container.containerId).then(() => 'ok'), /ok/);
  });

  test('images: pull, load, ls, tag, rmi', async () => {
    backends.runtime.images.offer('registry.example:5000/team/app:1');
    const pulled = await ok('pull', 'registry.example:5000/team/app:1');
    assert.match(pulled, /1: Pulling from team\/app/);
    assert.match(pulled, /Status: Downloaded newer image for registry\.example:5000\/team\/app:1/);
    assert.match(await fails('pull', 'nosuch:1'), /manifest for nosuch:1 not found/);
    assert.match(await ok('load', '-i', await archive('demo:1')), /Loaded image: demo:1/);
    assert.match(await ok('images'), /demo\s+1\s/);
    writeFileSync(join(dir, 'bad.tar'), Buffer.alloc(2048, 'x'));
    await fails('load', '-i', join(dir, 'bad.tar'));
    await ok('tag', 'demo:1', 'demo:2');
    assert.match(await ok('rmi', 'demo:2'), /Untagged: demo:2/);
    assert.match(await ok('image', 'inspect', 'demo:1'), /"demo:1"/);
    assert.match(await ok('history', 'demo:1'), /IMAGE/);
    assert.match(await ok('system', 'df'), /Images\s+\d/);
  });

  test('secrets and configs, which differ in what is shown', async () => {
    const file = join(dir, 'data.txt');
    writeFileSync(file, 'xyzzy');
    for (const kind of ['secret', 'config']) {
      const id = (await ok(kind, 'create', '--label', 'k=v', 'one', file)).trim();
      assert.match(await ok(kind, 'ls'), new RegExp(`^${id}\\s+one\\s`, 'm'));
      assert.equal((await ok(kind, 'ls', '-q', '--filter', 'label=k=v')).trim(), id);
      assert.match(await ok(kind, 'inspect', '--pretty', 'one'), /Labels:\n - k=v/);
      const [found] = JSON.parse(await ok(kind, 'inspect', 'one')) as { Spec: { Data?: string } }[];
      assert.equal(found!.Spec.Data, kind === 'secret' ? undefined : 'eHl6enk=');
      assert.match(await fails(kind, 'inspect', 'two'), /no such \w+|not found/);
      assert.equal((await ok(kind, 'rm', 'one')).trim(), 'one');
      assert.equal(await ok(kind, 'ls', '-q'), '');
    }
  });

  test('what is not served is said, never faked', async () => {
    assert.match(await fails('commit', 'web', 'mine:1'), /skein does not serve POST \/commit yet/);
    assert.match(await fails('run', 'x'), /manifest for x:latest not found/);
    assert.match(await fails('exec', 'web', 'ls'), /No such container/);
    assert.equal(await ok('plugin', 'ls', '-q'), '');
    assert.match(await ok('stack', 'ls'), /NAME/);
  });

  test('events', async () => {
    const child = start(
      'events',
      '--filter',
      'type=service',
      '--format',
      '{{.Type}} {{.Action}} {{.Actor.Attributes.name}}',
    );
    const result = finished(child);
    let seen = '';
    child.stdout!.on('data', (chunk: Buffer) => (seen += chunk.toString()));
    const probe = async () => {
      await ok('service', 'create', '-d', '--no-resolve-image', '--name', 'e1', 'x');
      await ok('service', 'rm', 'e1');
    };
    const deadline = Date.now() + 30_000;
    // The first may come before the stream is open, or between its two events.
    const both = /service create e1\n(.*\n)*service remove e1\n/;
    while (!both.test(seen) && Date.now() < deadline) await probe();
    child.kill('SIGKILL');
    await result;
    assert.match(seen, both);
  });

  test('service rm and leave', async () => {
    assert.equal(await ok('service', 'rm', 'web'), 'web\n');
    assert.match(await fails('swarm', 'leave'), /Use `--force` to ignore this message/);
    assert.match(await ok('swarm', 'leave', '--force'), /Node left the swarm/);
  });
});

/** Sends raw bytes and resolves to what comes back before the connection ends. */
function raw(text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const client = connect(socket, () => client.write(text));
    client.on('data', (chunk) => (answer += chunk.toString()));
    client.on('end', () => resolve(answer));
    client.on('error', reject);
  });
}

describe('on the wire', () => {
  test('request lines of half a megabyte pass', async () => {
    const answer = await raw(
      `GET /v1.41/_ping?x=${'y'.repeat(500_000)} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n`,
    );
    assert.match(answer, /^HTTP\/1\.1 200 /);
  });

  test('an oversized body gets its answer, whatever of it has been sent', async () => {
    const size = 20 * 1024 * 1024;
    const head = `POST /swarm/init HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${size}\r\n\r\n`;
    assert.match(await raw(head + 'x'.repeat(size)), /^HTTP\/1\.1 413 [^]*request body too large/);
  });

  test('an oversized body without a length is refused as well', async () => {
    const size = 20 * 1024 * 1024;
    const head =
      'POST /swarm/init HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n';
    const body = `${size.toString(16)}\r\n${'x'.repeat(size)}\r\n0\r\n\r\n`;
    assert.match(await raw(head + body), /^HTTP\/1\.1 413 [^]*request body too large/);
  });

  test('a large archive that is refused at once still gets its reason', async () => {
    const size = 30 * 1024 * 1024;
    backends.runtime.fail('load', new SkeinError('invalid-argument', 'not an image archive'));
    const head = `POST /images/load HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: ${size}\r\n\r\n`;
    assert.match(await raw(head + 'x'.repeat(size)), /^HTTP\/1\.1 400 [^]*not an image archive/);
  });

  test('a reader that stops reading stops the source, and its end ends it', async () => {
    let produced = 0;
    let ended = false;
    async function* endless() {
      try {
        for (;;) {
          produced++;
          yield Buffer.alloc(64 * 1024);
        }
      } finally {
        ended = true;
      }
    }
    const answer = { kind: 'stream', contentType: 'x/y', chunks: endless(), eager: true } as const;
    const routes = [
      { method: 'GET', path: '/x', handler: () => ({ ...answer, failure: () => Buffer.alloc(0) }) },
    ] as const;
    const slow = await createApiServer({ backends, log: silentLog, routes });
    const path = join(dir, 'slow.sock');
    await slow.listen(path);
    const client = connect(path, () => client.write('GET /x HTTP/1.1\r\nHost: d\r\n\r\n'));
    client.pause();
    await until('something is produced', () => produced > 0);
    await until(
      'the source has stopped',
      (() => {
        let [last, same] = [0, 0];
        return () => {
          same = produced === last ? same + 1 : 0;
          last = produced;
          return same > 10;
        };
      })(),
    );
    assert.ok(produced < 200, `${produced} chunks of 64 KiB wait for a reader that does not read`);
    client.destroy();
    await until('the source is ended', () => ended);
    await slow.close();
  });

  test('an upgrade that is not served is refused in words', async () => {
    const answer = await raw(
      'POST /grpc HTTP/1.1\r\nHost: d\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n',
    );
    assert.match(answer, /^HTTP\/1\.1 501 [^]*skein does not serve POST \/grpc yet/);
  });

  test('what is not HTTP gets an answer too', async () => {
    assert.match(await raw('NONSENSE\r\n\r\n'), /^HTTP\/1\.1 400 [^]*malformed request/);
  });

  test('a second server does not take over a socket in use, but replaces a dead one', async () => {
    const second = await createApiServer({ backends, log: silentLog });
    await assert.rejects(second.listen(socket), /another process serves/);
    const dead = join(dir, 'dead.sock');
    const die = `require('net').createServer().listen('${dead}', () => process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', die]);
    assert.ok(existsSync(dead));
    await second.listen(dead);
    const port = await second.listenTcp('127.0.0.1', 0);
    assert.equal((await fetch(`http://127.0.0.1:${port}/_ping`)).status, 200);
    await second.close();
  });
});
