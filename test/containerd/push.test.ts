/** Pushes to Debian's docker-registry on loopback, and archives as `docker save` makes them. */
import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, request as ask, type ServerResponse } from 'node:http';
import { after, before, test } from 'node:test';
import { buffer } from 'node:stream/consumers';
import { Readable } from 'node:stream';
import { gunzipSync } from 'node:zlib';
import { extract } from 'tar-stream';
import type { Containerd } from '../../src/containerd/containerd.ts';
import type { PullProgress } from '../../src/containerd/runtime.ts';
import { freePort } from '../free-port.ts';
import { AUTH, digestOf, type Registry, registry } from './registry.ts';
import { tokenRegistry } from './token-service.ts';
import {
  collect,
  containerConfig,
  type Scratch,
  scratch,
  stream,
  type TestImage,
  testImage,
} from './scratch.ts';

let own: Scratch;
let runtime: Containerd;
let image: TestImage;
let open: Registry;
let locked: Registry;

before(async () => {
  own = await scratch();
  runtime = await own.open();
  image = await testImage('push');
  open = await registry(own.root, 'open', '');
  locked = await registry(own.root, 'locked', 'htpasswd');
  await runtime.images.load(stream(await image.layout('app:1')));
});

after(async () => {
  open.process.kill();
  locked.process.kill();
  await runtime.close();
  await own.close();
});

/** A registry in front of another that notes what it is asked; `instead` may answer in its place. */
async function front(
  { port: behind }: Registry,
  instead: (request: IncomingMessage, response: ServerResponse) => boolean = () => false,
) {
  const asked: string[] = [];
  const port = await freePort();
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    if (instead(request, response)) return;
    const { method, headers, url: path } = request;
    const forwarded = ask({ host: '127.0.0.1', port: behind, method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode!, answer.headers);
      answer.pipe(response);
    });
    forwarded.on('error', () => response.destroy());
    request.pipe(forwarded);
  });
  server.listen(port, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  const count = (method: string) => asked.filter((line) => line.startsWith(method)).length;
  return { port, close, count, asked };
}

async function pushAs(name: string, progress: PullProgress[] = []) {
  await runtime.images.tag('app:1', name);
  return runtime.images.push(name, { auth: AUTH, onProgress: (p) => progress.push(p) });
}

/** What each layer came to. */
const ends = (progress: readonly PullProgress[]): string[] =>
  image.layers.map((layer) => progress.findLast((p) => p.id === digestOf(layer).slice(7, 19))!.status);

test('with the password an image goes as it is, is known by its digest, and comes back the same', async () => {
  const name = `127.0.0.1:${locked.port}/team/app:1`;
  const progress: PullProgress[] = [];
  const pushed = await pushAs(name, progress);
  assert.deepEqual(pushed, { digest: digestOf(image.manifest), size: image.manifest.length });
  const bottom = progress.filter((p) => p.id === digestOf(image.layers[0]!).slice(7, 19));
  assert.deepEqual([...new Set(bottom.map((p) => p.status))], ['Preparing', 'Pushing', 'Pushed']);
  const sent = bottom.findLast((p) => p.status === 'Pushing');
  assert.deepEqual([sent?.current, sent?.total], [image.layers[0]!.length, image.layers[0]!.length]);
  const digest = `127.0.0.1:${locked.port}/team/app@${pushed.digest}`;
  assert.ok((await runtime.images.get(name))?.digests.includes(digest));
  assert.deepEqual(await runtime.images.remoteTags(name, AUTH), ['1']);
  await runtime.images.remove(name, {});
  const pulled = await runtime.images.pull(digest, { auth: AUTH });
  assert.equal(pulled.id, digestOf(image.config));
  await runtime.images.remove(digest, {});
});

test('what the registry has is not sent: layers of the repository stay, those of another are taken from there', async () => {
  const proxy = await front(open);
  try {
    const base = `127.0.0.1:${proxy.port}`;
    await pushAs(`${base}/team/one:1`);
    assert.equal(proxy.count('PATCH'), 3, 'two layers and the configuration');
    const again: PullProgress[] = [];
    await pushAs(`${base}/team/one:2`, again);
    assert.deepEqual(ends(again), ['Layer already exists', 'Layer already exists']);
    const mounted: PullProgress[] = [];
    await pushAs(`${base}/team/two:1`, mounted);
    assert.deepEqual(ends(mounted), ['Mounted from team/one', 'Mounted from team/one']);
    assert.equal(proxy.count('PATCH'), 4, 'only the configuration was sent again');
    for (const name of ['one:1', 'one:2', 'two:1']) await runtime.images.remove(`${base}/team/${name}`, {});
    assert.equal((await runtime.images.pull(`${base}/team/two:1`, {})).id, digestOf(image.config));
    await runtime.images.remove(`${base}/team/two:1`, {});
  } finally {
    proxy.close();
  }
});

