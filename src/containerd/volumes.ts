/**
 * The local volume driver: a volume is `<root>/NAME/_data`, beside it `volume.json` says what it was made with. One
 * with driver options is a file system that is mounted there while a container with a process uses it.
 *
 * INVARIANTS
 * - What a container refers to is not removed: neither what a record names, nor what is held while one is made.
 * - A volume with options is mounted if and only if somebody holds it; who held what is found again at the next start
 *   (`settle`). Holding is idempotent by holder, so a repeated start counts once.
 * One volume more costs one small file read in each list.
 */
import { lookup } from 'node:dns/promises';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { type Clock, timestamp } from '../kit/clock.ts';
import type { Tell } from '../kit/event-log.ts';
import { KeyedLocks } from '../kit/keyed-locks.ts';
import type { Log } from '../kit/log.ts';
import type { RunProcess } from '../kit/process.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import { folderSize } from './folder-size.ts';
import type { ContainerInfo, MountPoint, VolumeInfo, VolumeSpec, VolumeStore } from './runtime.ts';
import {
  checkVolume,
  hostToResolve,
  isVolumeName,
  mountCommand,
  mountOf,
  withAddress,
} from './volume-plan.ts';

export interface LocalVolumesOptions {
  readonly root: string;
  /** Everything that may refer to a volume. */
  readonly containers: () => Promise<readonly Pick<ContainerInfo, 'id' | 'mounts'>[]>;
  readonly run: RunProcess;
  readonly tell: Tell;
  readonly clock: Clock;
  readonly log: Log;
}

/** Field of a line of mountinfo. */
const MOUNT_POINT = 4;

const textMap = z.nullable(z.record(z.string(), z.string()));
const recordSchema = z.object({ createdAt: z.string(), labels: textMap, options: textMap });

export class LocalVolumes implements VolumeStore {
  readonly #options: LocalVolumesOptions;
  readonly #holders = new Map<string, Set<ContainerId>>();
  readonly #using = new Set<ContainerId>();
  /** Changes of one volume happen one after the other; a file server that does not answer holds up nobody else's. */
  readonly #locks = new KeyedLocks<string>();

  constructor(options: LocalVolumesOptions) {
    this.#options = options;
  }

