/** Looks at the host's firewall when the agent starts and every eight seconds: who loads it anew takes our rules away. */
import type { Clock } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import { Loop } from '../kit/loop.ts';
import type { HostFirewall } from '../net/firewall.ts';
import { describeChain } from '../net/firewall-plan.ts';
import type { NetworkStatusFile } from '../net/network-status.ts';

export interface FirewallLoopOptions {
  readonly firewall: Pick<HostFirewall, 'keep'>;
  readonly status: NetworkStatusFile | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

const LOOK_MS = 8_000;

export class FirewallLoop {
  readonly #options: FirewallLoopOptions;
  readonly #loop: Loop<'firewall'>;
  #told = '';

  constructor(options: FirewallLoopOptions) {
    this.#options = options;
    const { clock, log } = options;
    this.#loop = new Loop<'firewall'>({
      name: 'firewall',
      clock,
      log,
      reconcile: () => this.#look(),
      full: { interval: LOOK_MS, keys: () => ['firewall' as const] },
    });
  }

  start(): void {
    this.#loop.start();
    this.#loop.mark('firewall');
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  async #look(): Promise<void> {
    const { firewall, status, log } = this.#options;
    const report = await firewall.keep();
    const chains = report.chains.map(describeChain);
    const inserted = (status?.status.firewall?.inserted ?? 0) + report.inserted;
    const text = JSON.stringify({ chains, inserted });
    if (text !== this.#told) status?.write({ firewall: { chains, inserted } });
    this.#told = text;
    if (report.inserted > 0)
      log.warn("rules put in front of the host's firewall", { chains, 'rules.inserted': report.inserted });
  }
}
