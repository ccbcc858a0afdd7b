/**
 * The host's own firewall, where it would drop what Skein forwards. A packet must be accepted by every base chain of
 * its hook, so an accept in Skein's table says nothing in somebody else's: there a few rules of ours stand in front. Pure.
 *
 * Only connections that Skein translated and the containers' way out are let through, by link name; and the echo
 * requests of other nodes. Rules are known by their comment, `skein:` and a name; rules of others are never touched.
 */
import { GATEWAY_LINK, INGRESS_LINK } from './link-names.ts';

/** Who keeps the chain: `iptables` and its two backends by command, or nft itself. */
export type Keeper = 'iptables-nft' | 'iptables-legacy' | 'nft';
export type Hook = 'forward' | 'input';

export interface ForeignChain {
  readonly keeper: Keeper;
  readonly hook: Hook;
  /** `ip filter` or `inet firewalld`. */
  readonly table: string;
  readonly name: string;
  readonly policy: 'accept' | 'drop';
  /** Rules that are not ours. */
  readonly rules: number;
  /** Comments of our rules in the order in which they stand, without the prefix; `undefined` for a rule of others. */
  readonly order: readonly (string | undefined)[];
  /** The rules as `iptables -S` shows them, in the same order; empty where the keeper is nft. */
  readonly texts: readonly string[];
  /** Handles of our rules, where the keeper is nft. */
  readonly handles: readonly number[];
}

/** A packet as our rules look at it. */
export interface Passenger {
  readonly iif: string;
  readonly oif: string | undefined;
  readonly protocol: string;
  /** Its connection's destination was translated. */
  readonly translated: boolean;
  readonly isNew: boolean;
}

interface Passage {
  readonly name: string;
  readonly hook: Hook;
  /** The same in three languages: of whoever walks a packet without traffic, and of the two keepers. */
  readonly lets: (packet: Passenger) => boolean;
  readonly iptables: readonly string[];
  readonly nft: readonly string[];
}

const COMMENT = 'skein:';

const PASSAGES: readonly Passage[] = [
  {
    name: 'into-the-mesh',
    hook: 'forward',
    lets: ({ oif, translated }) => oif === INGRESS_LINK && translated,
    iptables: ['-o', INGRESS_LINK, '-m', 'conntrack', '--ctstate', 'DNAT'],
    nft: ['oifname', INGRESS_LINK, 'ct', 'status', 'dnat'],
  },
  {
    name: 'out-of-the-mesh',
    hook: 'forward',
    lets: ({ iif, translated }) => iif === INGRESS_LINK && translated,
    iptables: ['-i', INGRESS_LINK, '-m', 'conntrack', '--ctstate', 'DNAT'],
    nft: ['iifname', INGRESS_LINK, 'ct', 'status', 'dnat'],
  },
  {
    name: 'way-out-of-containers',
    hook: 'forward',
    lets: ({ iif }) => iif === GATEWAY_LINK,
    iptables: ['-i', GATEWAY_LINK],
    nft: ['iifname', GATEWAY_LINK],
  },
  {
    name: 'answers-to-containers',
    hook: 'forward',
    lets: ({ oif, isNew }) => oif === GATEWAY_LINK && !isNew,
    iptables: ['-o', GATEWAY_LINK, '-m', 'conntrack', '--ctstate', 'RELATED,ESTABLISHED'],
    nft: ['oifname', GATEWAY_LINK, 'ct', 'state', 'established,related'],
  },
  {
    name: 'host-ports-of-containers',
    hook: 'forward',
    lets: ({ oif, translated }) => oif === GATEWAY_LINK && translated,
    iptables: ['-o', GATEWAY_LINK, '-m', 'conntrack', '--ctstate', 'DNAT'],
    nft: ['oifname', GATEWAY_LINK, 'ct', 'status', 'dnat'],
  },
  {
    name: 'probes-of-peers',
    hook: 'input',
    lets: ({ iif, protocol }) => iif === INGRESS_LINK && protocol === 'icmp',
    iptables: ['-i', INGRESS_LINK, '-p', 'icmp'],
    nft: ['iifname', INGRESS_LINK, 'meta', 'l4proto', 'icmp'],
  },
];

const passagesOf = (hook: Hook): readonly Passage[] => PASSAGES.filter((passage) => passage.hook === hook);

/** Whether our rule of this name accepts the packet. */
export const passes = (name: string, packet: Passenger): boolean =>
  PASSAGES.find((passage) => passage.name === name)?.lets(packet) ?? false;

/** A chain that accepts everything by itself needs nothing of us. */
export const mayDrop = (chain: ForeignChain): boolean => chain.policy === 'drop' || chain.rules > 0;

