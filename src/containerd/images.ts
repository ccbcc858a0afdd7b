/** The ImageStore of containerd: pull, push, load, save, tag and Docker's rules of removal. */
import type { Clock } from '../kit/clock.ts';
import type { CallOptions } from '../kit/grpc.ts';
import { KeyedLocks } from '../kit/keyed-locks.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerdApi } from './api.ts';
import { isIndex, ociArchitecture, parseConfig, parseIndex, parseManifest } from './image-format.ts';
import { importing, importLayer } from './image-import.ts';
import { installImage, nameImage } from './image-install.ts';
import { loadArchive } from './image-load.ts';
import { ImageNames } from './image-names.ts';
import type { ImageUser } from './image-removal.ts';
import { chosenToSave, saveArchive } from './image-save.ts';
import { isNameless, LocalImages } from './local-images.ts';
import { mediaType, pullContent } from './pull.ts';
import { knownElsewhere, nothingToPush, pushContent } from './push.ts';
import { familiarName, fullName, parseReference, type Reference, repositoryOf } from './reference.ts';
import type { RegistryClient } from './registry.ts';
import { collect } from './registry-transport.ts';
import type {
  ImageInfo,
  ImageStore,
  ImportOptions,
  LocalImage,
  PullOptions,
  PullProgress,
  PushedImage,
  PushOptions,
  RegistryAuth,
  RemovedImage,
  TaskImage,
} from './runtime.ts';
import { SharedRuns } from './shared-runs.ts';
import { forgetNames, taskImages } from './task-images.ts';

export interface ImagesOptions {
  readonly api: ContainerdApi;
  readonly registry: RegistryClient;
  readonly clock: Clock;
  readonly unique: () => string;
  /** Containers and the ids of their images. */
  readonly users: () => Promise<readonly ImageUser[]>;
}

const MAX_CONFIG = 8 * 1024 * 1024;
const ASK_TIMEOUT_MS = 30_000;

export class Images implements ImageStore {
  readonly #options: ImagesOptions;
  readonly #api: ContainerdApi;
  readonly #local: LocalImages;
  readonly #names: ImageNames;
  readonly #pulls = new SharedRuns<PullProgress, ImageInfo>();
  readonly #blobs = new KeyedLocks<string>();
  readonly architecture = ociArchitecture(process.arch);

  constructor(options: ImagesOptions) {
    this.#options = options;
    this.#api = options.api;
    this.#local = new LocalImages(options.api, this.architecture);
    this.#names = new ImageNames({ api: options.api, local: this.#local, users: options.users });
  }

  list(): Promise<readonly ImageInfo[]> {
    return this.#local.list();
  }

  get(reference: string): Promise<ImageInfo | undefined> {
    return this.#local.get(reference);
  }

