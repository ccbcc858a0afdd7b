/**
 * Finds the host's firewall and keeps Skein's few accepts in front of it. Looks again every few seconds, because a
 * firewall that is loaded anew knows nothing of them. Programs are the firewall's own: only they write what they can read.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { type RunProcess } from '../kit/process.ts';
import {
  type ForeignChain,
  type Hook,
  type Keeper,
  planFirewall,
  planRemoval,
  readIptables,
  readNft,
} from './firewall-plan.ts';
import { TABLE } from './nft-names.ts';

export interface FirewallReport {
  readonly chains: readonly ForeignChain[];
  /** Rules that were put in front just now. */
  readonly inserted: number;
}

const HOOKS: readonly Hook[] = ['forward', 'input'];

const tables = z.object({
  nftables: z.array(z.object({ table: z.object({ family: z.string(), name: z.string() }).optional() })),
});
const contents = z.object({
  nftables: z.array(
    z.object({
      chain: z
        .object({
          name: z.string(),
          hook: z.string().optional(),
          policy: z.string().optional(),
          type: z.string().optional(),
        })
        .optional(),
      rule: z.object({ chain: z.string(), handle: z.number(), comment: z.string().optional() }).optional(),
    }),
  ),
});

export class HostFirewall {
  readonly #run: RunProcess;

  constructor(run: RunProcess) {
    this.#run = run;
  }

  /** Looks, and puts what is missing in front. A second one finds nothing to do. */
  async keep(): Promise<FirewallReport> {
    const chains = await this.look();
    const { commands, inserted } = planFirewall(chains);
    for (const command of commands) await this.#run(command);
    return { chains, inserted };
  }

  async remove(): Promise<void> {
    for (const command of planRemoval(await this.look())) await this.#run(command);
  }

  /** Base chains of others on the way of forwarded packets and probes. */
  async look(): Promise<readonly ForeignChain[]> {
    const chains: ForeignChain[] = [];
    if (hasLegacyFilter()) chains.push(...(await this.#iptables('iptables-legacy')));
    for (const { family, name } of await this.#tables()) {
      if ((family !== 'ip' && family !== 'inet') || (family === 'ip' && name === TABLE)) continue;
      const { stdout } = await this.#run(['nft', '-j', 'list', 'table', family, name], { accept: [0, 1] });
      if (stdout === '') continue; // gone since
      const native = readNft(`${family} ${name}`, contents.parse(JSON.parse(stdout)).nftables);
      if (native.some(({ name: chain }) => chain === 'FORWARD' || chain === 'INPUT') && family === 'ip')
        chains.push(...(await this.#iptables('iptables-nft')));
      else chains.push(...native);
    }
    return chains;
  }

  async #tables(): Promise<readonly { readonly family: string; readonly name: string }[]> {
    const { stdout } = await this.#run(['nft', '-j', 'list', 'tables']);
    return tables.parse(JSON.parse(stdout)).nftables.flatMap(({ table }) => table ?? []);
  }

  async #iptables(keeper: Exclude<Keeper, 'nft'>): Promise<ForeignChain[]> {
    const chains: ForeignChain[] = [];
    for (const hook of HOOKS) {
      const list = [keeper, '-w', '5', '-t', 'filter', '-S', hook.toUpperCase()];
      chains.push(readIptables(keeper, hook, (await this.#run(list)).stdout));
    }
    return chains;
  }
}

/** Asking iptables-legacy itself would make the table. */
function hasLegacyFilter(): boolean {
  try {
    return /^filter$/m.test(readFileSync('/proc/thread-self/net/ip_tables_names', 'utf8'));
  } catch {
    return false;
  }
}
