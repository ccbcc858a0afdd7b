/**
 * A container's folder on this node, `<dataRoot>/containers/<id>`: its output and how it ended.
 * containerd forgets how a task ended when the task is deleted, and a task is deleted as soon as it has ended, so that
 * the containers kept for their logs hold no shim; hence `exit.json`, written before.
 *
 * Neither that nor `started.json` waits for the disk, which would cost a start more than all else that is written here. So
 * a loss of power may leave an empty file, or none, of what was said in the half minute before. That there is a
 * `started.json` says enough: it was started when that was written. Without its end it counts as one that ran when the
 * power went, with exit code 255: the end of a task has been told to the managers, and a user's container whose policy asks
 * for it runs once more.
 */
import { closeSync, existsSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { timestamp } from '../kit/clock.ts';
import type { StreamName } from './log-record.ts';
import type { ContainerId } from '../model/ids.ts';

const exitSchema = z.object({ exitCode: z.number().int(), exitedAt: z.string() });
const startSchema = z.object({
  /** Absent: it never ran. */
  startedAt: z.string().optional(),
  /** Its last start came to nothing. */
  failure: z.object({ error: z.string(), exitCode: z.number().int() }).optional(),
});
export type Exit = z.infer<typeof exitSchema>;
export type Start = z.infer<typeof startSchema>;

const OOM_KILLED = 'oom-killed';
const ID = /^[0-9a-f]{64}$/;

export class ContainerFiles {
  readonly #root: string;
  readonly #exits = new Map<ContainerId, Exit>();
  /** Their last end is forgotten, their next process not made yet. */
  readonly #starting = new Set<ContainerId>();

  constructor(root: string) {
    this.#root = root;
  }

  folder(id: ContainerId): string {
    return join(this.#root, id);
  }

  /** The folder with an empty file a stream: the shim appends, and must find them. */
  async create(id: ContainerId, streams: readonly StreamName[]): Promise<void> {
    const folder = this.folder(id);
    // Not through the thread pool: on the way of every start, each trip there costs more than what it does.
    mkdirSync(folder, { recursive: true, mode: 0o750 });
    for (const stream of streams) closeSync(openSync(join(folder, stream), 'a', 0o640));
  }

  async exit(id: ContainerId): Promise<Exit | undefined> {
    const known = this.#exits.get(id);
    if (known) return known;
    const exit = exitSchema.safeParse(await this.#read(id, 'exit.json')).data;
    if (exit) this.#exits.set(id, exit);
    return exit;
  }

  /** The first word counts: a later one is of the shim's clean-up, not of the container. */
  async setExit(id: ContainerId, exit: Exit): Promise<void> {
    if (await this.exit(id)) return;
    await this.#write(id, 'exit.json', exit);
    this.#exits.set(id, exit);
  }

  setOomKilled(id: ContainerId): void {
    writeFileSync(join(this.folder(id), OOM_KILLED), '');
  }

  isOomKilled(id: ContainerId): boolean {
    return existsSync(join(this.folder(id), OOM_KILLED));
  }

  /** It is to run again: what is said of its last end is forgotten. */
  async setStarted(id: ContainerId, startedAt: string): Promise<void> {
    this.#starting.add(id);
    try {
      await this.#write(id, 'started.json', { startedAt });
      for (const name of ['exit.json', OOM_KILLED]) await rm(join(this.folder(id), name), { force: true });
      this.#exits.delete(id);
    } catch (error) {
      this.#starting.delete(id);
      throw error;
    }
  }

  /** It has its next process, whose end is heard of. */
  setMade(id: ContainerId): void {
    this.#starting.delete(id);
  }

  isStarting(id: ContainerId): boolean {
    return this.#starting.has(id);
  }

  /** It did not come to run: what was said of it before holds again, but for the reason and the exit code of this. */
  async setNotStarted(
    id: ContainerId,
    before: { readonly start: Start; readonly exit: Exit | undefined },
    failure: NonNullable<Start['failure']>,
  ): Promise<void> {
    try {
      if (before.exit) await this.setExit(id, { ...before.exit, exitCode: failure.exitCode });
      await this.#write(id, 'started.json', { startedAt: before.start.startedAt, failure });
    } finally {
      this.#starting.delete(id);
    }
  }

  /** Of its last start, or of none. */
  async lastStart(id: ContainerId): Promise<Start> {
    const start = startSchema.safeParse(await this.#read(id, 'started.json')).data;
    return start ?? { startedAt: await this.#writtenAt(id, 'started.json') };
  }

  async list(): Promise<ContainerId[]> {
    const names = await readdir(this.#root).catch(() => [] as string[]);
    return names.filter((name) => ID.test(name)) as ContainerId[];
  }

  async remove(id: ContainerId): Promise<void> {
    this.#exits.delete(id);
    this.#starting.delete(id);
    await rm(this.folder(id), { recursive: true, force: true });
  }

  async #read(id: ContainerId, name: string): Promise<unknown> {
    try {
      return JSON.parse(await readFile(join(this.folder(id), name), 'utf8'));
    } catch {
      return undefined;
    }
  }

  /** Undefined: it was not. */
  async #writtenAt(id: ContainerId, name: string): Promise<string | undefined> {
    const found = await stat(join(this.folder(id), name)).catch(() => undefined);
    return found && timestamp(found.mtimeMs);
  }

  async #write(id: ContainerId, name: string, value: unknown): Promise<void> {
    const path = join(this.folder(id), name);
    await writeFile(`${path}.new`, JSON.stringify(value));
    await rename(`${path}.new`, path);
  }
}