  async list(): Promise<readonly VolumeInfo[]> {
    const names = await readdir(this.#options.root).catch(() => [] as string[]);
    const all = await Promise.all(names.sort().map((name) => this.get(name)));
    return all.filter((info) => info !== undefined);
  }

  async get(name: string): Promise<VolumeInfo | undefined> {
    if (!isVolumeName(name)) return undefined;
    const folder = join(this.#options.root, name);
    const made = await stat(folder).catch(() => undefined);
    if (!made?.isDirectory()) return undefined;
    const known = recordSchema.safeParse(await readJson(join(folder, 'volume.json'))).data;
    const { createdAt, labels, options } = known ?? {
      ...{ createdAt: timestamp(made.birthtimeMs), labels: null, options: null },
    };
    return { name, labels, options, createdAt, mountpoint: this.path(name) };
  }

  create(spec: VolumeSpec): Promise<VolumeInfo> {
    return this.#locks.run(spec.name, () => this.#create(spec));
  }

  remove(name: string): Promise<void> {
    return this.#locks.run(name, async () => {
      const info = await this.get(name);
      if (!info) throw new SkeinError('not-found', `get ${name}: no such volume`);
      const users = (await this.#options.containers()).filter((c) => c.mounts.some((m) => m.name === name));
      const ids = new Set([...users.map(({ id }) => id), ...(this.#holders.get(name) ?? [])]);
      if (ids.size > 0)
        throw new SkeinError(
          'failed-precondition',
          `remove ${name}: volume is in use - [${[...ids].join(', ')}]`,
        );
      await this.#unmount(name);
      await rm(join(this.#options.root, name), { recursive: true, force: true });
      this.#say(name, 'destroy');
    });
  }

  size(name: string): Promise<number> {
    return folderSize(this.path(name));
  }

  path(name: string): string {
    return join(this.#options.root, name, '_data');
  }

  /** Makes it where it is missing, and keeps it there, mounted, until the holder lets go. */
  hold(spec: VolumeSpec, holder: ContainerId): Promise<VolumeInfo> {
    return this.#locks.run(spec.name, async () => {
      const info = await this.#create(spec);
      this.#holders.set(spec.name, (this.#holders.get(spec.name) ?? new Set()).add(holder));
      try {
        await this.#mount(info);
        return info;
      } catch (error) {
        this.#letGo(spec.name, holder);
        throw error;
      }
    });
  }

  /** What the holder holds it uses from now on, at these places: it has a process. */
  use(holder: ContainerId, points: readonly MountPoint[]): void {
    this.#using.add(holder);
    for (const { name, target, readOnly } of points)
      if (name !== undefined && this.#holders.get(name)?.has(holder))
        this.#say(name, 'mount', {
          ...{ container: holder, destination: target, propagation: '', 'read/write': String(!readOnly) },
        });
  }

  async release(holder: ContainerId): Promise<void> {
    const held = [...this.#holders].filter(([, holders]) => holders.has(holder)).map(([name]) => name);
    await Promise.all(
      held.map((name) =>
        this.#locks.run(name, async () => {
          if (this.#using.has(holder)) this.#say(name, 'unmount', { container: holder });
          if (this.#letGo(name, holder)) await this.#unmountQuietly(name);
        }),
      ),
    );
    this.#using.delete(holder);
  }

  /** After a start: those with a process hold their volumes; what is mounted for nobody is not. */
  async settle(running: readonly Pick<ContainerInfo, 'id' | 'mounts'>[]): Promise<void> {
    for (const { id, mounts } of running) {
      this.#using.add(id);
      for (const { name } of mounts)
        if (name) this.#holders.set(name, (this.#holders.get(name) ?? new Set()).add(id));
    }
    for (const info of await this.list())
      if (mountOf(info) && !this.#holders.has(info.name)) await this.#unmountQuietly(info.name);
  }

  async #create(spec: VolumeSpec): Promise<VolumeInfo> {
    checkVolume(spec);
    const { name, labels, options } = spec;
    const known = await this.get(name);
    if (known) return known;
    const { root, clock } = this.#options;
    const folder = join(root, name);
    const createdAt = timestamp(clock.now());
    await mkdir(root, { recursive: true, mode: 0o711 });
    // Made aside: a volume is there with what it was made with, or not at all.
    const aside = join(root, `.${name}`);
    await rm(aside, { recursive: true, force: true });
    await mkdir(join(aside, '_data'), { recursive: true, mode: 0o755 });
    // On the disk before it has the name: after a loss of power its options would be gone, and the folder there.
    const about = JSON.stringify({ createdAt, labels, options });
    await writeFile(join(aside, 'volume.json'), about, { flush: true });
    await rename(aside, folder);
    this.#say(name, 'create');
    return { name, labels, options, createdAt, mountpoint: this.path(name) };
  }

  /** True when that was the last one. */
  #letGo(name: string, holder: ContainerId): boolean {
    const holders = this.#holders.get(name);
    if (!holders?.delete(holder) || holders.size > 0) return false;
    return this.#holders.delete(name);
  }

  async #mount(info: VolumeInfo): Promise<void> {
    const wanted = mountOf(info);
    if (!wanted || (await this.#isMounted(info.name))) return;
    try {
      const host = hostToResolve(wanted);
      const mount = host === undefined ? wanted : withAddress(wanted, (await lookup(host)).address);
      await this.#options.run(mountCommand(mount, info.mountpoint), { timeoutMs: 60_000 });
    } catch (cause) {
      throw new SkeinError(
        'internal',
        `error while mounting volume '${info.mountpoint}': failed to mount local volume: ${SkeinError.from(cause).message}`,
        { cause },
      );
    }
  }

  async #unmount(name: string): Promise<void> {
    while (await this.#isMounted(name)) await this.#options.run(['umount', '--', this.path(name)]);
  }

  /** A file system that cannot be let go of costs nobody his container; the next holder finds it mounted. */
  async #unmountQuietly(name: string): Promise<void> {
    await this.#unmount(name).catch((error: unknown) =>
      this.#options.log.warn('volume stays mounted', { volume: name, err: error }),
    );
  }

  async #isMounted(name: string): Promise<boolean> {
    const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
    return lines.some((line) => line.split(' ')[MOUNT_POINT] === this.path(name));
  }

  #say(name: string, action: string, more: Readonly<Record<string, string>> = {}): void {
    const attributes = { driver: 'local', ...more };
    this.#options.tell({ type: 'volume', action, id: name, attributes, scope: 'local' });
  }
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8'));
  } catch {
    return undefined; // of a volume that something else made
  }
}
