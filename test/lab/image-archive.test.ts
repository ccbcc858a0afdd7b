import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { extract } from 'tar-stream';
import { buildImage } from '../../src/lab/image.ts';

async function filesOf(tar: Buffer): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  const reader = extract();
  Readable.from([tar]).pipe(reader);
  for await (const entry of reader) {
    const chunks: Buffer[] = [];
    for await (const chunk of entry as AsyncIterable<Buffer>) chunks.push(chunk);
    files.set(entry.header.name, Buffer.concat(chunks));
    assert.equal(entry.header.mtime?.getTime(), 0);
  }
  return files;
}

const parse = (files: Map<string, Buffer>, name: string) =>
  JSON.parse(files.get(name)?.toString() ?? 'null') as Record<string, never> & [Record<string, never>];

test('the archive is a docker archive and an OCI layout of the same image', async () => {
  const image = await buildImage({ name: 'test/web:1', server: { port: 8080, udp: 53 } });
  const files = await filesOf(image.tar);
  const docker = parse(files, 'manifest.json')[0] as unknown as {
    Config: string;
    RepoTags: string[];
    Layers: string[];
  };
  assert.deepEqual(docker.RepoTags, ['test/web:1']);
  assert.equal(`sha256:${docker.Config.split('/').at(-1)}`, image.id);
  const config = parse(files, docker.Config) as unknown as {
    config: { Cmd: string[]; ExposedPorts: object };
    rootfs: { diff_ids: string[] };
  };
  assert.deepEqual(config.config.Cmd, ['port=8080', 'udp=53']);
  assert.deepEqual(Object.keys(config.config.ExposedPorts), ['8080/tcp', '53/udp']);
  assert.equal(docker.Layers[0], `blobs/${config.rootfs.diff_ids[0]!.replace(':', '/')}`);
  const index = parse(files, 'index.json') as unknown as { manifests: { digest: string }[] };
  assert.ok(files.has(`blobs/${index.manifests[0]!.digest.replace(':', '/')}`));
  const root = await filesOf(files.get(docker.Layers[0]!)!);
  for (const name of ['bin/answer', 'bin/busybox', 'bin/ping', 'usr/bin/perl', 'lib/libc.so.6'])
    assert.ok(root.has(name), name);
});

test('the same inputs give the same bytes', async () => {
  const [a, b] = [await buildImage(), await buildImage()];
  assert.ok(a.tar.equals(b.tar));
});
