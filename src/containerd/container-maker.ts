/**
 * Makes containers: the record in containerd with its OCI spec, the root file system, the volumes, and the process that
 * waits to be started. What is there already is read by ContainerReader, and what ends by ContainerEnds.
 *
 * INVARIANT: the record comes first, so that whatever is left half made is in `list`, and `remove` clears all of it.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Clock, timestamp } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import type { RunProcess } from '../kit/process.ts';
import { Remembered } from '../kit/remembered.ts';
import { isCode, SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import { type ContainerdApi, SNAPSHOTTER, unless } from './api.ts';
import type { ContainerEnds } from './container-ends.ts';
import type { ContainerFiles } from './container-files.ts';
import type { ContainerOutput } from './container-output.ts';
import type { ContainerReader } from './container-reader.ts';
import { newContainer, ociError, record, startFailure, streamsOf } from './container-record.ts';
import type { ContainerRoots } from './container-roots.ts';
import type { ContainerTasks } from './container-tasks.ts';
import type { Mount } from './gen/types_pb.js';
import { readUsers } from './image-users.ts';
import type { Images } from './images.ts';
import { fillVolume, planMounts, type PlannedMount, type ReadyMounts, readyMounts } from './mounts.ts';
import { type HostLimits, ociSpec } from './oci-spec.ts';
import type { ContainerConfig, ContainerInfo, LocalImage, Making } from './runtime.ts';
import type { UserDatabase } from './user.ts';
import type { LocalVolumes } from './volumes.ts';

export interface ContainerMakerOptions {
  readonly api: ContainerdApi;
  readonly images: Images;
  readonly volumes: LocalVolumes;
  readonly files: ContainerFiles;
  readonly reader: ContainerReader;
  readonly tasks: ContainerTasks;
  readonly output: ContainerOutput;
  readonly ends: ContainerEnds;
  readonly roots: ContainerRoots;
  readonly run: RunProcess;
  readonly host: HostLimits;
  readonly cgroupParent: string;
  readonly clock: Clock;
  readonly log: Log;
  /** A text that no other call gives. */
  readonly unique: () => string;
  readonly made: (info: ContainerInfo) => void;
  readonly remove: (id: ContainerId) => Promise<void>;
}

/** Databases of users; one is a few KB, 2 MiB at most. */
const USERS = 100;

export class ContainerMaker {
  readonly #options: ContainerMakerOptions;
  /** By snapshot of the image. */
  readonly #users = new Remembered<string, UserDatabase>(USERS);

  constructor(options: ContainerMakerOptions) {
    this.#options = options;
  }

  /** See ContainerRuntime. */
  async create(config: ContainerConfig, making: Making): Promise<ContainerInfo> {
    const { images, log, made, remove } = this.#options;
    const { id } = config;
    const image = making.image ?? (await images.local(config.image));
    if (!image) throw new SkeinError('not-found', `No such image: ${config.image}`);
    const plan = this.#planMounts(config, image);
    const ready = await this.#readyMounts(id, plan);
    const info = await this.#record(config, image, plan, ready);
    try {
      await this.#fill(config, image, ready, making);
    } catch (error) {
      await remove(id).catch((cause: unknown) =>
        log.warn('half-made container stays until it is removed', { 'container.id': id, err: cause }),
      );
      throw ociError(error, 'failed to create task for container');
    }
    made(info);
    return info;
  }

