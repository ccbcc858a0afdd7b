/**
 * A small file of this node's own (its identity, its membership), checked when it is read. It is replaced by rename, on
 * the disk before it takes the name: after a loss of power there is the old one or the new one. For its owner only.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { SkeinError } from '../model/errors.ts';

export class JsonFile<T> {
  readonly #path: string;
  readonly #schema: z.ZodType<T>;

  constructor(path: string, schema: z.ZodType<T>) {
    this.#path = path;
    this.#schema = schema;
  }

  /** Undefined: there is none. */
  read(): T | undefined {
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      throw SkeinError.from(error, `${this.#path} is damaged`);
    }
    const result = this.#schema.safeParse(value);
    if (result.success) return result.data;
    throw new SkeinError('internal', `${this.#path} is damaged: ${z.prettifyError(result.error)}`);
  }

  write(value: T): void {
    mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
    const fresh = `${this.#path}.new`;
    // What a daemon left that was killed here may have another mode.
    rmSync(fresh, { force: true });
    writeFileSync(fresh, JSON.stringify(value), { mode: 0o600, flag: 'wx', flush: true });
    renameSync(fresh, this.#path);
  }

  remove(): void {
    rmSync(this.#path, { force: true });
  }
}
