/** Real etcd members for the tests of this folder: scratch directories, peer certificates, free ports, clean up. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/kit/clock.ts';
import { silentLog } from '../../src/kit/log.ts';
import { EtcdClient } from '../../src/store/etcd/client.ts';
import { EtcdMember, type EtcdMemberOptions } from '../../src/store/etcd/member.ts';
import { freePort } from '../free-port.ts';

export class EtcdLab {
  readonly dir = mkdtempSync(join(tmpdir(), 'skein-store-'));
  readonly #members: EtcdMember[] = [];
  readonly #clients: EtcdClient[] = [];
  readonly #controllers: AbortController[] = [];

  member(options: Omit<EtcdMemberOptions, 'dir' | 'clock' | 'log'>): EtcdMember {
    const member = new EtcdMember({
      dir: join(this.dir, options.name),
      clock: systemClock,
      log: silentLog,
      ...options,
    });
    this.#members.push(member);
    return member;
  }

  async single(
    name = 'one',
    options: Pick<EtcdMemberOptions, 'hungMs' | 'quotaBytes'> = {},
  ): Promise<EtcdMember> {
    const member = this.member({ name, peerUrl: `http://127.0.0.1:${await freePort()}`, ...options });
    await member.startSingle();
    return member;
  }

  client(member: EtcdMember): EtcdClient {
    const client = new EtcdClient(member.target);
    this.#clients.push(client);
    return client;
  }

  /** Aborted with the lab at the latest: who supervises would start again what the lab stops. */
  controller(): AbortController {
    const controller = new AbortController();
    this.#controllers.push(controller);
    return controller;
  }

  async close(): Promise<void> {
    for (const controller of this.#controllers) controller.abort();
    for (const client of this.#clients) client.close();
    await Promise.all(this.#members.map((member) => member.stop()));
    for (const member of this.#members) member.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + 30_000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`not within 30 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
