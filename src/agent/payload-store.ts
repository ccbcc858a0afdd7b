/**
 * The files of secrets and configs on this node: one tmpfs below the run root that only root may enter, a folder for
 * each container in it, bound into the container file by file. So no secret touches a disk, and what a container has
 * goes when its task has ended; the tmpfs goes when the node leaves its cluster.
 */
import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RunProcess } from '../kit/process.ts';
import type { ContainerId } from '../model/ids.ts';
import type { PayloadFile } from './payloads.ts';

export class PayloadStore {
  readonly #root: string;
  readonly #run: RunProcess;
  /** INVARIANT: mounted once. A second mount would cover what was written into the first. */
  #mounting: Promise<void> | undefined;

  constructor(runRoot: string, run: RunProcess) {
    this.#root = join(runRoot, 'secrets');
    this.#run = run;
  }

  /** Paths on this node by target path. Repeated, it writes the same again. */
  async write(id: ContainerId, files: readonly PayloadFile[]): Promise<Record<string, string>> {
    if (files.length === 0) return {};
    await this.#mount();
    const folder = join(this.#root, id);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const paths: Record<string, string> = {};
    for (const [index, { target, content, mode, uid, gid }] of files.entries()) {
      const path = (paths[target] = join(folder, String(index)));
      await writeFile(path, content, { mode: 0o600 });
      await chown(path, uid, gid);
      await chmod(path, mode & 0o777);
    }
    return paths;
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

  async clear(): Promise<void> {
    while (await this.#isMounted()) await this.#run(['umount', '--', this.#root]);
    await rm(this.#root, { recursive: true, force: true });
  }

  #mount(): Promise<void> {
    return (this.#mounting ??= this.#mountOnce().finally(() => (this.#mounting = undefined)));
  }

  async #mountOnce(): Promise<void> {
    if (await this.#isMounted()) return;
    await mkdir(this.#root, { recursive: true, mode: 0o700 });
    await this.#run([
      'mount',
      '-t',
      'tmpfs',
      '-o',
      'mode=0700,nosuid,nodev,noexec',
      'skein-secrets',
      this.#root,
    ]);
  }

  async #isMounted(): Promise<boolean> {
    const table = await readFile('/proc/self/mountinfo', 'utf8');
    return table.split('\n').some((line) => line.split(' ')[4] === this.#root);
  }
}
