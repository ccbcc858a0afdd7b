/**
 * What the agent keeps on disk of a container, under `<dataRoot>/tasks/<container id>/`: the files mounted into it,
 * the mark that it was started once, by which a reboot is told from a container that was never finished, what its health
 * checks showed, and of a user's own, whether it is wanted to run.
 */
import { closeSync, existsSync, fsync, mkdirSync, openSync, renameSync, writeFileSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import type { ContainerId } from '../model/ids.ts';
import type { Health } from './health-plan.ts';
import { type Runs, STARTED } from './restart-plan.ts';

const flush = promisify(fsync);
const flushed = (file: number): Promise<void> => flush(file).finally(() => closeSync(file));

const MARK = 'started';
const HEALTH = 'health.json';
const RUNS = 'runs.json';

/**
 * What is small and local is read and written synchronously inside: that takes tens of microseconds, its way through the
 * thread pool a hundred for each of its calls, and more where the processors are busy starting containers. Whoever asks
 * right before whether it is still to be written is never overtaken by the removal of the folder either.
 */
export class TaskFiles {
  readonly #root: string;

  constructor(dataRoot: string, folder: 'tasks' | 'standalone' = 'tasks') {
    this.#root = join(dataRoot, folder);
  }

  /** Writes `contents` (by target path); paths on this node by target path. */
  async write(id: ContainerId, contents: Readonly<Record<string, string>>): Promise<Record<string, string>> {
    const folder = join(this.#root, id);
    mkdirSync(folder, { recursive: true, mode: 0o755 });
    const paths: Record<string, string> = {};
    for (const [target, text] of Object.entries(contents)) {
      paths[target] = join(folder, basename(target));
      writeFileSync(paths[target], text, { mode: 0o644 });
    }
    return paths;
  }

  /** There for whoever asks from now on, a next process too; on disk when it resolves. */
  markStarted(id: ContainerId): Promise<void> {
    mkdirSync(join(this.#root, id), { recursive: true, mode: 0o755 });
    return flushed(openSync(join(this.#root, id, MARK), 'w', 0o644));
  }

  async isStarted(id: ContainerId): Promise<boolean> {
    return existsSync(join(this.#root, id, MARK));
  }

  /** Undefined before the first probe, and when the file does not read: probing begins anew then. */
  readHealth(id: ContainerId): Promise<Health | undefined> {
    return this.#read<Health>(id, HEALTH);
  }

  writeHealth(id: ContainerId, health: Health): Promise<void> {
    return this.#replace(id, HEALTH, health);
  }

  /** Of a run that is over. */
  async forgetHealth(id: ContainerId): Promise<void> {
    await rm(join(this.#root, id, HEALTH), { force: true });
  }

  /** Undefined before the first start. Of a file that a loss of power has emptied, a start was said last (`writeRuns`). */
  async readRuns(id: ContainerId): Promise<Runs | undefined> {
    const runs = await this.#read<Runs>(id, RUNS);
    return runs ?? (existsSync(join(this.#root, id, RUNS)) ? STARTED : undefined);
  }

  /** That it is wanted no more is on the disk when it resolves. A start does not wait for the disk. */
  writeRuns(id: ContainerId, runs: Runs): Promise<void> {
    return this.#replace(id, RUNS, runs, { onDisk: !runs.wanted });
  }

  async #read<T>(id: ContainerId, name: string): Promise<T | undefined> {
    try {
      return JSON.parse(await readFile(join(this.#root, id, name), 'utf8')) as T;
    } catch {
      return undefined;
    }
  }

  /** As a whole: a reader never sees half of it. */
  async #replace(id: ContainerId, name: string, value: object, { onDisk = false } = {}): Promise<void> {
    const folder = join(this.#root, id);
    const path = join(folder, name);
    const file = openSync(`${path}.new`, 'w', 0o644);
    try {
      writeFileSync(file, JSON.stringify(value));
      if (onDisk) await flush(file);
    } finally {
      closeSync(file);
    }
    renameSync(`${path}.new`, path);
    if (onDisk) await flushed(openSync(folder, 'r')); // that it has the name
  }

  async has(id: ContainerId): Promise<boolean> {
    return existsSync(join(this.#root, id));
  }

  async list(): Promise<readonly ContainerId[]> {
    return (await readdir(this.#root).catch(() => [] as string[])) as ContainerId[];
  }

  async remove(id: ContainerId): Promise<void> {
    await rm(join(this.#root, id), { recursive: true, force: true });
  }
}
