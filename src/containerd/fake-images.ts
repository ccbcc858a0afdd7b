/** The images of FakeRuntime: `add` puts one here, `offer` puts one into the registry that `pull` asks. */
import { SkeinError } from '../model/errors.ts';
import { sha256 } from './image-format.ts';
import { isHeld, removalConflict } from './image-removal.ts';
import { loadedNames, savedArchive } from './fake-archive.ts';
import { nothingToPush } from './push.ts';
import { familiarName, familiarRepository, fullName, parseReference, repositoryOf } from './reference.ts';
import type {
  ImageInfo,
  LocalImage,
  ImageStore,
  ImportOptions,
  PullOptions,
  PushedImage,
  PushOptions,
  RegistryAuth,
  RemovedImage,
  TaskImage,
} from './runtime.ts';

interface User {
  readonly imageId: string;
  readonly running: () => boolean;
}

export class FakeImages implements ImageStore {
  readonly architecture = 'amd64';
  readonly #enter: (call: 'pull' | 'load', what: string) => Promise<void>;
  /** Full name to image id. */
  readonly #names = new Map<string, string>();
  readonly #ofTasks = new Set<string>();
  readonly #images = new Map<string, ImageInfo>();
  readonly #remote = new Map<string, ImageInfo>();
  readonly #users = new Map<string, User>();
  /** What a registry asks for: return false to refuse. */
  authorize: (reference: string, auth: RegistryAuth | undefined) => boolean = () => true;

  constructor(enter: (call: 'pull' | 'load', what: string) => Promise<void>) {
    this.#enter = enter;
  }

  /** An image that is here; its id follows from `seed`, which is the name unless given. */
  add(name: string, more: Partial<ImageInfo> = {}, seed = name): ImageInfo {
    const image = fakeImage(seed, more);
    this.#images.set(image.id, image);
    this.#name(fullName(parseReference(name)), image.id, false);
    return this.#info(image.id);
  }

  /** An image that the registry has. */
  offer(name: string, more: Partial<ImageInfo> = {}): void {
    this.#remote.set(fullName(parseReference(name)), fakeImage(name, more));
  }

  use(container: string, reference: string, running: () => boolean): void {
    const imageId = this.#find(reference);
    if (imageId) this.#users.set(container, { imageId, running });
  }

  free(container: string): void {
    this.#users.delete(container);
  }

