/** Pulls from Debian's docker-registry on loopback: anonymous, with a password, refused, interrupted. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { type ChildProcess, spawn } from 'node:child_process';
import { createServer, type Server } from 'node:http';
import { mkdirSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer as createTcp } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Containerd } from '../../src/containerd/containerd.ts';
import type { PullProgress, RegistryAuth } from '../../src/containerd/runtime.ts';
import { containerConfig, eventually, type Scratch, scratch, type TestImage, testImage } from './scratch.ts';

/** bcrypt of "secret". */
const HTPASSWD = 'me:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n';
const AUTH: RegistryAuth = { username: 'me', password: 'secret' };

let own: Scratch;
let runtime: Containerd;
let image: TestImage;
let open: { port: number; process: ChildProcess };
let locked: { port: number; process: ChildProcess };

const digestOf = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

async function freePort(): Promise<number> {
  const server = createTcp().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function registry(name: string, auth: string): Promise<{ port: number; process: ChildProcess }> {
  const folder = join(own.root, name);
  mkdirSync(folder, { recursive: true });
  const port = await freePort();
  writeFileSync(join(folder, 'htpasswd'), HTPASSWD);
  const config = [
    'version: 0.1',
    'log: { level: error }',
    `storage: { filesystem: { rootdirectory: ${folder}/data } }`,
    `http: { addr: "127.0.0.1:${port}" }`,
    ...(auth ? [`auth: { htpasswd: { realm: test, path: ${folder}/htpasswd } }`] : []),
  ];
  writeFileSync(join(folder, 'config.yml'), `${config.join('\n')}\n`);
  const process = spawn('docker-registry', ['serve', join(folder, 'config.yml')], { stdio: 'ignore' });
  await eventually('registry answers', () => fetch(`http://127.0.0.1:${port}/v2/`).catch(() => undefined));
  return { port, process };
}

async function push(port: number, repository: string, tag: string, content: TestImage): Promise<void> {
  const headers = { authorization: `Basic ${Buffer.from('me:secret').toString('base64')}` };
  const base = `http://127.0.0.1:${port}/v2/${repository}`;
  for (const blob of [content.config, ...content.layers]) {
    const upload = await fetch(`${base}/blobs/uploads/`, { method: 'POST', headers });
    const place = new URL(upload.headers.get('location')!, base);
    place.searchParams.set('digest', digestOf(blob));
    const put = await fetch(place, {
      method: 'PUT',
      headers: { ...headers, 'content-type': 'application/octet-stream' },
      body: new Uint8Array(blob),
    });
    assert.equal(put.status, 201);
  }
  const put = await fetch(`${base}/manifests/${tag}`, {
    method: 'PUT',
    headers: { ...headers, 'content-type': 'application/vnd.oci.image.manifest.v1+json' },
    body: new Uint8Array(content.manifest),
  });
  assert.equal(put.status, 201);
}

before(async () => {
  own = await scratch();
  runtime = await own.open();
  image = await testImage('pull');
  open = await registry('open', '');
  locked = await registry('locked', 'htpasswd');
  await push(open.port, 'team/app', '1', image);
  await push(locked.port, 'team/app', '1', image);
});

after(async () => {
  open.process.kill();
  locked.process.kill();
  await runtime.close();
  await own.close();
});

test('an anonymous pull gives an image that runs, with the progress of Docker', async () => {
  const name = `127.0.0.1:${open.port}/team/app:1`;
  const progress: PullProgress[] = [];
  const info = await runtime.images.pull(name, { onProgress: (p) => progress.push(p) });
  assert.deepEqual(info.tags, [name]);
  assert.deepEqual(info.digests, [`127.0.0.1:${open.port}/team/app@${digestOf(image.manifest)}`]);
  assert.equal(info.id, digestOf(image.config));
  const layer = digestOf(image.layers[0]!).slice(7, 19);
  const statuses = progress.filter((p) => p.id === layer).map((p) => p.status);
  assert.deepEqual(
    [...new Set(statuses)],
    ['Pulling fs layer', 'Downloading', 'Download complete', 'Extracting', 'Pull complete'],
  );
  assert.deepEqual(
    progress.findLast((p) => p.id === layer && p.status === 'Downloading')?.current,
    image.layers[0]!.length,
  );
  assert.equal(progress.at(-1)?.status, `Status: Downloaded newer image for ${name}`);
  const config = containerConfig(own.netns, {}, { image: info.digests[0]! });
  await runtime.create(config);
  assert.ok((await runtime.start(config.id)) > 0);
  await runtime.remove(config.id);
  const again: PullProgress[] = [];
  await runtime.images.pull(name, { onProgress: (p) => again.push(p) });
  assert.equal(again.at(-1)?.status, `Status: Image is up to date for ${name}`);
  assert.deepEqual((await runtime.images.remove(name, {})).deleted[0], info.id);
  assert.equal(await runtime.images.get(name), undefined);
});

test('credentials open what is closed without them', async () => {
  const name = `127.0.0.1:${locked.port}/team/app:1`;
  const denied = {
    code: 'unauthenticated',
    message: `pull access denied for 127.0.0.1:${locked.port}/team/app, repository does not exist or may require 'docker login'`,
  };
  await assert.rejects(runtime.images.pull(name, {}), denied);
  await assert.rejects(runtime.images.pull(name, { auth: { username: 'me', password: 'wrong' } }), denied);
  const found = await runtime.images.resolve(name, AUTH);
  assert.equal(found.digest, digestOf(image.manifest));
  assert.deepEqual(found.platforms, [
    { architecture: process.arch === 'x64' ? 'amd64' : process.arch, os: 'linux' },
  ]);
  const both = await Promise.all([
    runtime.images.pull(name, { auth: AUTH }),
    runtime.images.pull(name, { auth: AUTH }),
  ]);
  assert.equal(both[0], both[1], 'pulls at the same time are one');
  await runtime.images.remove(name, {});
});

test('what the registry does not have is said in the words of Docker', async () => {
  const name = `127.0.0.1:${open.port}/team/app:2`;
  await assert.rejects(runtime.images.pull(name, {}), {
    code: 'not-found',
    message: `manifest for ${name} not found: manifest unknown: manifest unknown`,
  });
});

test('a connection that breaks is taken up where it broke', async () => {
  const seen: string[] = [];
  const blob = image.layers[0]!;
  // A registry that breaks off in the middle of the layer the first time.
  const server: Server = createServer((request, response) => {
    void (async () => {
      const isLayer = request.url!.endsWith(digestOf(blob));
      if (isLayer) seen.push(request.headers.range ?? 'whole');
      if (isLayer && seen.length === 1) {
        response.writeHead(200, { 'content-length': blob.length });
        response.write(blob.subarray(0, blob.length / 2), () => setTimeout(() => response.destroy(), 100));
        return;
      }
      const { range, accept = '*/*' } = request.headers;
      const answer = await fetch(`http://127.0.0.1:${open.port}${request.url}`, {
        headers: { accept, ...(range && { range }) },
      });
      response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' });
      response.end(Buffer.from(await answer.arrayBuffer()));
    })();
  });
  const port = await freePort();
  server.listen(port, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  try {
    const info = await runtime.images.pull(`127.0.0.1:${port}/team/app:1`, {});
    assert.equal(info.id, digestOf(image.config));
    assert.equal(seen.length, 2);
    assert.match(seen[1]!, /^bytes=[1-9]\d*-$/);
  } finally {
    server.close();
    server.closeAllConnections();
  }
});

test('nobody there is unavailable, and a canceled pull ends', async () => {
  const port = await freePort();
  await assert.rejects(runtime.images.resolve(`127.0.0.1:${port}/x`), { code: 'unavailable' });
  const signal = AbortSignal.timeout(100);
  await assert.rejects(runtime.images.pull(`127.0.0.1:${port}/x`, { signal }), { code: 'canceled' });
});
