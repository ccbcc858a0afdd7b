/** The readers of the containers' output: one a container with a process, and never two, which would record all twice. */
import type { Clock } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import type { ContainerId } from '../model/ids.ts';
import { DEFAULT_LOG_POLICY, type FilesPolicy, logPolicy } from '../model/log-driver.ts';
import type { ContainerFiles } from './container-files.ts';
import { streamsOf } from './container-record.ts';
import { punchHole } from './punch-hole.ts';
import type { ContainerConfig } from './runtime.ts';
import { Tailer } from './tailer.ts';

export interface ContainerOutputOptions {
  readonly files: ContainerFiles;
  readonly clock: Clock;
  readonly log: Log;
}

/** Where no log is kept, for those who are attached to it. */
const ATTACHED: FilesPolicy = { ...DEFAULT_LOG_POLICY, maxFileBytes: 1_000_000, maxFiles: 2 };

export class ContainerOutput {
  readonly #options: ContainerOutputOptions;
  readonly #tailers = new Map<ContainerId, Promise<Tailer>>();

  constructor(options: ContainerOutputOptions) {
    this.#options = options;
  }

  /** Reads from now on, from where the records end. */
  start(config: ContainerConfig): Promise<Tailer> {
    const { id } = config;
    const known = this.#tailers.get(id);
    if (known) return known;
    const { files, clock, log } = this.#options;
    const policy = logPolicy(config.logging);
    const cap = policy.kind === 'files' ? policy : ATTACHED;
    const tailer = new Tailer({
      folder: files.folder(id),
      streams: streamsOf(config),
      interactive: (config.spec.TTY ?? false) || (config.spec.OpenStdin ?? false),
      cap,
      maxBacklogBytes: cap.maxBacklogBytes,
      ...{ clock, log, punch: punchHole },
    });
    const started = tailer.start();
    this.#tailers.set(id, started);
    return started;
  }

  has(id: ContainerId): boolean {
    return this.#tailers.has(id);
  }

  /** Undefined where nothing reads; rejects where it could not. */
  of(id: ContainerId): Promise<Tailer | undefined> {
    return this.#tailers.get(id) ?? Promise.resolve(undefined);
  }

  async isOpen(id: ContainerId): Promise<boolean> {
    const tailer = await this.of(id).catch(() => undefined);
    return tailer !== undefined && !tailer.finished;
  }

  /** Reads the rest: its process has ended. */
  async finish(id: ContainerId): Promise<void> {
    await (await this.of(id).catch(() => undefined))?.finish();
  }

  async stop(id: ContainerId): Promise<void> {
    const tailer = this.#tailers.get(id);
    this.#tailers.delete(id);
    await (await tailer?.catch(() => undefined))?.stop();
  }

  async close(): Promise<void> {
    for (const id of [...this.#tailers.keys()]) await this.stop(id);
  }
}
