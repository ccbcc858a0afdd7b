/**
 * What the agent and the Engine API need of containerd, in one interface with a fake beside the real thing. Nothing
 * here knows of services or overlays: a container is an image, an OCI process and a network namespace.
 *
 * Every call may be repeated: create of what exists with the same id is `already-exists`, remove and kill of what
 * is gone are no errors.
 */
import type { Writable } from 'node:stream';
import type { ContainerId } from '../model/ids.ts';
import type { ContainerLimits, ContainerSpec, Labels, LogDriverSpec, MountSpec } from '../model/spec.ts';
import type { ContainerArchives } from './archive.ts';
import type { ImageStore, LocalImage } from './image-store.ts';
import type { ExecConfig, ExecProcess, TerminalSize } from './process.ts';
import type { Usage } from './usage.ts';

export type * from './image-store.ts';

export interface ContainerConfig {
  readonly id: ContainerId;
  readonly name: string;
  /** Local image reference or digest; must be present (see ImageStore). */
  readonly image: string;
  readonly spec: ContainerSpec;
  readonly limits: ContainerLimits | undefined;
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
  /** Of the image that this name stood for when it was made. */
  readonly imageId: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAt: string;
  /** Of the last start, where it is restartable and was started. */
  readonly startedAt?: string;
  readonly status: 'created' | 'running' | 'paused' | 'stopped' | 'unknown';
  /** 0 unless running. */
  readonly pid: number;
  /** Meaningful when stopped, 137 for SIGKILL and so on; of `created` when its last start failed. */
  readonly exitCode: number;
  /** Why its last start failed; empty when it did not. */
  readonly startError: string;
  readonly exitedAt: string | undefined;
  /** Since its last start, a process of it was killed because its memory was used up. */
  readonly oomKilled: boolean;
  /** The config it was created from. */
  readonly config: ContainerConfig;
  readonly mounts: readonly MountPoint[];
}

export type ContainerEvent =
  | {
      readonly type: 'exit';
      readonly id: ContainerId;
      /** Of the process that ended. */
      readonly pid: number;
      readonly exitCode: number;
      readonly time: string;
    }
  /** It was made, as it is now. */
  | { readonly type: 'create'; readonly id: ContainerId; readonly info: ContainerInfo }
  | { readonly type: 'start' | 'pause' | 'resume' | 'oom' | 'delete'; readonly id: ContainerId }
  | { readonly type: 'kill'; readonly id: ContainerId; readonly signal: number }
  /** Somebody above did something to it that consists of several of these, or of none. */
  | {
      readonly type: 'announced';
      readonly id: ContainerId;
      readonly action: string;
      readonly attributes: Readonly<Record<string, string>>;
    }
  /** The stream was (re)opened: anything may have happened, list again. */
  | { readonly type: 'resync' };

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
  /** For somebody who is attached: he sees the output of a container of his own that keeps no log. */
  readonly attached?: boolean;
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
  readonly limits?: ContainerLimits;
  readonly notes?: unknown;
}

/** What the maker of a container brings along. */
export interface Making {
  /** As `images.local` gave it a moment ago, to who has asked; else it is looked up. */
  readonly image?: LocalImage;
  /** Makes the namespace that its process is to stand in, while the rest is made; where that fails nothing stays. */
  readonly namespace?: () => Promise<void>;
  /**
   * Furnishes that namespace, while its process is made, and before it can be started; before it is made, where it is to
   * have settings of the network (`Sysctls`). Likewise.
   */
  readonly surroundings?: () => Promise<void>;
}

export interface ContainerRuntime {
  readonly images: ImageStore;
  readonly volumes: VolumeStore;
  readonly archives: ContainerArchives;
  version(): Promise<{ readonly containerd: string; readonly revision: string; readonly runc: string }>;
  list(): Promise<readonly ContainerInfo[]>;
  get(id: ContainerId): Promise<ContainerInfo | undefined>;
  /** Snapshot, OCI spec, containerd container and (not yet started) task with its log files; what `get` gives of it. */
  create(config: ContainerConfig, making?: Making): Promise<ContainerInfo>;
  /** Starts the created task, or a restartable container that does not run; the pid. */
  start(id: ContainerId): Promise<number>;
  /** Signal name ("SIGTERM") or number; no error when it has ended already. */
  kill(id: ContainerId, signal: string | number): Promise<void>;
  /** Kills what runs, then removes task, container, snapshot and logs; its anonymous volumes too, unless told to keep them. */
  remove(id: ContainerId, options?: { readonly keepVolumes?: boolean }): Promise<void>;
  /** Endless; starts with `resync`, and again after each broken stream. */
  events(signal: AbortSignal): AsyncIterable<ContainerEvent>;
  /** Puts `action` among the events, behind those of what was done. */
  announce(id: ContainerId, action: string, attributes?: Readonly<Record<string, string>>): void;
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
  /** Bytes that it wrote over its image; 0 when it is gone. */
  written(id: ContainerId): Promise<number>;
  /** Pids, on this node, of everything that runs in it. */
  pids(id: ContainerId): Promise<readonly number[]>;
  /** Limits hold at once for what runs, and at each start from then on. */
  update(id: ContainerId, change: ContainerChange): Promise<void>;
  /** Starts a process in a running container; `failed-precondition` in any other. */
  exec(id: ContainerId, config: ExecConfig): Promise<ExecProcess>;
}
