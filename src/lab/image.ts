/**
 * The demo's web image, made by code from what Debian has installed: busybox-static for the tools (ping, ip, sh), Perl
 * and its libraries for the server (image-server.ts). No registry is asked. The archive is an OCI layout that carries
 * docker's manifest.json too, so `docker load`, containerd and skopeo all read it; the same inputs give the same bytes.
 */
import { createHash } from 'node:crypto';
import { readFileSync, realpathSync } from 'node:fs';
import { basename } from 'node:path';
import { pack } from 'tar-stream';
import { type RunProcess, runProcess } from '../kit/process.ts';
import { SkeinError } from '../model/errors.ts';
import { SERVER, SERVER_DEFAULTS } from './image-server.ts';

export interface ImageOptions {
  /** `name:tag`; `skein/web:latest` unless given. */
  readonly name?: string;
  /** What the server does unless the service gives arguments: port, udp, exit, after, deaf, linger, lines, every. */
  readonly server?: Partial<typeof SERVER_DEFAULTS>;
  readonly env?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface BuiltImage {
  readonly name: string;
  readonly tar: Buffer;
  /** Digest of the config: Docker's image id. */
  readonly id: string;
}

const BUSYBOX = '/bin/busybox';
const PERL = '/usr/bin/perl';
const APPLETS =
  'sh ash cat cp date echo env false grep head hostname id ifconfig ip kill ls mkdir mv nc netstat nslookup ping ps ' +
  'rm route sed sleep stat sync tail test top touch traceroute true uname vi wc wget which';

interface Entry {
  readonly name: string;
  readonly type: 'file' | 'directory' | 'symlink';
  readonly mode?: number;
  readonly linkname?: string;
  readonly content?: Uint8Array | string;
}

export async function buildImage(
  options: ImageOptions = {},
  run: RunProcess = runProcess,
): Promise<BuiltImage> {
  const name = options.name ?? 'skein/web:latest';
  const layer = await tarOf(await rootFiles(run));
  const config = json(imageConfig(options, digestOf(layer)));
  const manifest = json({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: descriptor('application/vnd.oci.image.config.v1+json', config),
    layers: [descriptor('application/vnd.oci.image.layer.v1.tar', layer)],
  });
  const tar = await tarOf(layoutFiles(name, { layer, config, manifest }));
  return { name, tar, id: digestOf(config) };
}

function layoutFiles(name: string, blobs: { layer: Buffer; config: Buffer; manifest: Buffer }): Entry[] {
  const path = (blob: Buffer) => `blobs/sha256/${digestOf(blob).slice('sha256:'.length)}`;
  const tag = name.slice(name.lastIndexOf(':') + 1);
  const index = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [
      {
        ...descriptor('application/vnd.oci.image.manifest.v1+json', blobs.manifest),
        annotations: {
          'io.containerd.image.name': `docker.io/${name}`,
          'org.opencontainers.image.ref.name': tag,
        },
      },
    ],
  };
  const docker = [{ Config: path(blobs.config), RepoTags: [name], Layers: [path(blobs.layer)] }];
  return [
    file('oci-layout', json({ imageLayoutVersion: '1.0.0' })),
    file('index.json', json(index)),
    file('manifest.json', json(docker)),
    ...Object.values(blobs).map((blob) => file(path(blob), blob)),
  ];
}

