/** What containers there are and how they are: containerd's records, its tasks, and what the folders say of their ends. */
import type { ContainerId } from '../model/ids.ts';
import { type ContainerdApi, unless } from './api.ts';
import type { ContainerFiles, Start } from './container-files.ts';
import { exitOf, isoTime, lostExit, readRecord, statusOf } from './container-record.ts';
import type { Container } from './gen/containers_pb.js';
import type { Process } from './gen/task-types_pb.js';
import type { ImageUser } from './image-removal.ts';
import type { ContainerInfo } from './runtime.ts';

export class ContainerReader {
  readonly #api: ContainerdApi;
  readonly #files: ContainerFiles;

  constructor(api: ContainerdApi, files: ContainerFiles) {
    this.#api = api;
    this.#files = files;
  }

  async list(): Promise<readonly ContainerInfo[]> {
    const containers = await this.#records();
    const { tasks } = await this.#api.tasks.list({});
    const byId = new Map(tasks.map((task) => [task.id, task]));
    const infos = await Promise.all(containers.map((c) => this.#info(c, byId.get(c.id))));
    return infos.filter((info) => info !== undefined);
  }

  async get(id: ContainerId): Promise<ContainerInfo | undefined> {
    const container = await this.record(id);
    if (!container) return undefined;
    return this.#info(container, await this.#task(id));
  }

  async record(id: ContainerId): Promise<Container | undefined> {
    return (await unless('not-found', this.#api.containers.get({ id })))?.container;
  }

  async imageUsers(): Promise<ImageUser[]> {
    return (await this.list()).map(({ id, imageId, status }) => ({
      ...{ containerId: id, imageId },
      running: status === 'running' || status === 'paused',
    }));
  }

  async #task(id: ContainerId): Promise<Process | undefined> {
    return (await unless('not-found', this.#api.tasks.get({ containerId: id })))?.process;
  }

  async #records(): Promise<Container[]> {
    const containers: Container[] = [];
    for await (const { container } of this.#api.containers.listStream({}, { timeoutMs: 60_000 }))
      if (container) containers.push(container);
    return containers;
  }

  async #info(
    container: Container,
    task: Process | undefined,
    again = false,
  ): Promise<ContainerInfo | undefined> {
    const read = readRecord(container);
    if (!read) return undefined; // not ours
    const { config, mounts } = read;
    const { startedAt, failure }: Start = config.restartable ? await this.#files.lastStart(config.id) : {};
    const known = (await this.#files.exit(config.id)) ?? exitOf(task);
    const lost = known || this.#files.isStarting(config.id) ? undefined : lostExit(task, startedAt);
    // What was read of it may be of two moments, before a start and after it.
    if (lost && !again) return this.#info(container, await this.#task(config.id), true);
    const exit = known ?? lost;
    const created = config.restartable && !task;
    const status = exit ? 'stopped' : created ? 'created' : statusOf(task);
    return {
      id: config.id,
      name: config.name,
      image: config.image,
      imageId: container.image,
      labels: config.labels,
      createdAt: isoTime(container.createdAt),
      ...(startedAt !== undefined && { startedAt }),
      status,
      pid: status === 'running' || status === 'paused' ? task!.pid : 0,
      exitCode: exit?.exitCode ?? failure?.exitCode ?? 0,
      startError: failure?.error ?? '',
      exitedAt: exit?.exitedAt,
      oomKilled: this.#files.isOomKilled(config.id),
      config,
      mounts,
    };
  }
}
