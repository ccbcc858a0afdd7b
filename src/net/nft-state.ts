/** A planned nftables table as the maps that are compared with the kernel's, and how its parts are recognised there. Pure. */
import type { Ipv4 } from '../model/ids.ts';
import type { HostPort } from '../model/spec.ts';
import { chainOf, roundRobinsOf, ruleMark } from './nft-names.ts';
import { ruleComment } from './nft-text.ts';
import type { Backend, BaseChain, BoundPort, FixedChain, Frontend, NftState, NftTable } from './state.ts';

export const portKey = (p: { readonly protocol: string; readonly port: number }): string =>
  `${p.protocol}/${p.port}`;
export const boundKey = ({ protocol, address, port }: Omit<BoundPort, 'backend'>): string =>
  `${protocol}/${address}:${port}`;
export const hostPortKey = ({ HostIp: address, Protocol, PublishedPort = 0 }: HostPort): string => {
  const port = { protocol: Protocol, port: PublishedPort };
  return address ? boundKey({ ...port, address }) : portKey(port);
};
export const vipKey = (address: Ipv4): string => `vip/${address}`;
const frontendKey = (f: Frontend): string => (f.kind === 'port' ? portKey(f) : vipKey(f.address));

/** The table as the maps that are compared with the kernel's. */
export function nftStateOf(table: NftTable): NftState {
  const chains = new Map<string, string>();
  const published = new Map<string, string>();
  const counts = new Map<string, string>();
  const slots = new Map<string, string>();
  for (const frontend of table.frontends.values()) {
    const key = frontendKey(frontend);
    counts.set(key, String(frontend.backends.length));
    for (const roundRobin of roundRobinsOf(frontend)) {
      const chain = chainOf(frontend, roundRobin.modulus);
      chains.set(chain, ruleMark(roundRobin));
      published.set(`${key}/${roundRobin.modulus}`, chain);
    }
    targetsOf(frontend).forEach((target, slot) => slots.set(`${key}/${slot}`, target));
  }
  const fixed = new Map([...table.bases, table.balance].map((chain) => [chain.name, chainMark(chain)]));
  const bound = new Map([...table.bound].map(([key, { backend }]) => [key, targetText(backend)]));
  return { present: true, fixed, chains, published, counts, slots, bound };
}

/** `address:port`, of a virtual IP `address`. */
const targetsOf = (f: Frontend): readonly string[] =>
  f.kind === 'port' ? f.backends.map(targetText) : f.backends;
const targetText = ({ address, port }: Backend): string => `${address}:${port}`;

const HOOK_NUMBERS = { prerouting: 0, forward: 2, output: 3, postrouting: 4 } as const;

/** How a fixed chain is recognised: its hook, if it has one, and the comments of its rules in order. */
const chainMark = (chain: BaseChain | FixedChain): string =>
  markOf(
    'hook' in chain
      ? { type: chain.type, number: HOOK_NUMBERS[chain.hook], priority: chain.priority }
      : undefined,
    chain.rules.map(ruleComment),
  );

export const markOf = (
  hook: { readonly type: string; readonly number: number; readonly priority: number } | undefined,
  comments: readonly string[],
): string => `${hook ? `${hook.type} ${hook.number} ${hook.priority}` : 'no hook'}: ${comments.join('; ')}`;