test('a registry that breaks off is tried again; one that stays away is said in words', async () => {
  let broken = 0;
  const proxy = await front(open, (request, response) => {
    if (request.method !== 'PATCH' || broken > 0) return false;
    broken++;
    request.once('data', () => response.destroy());
    return true;
  });
  const name = `127.0.0.1:${proxy.port}/team/broken:1`;
  try {
    const progress: PullProgress[] = [];
    await pushAs(name, progress);
    assert.deepEqual([broken, ...ends(progress)], [1, 'Pushed', 'Pushed']);
  } finally {
    proxy.close();
  }
  const signal = AbortSignal.timeout(300);
  await assert.rejects(runtime.images.push(name, { signal }), { code: 'canceled' });
  await runtime.images.remove(name, {});
});

test('refusals, in the words of Docker and of the registry', async () => {
  const name = `127.0.0.1:${locked.port}/team/app`;
  await runtime.images.tag('app:1', `${name}:1`);
  await assert.rejects(runtime.images.push(`${name}:1`, {}), {
    code: 'unauthenticated',
    message: 'no basic auth credentials',
  });
  await assert.rejects(runtime.images.push(`${name}:1`, { auth: { ...AUTH, password: 'guess' } }), {
    code: 'unauthenticated',
    message: 'unauthorized: authentication required',
  });
  await assert.rejects(runtime.images.push(`${name}:2`, { auth: AUTH }), {
    code: 'not-found',
    message: `tag does not exist: ${name}:2`,
  });
  await assert.rejects(runtime.images.push(`127.0.0.1:${locked.port}/absent:1`, { auth: AUTH }), {
    code: 'not-found',
    message: `An image does not exist locally with the tag: 127.0.0.1:${locked.port}/absent`,
  });
  await runtime.images.remove(`${name}:1`, {});
});

test('a registry of tokens: asked for what is done, for who may, kept; no more than it allows, in its own words', async () => {
  const both = ['pull', 'push'];
  const tokens = await tokenRegistry(own.root, {
    me: { password: 'secret', may: { 'team/': both } },
    reader: { password: 'reads', may: { 'team/app': ['pull'] } },
    other: { password: 'writes', may: { 'other/': both } },
    '': { password: '', may: { 'team/open': ['pull'] } },
  });
  const base = `127.0.0.1:${tokens.port}`;
  try {
    await pushAs(`${base}/team/app:1`);
    assert.deepEqual(
      [...new Set(tokens.given)],
      [...['me repository:team/app:pull', 'me repository:team/app:pull,push']],
    );
    assert.ok(tokens.given.length < 10, `${tokens.given.length} tokens for three blobs and a manifest`);
    const mounted: PullProgress[] = [];
    await pushAs(`${base}/team/open:1`, mounted);
    assert.deepEqual(ends(mounted), ['Mounted from team/app', 'Mounted from team/app']);
    const other = { username: 'other', password: 'writes' };
    const sent: PullProgress[] = [];
    await runtime.images.tag('app:1', `${base}/other/app:1`);
    const onProgress = (p: PullProgress) => void sent.push(p);
    await runtime.images.push(`${base}/other/app:1`, { auth: other, onProgress });
    assert.deepEqual(ends(sent), ['Pushed', 'Pushed'], 'what may not be read there is sent');

    const reader = { username: 'reader', password: 'reads' };
    await assert.rejects(runtime.images.push(`${base}/team/app:1`, { auth: reader }), {
      code: 'unauthenticated',
      message: 'unauthorized: authentication required',
    });
    await assert.rejects(runtime.images.push(`${base}/team/app:1`, {}), {
      code: 'unauthenticated',
      message: 'unauthorized: authentication required',
    });
    const wrong = { ...reader, password: 'guess' };
    await assert.rejects(runtime.images.push(`${base}/team/app:1`, { auth: wrong }), {
      code: 'unauthenticated',
      message: 'unauthorized: incorrect username or password',
    });
    for (const name of ['team/app:1', 'team/open:1', 'other/app:1'])
      await runtime.images.remove(`${base}/${name}`, {});
    const denied = {
      code: 'unauthenticated',
      message: `pull access denied for ${base}/team/app, repository does not exist or may require 'docker login'`,
    };
    for (const auth of [undefined, other, wrong])
      await assert.rejects(runtime.images.pull(`${base}/team/app:1`, { ...(auth && { auth }) }), denied);
    const pulled = await runtime.images.pull(`${base}/team/app:1`, { auth: reader });
    assert.equal(pulled.id, digestOf(image.config));
    assert.equal((await runtime.images.pull(`${base}/team/open:1`, {})).id, pulled.id, 'anybody may');
    for (const name of ['team/app:1', 'team/open:1']) await runtime.images.remove(`${base}/${name}`, {});
  } finally {
    tokens.close();
  }
});

