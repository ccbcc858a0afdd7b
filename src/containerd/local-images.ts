/**
 * The images that are here, read from containerd each time: its names, what they point to, and Docker's ids of that. What
 * an id stands for never changes, so documents are read once.
 */
import { Remembered } from '../kit/remembered.ts';
import { SkeinError } from '../model/errors.ts';
import { type ContainerdApi, SNAPSHOTTER, unless } from './api.ts';
import { hasBlob, readBlob } from './blobs.ts';
import type { Image } from './gen/images_pb.js';
import {
  chainIds,
  choosePlatform,
  type Descriptor,
  diffIds,
  type ImageConfig,
  isIndex,
  type Manifest,
  parseConfig,
  parseIndex,
  parseManifest,
} from './image-format.ts';
import { familiarName, familiarRepository, fullName, parseReference } from './reference.ts';
import type { ImageInfo, LocalImage } from './runtime.ts';

/** An image that runs here, whole. */
export interface Resolved extends LocalImage {
  /** Of the manifest itself, where the name points to an index. */
  readonly target: Descriptor;
  readonly manifest: Manifest;
  readonly document: ImageConfig;
  readonly layerSizes: readonly number[];
  readonly size: number;
}

const ID = /^(?:sha256:)?([0-9a-f]{1,64})$/;
/** Images by digest never change. */
const CACHE = 500;

/** A name that no person gave: of an image without one. */
export const isNameless = (name: string): boolean => name.startsWith('sha256:');

export class LocalImages {
  readonly #api: ContainerdApi;
  readonly #architecture: string;
  readonly #resolved = new Remembered<string, Resolved>(CACHE);

  constructor(api: ContainerdApi, architecture: string) {
    this.#api = api;
    this.#architecture = architecture;
  }

  async list(): Promise<readonly ImageInfo[]> {
    const byId = Map.groupBy(await this.all(), ({ image }) => image.id);
    return [...byId.values()].map((named) =>
      describe(
        named[0]!.image,
        named.map(({ record }) => record.name),
      ),
    );
  }

  async get(reference: string): Promise<ImageInfo | undefined> {
    const found = await this.find(reference);
    return found && (await this.list()).find((image) => image.id === found.id);
  }

  /** Every name with what it stands for. */
  async all(): Promise<readonly { readonly record: Image; readonly image: Resolved }[]> {
    const all = await Promise.all(
      (await this.#records()).map(async (record) => ({ record, image: await this.#resolve(record.target!) })),
    );
    return all.flatMap(({ record, image }) => (image ? [{ record, image }] : []));
  }

  /** The records whose names stand for this image. */
  async recordsOf(id: string): Promise<readonly Image[]> {
    return (await this.all()).filter(({ image }) => image.id === id).map(({ record }) => record);
  }

  /** The record that a reference names, if it is a name. */
  async named(reference: string): Promise<Image | undefined> {
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
  async find(reference: string): Promise<Resolved | undefined> {
    const named = reference.startsWith('sha256:') ? undefined : await this.named(reference);
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

  async #records(): Promise<readonly Image[]> {
    return (await this.#api.images.list({})).images.filter((image) => image.target !== undefined);
  }

  /** From what a name points to, an index or a manifest, to the image that runs here; undefined if it is not whole. */
  async #resolve(target: { mediaType: string; digest: string }): Promise<Resolved | undefined> {
    const known = this.#resolved.get(target.digest);
    if (known) return known;
    const bytes = await unless('not-found', readBlob(this.#api, target.digest));
    if (!bytes) return undefined;
    if (isIndex(target.mediaType)) {
      const child = choosePlatform(parseIndex(bytes), this.#architecture);
      return child && (await hasBlob(this.#api, child.digest)) ? this.#resolve(child) : undefined;
    }
    const manifest = parseManifest(bytes);
    const blob = await unless('not-found', readBlob(this.#api, manifest.config.digest));
    if (!blob) return undefined;
    const document = parseConfig(blob);
    const chain = chainIds(diffIds(document));
    const layerSizes = await this.#sizes(chain);
    const image: Resolved = {
      id: manifest.config.digest,
      target: { mediaType: target.mediaType, digest: target.digest, size: bytes.length },
      config: document.config ?? {},
      snapshot: chain.at(-1),
      manifest,
      document,
      layerSizes,
      size: layerSizes.reduce((sum, size) => sum + size, 0),
    };
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

function describe(image: Resolved, names: readonly string[]): ImageInfo {
  const references = names.filter((name) => !isNameless(name)).map(parseReference);
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
    created: image.document.created ?? undefined,
    size: image.size,
    architecture: image.document.architecture,
    os: image.document.os,
    config: image.config,
    history: image.document.history ?? [],
    layers: diffIds(image.document),
    layerSizes: image.layerSizes,
  };
}
