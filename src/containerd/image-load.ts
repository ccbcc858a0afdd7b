/**
 * Reads `docker save` archives and OCI layouts as one stream: every file goes into containerd's content as it comes,
 * under a lease, and what the archive is becomes clear at its end. Memory is one chunk, whatever the size; what no
 * manifest refers to is collected when the lease goes.
 */
import { createGunzip } from 'node:zlib';
import { Readable } from 'node:stream';
import { extract } from 'tar-stream';
import type { CallOptions } from '../kit/grpc.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerdApi } from './api.ts';
import { readBlob, writeBlob } from './blobs.ts';
import {
  type Descriptor,
  diffIds,
  isIndex,
  type Manifest,
  MEDIA,
  parseArchiveManifest,
  parseConfig,
  parseIndex,
  parseManifest,
} from './image-format.ts';

interface Stored {
  readonly digest: string;
  readonly size: number;
  readonly gzip: boolean;
}

export interface LoadedImage {
  readonly target: Descriptor;
  readonly manifest: Manifest;
  /** References as the archive gives them; may be empty. */
  readonly names: readonly string[];
}

const MAX_ENTRIES = 100_000;
const MAX_LINKS = 10;

const notAnImage = (why: string, cause?: unknown): SkeinError =>
  new SkeinError('invalid-argument', `invalid archive: ${why}`, { cause });

/** Files by path, links resolved. */
class Files {
  readonly #stored = new Map<string, Stored>();
  readonly #links = new Map<string, string>();

  add(name: string, file: Stored): void {
    this.#stored.set(name, file);
  }

  link(name: string, target: string): void {
    this.#links.set(name, target);
  }

  get(name: string): Stored | undefined {
    let at = clean(name);
    for (let hop = 0; hop < MAX_LINKS; hop++) {
      const found = this.#stored.get(at);
      if (found) return found;
      const next = this.#links.get(at);
      if (next === undefined) return undefined;
      at = next;
    }
    return undefined;
  }

  need(name: string): Stored {
    const found = this.get(name);
    if (!found) throw notAnImage(`${name} is missing`);
    return found;
  }
}

/** `./a/../b` -> `b`; the archive's own root is the only one. */
function clean(path: string): string {
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return parts.join('/');
}

const relative = (from: string, target: string): string =>
  clean(target.startsWith('/') ? target : `${from.slice(0, from.lastIndexOf('/') + 1)}${target}`);

export async function loadArchive(
  api: ContainerdApi,
  archive: AsyncIterable<Uint8Array>,
  call: CallOptions,
  unique: () => string,
): Promise<LoadedImage[]> {
  const files = await store(api, archive, call, unique);
  if (files.get('manifest.json')) return dockerImages(api, files, call, unique);
  if (files.get('index.json')) return layoutImages(api, files);
  throw notAnImage('does not contain a manifest.json');
}

async function store(
  api: ContainerdApi,
  archive: AsyncIterable<Uint8Array>,
  call: CallOptions,
  unique: () => string,
): Promise<Files> {
  const files = new Files();
  let entries = 0;
  const input = Readable.from(await inflate(archive), { objectMode: false });
  const tar = extract();
  input.on('error', (error) => tar.destroy(error));
  input.pipe(tar);
  try {
    for await (const entry of tar) {
      if (++entries > MAX_ENTRIES) throw notAnImage('too many files');
      const { type, linkname } = entry.header;
      const name = clean(entry.header.name);
      if (type === 'symlink') files.link(name, relative(name, linkname ?? ''));
      else if (type === 'link') files.link(name, clean(linkname ?? ''));
      else if (type === 'file') {
        files.add(name, await storeFile(api, entry as unknown as Readable, call, `skein-load-${unique()}`));
        continue;
      }
      entry.resume();
    }
  } catch (error) {
    if (error instanceof SkeinError) throw error;
    throw notAnImage(error instanceof Error ? error.message : String(error), error);
  } finally {
    input.destroy();
  }
  return files;
}

