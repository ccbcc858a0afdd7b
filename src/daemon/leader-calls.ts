/** What only the leader can do, because it has the sessions: done here when this manager leads, else asked of it. */
import type { Identity } from '../agent/identity.ts';
import type { Clock } from '../kit/clock.ts';
import { SkeinError } from '../model/errors.ts';
import { RpcClient } from '../rpc/client.ts';
import type { ManagerAddress } from '../rpc/messages.ts';
import type { OneName, OutputOf, ParamsOf } from '../rpc/methods.ts';

export interface LeaderCallsOptions {
  readonly clock: Clock;
  readonly identity: () => Identity;
  /** This manager leads. */
  readonly leading: () => boolean;
  readonly leader: () => ManagerAddress | undefined;
}

type ManyName = 'logs.read' | 'trace.read';

export class LeaderCalls {
  readonly #options: LeaderCallsOptions;

  constructor(options: LeaderCallsOptions) {
    this.#options = options;
  }

  async *stream<N extends ManyName>(
    name: N,
    params: ParamsOf<N>,
    signal: AbortSignal,
    own: () => AsyncIterable<OutputOf<N>>,
  ): AsyncGenerator<OutputOf<N>> {
    if (this.#options.leading()) return yield* own();
    const client = await this.#dial(signal);
    try {
      yield* client.stream(name, params, { signal });
    } finally {
      client.close();
    }
  }

  async call<N extends OneName>(
    name: N,
    params: ParamsOf<N>,
    signal: AbortSignal,
    own: () => Promise<OutputOf<N>>,
  ): Promise<OutputOf<N>> {
    if (this.#options.leading()) return own();
    const client = await this.#dial(signal);
    try {
      return await client.call(name, params, { signal });
    } finally {
      client.close();
    }
  }

  async #dial(signal: AbortSignal): Promise<RpcClient> {
    const leader = this.#options.leader();
    if (!leader) throw new SkeinError('unavailable', 'the cluster has no leader at the moment; try again');
    const { credentials, clusterId } = this.#options.identity();
    return RpcClient.connect({
      addr: leader.addr,
      trust: { kind: 'member', credentials, clusterId },
      clock: this.#options.clock,
      signal,
    });
  }
}
