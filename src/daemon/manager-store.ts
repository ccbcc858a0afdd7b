/** This manager's part of the replicated store: how it comes to it, how others come, how it goes. */
import type { ClusterCa } from '../model/objects.ts';
import { newSecretsKey, Sealer } from '../manager/secrets/sealer.ts';
import { draftOf } from '../manager/step.ts';
import type { ManagerJoinAnswer } from '../rpc/methods.ts';
import { EtcdClient } from '../store/etcd/client.ts';
import { EtcdMembership } from '../store/etcd/membership.ts';
import { EtcdStore } from '../store/etcd/store.ts';
import type { Op } from '../store/store.ts';
import type { ManagerDisk } from './manager-disk.ts';
import type { Tools } from './tools.ts';

/** How a manager comes to its store. */
export type Origin =
  /** The first of a new cluster: `objects` are its first transaction. */
  | { readonly kind: 'init'; readonly ca: ClusterCa; readonly objects: readonly Op[] }
  /** Let in by another manager. */
  | { readonly kind: 'join'; readonly answer: ManagerJoinAnswer }
  /** It was one before. */
  | { readonly kind: 'restart' }
  /** It was one before, and its quorum is lost for good. */
  | { readonly kind: 'alone' };

const REMOVE_MS = 15_000;

export class ManagerStore {
  readonly client: EtcdClient;
  readonly peers: EtcdMembership;
  readonly store: EtcdStore;
  /** Opens the secrets once the store was opened. */
  readonly sealer: Sealer;
  readonly #disk: ManagerDisk;
  readonly #tools: Tools;

  constructor(disk: ManagerDisk, tools: Tools) {
    this.#disk = disk;
    this.#tools = tools;
    const { clock, random, log } = tools;
    const client = (this.client = new EtcdClient(disk.member.target));
    this.peers = new EtcdMembership({ client, clock, log });
    this.store = new EtcdStore({ client, clock, log });
    this.sealer = new Sealer(random);
  }

  async open(origin: Origin): Promise<void> {
    const { member } = this.#disk;
    switch (origin.kind) {
      case 'init':
        await this.#disk.writePeerTls({ certificate: origin.ca.etcdCertificate, key: origin.ca.etcdKey });
        this.#keep(newSecretsKey(this.#tools.random));
        await member.startSingle();
        await this.store.transact(origin.objects);
        return;
      case 'join':
        await this.#disk.writePeerTls({ certificate: origin.answer.etcdCa, key: origin.answer.etcdKey });
        this.#keep(origin.answer.secretsKey);
        return member.join(origin.answer.initialCluster.filter((m) => m.peerUrl !== member.peerUrl));
      case 'restart':
        this.sealer.unlock(this.#disk.secretsKey());
        return member.start();
      case 'alone':
        this.sealer.unlock(this.#disk.secretsKey());
        await member.forceNewCluster();
        return this.#unregisterOthers();
    }
  }

  /** They have no member any more. One that comes back is let in as a new one; killed before, this is asked for again. */
  async #unregisterOthers(): Promise<void> {
    const { objects } = await this.store.snapshot();
    const { peerUrl } = this.#disk.member;
    const ops = objects.flatMap(({ kind, object }): Op[] => {
      if (kind !== 'node' || !object.manager || object.manager.etcdPeerUrl === peerUrl) return [];
      const unregistered = { ...draftOf<'node'>(object), manager: undefined };
      return [{ op: 'update', kind, object: unregistered, version: object.version }];
    });
    if (ops.length > 0) await this.store.transact(ops);
  }

  /** Quick election timers go before a second member comes; the joiner starts when it has our answer. */
  async addMember(
    { name, peerUrl }: { readonly name: string; readonly peerUrl: string },
    signal: AbortSignal,
  ): Promise<ManagerJoinAnswer['initialCluster']> {
    await this.#disk.member.setTiming('peers');
    const added = await this.peers.addLearner(peerUrl, signal);
    const members = await this.peers.list();
    return members.map((m) => ({ name: m.id === added.id ? name : m.name, peerUrl: m.peerUrl }));
  }

  /** Lets go; etcd runs on. */
  async close(): Promise<void> {
    await this.store.close();
    this.client.close();
  }

  #keep(secretsKey: string): void {
    this.#disk.writeSecretsKey(secretsKey);
    this.sealer.unlock(secretsKey);
  }
}

/** The other members go on without this one, which may have no manager's half running any more. */
export async function leaveStore({ member }: ManagerDisk, { clock, log }: Tools): Promise<void> {
  const client = new EtcdClient(member.target);
  try {
    const peers = new EtcdMembership({ client, clock, log });
    const members = await peers.list().catch(() => []);
    const self = members.find((m) => m.peerUrl === member.peerUrl);
    if (self && members.length > 1) await peers.remove(self.id, AbortSignal.timeout(REMOVE_MS));
  } catch (error) {
    log.warn('the other managers could not be told; demote and remove this node there', { err: error });
  } finally {
    client.close();
  }
}