async function storeFile(
  api: ContainerdApi,
  content: AsyncIterable<Uint8Array>,
  call: CallOptions,
  ref: string,
): Promise<Stored> {
  let head = Buffer.alloc(0);
  async function* watched(): AsyncIterable<Uint8Array> {
    for await (const chunk of content) {
      if (head.length < 2) head = Buffer.concat([head, chunk.subarray(0, 2)]);
      yield chunk;
    }
  }
  const stored = await writeBlob(api, { ref }, watched(), call);
  return { ...stored, gzip: head[0] === 0x1f && head[1] === 0x8b };
}

/** Takes a gzip wrapper off, if there is one. */
export async function inflate(archive: AsyncIterable<Uint8Array>): Promise<AsyncIterable<Uint8Array>> {
  const source = archive[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  while (head.length < 2) {
    const next = await source.next();
    if (next.done) break;
    head = Buffer.concat([head, next.value]);
  }
  if (head.length === 0) throw notAnImage('it is empty');
  async function* whole(): AsyncIterable<Uint8Array> {
    try {
      yield head;
      for (let next = await source.next(); !next.done; next = await source.next()) yield next.value;
    } finally {
      await source.return?.();
    }
  }
  if (head[0] !== 0x1f || head[1] !== 0x8b) return whole();
  const gunzip = createGunzip();
  const raw = Readable.from(whole(), { objectMode: false });
  raw.on('error', (error) => gunzip.destroy(error));
  return raw.pipe(gunzip);
}

/** `docker save` names layers by file; a manifest is made for containerd, which wants one. */
async function dockerImages(
  api: ContainerdApi,
  files: Files,
  call: CallOptions,
  unique: () => string,
): Promise<LoadedImage[]> {
  const list = parseArchiveManifest(await readBlob(api, files.need('manifest.json').digest));
  const images: LoadedImage[] = [];
  for (const { Config, Layers, RepoTags } of list) {
    const config = files.need(Config);
    const layers = Layers.map((name) => files.need(name));
    if (diffIds(parseConfig(await readBlob(api, config.digest))).length !== layers.length)
      throw notAnImage('layers and configuration do not match');
    const manifest: Manifest = {
      mediaType: MEDIA.ociManifest,
      config: { mediaType: MEDIA.ociConfig, digest: config.digest, size: config.size },
      layers: layers.map(({ digest, size, gzip }) => ({
        mediaType: gzip ? MEDIA.ociLayerGzip : MEDIA.ociLayer,
        digest,
        size,
      })),
    };
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, ...manifest }));
    const written = await writeBlob(api, { ref: `skein-load-${unique()}` }, once(bytes), call);
    images.push({ target: { mediaType: MEDIA.ociManifest, ...written }, manifest, names: RepoTags ?? [] });
  }
  return images;
}

async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}

const NAME_ANNOTATIONS = ['io.containerd.image.name', 'org.opencontainers.image.ref.name'];

async function layoutImages(api: ContainerdApi, files: Files): Promise<LoadedImage[]> {
  const index = parseIndex(await readBlob(api, files.need('index.json').digest));
  const images: LoadedImage[] = [];
  const visit = async (entry: Descriptor, inherited: readonly string[]): Promise<void> => {
    const own = NAME_ANNOTATIONS.map((key) => entry.annotations?.[key]).find((name) => name !== undefined);
    const names = own === undefined ? inherited : [own];
    if (!files.get(`blobs/${entry.digest.replace(':', '/')}`)) return; // another platform's, left out by the exporter
    const bytes = await readBlob(api, entry.digest);
    if (isIndex(entry.mediaType)) {
      for (const child of parseIndex(bytes).manifests) await visit(child, names);
      return;
    }
    if (entry.platform && entry.platform.os !== 'linux') return;
    images.push({ target: entry, manifest: parseManifest(bytes), names });
  };
  for (const entry of index.manifests) await visit(entry, []);
  if (images.length === 0) throw notAnImage('holds no image for Linux');
  return images;
}
