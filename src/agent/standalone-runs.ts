/**
 * Which runs of a user's own container are wanted: what the user said last of it, kept on disk, and what follows from
 * that by its policy (restart-plan.ts). Called by `Standalone`, one call a container at a time; only a report may be
 * asked for whenever.
 */
import type { ContainerInfo, ContainerRuntime } from '../containerd/runtime.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import type { RestartPolicy } from '../model/standalone.ts';
import {
  afterOpening,
  planRestart,
  type Restart,
  type RestartReport,
  type Runs,
  STARTED,
  UNWANTED,
} from './restart-plan.ts';
import { specOf } from './standalone-networks.ts';
import type { TaskFiles } from './task-files.ts';

interface StandaloneRunsOptions {
  readonly runtime: Pick<ContainerRuntime, 'update'>;
  readonly files: Pick<TaskFiles, 'readRuns' | 'writeRuns'>;
}

export class StandaloneRuns {
  readonly #options: StandaloneRunsOptions;
  /** Not looked at since this was opened. */
  readonly #unseen: Set<ContainerId>;

  constructor(options: StandaloneRunsOptions, known: readonly ContainerId[]) {
    this.#options = options;
    this.#unseen = new Set(known);
  }

  /** What a start of skeind brings back is wanted from the first look on. */
  async look(info: ContainerInfo): Promise<void> {
    if (!this.#unseen.delete(info.id)) return;
    const runs = await this.#read(info.id);
    const now = afterOpening(specOf(info).restart, runs);
    if (now !== runs) await this.#options.files.writeRuns(info.id, now);
  }

  /** A user starts it. */
  start(id: ContainerId): Promise<void> {
    return this.#options.files.writeRuns(id, STARTED);
  }

  /** It did not start. */
  startFailed(id: ContainerId): Promise<void> {
    return this.#options.files.writeRuns(id, UNWANTED);
  }

  /** A user ends it: it is not started again by itself. */
  async end(id: ContainerId): Promise<void> {
    this.#unseen.delete(id);
    const runs = await this.#read(id);
    if (runs.wanted) await this.#options.files.writeRuns(id, { ...runs, wanted: false });
  }

  /** The start by itself that it is to have next; undefined: none. */
  async next(info: ContainerInfo): Promise<Restart | undefined> {
    return planRestart(specOf(info).restart, await this.#read(info.id), info);
  }

  /** That start is under way. */
  startAgain(id: ContainerId, { runs }: Restart): Promise<void> {
    return this.#options.files.writeRuns(id, runs);
  }

  async setPolicy(info: ContainerInfo, restart: RestartPolicy): Promise<void> {
    const { files, runtime } = this.#options;
    const spec = specOf(info);
    if (spec.autoRemove)
      throw new SkeinError(
        'invalid-argument',
        'Restart policy cannot be updated because AutoRemove is enabled for the container',
      );
    await this.look(info);
    const runs = await this.#read(info.id);
    // It holds from the next end on.
    if (info.status === 'stopped' && !planRestart(spec.restart, runs, info))
      await files.writeRuns(info.id, { ...runs, over: true });
    await runtime.update(info.id, { notes: { ...spec, restart } });
  }

  /** Undefined without a policy. */
  async report(info: ContainerInfo): Promise<RestartReport | undefined> {
    const policy = specOf(info).restart;
    if ((policy?.name ?? 'no') === 'no') return undefined;
    const runs = await this.#read(info.id);
    return { count: runs.restarts, waiting: planRestart(policy, runs, info) !== undefined };
  }

  forget(id: ContainerId): void {
    this.#unseen.delete(id);
  }

  async #read(id: ContainerId): Promise<Runs> {
    return (await this.#options.files.readRuns(id)) ?? UNWANTED;
  }
}