test('an archive of several images is an OCI layout and a docker archive, has each blob once, and loads', async () => {
  const other = await testImage('other');
  await runtime.images.load(stream(await other.layout('other:1')));
  await runtime.images.tag('app:1', 'app:2');
  const archive = await collect(await runtime.images.save(['app', 'other:1']));
  const files = new Map<string, Buffer>();
  for await (const entry of Readable.from([archive]).pipe(extract())) {
    assert.ok(!files.has(entry.header.name), `${entry.header.name} is there once`);
    files.set(entry.header.name, await buffer(entry));
  }
  const parsed = (name: string) => JSON.parse(files.get(name)!.toString()) as unknown;
  assert.deepEqual(parsed('oci-layout'), { imageLayoutVersion: '1.0.0' });
  const pathOf = (bytes: Buffer) => `blobs/${digestOf(bytes).replace(':', '/')}`;
  for (const bytes of [image, other].flatMap((one) => [one.config, one.manifest, ...one.layers]))
    assert.deepEqual(files.get(pathOf(bytes)), bytes);
  assert.deepEqual(parsed('manifest.json'), [
    {
      Config: pathOf(image.config),
      RepoTags: ['app:1', 'app:2'],
      Layers: image.layers.map((layer) => pathOf(Buffer.from(layer))),
    },
    {
      Config: pathOf(other.config),
      RepoTags: ['other:1'],
      Layers: other.layers.map((layer) => pathOf(Buffer.from(layer))),
    },
  ]);
  const { manifests } = parsed('index.json') as {
    manifests: { digest: string; annotations: Record<string, string> }[];
  };
  assert.deepEqual(
    manifests.map((one) => [one.digest, one.annotations['io.containerd.image.name']]),
    [
      [digestOf(image.manifest), 'docker.io/library/app:1'],
      [digestOf(image.manifest), 'docker.io/library/app:2'],
      [digestOf(other.manifest), 'docker.io/library/other:1'],
    ],
  );
  const { id } = (await runtime.images.get('app:1'))!;
  const byId = await collect(await runtime.images.save([id.slice(7, 19)]));
  for (const one of await runtime.images.list()) await runtime.images.remove(one.id, { force: true });
  assert.deepEqual(await runtime.images.load(stream(byId)), [id], 'an image without a name');
  assert.deepEqual((await runtime.images.load(stream(archive))).toSorted(), ['app:1', 'app:2', 'other:1']);
  const config = containerConfig(own.netns, {}, { image: 'app:2' });
  await runtime.create(config);
  assert.ok((await runtime.start(config.id)) > 0);
  await runtime.remove(config.id);
  await assert.rejects(runtime.images.save(['app:1', 'nosuch:1']), {
    code: 'not-found',
    message: 'No such image: nosuch:1',
  });
});

test('a root file system becomes an image of one layer that runs as it was told to', async () => {
  const { id } = (await runtime.images.get('app:1'))!;
  const root = gunzipSync(image.layers[0]!);
  const options = { message: 'by hand', config: { Cmd: ['/bin/sleep', '1000'], Env: ['A=1'] } };
  const made = await runtime.images.import(stream(root), { ...options, name: 'own:1' });
  const info = (await runtime.images.get('own:1'))!;
  assert.deepEqual([info.id, info.layers, info.config], [made, [digestOf(root)], options.config]);
  assert.equal(info.history[0]!['comment'], 'by hand');
  assert.notEqual(info.id, id);
  const config = containerConfig(own.netns, {}, { image: 'own:1' });
  await runtime.create(config);
  assert.ok((await runtime.start(config.id)) > 0);
  await runtime.remove(config.id);
  const packed = await runtime.images.import(stream(image.layers[0]!), options);
  assert.deepEqual((await runtime.images.get(packed))?.tags, [], 'only its id names it');
  assert.deepEqual((await runtime.images.get(packed))?.layers, info.layers, 'unpacked it is the same');
  await assert.rejects(runtime.images.import(stream(Buffer.alloc(0)), options), { code: 'invalid-argument' });
  await assert.rejects(runtime.images.import(stream(Buffer.from('no archive'.repeat(500))), options));
  assert.equal((await runtime.images.list()).length, 4);
});