function imageConfig(options: ImageOptions, layer: string): unknown {
  const server = Object.entries(options.server ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  const port = options.server?.port ?? SERVER_DEFAULTS.port;
  const udp = options.server?.udp ?? SERVER_DEFAULTS.udp;
  return {
    architecture: { x64: 'amd64', arm64: 'arm64' }[process.arch as string] ?? process.arch,
    os: 'linux',
    created: '1970-01-01T00:00:00Z',
    config: {
      Entrypoint: ['/bin/answer'],
      Cmd: server.map(([key, value]) => `${key}=${value}`),
      Env: [
        'PATH=/bin:/sbin:/usr/bin',
        // No locale is in the image, and perl would say so at every start.
        'PERL_BADLANG=0',
        ...Object.entries(options.env ?? {}).map(([key, value]) => `${key}=${value}`),
      ],
      WorkingDir: '/',
      ExposedPorts: { ...(port && { [`${port}/tcp`]: {} }), ...(udp && { [`${udp}/udp`]: {} }) },
      ...(options.labels && { Labels: options.labels }),
    },
    rootfs: { type: 'layers', diff_ids: [layer] },
    history: [{ created: '1970-01-01T00:00:00Z', created_by: 'skein lab image' }],
  };
}

async function rootFiles(run: RunProcess): Promise<Entry[]> {
  const libraries = await librariesOf(PERL, run);
  return [
    ...['bin', 'dev', 'etc', 'lib', 'lib64', 'proc', 'root', 'sys', 'tmp', 'usr', 'usr/bin'].map(
      (name): Entry => ({ name, type: 'directory', mode: name === 'tmp' ? 0o1777 : 0o755 }),
    ),
    file('bin/answer', SERVER, 0o755),
    file('bin/busybox', readProgram(BUSYBOX, 'busybox-static'), 0o755),
    ...APPLETS.split(' ').map(
      (applet): Entry => ({ name: `bin/${applet}`, type: 'symlink', linkname: 'busybox' }),
    ),
    file('usr/bin/perl', readProgram(PERL, 'perl-base'), 0o755),
    ...libraries.map(({ target, source }) => file(target, readFileSync(realpathSync(source)), 0o755)),
    file('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n'),
    file('etc/group', 'root:x:0:\nnogroup:x:65534:\n'),
    file('etc/nsswitch.conf', 'hosts: files dns\n'),
  ];
}

/** The loader at the path that the program names, the libraries in /lib, where the loader looks. */
async function librariesOf(program: string, run: RunProcess): Promise<{ target: string; source: string }[]> {
  const { stdout } = await run(['ldd', program]);
  const found: { target: string; source: string }[] = [];
  for (const line of stdout.split('\n')) {
    const source = /(\/\S+)\s+\(0x/.exec(line)?.[1];
    if (!source) continue;
    const loader = !line.includes('=>');
    found.push({ target: loader ? source.slice(1) : `lib/${basename(source)}`, source });
  }
  if (found.length === 0) throw new SkeinError('internal', `ldd ${program} names no library: ${stdout}`);
  return found.sort((a, b) => (a.target < b.target ? -1 : 1));
}

function readProgram(path: string, debianPackage: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new SkeinError('failed-precondition', `${path} is missing: apt-get install ${debianPackage}`, {
      cause,
    });
  }
}

const file = (name: string, content: Uint8Array | string, mode = 0o644): Entry => ({
  name,
  type: 'file',
  mode,
  content,
});

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const digestOf = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const descriptor = (mediaType: string, blob: Buffer) => ({
  mediaType,
  digest: digestOf(blob),
  size: blob.length,
});

/** A tar of the entries in their order; times, owners and modes are fixed. */
async function tarOf(entries: readonly Entry[]): Promise<Buffer> {
  const tar = pack();
  const chunks: Buffer[] = [];
  const done = (async () => {
    for await (const chunk of tar as AsyncIterable<Buffer>) chunks.push(chunk);
  })();
  for (const { content, ...entry } of entries) {
    const header = { ...entry, mode: entry.mode ?? 0o777, uid: 0, gid: 0, mtime: new Date(0) };
    await new Promise<void>((resolve, reject) => {
      const then = (error?: Error | null) => (error ? reject(error) : resolve());
      if (content === undefined) tar.entry(header, then);
      else tar.entry(header, Buffer.from(content), then);
    });
  }
  tar.finalize();
  await done;
  return Buffer.concat(chunks);
}
