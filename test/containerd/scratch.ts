/** A private containerd in a folder of its own, and a small image from Debian's busybox: for these tests only. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';
import { ContainerdProcess } from '../../src/containerd/daemon-process.ts';
import { Containerd, type ContainerdOptions } from '../../src/containerd/containerd.ts';
import type { ContainerConfig } from '../../src/containerd/runtime.ts';
import { systemClock } from '../../src/kit/clock.ts';
import { silentLog } from '../../src/kit/log.ts';
import { runProcess } from '../../src/kit/process.ts';
import type { ContainerId } from '../../src/model/ids.ts';
import type { ContainerSpec } from '../../src/model/spec.ts';

export interface Scratch {
  readonly root: string;
  readonly daemon: ContainerdProcess;
  readonly netns: string;
  open(more?: Partial<ContainerdOptions>): Promise<Containerd>;
  close(): Promise<void>;
}

export async function scratch(): Promise<Scratch> {
  const root = mkdtempSync('/tmp/skein-ctrd-');
  const name = `skein-ctrd-${randomBytes(4).toString('hex')}`;
  await runProcess(['ip', 'netns', 'add', name]);
  const [dataRoot, runRoot] = [join(root, 'data'), join(root, 'run')];
  const daemon = new ContainerdProcess({ dataRoot, runRoot, clock: systemClock, log: silentLog });
  await daemon.start();
  const open = (more: Partial<ContainerdOptions> = {}) =>
    Containerd.open({
      socket: daemon.socket,
      dataRoot,
      runRoot,
      cgroupParent: name,
      insecureRegistries: [],
      clock: systemClock,
      log: silentLog,
      ...more,
    });
  return {
    root,
    daemon,
    netns: `/run/netns/${name}`,
    open,
    async close() {
      const runtime = await open();
      for (const { id } of await runtime.list()) await runtime.remove(id);
      await runtime.close();
      await daemon.stop();
      await runProcess(['ip', 'netns', 'delete', name]);
      removeCgroups(name);
      rmSync(root, { recursive: true, force: true });
    },
  };
}

function removeCgroups(name: string): void {
  const base = '/sys/fs/cgroup';
  for (const folder of ['', ...readdirSync(base)])
    try {
      rmdirSync(join(base, folder, name));
    } catch {
      // not in this hierarchy
    }
}

const hex = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function tar(
  entries: readonly (readonly [string, Buffer | string, { link?: string; mode?: number }?])[],
): Promise<Buffer> {
  const archive = pack();
  for (const [name, content, { link, mode = 0o755 } = {}] of entries) {
    const mtime = new Date(0);
    if (link !== undefined) archive.entry({ name, type: 'symlink', linkname: link, mtime });
    else if (name.endsWith('/')) archive.entry({ name, type: 'directory', mode, mtime });
    else archive.entry({ name, mode, mtime }, content);
  }
  archive.finalize();
  return collect(archive as unknown as AsyncIterable<Uint8Array>);
}

export async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}

export interface TestImage {
  readonly config: Buffer;
  /** Gzipped layers. */
  readonly layers: readonly Buffer[];
  readonly manifest: Buffer;
  /** `docker save` form. */
  archive(name: string): Promise<Buffer>;
  /** OCI layout form. */
  layout(name: string): Promise<Buffer>;
}

const APPLETS = [
  'sh',
  'cat',
  'echo',
  'sleep',
  'id',
  'ls',
  'true',
  'kill',
  'seq',
  'stat',
  'mount',
  'hostname',
  'env',
  'touch',
  'yes',
  'head',
  'unshare',
  'ulimit',
  'stty',
];

/** Two layers: busybox and its names, then a file; `salt` makes images with different ids. */
export async function testImage(salt = ''): Promise<TestImage> {
  const bottom = await tar([
    ['bin/', ''],
    ['bin/busybox', readFileSync('/usr/bin/busybox')],
    ...APPLETS.map((name) => [`bin/${name}`, '', { link: 'busybox' }] as const),
    ['etc/', ''],
    ['etc/passwd', 'root:x:0:0::/root:/bin/sh\nweb:x:101:102::/:/bin/sh\n', { mode: 0o644 }],
    ['etc/group', 'root:x:0:\nweb:x:102:\nlog:x:4:web\n', { mode: 0o644 }],
    ['tmp/', '', { mode: 0o1777 }],
  ]);
  const top = await tar([
    ['data/', ''],
    ['data/seed', `seed ${salt}`, { mode: 0o640 }],
  ]);
  const plain = [bottom, top];
  const layers = plain.map((layer) => gzipSync(layer));
  const config = Buffer.from(
    JSON.stringify({
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      created: '2026-01-01T00:00:00Z',
      config: { Env: ['IMAGE=1'], Cmd: ['/bin/sleep', '1000'], Volumes: { '/data': {} } },
      rootfs: { type: 'layers', diff_ids: plain.map((layer) => `sha256:${hex(layer)}`) },
      history: [{ created_by: 'test' }],
    }),
  );
  const blob = (mediaType: string, bytes: Buffer) => ({
    mediaType,
    digest: `sha256:${hex(bytes)}`,
    size: bytes.length,
  });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: blob('application/vnd.oci.image.config.v1+json', config),
      layers: layers.map((layer) => blob('application/vnd.oci.image.layer.v1.tar+gzip', layer)),
    }),
  );
  return {
    config,
    layers,
    manifest,
    archive: (name) =>
      tar([
        ['a/layer.tar', bottom],
        ['b/layer.tar', top],
        ['config.json', config],
        [
          'manifest.json',
          JSON.stringify([
            { Config: 'config.json', RepoTags: [name], Layers: ['a/layer.tar', 'b/layer.tar'] },
          ]),
        ],
      ]),
    layout: (name) =>
      tar([
        ['oci-layout', '{"imageLayoutVersion":"1.0.0"}'],
        [
          'index.json',
          JSON.stringify({
            schemaVersion: 2,
            manifests: [
              {
                ...blob('application/vnd.oci.image.manifest.v1+json', manifest),
                annotations: { 'io.containerd.image.name': name },
              },
            ],
          }),
        ],
        ...[config, manifest, ...layers].map((bytes) => [`blobs/sha256/${hex(bytes)}`, bytes] as const),
      ]),
  };
}

export async function* stream(bytes: Uint8Array, size = 64 * 1024): AsyncIterable<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

export const newContainerId = (): ContainerId => randomBytes(32).toString('hex') as ContainerId;

export function containerConfig(
  netnsPath: string,
  spec: Partial<ContainerSpec>,
  more: Partial<ContainerConfig> = {},
): ContainerConfig {
  return {
    id: newContainerId(),
    name: 'web.1',
    image: 'app:1',
    spec: { Image: 'app:1', ...spec },
    limits: undefined,
    hostname: 'h1',
    netnsPath,
    files: {},
    labels: {},
    ...more,
  };
}

/** Waits for a condition; fails after thirty seconds. */
export async function eventually<T>(
  what: string,
  probe: () => Promise<T | undefined | false>,
  everyMs = 20,
): Promise<T> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`not within thirty seconds: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
