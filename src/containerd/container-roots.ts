/**
 * The root file system of a container as a folder of this node, for as long as somebody works in it: of one that runs
 * what its process sees, of one that does not its snapshot, mounted aside with its volumes and binds.
 *
 * INVARIANTS
 * - A snapshot is mounted once at a time: whoever works in it aside, and a start, take turns.
 * - What is mounted aside goes when the work ends; what a killed skeind left is unmounted at the next start.
 */
import {
  closeSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmdirSync,
  statSync,
} from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { loadLibc, MNT_DETACH, MS_BIND, MS_RDONLY, MS_REMOUNT } from '../kit/libc.ts';
import { KeyedLocks } from '../kit/keyed-locks.ts';
import { inFolder, makeFolders, O_PATH, openIn } from '../kit/rooted.ts';
import type { ContainerId } from '../model/ids.ts';
import { type ContainerdApi, SNAPSHOTTER } from './api.ts';
import type { ContainerTasks } from './container-tasks.ts';
import { type Process, Status } from './gen/task-types_pb.js';
import type { Mount } from './gen/types_pb.js';
import type { ContainerInfo, MountPoint } from './runtime.ts';
import type { LocalVolumes } from './volumes.ts';

export interface ContainerRootsOptions {
  readonly api: ContainerdApi;
  readonly tasks: Pick<ContainerTasks, 'get' | 'rootfs'>;
  readonly volumes: LocalVolumes;
  /** Holds what is mounted aside. */
  readonly folder: string;
}

export interface OpenRoot {
  readonly root: number;
  close(): Promise<void>;
}

export class ContainerRoots {
  readonly #options: ContainerRootsOptions;
  readonly #locks = new KeyedLocks<ContainerId>();

  constructor(options: ContainerRootsOptions) {
    this.#options = options;
  }

  /** Takes away what a killed skeind left. */
  sweep(): void {
    const { folder } = this.#options;
    if (!existsSync(folder)) return;
    for (const name of readdirSync(folder)) unmountAside(join(folder, name));
  }

  /** Its snapshot is mounted nowhere aside before this has ended. */
  alone<T>(id: ContainerId, work: () => Promise<T>): Promise<T> {
    return this.#locks.run(id, work);
  }

  /** With what is mounted into it, as its process sees it. */
  async inside(info: ContainerInfo): Promise<OpenRoot> {
    const seen = (pid: number) => opened(`/proc/${pid}/root`);
    if (info.pid > 0) return seen(info.pid);
    return this.#aside(info, info.mounts, ({ pid, status }) =>
      status === Status.STOPPED ? undefined : seen(pid),
    );
  }

  /** Its own files alone: no volume, nothing of the node. */
  async own(info: ContainerInfo): Promise<OpenRoot> {
    return this.#aside(info, [], () => opened(this.#options.tasks.rootfs(info.id)));
  }

  /** Folders of the snapshot: the container's own changes, and below them the image's layers, topmost first. */
  async layers(id: ContainerId): Promise<{ readonly upper: string; readonly lower: readonly string[] }> {
    const [mount] = await this.#snapshot(id);
    const option = (name: string) =>
      mount?.options.find((text) => text.startsWith(`${name}=`))?.slice(name.length + 1);
    return {
      upper: option('upperdir') ?? mount?.source ?? '',
      lower: option('lowerdir')?.split(':') ?? [],
    };
  }

  async #snapshot(id: ContainerId): Promise<readonly Mount[]> {
    return (await this.#options.api.snapshots.mounts({ snapshotter: SNAPSHOTTER, key: id })).mounts;
  }

  /** Or as `live` opens it, where it has a process by now. */
  async #aside(
    { id, config }: ContainerInfo,
    mounts: readonly MountPoint[],
    live: (task: Process) => OpenRoot | undefined,
  ): Promise<OpenRoot> {
    const { folder, tasks, volumes } = this.#options;
    const end = await this.#turn(id);
    const path = join(folder, id);
    const holder = `copy-${id}` as ContainerId;
    const leave = async () => {
      try {
        unmountAside(path);
        await volumes.release(holder);
      } finally {
        end();
      }
    };
    let open: OpenRoot | undefined;
    const close = async () => {
      await open?.close();
      await leave();
    };
    try {
      const task = await tasks.get(id);
      const there = task && live(task);
      if (there) {
        end();
        return there;
      }
      mkdirSync(path, { recursive: true, mode: 0o700 });
      for (const mount of await this.#snapshot(id)) mountSnapshot(mount, path);
      open = opened(path);
      for (const mount of mounts) await makePlace(open.root, mount);
      if (config.spec.ReadOnly) loadLibc().mount('none', path, MS_BIND | MS_REMOUNT | MS_RDONLY);
      for (const mount of mounts) await this.#mountIn(open.root, mount, holder);
      return { root: open.root, close };
    } catch (error) {
      await close();
      throw error;
    }
  }

  /** Resolves when it is ours alone, to what ends that. */
  #turn(id: ContainerId): Promise<() => void> {
    const { promise, resolve: end } = Promise.withResolvers<void>();
    return new Promise((begin) => {
      void this.#locks.run(id, () => {
        begin(end);
        return promise;
      });
    });
  }

  async #mountIn(root: number, { name, source, target, readOnly }: MountPoint, holder: ContainerId) {
    const { volumes } = this.#options;
    const volume = name === undefined ? undefined : await volumes.get(name);
    if (volume) await volumes.hold(volume, holder);
    if (source === '' || !existsSync(source)) return;
    const at = (use: (place: string) => void) => {
      const fd = openIn(root, target, O_PATH);
      if (fd === undefined) return; // a link of the image leads nowhere
      try {
        use(`/proc/self/fd/${fd}`);
      } finally {
        closeSync(fd);
      }
    };
    at((place) => loadLibc().mount(source, place, MS_BIND));
    if (readOnly) at((place) => loadLibc().mount('none', place, MS_BIND | MS_REMOUNT | MS_RDONLY));
  }
}

/** Where it is mounted: of a container that was never started nothing has made it yet, and runc would make it so. */
async function makePlace(root: number, { source, target }: MountPoint): Promise<void> {
  if (source === '' || !statSync(source, { throwIfNoEntry: false })?.isFile())
    return makeFolders(root, posix.normalize(target));
  const path = posix.normalize(target);
  await makeFolders(root, posix.dirname(path));
  await inFolder(root, posix.dirname(path), async (folder) => {
    const place = `${folder}/${posix.basename(path)}`;
    if (!lstatSync(place, { throwIfNoEntry: false })) await writeFile(place, '', { flag: 'wx' });
  });
}

function opened(path: string): OpenRoot {
  const root = openSync(path, O_PATH | constants.O_DIRECTORY);
  return { root, close: async () => closeSync(root) };
}

function mountSnapshot({ type, source, options }: Mount, path: string): void {
  if (type === 'bind') loadLibc().mount(source, path, MS_BIND);
  else loadLibc().mountType(type, source, path, options.join(','));
}

/** The volumes in it go with it: they are below it, and it is taken out of the tree as a whole. */
function unmountAside(path: string): void {
  while (loadLibc().umount(path, MNT_DETACH));
  if (existsSync(path)) rmdirSync(path);
}
