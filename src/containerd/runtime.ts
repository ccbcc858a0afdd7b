/**
 * What the agent and the Engine API need of containerd, in one interface with a fake beside the real thing. Nothing
 * here knows of services or overlays: a container is an image, an OCI process and a network namespace.
 *
 * Every call may be repeated: create of what exists with the same id is `already-exists`, remove and kill of what
 * is gone are no errors.
 */
import type { Writable } from 'node:stream';
import type { ContainerId } from '../model/ids.ts';
import type { ContainerSpec, Labels, LogDriverSpec, MountSpec, ResourceSpec } from '../model/spec.ts';
import type { ContainerArchives } from './archive.ts';
import type { ExecConfig, ExecProcess, TerminalSize } from './process.ts';
import type { Usage } from './usage.ts';

export interface ContainerConfig {
  readonly id: ContainerId;
  readonly name: string;
  /** Local image reference or digest; must be present (see ImageStore). */
  readonly image: string;
  readonly spec: ContainerSpec;
  readonly limits: (ResourceSpec & { readonly Pids?: number }) | undefined;
  /** What becomes of its output; see model/log-driver.ts. */
  readonly logging?: LogDriverSpec;
  readonly hostname: string;
  /** Path of an existing network namespace. */
  readonly netnsPath: string;
  /** Files of the agent mounted over /etc/hosts and /etc/resolv.conf, by target path. */
  readonly files: Readonly<Record<string, string>>;
  /** `com.docker.swarm.*` and the agent's own; kept as containerd labels. */
  readonly labels: Readonly<Record<string, string>>;
  /**
   * `start` may be called again after it has ended; its process is made at each start, its root file system once. The
   * network namespace must exist at each start, not before.
   */
  readonly restartable?: boolean;
  /** What its maker wants to know again; kept with it, not looked at here. */
  readonly notes?: unknown;
}

/** A mount as it was resolved when its container was made. */
export interface MountPoint {
  readonly type: MountSpec['Type'];
  /** Of a volume. */
  readonly name?: string;
  /** The volume goes with the container. */
  readonly anonymous?: boolean;
  /** Path on this node; empty for a tmpfs. */
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
  readonly propagation: string;
}

export interface ContainerInfo {
  readonly id: ContainerId;
  readonly name: string;
  readonly image: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAt: string;
  /** Of the last start, where it is restartable and was started. */
  readonly startedAt?: string;
  readonly status: 'created' | 'running' | 'paused' | 'stopped' | 'unknown';
  /** 0 unless running. */
  readonly pid: number;
  /** Meaningful when stopped. 137 for SIGKILL, and so on. */
  readonly exitCode: number;
  readonly exitedAt: string | undefined;
  /** The config it was created from. */
  readonly config: ContainerConfig;
  readonly mounts: readonly MountPoint[];
}

export type ContainerEvent =
  | { readonly type: 'exit'; readonly id: ContainerId; readonly exitCode: number; readonly time: string }
  | {
      readonly type: 'create' | 'start' | 'pause' | 'resume' | 'oom' | 'delete';
      readonly id: ContainerId;
    }
  | { readonly type: 'kill'; readonly id: ContainerId; readonly signal: number }
  /** Somebody above did something to it that consists of several of these, or of none. */
  | { readonly type: 'announced'; readonly id: ContainerId; readonly action: string }
  /** The stream was (re)opened: anything may have happened, list again. */
  | { readonly type: 'resync' };

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
  /** Whether `get` would find it; costs one call, however many images there are. */
  has(reference: string): Promise<boolean>;
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

export interface VolumeSpec {
  readonly name: string;
  /** Null where nothing was said, as Docker shows it. */
  readonly labels: Labels | null;
  /** Of the local driver: `type`, `device` and `o`. */
  readonly options: Labels | null;
}

export interface VolumeInfo extends VolumeSpec {
  readonly createdAt: string;
  readonly mountpoint: string;
}

/** Volumes of this node; all of the local driver. */
export interface VolumeStore {
  list(): Promise<readonly VolumeInfo[]>;
  get(name: string): Promise<VolumeInfo | undefined>;
  /** One that is there already stays as it is. */
  create(spec: VolumeSpec): Promise<VolumeInfo>;
  /** `not-found`; `failed-precondition` naming the containers that refer to it. */
  remove(name: string): Promise<void>;
  /** Bytes in it. */
  size(name: string): Promise<number>;
}

export interface LogLine {
  readonly stream: 'stdout' | 'stderr';
  readonly time: string;
  readonly data: Uint8Array;
}

export interface LogQuery {
  readonly follow: boolean;
  readonly tail: number | undefined;
  readonly since: string | undefined;
  readonly until: string | undefined;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

/** Both streams from the beginning, as far as it has come. */
export const ALL_OUTPUT: LogQuery = {
  follow: false,
  tail: undefined,
  since: undefined,
  until: undefined,
  stdout: true,
  stderr: true,
};

/** What may be changed of a container that exists. What is not named stays. */
export interface ContainerChange {
  readonly name?: string;
  readonly limits?: NonNullable<ContainerConfig['limits']>;
  readonly notes?: unknown;
}

export interface ContainerRuntime {
  readonly images: ImageStore;
  readonly volumes: VolumeStore;
  readonly archives: ContainerArchives;
  version(): Promise<{ readonly containerd: string; readonly revision: string; readonly runc: string }>;
  list(): Promise<readonly ContainerInfo[]>;
  get(id: ContainerId): Promise<ContainerInfo | undefined>;
  /** Snapshot, OCI spec, containerd container and (not yet started) task with its log files. */
  create(config: ContainerConfig): Promise<void>;
  /** Starts the created task, or a restartable container that does not run; the pid. */
  start(id: ContainerId): Promise<number>;
  /** Signal name ("SIGTERM") or number; no error when it has ended already. */
  kill(id: ContainerId, signal: string | number): Promise<void>;
  /** Kills what runs, then removes task, container, snapshot and logs; its anonymous volumes too, unless told to keep them. */
  remove(id: ContainerId, options?: { readonly keepVolumes?: boolean }): Promise<void>;
  /** Endless; starts with `resync`, and again after each broken stream. */
  events(signal: AbortSignal): AsyncIterable<ContainerEvent>;
  /** Puts `action` among the events, behind those of what was done. */
  announce(id: ContainerId, action: string): void;
  /**
   * Output of the container from its record files; with `follow`, ends when the container has ended. `unimplemented`
   * where none is kept.
   */
  logs(id: ContainerId, query: LogQuery, signal: AbortSignal): AsyncIterable<LogLine>;
  /** What is written goes to the container's input (`OpenStdin`); ended, it closes that input for good. */
  stdin(id: ContainerId): Promise<Writable>;
  /** Size of the container's terminal. */
  resize(id: ContainerId, size: TerminalSize): Promise<void>;
  pause(id: ContainerId): Promise<void>;
  resume(id: ContainerId): Promise<void>;
  /** Undefined while it does not run. */
  usage(id: ContainerId): Promise<Usage | undefined>;
  /** Pids, on this node, of everything that runs in it. */
  pids(id: ContainerId): Promise<readonly number[]>;
  /** Limits hold at once for what runs, and at each start from then on. */
  update(id: ContainerId, change: ContainerChange): Promise<void>;
  /** Starts a process in a running container; `failed-precondition` in any other. */
  exec(id: ContainerId, config: ExecConfig): Promise<ExecProcess>;
}
