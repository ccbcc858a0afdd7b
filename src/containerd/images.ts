/** The ImageStore of containerd: names, Docker's ids, pull, load, tag and Docker's rules of removal. */
import type { Clock } from '../kit/clock.ts';
import type { CallOptions } from '../kit/grpc.ts';
import { isCode, SkeinError } from '../model/errors.ts';
import { type ContainerdApi, SNAPSHOTTER, unless } from './api.ts';
import { hasBlob, labelBlob, readBlob } from './blobs.ts';
import type { Image } from './gen/images_pb.js';
import {
  chainIds,
  choosePlatform,
  type Descriptor,
  diffIds,
  type ImageConfig,
  isIndex,
  type Manifest,
  ociArchitecture,
  parseConfig,
  parseIndex,
  parseManifest,
} from './image-format.ts';
import { loadArchive } from './image-load.ts';
import { type ImageUser, removalConflict } from './image-removal.ts';
import type { ImageRunConfig } from './oci-spec.ts';
import { mediaType, pullContent, shortDigest } from './pull.ts';
import { familiarName, familiarRepository, fullName, parseReference, type Reference } from './reference.ts';
import type { RegistryClient } from './registry.ts';
import type { ImageInfo, ImageStore, PullOptions, PullProgress, RegistryAuth, TaskImage } from './runtime.ts';
import { SharedRuns } from './shared-runs.ts';
import { forgetNames, nameLabels, renamedFields, taskImages } from './task-images.ts';
import { unpack } from './unpack.ts';

/** What a container is made from. */
export interface LocalImage {
  readonly id: string;
  readonly run: ImageRunConfig;
  /** Topmost layer as a snapshot; undefined for an image without layers. */
  readonly snapshot: string | undefined;
}

interface Resolved extends LocalImage {
  readonly manifest: Manifest;
  readonly config: ImageConfig;
  readonly layerSizes: readonly number[];
  readonly size: number;
}

export interface ImagesOptions {
  readonly api: ContainerdApi;
  readonly registry: RegistryClient;
  readonly clock: Clock;
  readonly unique: () => string;
  /** Containers and the ids of their images. */
  readonly users: () => Promise<readonly ImageUser[]>;
}

const ID = /^(?:sha256:)?([0-9a-f]{1,64})$/;
/** Images by digest never change; old entries make room. */
const CACHE = 500;
const MAX_CONFIG = 8 * 1024 * 1024;

export class Images implements ImageStore {
  readonly #options: ImagesOptions;
  readonly #api: ContainerdApi;
  readonly #resolved = new Map<string, Resolved>();
  readonly #pulls = new SharedRuns<PullProgress, ImageInfo>();
  readonly #inFlight = new Map<string, Promise<void>>();
  readonly architecture = ociArchitecture(process.arch);

  constructor(options: ImagesOptions) {
    this.#options = options;
    this.#api = options.api;
  }

  async list(): Promise<readonly ImageInfo[]> {
    const byId = new Map<string, { image: Resolved; names: string[] }>();
    for (const { name, target } of await this.#records()) {
      const image = await this.#resolve(target!);
      if (!image) continue;
      const entry = byId.get(image.id) ?? { image, names: [] };
      entry.names.push(name);
      byId.set(image.id, entry);
    }
    return [...byId.values()].map(({ image, names }) => describe(image, names));
  }

  async get(reference: string): Promise<ImageInfo | undefined> {
    const found = await this.#find(reference);
    return found && (await this.list()).find((image) => image.id === found.id);
  }

  async has(reference: string): Promise<boolean> {
    return (await this.#find(reference)) !== undefined;
  }

  async local(reference: string): Promise<LocalImage | undefined> {
    return this.#find(reference);
  }

  pull(reference: string, options: PullOptions): Promise<ImageInfo> {
    const parsed = parseReference(reference);
    const { auth, forTask = false } = options;
    // Credentials are part of the key: who has none does not get what another was allowed to see.
    const key = JSON.stringify([fullName(parsed), auth ?? null, forTask]);
    return this.#pulls.run(
      key,
      (signal, progress) => this.#pull(parsed, { auth, forTask }, signal, progress),
      options.onProgress ?? (() => {}),
      options.signal,
    );
  }

