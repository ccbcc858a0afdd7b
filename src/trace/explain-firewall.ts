/**
 * Whether a packet passes the base chains of others: the host's own firewall. Rules that say only what is understood
 * here are run as they stand; at the first that is not, nothing more is claimed than that chain and rule. Pure.
 */
import { contains, isIpv4, parseCidr } from '../kit/cidr.ts';
import type { Cidr, Ipv4 } from '../model/ids.ts';
import { type ForeignChain, type Hook, mayDrop, passes } from '../net/firewall-plan.ts';
import type { Loss } from '../rpc/explain.ts';

/** A packet as a filter sees it. */
export interface Filtered {
  readonly iif: string;
  readonly oif: string | undefined;
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly protocol: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly translated: boolean;
  readonly isNew: boolean;
}

export interface Passage {
  readonly loss: Loss | undefined;
  /** Chains with rules that are not understood here. */
  readonly doubts: readonly string[];
}

/** Every base chain of the hook must accept; the first that does not is the reason. */
export function throughFirewall(
  chains: readonly ForeignChain[],
  hook: Hook,
  packet: Filtered,
  where: string,
): Passage {
  const doubts: string[] = [];
  for (const chain of chains) {
    if (chain.hook !== hook || !mayDrop(chain)) continue;
    const why = lossIn(chain, packet);
    if (!why) continue;
    const place = `${chain.keeper}, table ${chain.table}, chain ${chain.name}, ${why.text}`;
    if (why.sure)
      return {
        loss: {
          code: 'firewall',
          text: `host firewall of ${where} drops in ${hook.toUpperCase()}: ${place}`,
        },
        doubts,
      };
    doubts.push(`${where}, host firewall, may drop in ${hook.toUpperCase()}: ${place}`);
  }
  return { loss: undefined, doubts };
}

interface Drop {
  readonly text: string;
  readonly sure: boolean;
}

function lossIn(chain: ForeignChain, packet: Filtered): Drop | undefined {
  for (const [n, name] of chain.order.entries()) {
    if (name !== undefined) {
      if (passes(name, packet)) return undefined;
      continue;
    }
    const rule = chain.texts[n];
    const verdict = rule === undefined ? undefined : judge(rule, packet);
    if (verdict === 'accept') return undefined;
    if (verdict === 'drop') return { text: `rule ${n + 1}: ${rule}`, sure: true };
    if (verdict === undefined)
      return { text: `rule ${n + 1}${rule ? `: ${rule}` : ''}, which is not understood here`, sure: false };
  }
  return chain.policy === 'drop' ? { text: 'policy drop', sure: true } : undefined;
}

/** Of `-A CHAIN ...`; undefined: not understood. */
function judge(rule: string, packet: Filtered): 'accept' | 'drop' | 'pass' | undefined {
  const words = rule.match(/"[^"]*"|\S+/g) ?? [];
  let matching = true;
  let negated = false;
  let target: string | undefined;
  for (let at = 2; at < words.length; at++) {
    const word = words[at]!;
    if (word === '!') {
      negated = true;
      continue;
    }
    const value = words[++at] ?? '';
    if (word === '-m' || word === '--comment' || word === '--reject-with') continue;
    if (word === '-j') target = value;
    else {
      const said = says(word, value, packet);
      if (said === undefined) return undefined;
      matching &&= said !== negated;
    }
    negated = false;
  }
  if (!matching) return 'pass';
  if (target === 'ACCEPT') return 'accept';
  if (target === 'DROP' || target === 'REJECT') return 'drop';
  return target === undefined || target === 'LOG' ? 'pass' : undefined;
}

function says(option: string, value: string, packet: Filtered): boolean | undefined {
  switch (option) {
    case '-i':
      return isLink(value, packet.iif);
    case '-o':
      return isLink(value, packet.oif ?? '');
    case '-s':
      return inCidr(value, packet.source);
    case '-d':
      return inCidr(value, packet.destination);
    case '-p':
      return value === 'all' || value === packet.protocol;
    case '--sport':
      return inPorts(value, packet.sourcePort);
    case '--dport':
      return inPorts(value, packet.destinationPort);
    case '--ctstate':
      return value.split(',').some((state) => isState(state, packet));
    default:
      return undefined;
  }
}

const isLink = (pattern: string, link: string): boolean =>
  pattern.endsWith('+') ? link.startsWith(pattern.slice(0, -1)) : link === pattern;

function inCidr(value: string, ip: Ipv4): boolean | undefined {
  const [address = '', length = '32'] = value.split('/');
  if (!isIpv4(address) || !/^\d{1,2}$/.test(length)) return undefined;
  const cidr: Cidr = parseCidr(`${address}/${length}`);
  return contains(cidr, ip);
}

function inPorts(value: string, port: number): boolean | undefined {
  const [first, last = first] = value.split(':');
  if (!/^\d+$/.test(first!) || !/^\d+$/.test(last!)) return undefined;
  return port >= Number(first) && port <= Number(last);
}

const isState = (state: string, { isNew, translated }: Filtered): boolean =>
  state === 'DNAT' ? translated : state === 'NEW' ? isNew : state === 'ESTABLISHED' && !isNew;