  async list(): Promise<readonly ImageInfo[]> {
    return [...this.#images.keys()].map((id) => this.#info(id));
  }

  async get(reference: string): Promise<ImageInfo | undefined> {
    const id = this.#find(reference);
    return id === undefined ? undefined : this.#info(id);
  }

  async local(reference: string): Promise<LocalImage | undefined> {
    const found = await this.get(reference);
    return found && { id: found.id, config: found.config, snapshot: found.layers.at(-1) };
  }

  async pull(reference: string, options: PullOptions = {}): Promise<ImageInfo> {
    const parsed = parseReference(reference);
    await this.#enter('pull', reference);
    if (!this.authorize(reference, options.auth))
      throw new SkeinError(
        'unauthenticated',
        `pull access denied for ${familiarRepository(parsed)}, repository does not exist or may require 'docker login'`,
      );
    const image = this.#remote.get(fullName(parsed));
    if (!image)
      throw new SkeinError(
        'not-found',
        `manifest for ${familiarName(parsed)} not found: manifest unknown: manifest unknown`,
      );
    options.onProgress?.({ id: image.id.slice(7, 19), status: 'Pull complete' });
    this.#images.set(image.id, image);
    for (const reference of [parsed, { ...parsed, digest: sha256(`manifest ${image.id}`) }])
      this.#name(fullName(reference), image.id, options.forTask ?? false);
    return this.#info(image.id);
  }

  async load(archive: AsyncIterable<Uint8Array>): Promise<readonly string[]> {
    await this.#enter('load', '');
    const names = await loadedNames(archive);
    for (const name of names) this.add(name);
    return names;
  }

  async import(
    archive: AsyncIterable<Uint8Array>,
    { name, message, config }: ImportOptions,
  ): Promise<string> {
    for await (const _ of archive);
    const image = fakeImage(`import ${name} ${message}`, { config, history: [{ comment: message }] });
    this.#images.set(image.id, image);
    if (name !== undefined) this.#name(fullName(parseReference(name)), image.id, false);
    return image.id;
  }

  /** What a `docker save` of these would hold, without their content. */
  async save(references: readonly string[]): Promise<AsyncIterable<Uint8Array>> {
    const list = references.map((reference) => {
      const id = this.#find(reference);
      if (id === undefined) throw new SkeinError('not-found', `No such image: ${reference}`);
      return { Config: id, RepoTags: this.#info(id).tags, Layers: [] };
    });
    return savedArchive(list);
  }

  /** The registry has it then. */
  async push(reference: string, options: PushOptions = {}): Promise<PushedImage> {
    const parsed = parseReference(reference);
    const id = this.#names.get(fullName(parsed));
    if (id === undefined) {
      const ofRepository = [...this.#names.keys()].some((name) =>
        name.startsWith(`${repositoryOf(parsed)}:`),
      );
      throw nothingToPush(parsed, ofRepository);
    }
    if (!this.authorize(reference, options.auth))
      throw new SkeinError('unauthenticated', 'no basic auth credentials');
    for (const status of ['Preparing', 'Pushed']) options.onProgress?.({ id: id.slice(7, 19), status });
    this.#remote.set(fullName(parsed), this.#images.get(id)!);
    const digest = sha256(`manifest ${id}`);
    this.#name(fullName({ ...parsed, digest }), id, false);
    return { digest, size: 1000 };
  }

  async remoteTags(repository: string, auth?: RegistryAuth): Promise<readonly string[]> {
    const wanted = parseReference(repository);
    const tags = [...this.#remote.keys()]
      .map(parseReference)
      .filter((r) => r.tag !== undefined && repositoryOf(r) === repositoryOf(wanted));
    if (!this.authorize(repository, auth) || tags.length === 0)
      throw new SkeinError(
        'not-found',
        `pull access denied for ${familiarRepository(wanted)}, repository does not exist or may require 'docker login'`,
      );
    return tags.map((r) => r.tag!);
  }

  async tag(source: string, target: string): Promise<void> {
    const id = this.#find(source);
    if (id === undefined) throw new SkeinError('not-found', `No such image: ${source}`);
    this.#name(fullName(parseReference(target)), id, false);
  }

  async inUse(): Promise<ReadonlySet<string>> {
    return new Set([...this.#users.values()].map((user) => user.imageId));
  }

  async ofTasks(): Promise<readonly TaskImage[]> {
    return [...this.#images.values()].flatMap(({ id, size }) => {
      const names = [...this.#names].filter(([, of]) => of === id).map(([name]) => name);
      if (!names.every((name) => this.#ofTasks.has(name))) return [];
      return [{ id, names, size, inUse: [...this.#users.values()].some((user) => user.imageId === id) }];
    });
  }

  async forget({ id, names }: TaskImage): Promise<void> {
    for (const name of names) if (this.#ofTasks.delete(name)) this.#names.delete(name);
    if (![...this.#names.values()].includes(id)) this.#images.delete(id);
  }

  #name(name: string, id: string, forTask: boolean): void {
    if (!forTask) this.#ofTasks.delete(name);
    else if (!this.#names.has(name)) this.#ofTasks.add(name);
    this.#names.set(name, id);
  }

  async remove(reference: string, options: { force?: boolean }): Promise<RemovedImage> {
    const imageId = this.#find(reference);
    if (imageId === undefined) throw new SkeinError('not-found', `No such image: ${reference}`);
    const names = [...this.#names].filter(([, id]) => id === imageId).map(([name]) => name);
    const name = names.find((candidate) => candidate === nameOf(reference));
    const users = [...this.#users].map(([containerId, user]) => ({
      containerId,
      imageId: user.imageId,
      running: user.running(),
    }));
    const asked = {
      ...{ reference, imageId, names, byName: name !== undefined, force: options.force ?? false },
      users: users.filter((user) => user.imageId === imageId),
    };
    const conflict = removalConflict(asked);
    if (conflict !== undefined) throw new SkeinError('failed-precondition', conflict);
    const doomed = name === undefined || names.every((n) => n === name || n.includes('@')) ? names : [name];
    for (const each of doomed) {
      this.#names.delete(each);
      this.#ofTasks.delete(each);
    }
    const gone = doomed.length === names.length && !isHeld(asked);
    if (gone) this.#images.delete(imageId);
    return {
      id: imageId,
      untagged: doomed.map((each) => familiarName(parseReference(each))),
      deleted: gone ? [imageId] : [],
    };
  }

  async resolve(reference: string, auth?: RegistryAuth) {
    const image = this.#remote.get(fullName(parseReference(reference)));
    if (!this.authorize(reference, auth) || !image)
      throw new SkeinError(
        'not-found',
        `manifest for ${familiarName(parseReference(reference))} not found: manifest unknown: manifest unknown`,
      );
    return {
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      digest: sha256(`manifest ${image.id}`),
      size: 1000,
      platforms: [{ architecture: image.architecture, os: image.os }],
    };
  }

  #find(reference: string): string | undefined {
    const name = nameOf(reference);
    const named = name === undefined ? undefined : this.#names.get(name);
    if (named !== undefined) return named;
    const prefix = `sha256:${reference.replace(/^sha256:/, '')}`;
    return [...this.#images.keys()].find((id) => id.startsWith(prefix));
  }

  #info(id: string): ImageInfo {
    const references = [...this.#names].filter(([, of]) => of === id).map(([name]) => parseReference(name));
    const names = (digests: boolean) =>
      references
        .filter((r) => (r.digest !== undefined) === digests)
        .map(familiarName)
        .sort();
    return { ...this.#images.get(id)!, tags: names(false), digests: names(true) };
  }
}

function nameOf(reference: string): string | undefined {
  try {
    return fullName(parseReference(reference));
  } catch {
    return undefined;
  }
}

const fakeImage = (seed: string, more: Partial<ImageInfo>): ImageInfo => ({
  id: sha256(`image ${seed}`),
  tags: [],
  digests: [],
  created: '2026-01-01T00:00:00Z',
  size: 1_000_000,
  architecture: 'amd64',
  os: 'linux',
  config: { Cmd: ['/bin/web'] },
  history: [],
  layers: [sha256(`layer ${seed}`)],
  layerSizes: [1_000_000],
  ...more,
});