  async #record(
    config: ContainerConfig,
    image: LocalImage,
    plan: readonly PlannedMount[],
    { mounts }: Pick<ReadyMounts, 'mounts'>,
  ): Promise<ContainerInfo> {
    const { api, cgroupParent, files, host, tasks, volumes } = this.#options;
    try {
      const users = await this.#usersOf(image);
      const spec = ociSpec({ config, image: image.config, users, mounts, cgroupParent, host });
      await files.create(config.id, streamsOf(config));
      const points = plan.map(({ point }) => point);
      const { container } = await api.containers.create({
        container: record(config, spec, image, points, tasks.runcOptions()),
      });
      return newContainer(config, points, container);
    } catch (error) {
      if (!isCode(error, 'already-exists')) await volumes.release(config.id); // else they are held by the one that is there
      throw error;
    }
  }

  /** All that a recorded container consists of. */
  async #fill(
    config: ContainerConfig,
    image: LocalImage,
    ready: ReadyMounts,
    { namespace, surroundings }: Making,
  ): Promise<void> {
    const { output, volumes } = this.#options;
    const [root] = await together(this.#prepareRoot(config.id, image), afterwards(namespace));
    const isFirst = setsNetwork(config);
    if (isFirst) await surroundings?.();
    if (config.restartable) await volumes.release(config.id);
    else
      await together(this.#createTask(config, root, ready), afterwards(isFirst ? undefined : surroundings));
    await output.start(config);
  }

  /** A new one, be there what is left of a container of this id that was half removed. */
  async #prepareRoot(id: ContainerId, image: LocalImage): Promise<Mount[]> {
    const { snapshots } = this.#options.api;
    const snapshot = { snapshotter: SNAPSHOTTER, key: id };
    const prepare = () => snapshots.prepare({ ...snapshot, parent: image.snapshot ?? '' });
    const made = await unless('already-exists', prepare());
    if (made) return made.mounts;
    await snapshots.remove(snapshot);
    return (await prepare()).mounts;
  }

  async #createTask(
    config: ContainerConfig,
    root: Mount[],
    { fill, points }: Pick<ReadyMounts, 'fill' | 'points'>,
  ): Promise<void> {
    const { files, run, tasks, volumes } = this.#options;
    const { id } = config;
    await tasks.create(config, root, files.folder(id));
    volumes.use(id, points);
    for (const one of fill) await fillVolume(run, tasks.rootfs(id), one);
  }

  /** The process of a restartable container that does not run. */
  async createProcess(id: ContainerId): Promise<void> {
    const { ends, reader, roots } = this.#options;
    const info = await reader.get(id);
    if (!info?.config.restartable) throw new SkeinError('not-found', `No such container: ${id}`);
    await ends.settled(id);
    await roots.alone(id, () => this.#createNext(info));
  }

  async #createNext({ id, imageId, config }: ContainerInfo): Promise<void> {
    const { api, clock, files, images, output, volumes } = this.#options;
    const before = { start: await files.lastStart(id), exit: await files.exit(id) };
    await files.setStarted(id, timestamp(clock.now()));
    try {
      const image = await images.local(imageId);
      const { mounts } = await api.snapshots.mounts({ snapshotter: SNAPSHOTTER, key: id });
      await this.#createTask(config, mounts, await this.#readyMounts(id, this.#planMounts(config, image)));
      files.setMade(id);
      await output.stop(id); // of the life before; two would record everything twice
      await output.start(config);
    } catch (error) {
      await volumes.release(id);
      const words = ociError(error, 'failed to create task for container');
      await files.setNotStarted(id, before, startFailure(words));
      throw words;
    }
  }

  #planMounts({ id, spec }: ContainerConfig, image: LocalImage | undefined): readonly PlannedMount[] {
    const declared = Object.keys(image?.config['Volumes'] ?? {});
    return planMounts(id, spec.Mounts ?? [], declared, (name) => this.#options.volumes.path(name));
  }

  async #readyMounts(id: ContainerId, plan: readonly PlannedMount[]): Promise<ReadyMounts> {
    try {
      return await readyMounts(id, plan, this.#options.volumes);
    } catch (error) {
      await this.#options.volumes.release(id);
      throw error;
    }
  }

  async #usersOf(image: LocalImage): Promise<UserDatabase> {
    if (image.snapshot === undefined) return { passwd: '', group: '' };
    const { api, clock, unique } = this.#options;
    const known = this.#users.get(image.snapshot);
    if (known) return known;
    const id = `skein-users-${unique()}`;
    const users = await api.leased(id, clock.now(), (call) => readUsers(api, image.snapshot!, id, call));
    this.#users.set(image.snapshot, users);
    return users;
  }
}

/** Its process is made with settings of its own for the network, of links too, which hold over those that the node makes. */
const setsNetwork = ({ spec }: ContainerConfig): boolean =>
  Object.keys(spec.Sysctls ?? {}).some((key) => /^net[./]/.test(key));

/** Work that may hold this process a while: what is asked of containerd before it is on its way first. */
const afterwards = async (work: (() => Promise<void>) | undefined): Promise<void> => {
  await nextTurn();
  await work?.();
};

/** Both to their ends, whatever becomes of one: what is undone after a failure must not be made any more. */
async function together<T extends readonly Promise<unknown>[]>(...works: T) {
  for (const result of await Promise.allSettled(works)) if (result.status === 'rejected') throw result.reason;
  return Promise.all(works);
}
