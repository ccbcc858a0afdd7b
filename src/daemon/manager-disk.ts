/**
 * What a node has on its disk because it is a manager: its etcd member with the data, that member's certificate, the
 * key that opens secrets. A worker has nothing of it.
 *
 * INVARIANT: `clear` leaves nothing that would open the cluster's state to a former manager; it may be killed anywhere
 * and done again, and until it is through, `present` says so.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { NodeId } from '../model/ids.ts';
import { issueEtcdPeer, type KeyAndCertificate } from '../manager/ca/authority.ts';
import { EtcdMember } from '../store/etcd/member.ts';
import type { Folders } from './folders.ts';
import { managerPlace } from './manager-place.ts';
import type { Membership } from './membership-file.ts';
import type { Tools } from './tools.ts';

export interface ManagerDiskOptions {
  readonly folders: Folders;
  readonly membership: Membership;
  readonly nodeId: NodeId;
  readonly tools: Tools;
}

export class ManagerDisk {
  /** Runs detached: it and its data outlive this process. */
  readonly member: EtcdMember;
  readonly #options: ManagerDiskOptions;

  constructor(options: ManagerDiskOptions) {
    this.#options = options;
    const { folders, membership, nodeId, tools } = options;
    this.member = new EtcdMember({
      dir: folders.etcd,
      name: nodeId,
      peerUrl: managerPlace(nodeId, membership).etcdPeerUrl,
      tls: folders.etcdTls,
      clock: tools.clock,
      log: tools.log.with({ part: 'manager' }),
    });
  }

  get present(): boolean {
    return this.member.hasData || this.#keys.some((file) => existsSync(file));
  }

  secretsKey(): string {
    return readFileSync(this.#options.folders.secretsKey, 'utf8');
  }

  writeSecretsKey(key: string): void {
    const { folders } = this.#options;
    mkdirSync(folders.cluster, { recursive: true, mode: 0o700 });
    writeFileSync(folders.secretsKey, key, { mode: 0o600, flush: true });
  }

  /** A certificate for etcd's peers, by their own root. */
  async writePeerTls(root: KeyAndCertificate): Promise<void> {
    const { folders, membership, nodeId, tools } = this.#options;
    const { caFile, certFile, keyFile } = folders.etcdTls;
    const member = { name: nodeId, addresses: [membership.advertiseAddr] };
    const deps = { now: () => tools.clock.now(), random: tools.random };
    const { key, certificate } = await issueEtcdPeer(root, member, deps);
    mkdirSync(folders.cluster, { recursive: true, mode: 0o700 });
    for (const [file, content] of [
      [caFile, root.certificate],
      [certFile, certificate],
      [keyFile, key],
    ] as const) {
      writeFileSync(file, content, { mode: 0o600 });
      chmodSync(file, 0o600);
    }
  }

  /** Stops etcd and removes its data, then the keys. */
  async clear(): Promise<void> {
    await this.member.wipe();
    for (const file of this.#keys) rmSync(file, { force: true });
  }

  /** Closes the own connection; etcd runs on. */
  close(): void {
    this.member.close();
  }

  get #keys(): readonly string[] {
    const { secretsKey, etcdTls } = this.#options.folders;
    return [secretsKey, ...Object.values(etcdTls)];
  }
}
