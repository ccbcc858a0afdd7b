/**
 * What is to be done when a container's process has ended, once for each end, whoever notices it first: the event, a
 * look after a broken stream of events, or the next start of skeind.
 */
import type { Log } from '../kit/log.ts';
import type { ContainerId } from '../model/ids.ts';
import type { ContainerFiles } from './container-files.ts';
import type { ContainerOutput } from './container-output.ts';
import { streamsOf } from './container-record.ts';
import type { ContainerTasks } from './container-tasks.ts';
import type { ContainerEvent, ContainerInfo } from './runtime.ts';
import type { LocalVolumes } from './volumes.ts';

export interface ContainerEndsOptions {
  readonly list: () => Promise<readonly ContainerInfo[]>;
  readonly events: (signal: AbortSignal) => AsyncIterable<ContainerEvent>;
  readonly files: ContainerFiles;
  readonly tasks: ContainerTasks;
  readonly output: ContainerOutput;
  readonly volumes: LocalVolumes;
  readonly log: Log;
}

export class ContainerEnds {
  readonly #options: ContainerEndsOptions;
  readonly #ending = new Map<ContainerId, Promise<void>>();
  readonly #stop = new AbortController();
  #watching: Promise<void> = Promise.resolve();

  constructor(options: ContainerEndsOptions) {
    this.#options = options;
  }

  /** Takes up the containers that there are: reads on in their output, finishes what ended in the meantime. */
  async adopt(): Promise<void> {
    const { list, volumes, log } = this.#options;
    const all = await list();
    await volumes.settle(all.filter(({ status }) => ['created', 'running', 'paused'].includes(status)));
    for (const info of all) {
      try {
        await this.#adoptOne(info);
      } catch (error) {
        // One damaged container must not keep the node from starting.
        log.error('container could not be adopted', { 'container.id': info.id, err: error });
      }
    }
  }

  watch(): void {
    this.#watching = this.#watch();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#watching;
    await Promise.allSettled(this.#ending.values());
  }

  /** Resolves when nothing is being done about an end of it. */
  async settled(id: ContainerId): Promise<void> {
    await this.#ending.get(id);
  }

  async #adoptOne(info: ContainerInfo): Promise<void> {
    const { files, output } = this.#options;
    await files.create(info.id, streamsOf(info.config));
    await output.start(info.config);
    if (info.status === 'stopped') await this.end(info.id, info);
    else if (info.status === 'unknown') await output.finish(info.id);
  }

  async #watch(): Promise<void> {
    const { events, tasks } = this.#options;
    for await (const event of events(this.#stop.signal)) {
      try {
        if (event.type === 'exit' && !tasks.isPast(event.id, event.pid))
          void this.end(event.id, { exitCode: event.exitCode, exitedAt: event.time });
        else if (event.type === 'oom') this.#oomKilled(event.id);
        else if (event.type === 'resync') await this.#missed();
      } catch (error) {
        if (!this.#stop.signal.aborted)
          this.#options.log.warn('event of a container was not dealt with', { err: error });
      }
    }
  }

  #oomKilled(id: ContainerId): void {
    const { files, output } = this.#options;
    if (output.has(id)) files.setOomKilled(id); // else it is being removed
  }

  /** What ended while nobody listened. */
  async #missed(): Promise<void> {
    const { list, output } = this.#options;
    for (const info of await list()) {
      if (!(await output.isOpen(info.id))) continue;
      if (info.status === 'stopped') void this.end(info.id, info);
      else if (info.status === 'unknown') void output.finish(info.id);
    }
  }

  /** Keeps how it ended, lets its shim go (which first writes out the rest of the output), reads that rest. */
  end(id: ContainerId, exit: { exitCode: number; exitedAt: string | undefined }): Promise<void> {
    const running = this.#ending.get(id);
    if (running) return running;
    const work = this.#endOnce(id, { exitCode: exit.exitCode, exitedAt: exit.exitedAt ?? '' })
      .catch((error: unknown) => {
        if (!this.#stop.signal.aborted)
          this.#options.log.warn('end of a container was not recorded', { 'container.id': id, err: error });
      })
      .finally(() => this.#ending.delete(id));
    this.#ending.set(id, work);
    return work;
  }

  async #endOnce(id: ContainerId, exit: { exitCode: number; exitedAt: string }): Promise<void> {
    const { files, tasks, output, volumes } = this.#options;
    if (!output.has(id)) return; // being removed, or none of ours
    await files.setExit(id, exit);
    await tasks.delete(id);
    await output.finish(id);
    await volumes.release(id);
  }
}
