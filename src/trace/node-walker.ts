/** Walks this node's part of explained ways: gathers what a walk must know, and lets the pure evaluator go. */
import type { Clock } from '../kit/clock.ts';
import { SkeinError } from '../model/errors.ts';
import type { NetworkView } from '../model/network-view.ts';
import type { HostFirewall } from '../net/firewall.ts';
import type { KernelNetwork } from '../net/kernel-network.ts';
import type { NetworkStatus } from '../net/network-status.ts';
import type { Leg, WalkStart } from '../rpc/explain.ts';
import { NodeMap } from './explain-node.ts';
import { walk } from './explain-walk.ts';

export interface NodeWalkerOptions {
  readonly network: Pick<KernelNetwork, 'inspect'>;
  readonly firewall: Pick<HostFirewall, 'look'>;
  readonly status: () => NetworkStatus;
  readonly managersView: () => NetworkView | undefined;
  readonly clock: Clock;
}

export class NodeWalker {
  readonly #options: NodeWalkerOptions;

  constructor(options: NodeWalkerOptions) {
    this.#options = options;
  }

  async walk(starts: readonly WalkStart[]): Promise<readonly (readonly Leg[])[]> {
    const { network, firewall, status, managersView, clock } = this.#options;
    const chains = await firewall.look();
    const now = clock.now();
    const away = new Map(
      status().peers.flatMap((peer) =>
        peer.awaySince === undefined ? [] : [[peer.nodeId, now - peer.awaySince] as const],
      ),
    );
    const legs = await network.inspect((planned) => {
      const map = new NodeMap({ ...planned, managersView: managersView() ?? planned.view, away, chains });
      return starts.map((start) => walk(map, start));
    });
    if (!legs) throw new SkeinError('unavailable', 'the node has no network view yet');
    return legs;
  }
}