  async load(archive: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<readonly string[]> {
    return this.#leased('load', async (call) => {
      const options = signal ? { ...call, signal } : call;
      const loaded: string[] = [];
      for (const { target, manifest, names } of await loadArchive(
        this.#api,
        archive,
        options,
        this.#options.unique,
      )) {
        const references = names.map((name) => parseReference(name));
        const keep = references.length > 0 ? references.map(fullName) : [manifest.config.digest];
        await this.#install(target, manifest, undefined, { all: keep, forTask: false }, options);
        loaded.push(...(references.length > 0 ? references.map(familiarName) : [manifest.config.digest]));
      }
      return loaded;
    });
  }

  async tag(source: string, target: string): Promise<void> {
    const reference = parseReference(target);
    if (reference.digest !== undefined)
      throw new SkeinError('invalid-argument', 'refusing to create a tag with a digest reference');
    const found = await this.#find(source);
    if (!found) throw new SkeinError('not-found', `No such image: ${source}`);
    const records = await this.#recordsOf(found.id);
    await this.#name(fullName(reference), records[0]!.target!);
  }

  async remove(
    reference: string,
    options: { force?: boolean },
  ): Promise<{ untagged: string[]; deleted: string[] }> {
    const found = await this.#find(reference);
    if (!found) throw new SkeinError('not-found', `No such image: ${reference}`);
    const records = await this.#recordsOf(found.id);
    const one = await this.#named(reference);
    const conflict = removalConflict({
      reference,
      imageId: found.id,
      byName: one !== undefined,
      names: records.map((record) => record.name),
      users: (await this.#options.users()).filter((user) => user.imageId === found.id),
      force: options.force ?? false,
    });
    if (conflict !== undefined) throw new SkeinError('failed-precondition', conflict);
    const doomed = one ? withDigests(one.name, records) : records;
    for (const { name } of doomed) await unless('not-found', this.#api.images.delete({ name, sync: true }));
    const untagged = doomed.map(({ name }) => name).filter((name) => !name.startsWith('sha256:'));
    const gone = doomed.length === records.length;
    return {
      untagged: untagged.map((name) => familiarName(parseReference(name))),
      deleted: gone ? [found.id, ...chainIds(diffIds(found.config)).reverse()] : [],
    };
  }

  async ofTasks(): Promise<readonly TaskImage[]> {
    const all = await Promise.all(
      (await this.#records()).map(async (record) => ({ record, image: await this.#resolve(record.target!) })),
    );
    const whole = all.flatMap(({ record, image }) => (image ? [{ record, image }] : []));
    const found = taskImages(whole);
    if (found.length === 0) return [];
    const used = new Set((await this.#options.users()).map(({ imageId }) => imageId));
    return found.map((image) => ({ ...image, inUse: used.has(image.id) }));
  }

  async forget({ names }: TaskImage): Promise<void> {
    await forgetNames(this.#api, names);
  }

  async resolve(reference: string, auth?: RegistryAuth) {
    const parsed = parseReference(reference);
    const session = this.#options.registry.session(parsed, auth);
    const signal = AbortSignal.timeout(30_000);
    const remote = await session.manifest(parsed.digest ?? parsed.tag!, signal);
    const type = mediaType(remote);
    const top = { mediaType: type, digest: remote.digest, size: remote.bytes.length };
    if (isIndex(type)) {
      const platforms = parseIndex(remote.bytes).manifests.flatMap(({ platform }) =>
        platform && platform.os !== 'unknown'
          ? [{ architecture: platform.architecture, os: platform.os }]
          : [],
      );
      return { ...top, platforms };
    }
    const { body } = await session.blob(parseManifest(remote.bytes).config.digest, 0, signal);
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of body) {
      size += chunk.length;
      if (size > MAX_CONFIG) throw new SkeinError('invalid-argument', 'image configuration is too large');
      chunks.push(chunk);
    }
    const { architecture, os } = parseConfig(Buffer.concat(chunks));
    return { ...top, platforms: [{ architecture, os }] };
  }

  async #pull(
    reference: Reference,
    { auth, forTask }: { readonly auth: RegistryAuth | undefined; readonly forTask: boolean },
    signal: AbortSignal,
    progress: (p: PullProgress) => void,
  ): Promise<ImageInfo> {
    const { registry, clock } = this.#options;
    const name = familiarName(reference);
    progress({ id: reference.digest ?? reference.tag ?? '', status: `Pulling from ${reference.path}` });
    return this.#leased('pull', async (lease) => {
      const call = { ...lease, signal };
      const session = registry.session(reference, auth);
      const shared = { api: this.#api, clock, architecture: this.architecture, inFlight: this.#inFlight };
      const context = { ...shared, session, call, signal, progress };
      const before = (await this.#named(fullName(reference)))?.target?.digest;
      const { target, manifest, child } = await pullContent(context, reference);
      const digestName = fullName({ ...reference, digest: target.digest });
      const names = { all: [fullName(reference), digestName], forTask };
      await this.#install(target, manifest, child, names, call, progress);
      progress({ id: '', status: `Digest: ${target.digest}` });
      const status = before === target.digest ? 'Image is up to date for' : 'Downloaded newer image for';
      progress({ id: '', status: `Status: ${status} ${name}` });
      return (await this.get(fullName(reference)))!;
    });
  }

  /** Unpacks, ties everything together for containerd's collector, and only then gives the names. */
  async #install(
    target: Descriptor,
    manifest: Manifest,
    child: Descriptor | undefined,
    names: { readonly all: readonly string[]; readonly forTask: boolean },
    call: CallOptions,
    progress: (p: PullProgress) => void = () => {},
  ): Promise<void> {
    const config = await unpack(this.#api, manifest, {
      call,
      unique: this.#options.unique,
      onLayer: (layer, done) =>
        progress({ id: shortDigest(layer.digest), status: done ? 'Pull complete' : 'Extracting' }),
    });
    const labels: Record<string, string> = { 'containerd.io/gc.ref.content.config': manifest.config.digest };
    manifest.layers.forEach((layer, i) => (labels[`containerd.io/gc.ref.content.l.${i}`] = layer.digest));
    await labelBlob(this.#api, child?.digest ?? target.digest, labels);
    if (child)
      await labelBlob(this.#api, target.digest, { 'containerd.io/gc.ref.content.m.0': child.digest });
    for (const name of new Set(names.all)) await this.#name(name, target, names.forTask);
    // A layer shared with an image that was removed meanwhile may have gone before the names held it.
    const top = chainIds(diffIds(config)).at(-1);
    if (top && !(await unless('not-found', this.#api.snapshots.stat({ snapshotter: SNAPSHOTTER, key: top }))))
      await unpack(this.#api, manifest, { call, unique: this.#options.unique });
  }

  async #name(
    name: string,
    { mediaType, digest, size }: { mediaType: string; digest: string; size: number | bigint },
    forTask = false,
  ) {
    const image = { name, target: { mediaType, digest, size: BigInt(size) }, labels: nameLabels(forTask) };
    try {
      await this.#api.images.create({ image });
    } catch (error) {
      if (!isCode(error, 'already-exists')) throw error;
      await this.#api.images.update({ image, updateMask: { paths: renamedFields(forTask) } });
    }
  }

  #leased<T>(what: string, work: (call: CallOptions) => Promise<T>): Promise<T> {
    return this.#api.leased(`skein-${what}-${this.#options.unique()}`, this.#options.clock.now(), work);
  }

  async #records(): Promise<readonly Image[]> {
    return (await this.#api.images.list({})).images.filter((image) => image.target !== undefined);
  }

  async #recordsOf(id: string): Promise<readonly Image[]> {
    const all = await Promise.all(
      (await this.#records()).map(async (record) => ({ record, image: await this.#resolve(record.target!) })),
    );
    return all.filter(({ image }) => image?.id === id).map(({ record }) => record);
  }

  /** The record that a reference names, if it is a name. */
  async #named(reference: string): Promise<Image | undefined> {
    let name: string;
    try {
      name = fullName(parseReference(reference));
    } catch {
      return undefined;
    }
    const found = await unless('not-found', this.#api.images.get({ name }));
    return found?.image;
  }

  /** By full id, by name, then by a prefix of an id, as Docker looks. */
  async #find(reference: string): Promise<Resolved | undefined> {
    const named = reference.startsWith('sha256:') ? undefined : await this.#named(reference);
    if (named) return this.#resolve(named.target!);
    const prefix = ID.exec(reference)?.[1];
    if (prefix === undefined) return undefined;
    const images = new Map<string, Resolved>();
    for (const { target } of await this.#records()) {
      const image = await this.#resolve(target!);
      if (image?.id.startsWith(`sha256:${prefix}`)) images.set(image.id, image);
    }
    if (images.size > 1)
      throw new SkeinError('invalid-argument', `multiple IDs found with provided prefix: ${reference}`);
    return images.values().next().value;
  }

  /** From what a name points to, an index or a manifest, to the image that runs here; undefined if it is not whole. */
  async #resolve(target: { mediaType: string; digest: string }): Promise<Resolved | undefined> {
    const known = this.#resolved.get(target.digest);
    if (known) return known;
    const bytes = await unless('not-found', readBlob(this.#api, target.digest));
    if (!bytes) return undefined;
    if (isIndex(target.mediaType)) {
      const child = choosePlatform(parseIndex(bytes), this.architecture);
      return child && (await hasBlob(this.#api, child.digest)) ? this.#resolve(child) : undefined;
    }
    const manifest = parseManifest(bytes);
    const document = await unless('not-found', readBlob(this.#api, manifest.config.digest));
    if (!document) return undefined;
    const config = parseConfig(document);
    const chain = chainIds(diffIds(config));
    const layerSizes = await this.#sizes(chain);
    const image: Resolved = {
      id: manifest.config.digest,
      run: (config.config ?? {}) as ImageRunConfig,
      snapshot: chain.at(-1),
      manifest,
      config,
      layerSizes,
      size: layerSizes.reduce((sum, size) => sum + size, 0),
    };
    if (this.#resolved.size >= CACHE) this.#resolved.delete(this.#resolved.keys().next().value!);
    this.#resolved.set(target.digest, image);
    return image;
  }

  #sizes(chain: readonly string[]): Promise<number[]> {
    return Promise.all(
      chain.map(async (key) => {
        const at = { snapshotter: SNAPSHOTTER, key };
        return Number((await unless('not-found', this.#api.snapshots.usage(at)))?.size ?? 0n);
      }),
    );
  }
}

/** A tag, and the digest names of its repository when it is the repository's last tag of this image. */
function withDigests(name: string, records: readonly Image[]): readonly Image[] {
  const repository = repositoryOf(name);
  const siblings = records.filter(
    (record) => record.name !== name && repositoryOf(record.name) === repository,
  );
  const self = records.filter((record) => record.name === name);
  return siblings.every((record) => record.name.includes('@')) ? [...self, ...siblings] : self;
}

const repositoryOf = (name: string): string => {
  if (name.startsWith('sha256:')) return name;
  const { domain, path } = parseReference(name);
  return `${domain}/${path}`;
};

function describe(image: Resolved, names: readonly string[]): ImageInfo {
  const references = names.filter((name) => !name.startsWith('sha256:')).map(parseReference);
  return {
    id: image.id,
    tags: references
      .filter((r) => r.digest === undefined)
      .map(familiarName)
      .sort(),
    digests: references
      .filter((r) => r.digest !== undefined)
      .map((r) => `${familiarRepository(r)}@${r.digest}`)
      .sort(),
    created: image.config.created ?? undefined,
    size: image.size,
    architecture: image.config.architecture,
    os: image.config.os,
    config: image.config.config ?? {},
    history: image.config.history ?? [],
    layers: diffIds(image.config),
    layerSizes: image.layerSizes,
  };
}
