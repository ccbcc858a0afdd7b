/** A VolumeStore in memory: the local driver's rules, nothing on disk. */
import { type Clock, timestamp } from '../kit/clock.ts';
import { SkeinError } from '../model/errors.ts';
import { type PlannedMount, volumeSpec } from './mounts.ts';
import type { ContainerInfo, VolumeInfo, VolumeSpec, VolumeStore } from './runtime.ts';
import { checkVolume } from './volume-plan.ts';

export class FakeVolumes implements VolumeStore {
  readonly #clock: Clock;
  readonly #containers: () => readonly ContainerInfo[];
  readonly #volumes = new Map<string, VolumeInfo>();
  /** Bytes in them, where a test says so. */
  readonly sizes = new Map<string, number>();

  constructor(clock: Clock, containers: () => readonly ContainerInfo[]) {
    this.#clock = clock;
    this.#containers = containers;
  }

  async list(): Promise<readonly VolumeInfo[]> {
    return [...this.#volumes.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async get(name: string): Promise<VolumeInfo | undefined> {
    return this.#volumes.get(name);
  }

  async create(spec: VolumeSpec): Promise<VolumeInfo> {
    return this.#make(spec);
  }

  async remove(name: string): Promise<void> {
    if (!this.#volumes.has(name)) throw new SkeinError('not-found', `get ${name}: no such volume`);
    const users = this.#containers().filter(({ mounts }) => mounts.some((mount) => mount.name === name));
    if (users.length > 0)
      throw new SkeinError(
        'failed-precondition',
        `remove ${name}: volume is in use - [${users.map(({ id }) => id).join(', ')}]`,
      );
    this.#volumes.delete(name);
  }

  async size(name: string): Promise<number> {
    return this.sizes.get(name) ?? 0;
  }

  path(name: string): string {
    return `/var/lib/skein/volumes/${name}/_data`;
  }

  /** What a container refers to is made with it. */
  ready({ spec, point }: PlannedMount): void {
    if (point.name) this.#make(volumeSpec(spec, point));
  }

  #make(spec: VolumeSpec): VolumeInfo {
    checkVolume(spec);
    const { name } = spec;
    const known = this.#volumes.get(name);
    if (known) return known;
    const made = { ...spec, createdAt: timestamp(this.#clock.now()), mountpoint: this.path(name) };
    this.#volumes.set(name, made);
    return made;
  }
}
