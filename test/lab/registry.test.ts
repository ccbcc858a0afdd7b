/** Images from a registry that asks for a password: by hand on one node, and by tasks on nodes that never logged in. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runProcess } from '../../src/kit/process.ts';
import { until } from '../../src/lab/cluster.ts';
import { buildImage } from '../../src/lab/image.ts';
import { downLab, Lab } from '../../src/lab/lab.ts';
import { finished, skipWithoutDocker } from '../docker.ts';
import { machineState } from './machine.ts';
import { Stage } from './stage.ts';

const NAME = 'proof-registry';
const HOST = '192.0.2.200:5000';
const IMAGE = `${HOST}/team/web:1`;
const PASSWORD = 'secret';
/** bcrypt of it. */
const HTPASSWD = 'me:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n';

/** Runs where the registry is reached. */
const PUSH = fileURLToPath(new URL('push-image.ts', import.meta.url));

describe('registry', { skip: skipWithoutDocker, timeout: 600_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-registry-'));
  let stage: Stage;
  let machine: unknown;
  let registry: ChildProcess;
  const docker = (node: string) => stage.docker(node);
  const login = async (node: string, password: string) => {
    const child = docker(node).start('login', '-u', 'me', '--password-stdin', HOST);
    child.stdin!.end(password);
    return finished(child);
  };
  const isRegistryUp = async () => {
    const argv = ['busybox', 'wget', '-q', '-O', '-', `http://${HOST}/v2/`];
    const { stderr } = await stage.lab.exec('client', argv, { accept: [0, 1] });
    return /401/.test(stderr) || stderr;
  };
  const create = (...args: string[]) =>
    docker('node1').run('service', 'create', '--name', 'web', '--update-monitor', '300ms', ...args, IMAGE);

  before(async () => {
    machine = await machineState(NAME);
    const settings = { insecureRegistries: [HOST], keepUnusedImages: 1 };
    stage = new Stage(await Lab.up({ name: NAME, nodes: 2, settings }));
    writeFileSync(join(folder, 'htpasswd'), HTPASSWD);
    const config = [
      'version: 0.1',
      'log: { level: error }',
      `storage: { filesystem: { rootdirectory: ${folder}/data } }`,
      `http: { addr: "${HOST}" }`,
      `auth: { htpasswd: { realm: test, path: ${folder}/htpasswd } }`,
    ];
    writeFileSync(join(folder, 'config.yml'), `${config.join('\n')}\n`);
    const [command = '', ...args] = stage.lab.enter('client');
    registry = spawn(command, [...args, 'docker-registry', 'serve', join(folder, 'config.yml')], {
      stdio: 'ignore',
    });
    await until('the registry to answer', isRegistryUp, { timeoutMs: 20_000 });
    const tar = join(folder, 'image.tar');
    writeFileSync(tar, (await buildImage({ name: IMAGE })).tar);
    const push = [process.execPath, PUSH, tar, HOST, 'team/web', '1', `me:${PASSWORD}`];
    await runProcess([...stage.lab.enter('client'), ...push]);
  });
  after(async () => {
    registry.kill();
    stage.close();
    await downLab(NAME);
    rmSync(folder, { recursive: true });
    assert.deepEqual(await machineState(NAME), machine);
  });

  test('without a password, and with a wrong one, nothing is given', async () => {
    const denied =
      /Error response from daemon: pull access denied for 192\.0\.2\.200:5000\/team\/web, repository does not exist or may require 'docker login'/;
    assert.match(await docker('node1').fails('pull', IMAGE), denied);
    const wrong = await login('node1', 'guess');
    assert.notEqual(wrong.code, 0);
    assert.match(wrong.stderr, /unauthorized|401/i);
    assert.match(await docker('node1').fails('pull', IMAGE), denied);
    assert.equal(await docker('node1').ok('images', '-q'), '');
  });

  test('a service that was not given the password is rejected, with the reason, and says so to who looks', async () => {
    await create('--detach', '--no-resolve-image', '--restart-delay', '1s');
    await until(
      'two rejections',
      async () => {
        const rejected = (await stage.tasks('web')).filter((t) => t.state.startsWith('Rejected'));
        return (
          (rejected.length >= 3 && rejected.every((t) => /pull access denied|No such image/.test(t.error))) ||
          rejected.map((t) => t.error).join()
        );
      },
      { timeoutMs: 20_000 },
    );
    const created = await Promise.all(
      (await stage.tasks('web')).map(async ({ id }) => {
        const [task] = JSON.parse(await docker('node1').ok('inspect', id)) as { CreatedAt: string }[];
        return Date.parse(task!.CreatedAt);
      }),
    );
    created.sort((a, b) => a - b);
    for (let i = 2; i < created.length; i++)
      assert.ok(created[i]! - created[i - 1]! >= 1_000, `the delay holds: ${created.join()}`);
    await docker('node1').ok('service', 'rm', 'web');
  });

  test('docker login, then docker pull shows the layers, the digest and the image', async () => {
    assert.match((await login('node1', PASSWORD)).stdout, /Login Succeeded/);
    const out = await docker('node1').ok('pull', IMAGE);
    assert.match(out, /^1: Pulling from team\/web\n[0-9a-f]{12}: /);
    assert.match(
      out,
      /Pull complete[^]*Digest: sha256:[0-9a-f]{64}\nStatus: Downloaded newer image for \S+:1\n/,
    );
    assert.match(await docker('node1').ok('pull', IMAGE), /Status: Image is up to date for \S+:1/);
    assert.match(await docker('node1').ok('images', '--digests'), /team\/web\s+1\s+sha256:[0-9a-f]{64}/);
    assert.match(
      await docker('node1').fails('pull', `${HOST}/team/web:2`),
      /manifest for 192\.0\.2\.200:5000\/team\/web:2 not found: manifest unknown/,
    );
    assert.match(await docker('node1').ok('rmi', IMAGE), /Untagged: [^]*Deleted: sha256:/);
    assert.equal(await docker('node1').ok('images', '-q'), '');
  });

  test('a service with the password runs on nodes that never logged in, pinned to the digest', async () => {
    const created = await create('--with-registry-auth', '--replicas', '2', '-p', '80:80');
    assert.equal(created.code, 0, created.stderr);
    assert.deepEqual((await stage.running('web')).map((t) => t.node).sort(), ['node1', 'node2']);
    const shown = await docker('node1').ok('service', 'inspect', 'web');
    assert.match(shown, /team\/web:1@sha256:[0-9a-f]{64}"/);
    for (const secret of [PASSWORD, Buffer.from(`me:${PASSWORD}`).toString('base64')])
      assert.ok(!shown.includes(secret));
    await stage.leads(80, 2, '192.0.2.12');
    assert.match(
      await docker('node2').fails('pull', IMAGE),
      /pull access denied/,
      'the node itself may still not',
    );
  });

  test('an image that a task brought goes when none needs it; with the password kept, a later task pulls it again', async () => {
    await docker('node1').ok('service', 'scale', 'web=1');
    const [left] = await stage.running('web');
    const other = left!.node === 'node1' ? 'node2' : 'node1';
    const images = () => docker(other).ok('images', '--digests');
    await until('the image to go', async () => !(await images()).includes('team/web') || images(), {
      timeoutMs: 20_000,
    });
    assert.match(await docker(left!.node).ok('images'), /team\/web/, 'where it is needed it stays');
    await docker('node1').ok('service', 'scale', 'web=2');
    assert.deepEqual((await stage.running('web')).map((t) => t.node).sort(), ['node1', 'node2']);
  });

  test('docker push and save: what one node made another pulls, or loads; prune leaves what a task needs', async () => {
    const node1 = docker('node1');
    await node1.ok('pull', IMAGE);
    const mine = `${HOST}/team/mine:1`;
    await node1.ok('tag', IMAGE, mine);
    const pushed = await node1.ok('push', mine);
    assert.match(pushed, /^The push refers to repository \[192\.0\.2\.200:5000\/team\/mine\]\n/);
    assert.match(pushed, /Mounted from team\/web[^]*\n1: digest: sha256:[0-9a-f]{64} size: \d+\n$/);
    assert.match(await node1.ok('push', '--all-tags', `${HOST}/team/mine`), /Layer already exists/);
    assert.match(
      await node1.fails('push', `${HOST}/team/mine:2`),
      /tag does not exist: 192\.0\.2\.200:5000\/team\/mine:2/,
    );
    assert.match(await docker('node2').fails('push', mine), /An image does not exist locally with the tag/);
    const archive = join(folder, 'saved.tar');
    await node1.ok('save', '-o', archive, mine);
    assert.match(await docker('node2').ok('load', '-q', '-i', archive), /Loaded image: \S+\/team\/mine:1/);
    assert.match(await docker('node2').fails('push', mine), /no basic auth credentials/);
    assert.match((await login('node2', PASSWORD)).stdout, /Login Succeeded/);
    await docker('node2').ok('rmi', mine);
    assert.match(await docker('node2').ok('pull', '--all-tags', `${HOST}/team/mine`), /1: Pulling from/);
    await docker('node2').ok('logout', HOST);

    assert.ok((await stage.running('web')).some((t) => t.node === 'node2'));
    await stage.lab.engine('node2').load((await buildImage({ name: 'old:1', env: { A: '1' } })).tar);
    const pruned = await docker('node2').ok('image', 'prune', '--all', '--force');
    assert.match(pruned, /untagged: old:1\ndeleted: sha256:[^]*Total reclaimed space: 0B/i);
    assert.doesNotMatch(pruned, /team/, 'a task runs that image');
    await Promise.all(['node1', 'node2'].map((node) => docker(node).ok('rmi', mine)));
  });

  test('what a person pulled stays, whatever tasks come and go', async () => {
    await docker('node1').ok('pull', IMAGE);
    await docker('node1').ok('service', 'rm', 'web');
    const images = async (node: string) => (await docker(node).ok('images', '-q')).trim();
    await until('node2 to have none', async () => (await images('node2')) === '' || images('node2'), {
      timeoutMs: 20_000,
    });
    assert.notEqual(await images('node1'), '');
  });
});