  local(reference: string): Promise<LocalImage | undefined> {
    return this.#local.find(reference);
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
        const arrival = { target, manifest, names: keep, forTask: false };
        await this.#names.leave(references, target.digest);
        await installImage(this.#api, arrival, { call: options, unique: this.#options.unique });
        loaded.push(...(references.length > 0 ? references.map(familiarName) : [manifest.config.digest]));
      }
      return loaded;
    });
  }

  import(archive: AsyncIterable<Uint8Array>, options: ImportOptions): Promise<string> {
    return this.#leased('import', async (lease) => {
      const call = options.signal ? { ...lease, signal: options.signal } : lease;
      const { unique, clock } = this.#options;
      const created = new Date(clock.now()).toISOString();
      const context = { api: this.#api, call, unique, architecture: this.architecture, created };
      const { target, manifest } = await importLayer(context, archive, options);
      const id = manifest.config.digest;
      const name = options.name === undefined ? undefined : parseReference(options.name);
      if (name) await this.#names.leave([name], target.digest);
      const names = [name ? fullName(name) : id];
      await importing(installImage(this.#api, { target, manifest, names, forTask: false }, { call, unique }));
      return id;
    });
  }

  async save(references: readonly string[]): Promise<AsyncIterable<Uint8Array>> {
    return saveArchive(this.#api, await chosenToSave(this.#local, references));
  }

  async push(reference: string, options: PushOptions): Promise<PushedImage> {
    const parsed = parseReference(reference);
    if (parsed.digest !== undefined)
      throw new SkeinError('invalid-argument', 'cannot push a digest reference');
    const all = (await this.#local.all()).filter(({ record }) => !isNameless(record.name));
    const named = all.map(({ record, image }) => ({ image, reference: parseReference(record.name) }));
    const found = named.find((one) => fullName(one.reference) === fullName(parsed));
    if (!found) {
      const ofRepository = named.filter((one) => repositoryOf(one.reference) === repositoryOf(parsed));
      throw nothingToPush(
        parsed,
        ofRepository.some((one) => one.reference.digest === undefined),
      );
    }
    const { registry, clock } = this.#options;
    const { auth, onProgress: progress = () => {}, signal = new AbortController().signal } = options;
    const elsewhere = knownElsewhere(
      parsed,
      named.map((one) => ({ reference: one.reference, manifest: one.image.manifest })),
    );
    const upload = registry.upload(parsed, auth);
    await pushContent(
      { api: this.#api, upload, clock, signal, progress, elsewhere },
      found.image,
      parsed.tag!,
    );
    const { target } = found.image;
    await nameImage(this.#api, fullName({ ...parsed, digest: target.digest }), target);
    return { digest: target.digest, size: target.size };
  }

  async tag(source: string, target: string): Promise<void> {
    const reference = parseReference(target);
    if (reference.digest !== undefined)
      throw new SkeinError('invalid-argument', 'refusing to create a tag with a digest reference');
    const found = await this.#local.find(source);
    if (!found) throw new SkeinError('not-found', `No such image: ${source}`);
    const [record] = await this.#local.recordsOf(found.id);
    await this.#names.leave([reference], record!.target!.digest);
    await nameImage(this.#api, fullName(reference), record!.target!);
  }

  remove(reference: string, options: { force?: boolean }): Promise<RemovedImage> {
    return this.#names.remove(reference, options.force ?? false);
  }

  async inUse(): Promise<ReadonlySet<string>> {
    return new Set((await this.#options.users()).map(({ imageId }) => imageId));
  }

  async ofTasks(): Promise<readonly TaskImage[]> {
    const found = taskImages(await this.#local.all());
    if (found.length === 0) return [];
    const used = await this.inUse();
    return found.map((image) => ({ ...image, inUse: used.has(image.id) }));
  }

  async forget({ names }: TaskImage): Promise<void> {
    await forgetNames(this.#api, names);
  }

  async resolve(reference: string, auth?: RegistryAuth) {
    const parsed = parseReference(reference);
    const session = this.#options.registry.session(parsed, auth);
    const signal = AbortSignal.timeout(ASK_TIMEOUT_MS);
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
    const bytes = Buffer.concat(await collect(body, MAX_CONFIG));
    if (bytes.length > MAX_CONFIG)
      throw new SkeinError('invalid-argument', 'image configuration is too large');
    const { architecture, os } = parseConfig(bytes);
    return { ...top, platforms: [{ architecture, os }] };
  }

  remoteTags(repository: string, auth?: RegistryAuth): Promise<readonly string[]> {
    const session = this.#options.registry.session(parseReference(repository), auth);
    return session.tags(AbortSignal.timeout(ASK_TIMEOUT_MS));
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
      const shared = { api: this.#api, clock, architecture: this.architecture, blobs: this.#blobs };
      const context = { ...shared, session, call, signal, progress };
      const before = (await this.#local.named(fullName(reference)))?.target?.digest;
      const { target, manifest, child } = await pullContent(context, reference);
      const digestName = fullName({ ...reference, digest: target.digest });
      const arrival = { target, manifest, child, names: [fullName(reference), digestName], forTask };
      await this.#names.leave([reference], target.digest);
      await installImage(this.#api, arrival, { call, unique: this.#options.unique, progress });
      progress({ id: '', status: `Digest: ${target.digest}` });
      const status = before === target.digest ? 'Image is up to date for' : 'Downloaded newer image for';
      progress({ id: '', status: `Status: ${status} ${name}` });
      return (await this.get(fullName(reference)))!;
    });
  }

  #leased<T>(what: string, work: (call: CallOptions) => Promise<T>): Promise<T> {
    return this.#api.leased(`skein-${what}-${this.#options.unique()}`, this.#options.clock.now(), work);
  }
}
