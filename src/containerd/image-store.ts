/** The images of a node, as the agent and the Engine API need them. */

/** `X-Registry-Auth` decoded: Docker's AuthConfig. */
export interface RegistryAuth {
  readonly username?: string;
  readonly password?: string;
  readonly identitytoken?: string;
  readonly registrytoken?: string;
  readonly serveraddress?: string;
}

export interface PullProgress {
  readonly id: string;
  readonly status: string;
  readonly current?: number;
  readonly total?: number;
}

export interface ImageInfo {
  /** Digest of the config: Docker's image id, `sha256:...`. */
  readonly id: string;
  /** `repository:tag` names. */
  readonly tags: readonly string[];
  /** `repository@sha256:...`, of what came from a registry. */
  readonly digests: readonly string[];
  readonly created: string | undefined;
  /** Bytes, unpacked estimate: sum of the layers' sizes. */
  readonly size: number;
  readonly architecture: string;
  readonly os: string;
  /** OCI image config, as it stands in the image. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly history: readonly Readonly<Record<string, unknown>>[];
  readonly layers: readonly string[];
  /** Bytes, unpacked, of each of the layers. */
  readonly layerSizes: readonly number[];
}

/** What a container is made from; what an id stands for never changes. */
export interface LocalImage {
  readonly id: string;
  readonly config: ImageInfo['config'];
  /** Topmost layer as a snapshot; undefined for an image without layers. */
  readonly snapshot: string | undefined;
}

/** An image all of whose names were brought by tasks' pulls alone. */
export interface TaskImage {
  readonly id: string;
  /** In full, as `fullName` makes them. */
  readonly names: readonly string[];
  readonly size: number;
  /** A container here is made from it, running or not. */
  readonly inUse: boolean;
}

export interface PullOptions {
  readonly auth?: RegistryAuth;
  readonly onProgress?: (p: PullProgress) => void;
  readonly signal?: AbortSignal;
  /** A task wants it, not a person: names that are new by this pull are `ofTasks` until a person pulls or makes them. */
  readonly forTask?: boolean;
}

export interface PushOptions {
  readonly auth?: RegistryAuth;
  readonly onProgress?: (p: PullProgress) => void;
  readonly signal?: AbortSignal;
}

/** The manifest as the registry has it now. */
export interface PushedImage {
  readonly digest: string;
  readonly size: number;
}

export interface ImportOptions {
  /** `repository:tag`; without it only its id names the image. */
  readonly name?: string;
  readonly message: string;
  /** How it is to be run: the part `config` of an OCI image. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly signal?: AbortSignal;
}

export interface RemovedImage {
  readonly id: string;
  /** Names, as a person writes them. */
  readonly untagged: readonly string[];
  /** The image's id, and its layers. */
  readonly deleted: readonly string[];
}

export interface ImageStore {
  /** What runs here and is chosen from an index, in OCI's word: `amd64`. */
  readonly architecture: string;
  list(): Promise<readonly ImageInfo[]>;
  /** By tag, digest reference, id or unambiguous id prefix. */
  get(reference: string): Promise<ImageInfo | undefined>;
  /** What `get` would find, as far as a container is made of it; costs one call, however many images there are. */
  local(reference: string): Promise<LocalImage | undefined>;
  /**
   * Pulls from the registry that the reference names; several at once of one image do the work once. Errors:
   * `not-found`, `unauthenticated` / `permission-denied` ("pull access denied ..."), `unavailable`.
   */
  pull(reference: string, options: PullOptions): Promise<ImageInfo>;
  /** Reads a `docker save` or OCI layout archive; `invalid-argument` for what is not one. Returns names or ids. */
  load(archive: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<readonly string[]>;
  /** Makes an image of a root file system in an archive; its id. */
  import(archive: AsyncIterable<Uint8Array>, options: ImportOptions): Promise<string>;
  /**
   * An archive that `load` reads, and Docker: an OCI layout with a `manifest.json`. A name without a tag stands for all its
   * tags. `not-found` before anything is read; what goes wrong later breaks the archive off.
   */
  save(references: readonly string[]): Promise<AsyncIterable<Uint8Array>>;
  /** Sends what the registry lacks of the image with this tag, byte for byte; `not-found` where there is none here. */
  push(reference: string, options: PushOptions): Promise<PushedImage>;
  /** All tags of a repository, as its registry says now. */
  remoteTags(repository: string, auth?: RegistryAuth): Promise<readonly string[]>;
  tag(source: string, target: string): Promise<void>;
  /** Removes one name, or with an id all of them; returns what was untagged and deleted. */
  remove(reference: string, options: { force?: boolean }): Promise<RemovedImage>;
  /** Ids of those that containers here are made from, running or not. */
  inUse(): Promise<ReadonlySet<string>>;
  /** What no person asked for: may be given up when nothing needs it. */
  ofTasks(): Promise<readonly TaskImage[]>;
  /** Takes those names of an image away that are still of tasks alone; without a name it is gone. */
  forget(image: TaskImage): Promise<void>;
  /** Digest and platforms of a reference as the registry says now. */
  resolve(
    reference: string,
    auth?: RegistryAuth,
  ): Promise<{
    readonly mediaType: string;
    readonly digest: string;
    readonly size: number;
    readonly platforms: readonly { readonly architecture: string; readonly os: string }[];
  }>;
}
