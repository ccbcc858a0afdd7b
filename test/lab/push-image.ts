/** Pushes an image archive to a registry: ARCHIVE HOST REPOSITORY TAG USER:PASSWORD. Runs in a namespace of a lab. */
import assert from 'node:assert/strict';
import { createReadStream } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import { extract } from 'tar-stream';

interface Descriptor {
  readonly digest: string;
  readonly mediaType: string;
}

const [archive = '', host, repository, tag, user = ''] = process.argv.slice(2);
const files = new Map<string, Buffer>();
for await (const entry of createReadStream(archive).pipe(extract()))
  files.set(entry.header.name, await buffer(entry));

const blob = (digest: string): Buffer => files.get(`blobs/${digest.replace(':', '/')}`)!;
const parse = <T>(content: Buffer): T => JSON.parse(content.toString()) as T;
const index = parse<{ manifests: Descriptor[] }>(files.get('index.json')!);
const { digest, mediaType } = index.manifests[0]!;
const { config, layers } = parse<{ config: Descriptor; layers: Descriptor[] }>(blob(digest));

const base = `http://${host}/v2/${repository}`;
const authorization = `Basic ${Buffer.from(user).toString('base64')}`;
async function put(url: URL | string, type: string, content: Buffer): Promise<void> {
  const headers = { authorization, 'content-type': type };
  const { status } = await fetch(url, { method: 'PUT', headers, body: new Uint8Array(content) });
  assert.equal(status, 201);
}

for (const part of [config, ...layers]) {
  const upload = await fetch(`${base}/blobs/uploads/`, { method: 'POST', headers: { authorization } });
  const place = new URL(upload.headers.get('location')!, base);
  place.searchParams.set('digest', part.digest);
  await put(place, 'application/octet-stream', blob(part.digest));
}
await put(`${base}/manifests/${tag}`, mediaType, blob(digest));