/** Our rules stand first, complete and in order. */
export function isInFront({ order, hook }: ForeignChain): boolean {
  const wanted = passagesOf(hook).map(({ name }) => name);
  return order.filter(Boolean).length === wanted.length && wanted.every((name, n) => order[n] === name);
}

export interface FirewallPlan {
  /** Argument vectors, in order. */
  readonly commands: readonly (readonly string[])[];
  readonly inserted: number;
}

export function planFirewall(chains: readonly ForeignChain[]): FirewallPlan {
  const commands: (readonly string[])[] = [];
  let inserted = 0;
  for (const chain of chains) {
    const wanted = mayDrop(chain);
    if (wanted ? isInFront(chain) : chain.order.every((name) => name === undefined)) continue;
    commands.push(...removals(chain));
    // Each goes to the front, so the last one goes first.
    for (const passage of wanted ? passagesOf(chain.hook).toReversed() : []) {
      commands.push(insertion(chain, passage));
      inserted++;
    }
  }
  return { commands, inserted };
}

/** What a node takes back when it leaves. */
export const planRemoval = (chains: readonly ForeignChain[]): readonly (readonly string[])[] =>
  chains.flatMap(removals);

function removals(chain: ForeignChain): (readonly string[])[] {
  if (chain.keeper === 'nft')
    return chain.handles.map((handle) => [
      ...['nft', 'delete', 'rule', ...chain.table.split(' '), chain.name, 'handle', String(handle)],
    ]);
  return chain.order.flatMap((name) => {
    const passage = PASSAGES.find((p) => p.name === name);
    return passage ? [[...iptables(chain), '-D', chain.name, ...iptablesRule(passage)]] : [];
  });
}

const iptables = (chain: ForeignChain): readonly string[] => [chain.keeper, '-w', '5', '-t', 'filter'];

const iptablesRule = ({ name, iptables: matches }: Passage): readonly string[] => [
  ...matches,
  ...['-m', 'comment', '--comment', COMMENT + name, '-j', 'ACCEPT'],
];

const insertion = (chain: ForeignChain, passage: Passage): readonly string[] =>
  chain.keeper === 'nft'
    ? [
        ...['nft', 'insert', 'rule', ...chain.table.split(' '), chain.name, ...passage.nft],
        ...['accept', 'comment', `"${COMMENT}${passage.name}"`],
      ]
    : [...iptables(chain), '-I', chain.name, '1', ...iptablesRule(passage)];

const nameIn = (comment: string | undefined): string | undefined =>
  comment?.startsWith(COMMENT) ? comment.slice(COMMENT.length) : undefined;

/** Reads `iptables -S CHAIN`. */
export function readIptables(keeper: Keeper, hook: Hook, text: string): ForeignChain {
  const lines = text.split('\n');
  const rules = lines.filter((line) => line.startsWith('-A '));
  const order = rules.map((line) => nameIn(/ --comment "?([^" ]+)"?/.exec(line)?.[1]));
  return {
    keeper,
    hook,
    table: 'ip filter',
    name: hook.toUpperCase(),
    policy: lines.some((line) => /^-P \S+ DROP/.test(line)) ? 'drop' : 'accept',
    rules: order.filter((name) => name === undefined).length,
    order,
    texts: rules,
    handles: [],
  };
}

/** The parts of `nft -j list table` that matter here. */
export interface NftListing {
  readonly chain?: {
    readonly name: string;
    readonly hook?: string;
    readonly policy?: string;
    readonly type?: string;
  };
  readonly rule?: { readonly chain: string; readonly handle: number; readonly comment?: string };
}

/** Base chains of a table on the hooks that concern us. */
export function readNft(table: string, listing: readonly NftListing[]): readonly ForeignChain[] {
  const found: ForeignChain[] = [];
  for (const { chain } of listing) {
    if (chain?.type !== 'filter' || (chain.hook !== 'forward' && chain.hook !== 'input')) continue;
    const rules = listing.flatMap(({ rule }) => (rule?.chain === chain.name ? [rule] : []));
    const order = rules.map((rule) => nameIn(rule.comment));
    found.push({
      keeper: 'nft',
      hook: chain.hook,
      table,
      name: chain.name,
      policy: chain.policy === 'drop' ? 'drop' : 'accept',
      rules: order.filter((name) => name === undefined).length,
      order,
      texts: [],
      handles: rules.filter((rule) => nameIn(rule.comment) !== undefined).map((rule) => rule.handle),
    });
  }
  return found;
}

export const describeChain = (chain: ForeignChain): string =>
  `${chain.keeper}: table ${chain.table}, chain ${chain.name} (policy ${chain.policy}, ${chain.rules} rules)`;
