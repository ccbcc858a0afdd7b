/**
 * What this node was told when it became a member and needs again at each start: beside the identity, which says who
 * it is. Written by rename before anything of the membership runs, removed last when the node leaves, so a daemon
 * killed in between either finishes joining or is in no cluster.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { SkeinError } from '../model/errors.ts';
import type { Ipv4 } from '../model/ids.ts';

export interface Membership {
  /** `address:port` that a manager listens on. */
  readonly listenAddr: string;
  readonly advertiseAddr: Ipv4;
  /** Port of the control listener, as advertised. */
  readonly port: number;
  readonly dataPathAddr: Ipv4;
}

const FILE = z.strictObject({
  listenAddr: z.string(),
  advertiseAddr: z.ipv4(),
  port: z.number().int(),
  dataPathAddr: z.ipv4(),
}) as unknown as z.ZodType<Membership>;

export class MembershipFile {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  read(): Membership | undefined {
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    const parsed = FILE.safeParse(JSON.parse(text));
    if (!parsed.success)
      throw new SkeinError('internal', `${this.#path} is damaged: ${z.prettifyError(parsed.error)}`);
    return parsed.data;
  }

  write(membership: Membership): void {
    mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
    writeFileSync(`${this.#path}.new`, JSON.stringify(membership), { mode: 0o600, flush: true });
    renameSync(`${this.#path}.new`, this.#path);
  }

  remove(): void {
    rmSync(this.#path, { force: true });
  }
}
