/**
 * Members of the etcd cluster come and go by these calls, from any manager. etcd refuses changes for some seconds
 * after each other change ("unhealthy cluster", findings 3.2), and more than one learner at a time: both pass, so
 * each call is repeated until it is taken or its time is up. All are idempotent.
 */
import { type Clock, sleep } from '../../kit/clock.ts';
import type { Log } from '../../kit/log.ts';
import { SkeinError } from '../../model/errors.ts';
import type { EtcdClient } from './client.ts';
import type { Member } from './gen/rpc_pb.js';
import type { PeerAddress } from './member-plan.ts';

export interface EtcdPeer extends PeerAddress {
  readonly id: bigint;
  /** Receives the log but has no vote yet. */
  readonly learner: boolean;
}

export interface MembershipOptions {
  readonly client: EtcdClient;
  readonly clock: Clock;
  readonly log: Log;
}

const RETRY_MS = 250;
/** A member of three is taken after 5 s; a slow disk or a queue of joins takes more. */
const PATIENCE_MS = 60_000;
const PASSES =
  /unhealthy cluster|too many learner|not in sync|not ready|timed out|leader changed|no leader|re-?configuration/i;

export class EtcdMembership {
  readonly #client: EtcdClient;
  readonly #clock: Clock;
  readonly #log: Log;

  constructor(options: MembershipOptions) {
    this.#client = options.client;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  async list(): Promise<readonly EtcdPeer[]> {
    const { members } = await this.#client.cluster.memberList({});
    return members.map(peerOf);
  }

  /** Announces a member that will start at `peerUrl`; an announcement made before is found again. */
  async addLearner(peerUrl: string, signal?: AbortSignal): Promise<EtcdPeer> {
    return this.#retry('add', signal, async () => {
      const known = (await this.list()).find((peer) => peer.peerUrl === peerUrl);
      if (known) return known;
      const { member } = await this.#client.cluster.memberAdd({ peerURLs: [peerUrl], isLearner: true });
      return peerOf(member!);
    });
  }

  /** Gives a learner its vote, once it has caught up. */
  async promote(id: bigint, signal?: AbortSignal): Promise<void> {
    await this.#retry('promote', signal, async () => {
      const known = (await this.list()).find((peer) => peer.id === id);
      if (!known) throw new SkeinError('not-found', `etcd has no member ${id.toString(16)}`);
      if (known.learner) await this.#client.cluster.memberPromote({ ID: id });
    });
  }

  async remove(id: bigint, signal?: AbortSignal): Promise<void> {
    await this.#retry('remove', signal, async () => {
      const known = (await this.list()).some((peer) => peer.id === id);
      if (known) await this.#client.cluster.memberRemove({ ID: id });
    });
  }

  async #retry<T>(what: string, signal: AbortSignal | undefined, act: () => Promise<T>): Promise<T> {
    const end = this.#clock.monotonic() + PATIENCE_MS;
    for (;;) {
      try {
        return await act();
      } catch (error) {
        if (signal?.aborted || !passes(error) || this.#clock.monotonic() >= end) throw error;
        this.#log.debug('etcd does not take the membership change yet', { change: what, err: error });
        await sleep(this.#clock, RETRY_MS, signal);
      }
    }
  }
}

const passes = (error: unknown): boolean =>
  error instanceof SkeinError &&
  (error.code === 'unavailable' || error.code === 'deadline-exceeded' || PASSES.test(error.message));

const peerOf = (member: Member): EtcdPeer => ({
  id: member.ID,
  name: member.name,
  peerUrl: member.peerURLs[0] ?? '',
  learner: member.isLearner,
});
