/**
 * Finds the host's firewall and keeps Skein's few accepts in front of it. Looks again every few seconds, because a
 * firewall that is loaded anew knows nothing of them. Programs are the firewall's own: only they write what they can read.
 * Rules may be there without their program, from a container: what nft shows is taken as nft's then, and what only
 * iptables-legacy could show is not seen.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { type RunProcess } from '../kit/process.ts';
import { SkeinError } from '../model/errors.ts';
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

/** The tables of iptables-legacy: asking the program itself would make them. */
const LEGACY_TABLES = '/proc/thread-self/net/ip_tables_names';
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
  readonly #legacyTables: string;

  constructor(run: RunProcess, legacyTables = LEGACY_TABLES) {
    this.#run = run;
    this.#legacyTables = legacyTables;
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
    if (this.#hasLegacyFilter()) chains.push(...((await this.#iptables('iptables-legacy')) ?? []));
    for (const { family, name } of await this.#tables()) {
      if ((family !== 'ip' && family !== 'inet') || (family === 'ip' && name === TABLE)) continue;
      const { stdout } = await this.#run(['nft', '-j', 'list', 'table', family, name], { accept: [0, 1] });
      if (stdout === '') continue; // gone since
      const native = readNft(`${family} ${name}`, contents.parse(JSON.parse(stdout)).nftables);
      const isIptables =
        family === 'ip' && native.some(({ name: chain }) => chain === 'FORWARD' || chain === 'INPUT');
      chains.push(...((isIptables ? await this.#iptables('iptables-nft') : undefined) ?? native));
    }
    return chains;
  }

  async #tables(): Promise<readonly { readonly family: string; readonly name: string }[]> {
    const { stdout } = await this.#run(['nft', '-j', 'list', 'tables']);
    return tables.parse(JSON.parse(stdout)).nftables.flatMap(({ table }) => table ?? []);
  }

  /** A filter table of iptables-legacy is there, and no program to look into it. */
  async cannotSeeAll(): Promise<boolean> {
    return this.#hasLegacyFilter() && (await this.#iptables('iptables-legacy')) === undefined;
  }

  /** Undefined where the program is not installed. */
  async #iptables(keeper: Exclude<Keeper, 'nft'>): Promise<ForeignChain[] | undefined> {
    const chains: ForeignChain[] = [];
    for (const hook of HOOKS) {
      const list = [keeper, '-w', '5', '-t', 'filter', '-S', hook.toUpperCase()];
      const shown = await this.#run(list).catch(unlessMissing);
      if (!shown) return undefined;
      chains.push(readIptables(keeper, hook, shown.stdout));
    }
    return chains;
  }

  #hasLegacyFilter(): boolean {
    try {
      return /^filter$/m.test(readFileSync(this.#legacyTables, 'utf8'));
    } catch {
      return false;
    }
  }
}

function unlessMissing(error: unknown): undefined {
  const cause = SkeinError.from(error).cause as NodeJS.ErrnoException | undefined;
  if (cause?.code !== 'ENOENT') throw error;
}
