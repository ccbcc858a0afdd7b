/**
 * Packs files into an image archive: an OCI layout that carries docker's manifest.json too, so `docker load`,
 * containerd and skopeo all read it; the same inputs give the same bytes.
 */
import { createHash } from 'node:crypto';
import { readFileSync, realpathSync } from 'node:fs';
import { basename } from 'node:path';
import { pack } from 'tar-stream';
import { type RunProcess } from '../kit/process.ts';
import { SkeinError } from '../model/errors.ts';

export interface BuiltImage {
  readonly name: string;
  readonly tar: Buffer;
  /** Digest of the config: Docker's image id. */
  readonly id: string;
}

export interface Entry {
  readonly name: string;
  readonly type: 'file' | 'directory' | 'symlink';
  readonly mode?: number;
  readonly linkname?: string;
  readonly content?: Uint8Array | string;
}

/** The part of an image config that says how it runs. */
export interface RunConfig {
  readonly Entrypoint: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Env?: readonly string[];
  readonly WorkingDir?: string;
  readonly ExposedPorts?: Readonly<Record<string, object>>;
  readonly Labels?: Readonly<Record<string, string>>;
  readonly StopSignal?: string;
}

export async function packImage(name: string, files: readonly Entry[], run: RunConfig): Promise<BuiltImage> {
  const layer = await tarOf(files);
  const config = json({
    architecture: { x64: 'amd64', arm64: 'arm64' }[process.arch as string] ?? process.arch,
    os: 'linux',
    created: '1970-01-01T00:00:00Z',
    config: run,
    rootfs: { type: 'layers', diff_ids: [digestOf(layer)] },
    history: [{ created: '1970-01-01T00:00:00Z', created_by: 'skein lab image' }],
  });
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

/** The usual folders, empty. */
export const folders = (...names: readonly string[]): Entry[] =>
  names.map((name): Entry => ({ name, type: 'directory', mode: name === 'tmp' ? 0o1777 : 0o755 }));

/** A program of this host at the same path in the image, with the libraries it is linked to. */
export async function programFiles(path: string, debianPackage: string, run: RunProcess): Promise<Entry[]> {
  const program = file(path.slice(1), readProgram(path, debianPackage), 0o755);
  const libraries = await librariesOf(path, run);
  return [
    program,
    ...libraries.map(({ target, source }) => file(target, readFileSync(realpathSync(source)), 0o755)),
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

export function readProgram(path: string, debianPackage: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new SkeinError('failed-precondition', `${path} is missing: apt-get install ${debianPackage}`, {
      cause,
    });
  }
}

export const file = (name: string, content: Uint8Array | string, mode = 0o644): Entry => ({
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
