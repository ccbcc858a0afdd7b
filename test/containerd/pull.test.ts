/** Pulls from Debian's docker-registry on loopback: anonymous, with a password, refused, interrupted. */
import assert from 'node:assert/strict';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { after, before, test } from 'node:test';
import { systemClock } from '../../src/kit/clock.ts';
import { ContainerdApi } from '../../src/containerd/api.ts';
import { writeBlob } from '../../src/containerd/blobs.ts';
import type { Containerd } from '../../src/containerd/containerd.ts';
import type { PullProgress } from '../../src/containerd/runtime.ts';
import { freePort } from '../free-port.ts';
import { AUTH, digestOf, type Registry, registry } from './registry.ts';
import { containerConfig, type Scratch, scratch, stream, type TestImage, testImage } from './scratch.ts';

let own: Scratch;
let runtime: Containerd;
let image: TestImage;
let open: Registry;
let locked: Registry;

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
  open = await registry(own.root, 'open', '');
  locked = await registry(own.root, 'locked', 'htpasswd');
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
  const [bottom = 0, top = 0] = info.layerSizes;
  assert.ok(bottom > 500_000 && top > 0 && top < 100_000, `layers of ${bottom} and ${top} bytes`);
  assert.equal(info.size, bottom + top);
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

/** Stands before the open registry: notes what is asked for; `instead` may answer in its place. */
async function front(instead: (url: string, response: ServerResponse) => boolean = () => false) {
  const asked: { readonly url: string; readonly range: string | undefined }[] = [];
  const server: Server = createServer((request, response) => {
    void (async () => {
      const { range, accept = '*/*' } = request.headers;
      asked.push({ url: request.url!, range });
      if (instead(request.url!, response)) return;
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
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { port, close, asked: (blob: Buffer) => asked.filter(({ url }) => url.endsWith(digestOf(blob))) };
}

function breakOff(response: ServerResponse, blob: Buffer): void {
  response.writeHead(200, { 'content-length': blob.length });
  response.write(blob.subarray(0, blob.length / 2), () => setTimeout(() => response.destroy(), 100));
}

async function removeAll(): Promise<void> {
  for (const { id } of await runtime.images.list()) await runtime.images.remove(id, { force: true });
}

test('a connection that breaks is taken up where it broke', async () => {
  const blob = image.layers[0]!;
  let broken = false;
  const registry = await front((url, response) => {
    if (broken || !url.endsWith(digestOf(blob))) return false;
    broken = true;
    breakOff(response, blob);
    return true;
  });
  try {
    const info = await runtime.images.pull(`127.0.0.1:${registry.port}/team/app:1`, {});
    assert.equal(info.id, digestOf(image.config));
    assert.match(registry.asked(blob)[1]?.range ?? '', /^bytes=[1-9]\d*-$/);
    assert.equal(registry.asked(blob).length, 2);
  } finally {
    registry.close();
  }
});

test('where an unfinished write has gone since somebody looked at it, it is one to try again', async () => {
  const api = new ContainerdApi(own.daemon.socket);
  const content = Buffer.from('nobody has ever written this. '.repeat(10));
  async function* rest(): AsyncIterable<Uint8Array> {
    yield content.subarray(100);
  }
  const target = { ref: 'gone', digest: digestOf(content), size: content.length };
  try {
    await assert.rejects(writeBlob(api, target, rest(), {}, 100), { code: 'unavailable' });
  } finally {
    api.close();
  }
});

test('pulls at the same time, by tag, other tag and digest, by persons and tasks, ask for each blob once', async () => {
  await removeAll();
  for (const tag of ['1', '2']) await push(open.port, 'team/many', tag, image);
  const registry = await front();
  try {
    const name = `127.0.0.1:${registry.port}/team/many`;
    const digest = digestOf(image.manifest);
    const references = [`${name}:1`, `${name}:1`, `${name}:2`, `${name}@${digest}`, `${name}:1@${digest}`];
    const pulls = references.flatMap((reference) => [
      runtime.images.pull(reference, {}),
      runtime.images.pull(reference, { forTask: true }),
    ]);
    for (const { id } of await Promise.all(pulls)) assert.equal(id, digestOf(image.config));
    for (const blob of [image.config, ...image.layers]) assert.equal(registry.asked(blob).length, 1);
    const [info] = await runtime.images.list();
    assert.deepEqual(info?.tags, [`${name}:1`, `${name}:2`]);
    assert.deepEqual(info.digests, [`${name}@${digest}`]);
    assert.deepEqual(await runtime.images.ofTasks(), [], 'a person asked for each of its names');
  } finally {
    registry.close();
    await removeAll();
  }
});

test('a registry that dies half-way: said in words, nothing half-made is shown, and all is well when it is back', async () => {
  await runtime.close();
  const hurried = {
    ...systemClock,
    after: (ms: number, fn: () => void) => systemClock.after(ms / 20, fn),
  };
  runtime = await own.open({ clock: hurried });
  const blob = image.layers[0]!;
  let state: 'well' | 'dying' | 'dead' = 'dying';
  const registry = await front((url, response) => {
    if (state === 'dying' && url.endsWith(digestOf(blob))) {
      state = 'dead';
      breakOff(response, blob);
    } else if (state === 'dead') response.destroy();
    else return false;
    return true;
  });
  const name = `127.0.0.1:${registry.port}/team/app:1`;
  try {
    await assert.rejects(runtime.images.pull(name, {}), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'unavailable');
      assert.match(error.message, /^Get "http:\/\/127\.0\.0\.1:\d+\/v2\/team\/app\/blobs\/sha256:\w+": \S/);
      return true;
    });
    assert.ok(registry.asked(blob).length > 2, 'it was tried again');
    assert.deepEqual(await runtime.images.list(), []);
    assert.equal(await runtime.images.local(name), undefined);
    state = 'well';
    assert.equal((await runtime.images.pull(name, {})).id, digestOf(image.config));
  } finally {
    registry.close();
    await removeAll();
    await runtime.close();
    runtime = await own.open();
  }
});

test('of an index comes what runs here, by tag and by the digest of the index', async () => {
  const other = await testImage('other platform');
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
  const foreign = architecture === 'arm64' ? 'amd64' : 'arm64';
  const entry = (content: TestImage, arch: string) => ({
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    digest: digestOf(content.manifest),
    size: content.manifest.length,
    platform: { architecture: arch, os: 'linux' },
  });
  await push(open.port, 'team/multi', 'here', image);
  await push(open.port, 'team/multi', 'there', other);
  const putIndex = async (tag: string, manifests: readonly object[]): Promise<string> => {
    const mediaType = 'application/vnd.oci.image.index.v1+json';
    const body = JSON.stringify({ schemaVersion: 2, mediaType, manifests });
    const url = `http://127.0.0.1:${open.port}/v2/team/multi/manifests/${tag}`;
    const put = await fetch(url, { method: 'PUT', headers: { 'content-type': mediaType }, body });
    assert.equal(put.status, 201);
    return digestOf(Buffer.from(body));
  };
  const name = `127.0.0.1:${open.port}/team/multi`;
  const digest = await putIndex('all', [entry(other, foreign), entry(image, architecture)]);
  for (const reference of [`${name}:all`, `${name}@${digest}`]) {
    const info = await runtime.images.pull(reference, {});
    assert.equal(info.id, digestOf(image.config), reference);
    assert.deepEqual(info.digests, [`${name}@${digest}`], 'the digest is the one of the index, as in Docker');
  }
  const { platforms } = await runtime.images.resolve(`${name}:all`);
  assert.deepEqual(platforms.map((p) => `${p.os}/${p.architecture}`).sort(), ['linux/amd64', 'linux/arm64']);
  await putIndex('elsewhere', [entry(other, foreign)]);
  await assert.rejects(runtime.images.pull(`${name}:elsewhere`, {}), {
    code: 'not-found',
    message: `no matching manifest for linux/${architecture} in the manifest list entries`,
  });
  await removeAll();
});

test('an image that only tasks brought is known as such until a person asks for it, and can be given up', async () => {
  const name = `127.0.0.1:${open.port}/team/app:1`;
  const digest = `127.0.0.1:${open.port}/team/app@${digestOf(image.manifest)}`;
  const { id } = await runtime.images.pull(digest, { forTask: true });
  const [found] = await runtime.images.ofTasks();
  assert.deepEqual([found?.id, found?.names, found?.inUse], [id, [digest], false]);
  assert.ok(found!.size > 100_000);
  const config = containerConfig(own.netns, {}, { image: digest });
  await runtime.create(config);
  assert.equal((await runtime.images.ofTasks())[0]?.inUse, true);
  await runtime.remove(config.id);
  await runtime.images.forget(found!);
  assert.deepEqual(await runtime.images.list(), []);
  await runtime.images.pull(digest, { forTask: true });
  await runtime.images.tag(digest, 'mine:1');
  assert.deepEqual(await runtime.images.ofTasks(), [], 'a person gave it a name');
  await runtime.images.remove('mine:1', {});
  const [again] = await runtime.images.ofTasks();
  await runtime.images.pull(name, {}); // a person wants it now, digest and all
  assert.deepEqual(await runtime.images.ofTasks(), []);
  await runtime.images.forget(again!);
  assert.deepEqual(
    (await runtime.images.get(name))?.digests,
    [digest],
    'what is a person’s is not forgotten',
  );
  await runtime.images.pull(name, { forTask: true });
  assert.deepEqual(await runtime.images.ofTasks(), [], 'a task makes nothing its own that was there');
  await removeAll();
});

test('the last name of an image that runs goes by force; it stays without one until it is removed by its id', async () => {
  const name = `127.0.0.1:${open.port}/team/app:1`;
  const { id } = await runtime.images.pull(name, { forTask: true });
  const config = containerConfig(own.netns, { Command: ['sleep', '60'] }, { image: name });
  await runtime.create(config);
  await runtime.start(config.id);
  const short = id.slice(7, 19);
  await assert.rejects(runtime.images.remove(name, {}), /\(must force\) - container \w+ is using/);
  await assert.rejects(runtime.images.remove(id, { force: true }), {
    code: 'failed-precondition',
    message: `conflict: unable to delete ${short} (cannot be forced) - image is being used by running container ${config.id.slice(0, 12)}`,
  });
  const untagged = await runtime.images.remove(name, { force: true });
  assert.deepEqual([untagged.untagged.length, untagged.untagged[0], untagged.deleted], [2, name, []]);
  const [kept] = await runtime.images.list();
  assert.deepEqual([kept?.id, kept?.tags, kept?.digests], [id, [], []]);
  assert.deepEqual(await runtime.images.ofTasks(), [{ id, names: [id], size: kept?.size, inUse: true }]);
  assert.equal((await runtime.get(config.id))?.imageId, id);
  assert.deepEqual(await runtime.images.inUse(), new Set([id]));
  await runtime.images.tag(id, 'again:1');
  assert.deepEqual((await runtime.images.remove('again:1', { force: true })).deleted, []);
  await runtime.remove(config.id);
  assert.equal((await runtime.images.remove(id, {})).deleted[0], id);
  assert.deepEqual(await runtime.images.list(), []);
});

test('an image whose last name is given to another stays without a name', async () => {
  const [first, second] = [await testImage('first'), await testImage('second')];
  for (const content of [first, second]) await runtime.images.load(stream(await content.layout('moved:1')));
  const ids = [first, second].map(({ config }) => digestOf(config));
  const tagsOf = async () =>
    (await runtime.images.list()).map(({ id, tags }) => `${ids.indexOf(id)} ${tags.join()}`);
  assert.deepEqual((await tagsOf()).sort(), ['0 ', '1 moved:1']);
  await runtime.images.tag(ids[0]!, 'moved:1');
  assert.deepEqual((await tagsOf()).sort(), ['0 moved:1', '1 ']);
  assert.deepEqual((await runtime.images.remove('moved:1', {})).deleted[0], ids[0]);
  await runtime.images.remove(ids[1]!, {});
});

test('nobody there is unavailable, and a canceled pull ends', async () => {
  const port = await freePort();
  await assert.rejects(runtime.images.resolve(`127.0.0.1:${port}/x`), { code: 'unavailable' });
  const signal = AbortSignal.timeout(100);
  await assert.rejects(runtime.images.pull(`127.0.0.1:${port}/x`, { signal }), { code: 'canceled' });
});
