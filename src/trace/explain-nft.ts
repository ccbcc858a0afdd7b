/**
 * The typed rules of a table `ip skein`, run over one packet as the kernel would: base chains of a hook in the order of
 * their priorities, rules in theirs. Every kind of match and verdict that can be planned has its meaning here, or this
 * does not compile. Pure.
 */
import { contains } from '../kit/cidr.ts';
import type { Ipv4, Mac } from '../model/ids.ts';
import { CLIENT_KEPT, CLIENT_KEPT_MASK } from '../net/nft-names.ts';
import { boundKey, portKey, vipKey } from '../net/nft-state.ts';
import { chainOf } from '../net/nft-names.ts';
import type { BaseChain, FixedChain, Frontend, Match, NftTable, Rule } from '../net/state.ts';
import type { Ends, Loss, WalkedPacket } from '../rpc/explain.ts';

/** The connection as the namespace's connection tracking holds it while a packet of it passes. */
export interface Connection {
  readonly original: Ends;
  translated: Ends;
  mark: number;
  /** Its first packet, which alone meets the chains that translate. */
  readonly isNew: boolean;
}

export interface Passing {
  packet: WalkedPacket;
  mark: number;
  readonly connection: Connection;
  readonly iif: string | undefined;
  oif: string | undefined;
  readonly sourceMac: Mac | undefined;
}

export interface Surroundings {
  /** Names the place in an explanation. */
  readonly where: string;
  isLocal(ip: Ipv4): boolean;
  /** The address of the link that the packet leaves by. */
  readonly masquerade: Ipv4 | undefined;
  /** Which of a frontend's backends. */
  choose(frontend: Frontend): number;
  /** Why a frontend has no backend. */
  refuse(frontend: Frontend): Loss;
  decide(text: string): void;
}

export type Hook = BaseChain['hook'];

/** `undefined`: it goes on. */
export function runHook(
  table: NftTable,
  hook: Hook,
  passing: Passing,
  around: Surroundings,
): Loss | undefined {
  const chains = table.bases
    .filter((chain) => chain.hook === hook)
    .toSorted((a, b) => a.priority - b.priority);
  for (const chain of chains) {
    if (chain.type === 'nat' && !passing.connection.isNew) continue;
    const loss = runChain(table, chain, passing, around);
    if (loss) return loss;
  }
  return undefined;
}

function runChain(
  table: NftTable,
  chain: BaseChain,
  passing: Passing,
  around: Surroundings,
): Loss | undefined {
  for (const { rule, outcome } of effects(table, chain, passing, around)) {
    const said = `${around.where}, ${chain.name}: ${rule.name}`;
    if (outcome.kind === 'lost') return outcome.loss ?? dropped(around.where, chain, rule);
    around.decide(outcome.text === '' ? said : `${said}: ${outcome.text}`);
    if (outcome.kind === 'done') return undefined;
  }
  return undefined;
}

interface Effect {
  readonly rule: Rule;
  readonly outcome: Exclude<Outcome, 'next'>;
}

/** What the rules of a chain do to a packet, one by one, for as long as the caller lets it go on. */
function* effects(
  table: NftTable,
  chain: FixedChain,
  passing: Passing,
  around: Surroundings,
): Generator<Effect> {
  for (const rule of chain.rules) {
    if (!rule.matches.every((match) => matches(match, passing, around))) continue;
    const outcome = apply(table, rule, passing, around);
    if (outcome !== 'next') yield { rule, outcome };
  }
}

const dropped = (where: string, chain: BaseChain, rule: Rule): Loss => ({
  code: 'rule',
  text: `dropped in ${where}: table ip skein, chain ${chain.name}, rule "${rule.name}"`,
});

function matches(match: Match, { packet, connection, iif, oif }: Passing, around: Surroundings): boolean {
  switch (match.kind) {
    case 'iifname':
      return (iif === match.name) !== (match.not ?? false);
    case 'oifname':
      return (oif === match.name) !== (match.not ?? false);
    case 'saddr':
      return contains(match.cidr, packet.source.ip) !== (match.not ?? false);
    case 'daddr':
      return contains(match.cidr, packet.destination.ip) !== (match.not ?? false);
    case 'daddr-local':
      return around.isLocal(packet.destination.ip);
    case 'dport':
      return packet.protocol === match.protocol && packet.destination.port === match.port;
    case 'protocol':
      return packet.protocol === match.protocol;
    case 'tcp-syn':
      return packet.protocol === 'tcp';
    case 'ct-new':
      return connection.isNew;
    case 'ct-unmarked':
      return !packet.reply && connection.mark === 0;
    case 'ct-marked-reply':
      return packet.reply && connection.mark !== 0;
    case 'ct-client-kept':
      return ((connection.mark & CLIENT_KEPT_MASK) >>> 0 === CLIENT_KEPT) !== (match.not ?? false);
    case 'ct-dnat':
      return !sameEnd(connection.original.destination, connection.translated.destination);
  }
}

/** `next`: the rule had no effect. `goes`: it had one, and the next rule is looked at. `done`: the chain ends. */
type Outcome =
  | 'next'
  | { readonly kind: 'goes' | 'done'; readonly text: string }
  | { readonly kind: 'lost'; readonly loss?: Loss };

const IP_AND_TCP = 40;

function apply(table: NftTable, { verdict }: Rule, passing: Passing, around: Surroundings): Outcome {
  const { packet, connection } = passing;
  switch (verdict.kind) {
    case 'accept':
      return { kind: 'done', text: '' };
    case 'drop':
      return { kind: 'lost' };
    case 'masquerade':
      return around.masquerade ? translateSource(passing, around.masquerade) : 'next';
    case 'snat':
      return translateSource(passing, verdict.to);
    case 'dnat':
      return translateDestination(passing, verdict.to, verdict.port);
    case 'bound-port': {
      const { ip: address, port } = packet.destination;
      const backend = table.bound.get(boundKey({ protocol: packet.protocol, address, port }))?.backend;
      return backend ? translateDestination(passing, backend.address, backend.port) : 'next';
    }
    case 'frontend':
      if (!frontendOf(table, verdict.of, packet)) return 'next';
      for (const { outcome } of effects(table, table.balance, passing, around)) return outcome;
      return 'next';
    case 'round-robin':
      return nextBackend(frontendOf(table, verdict.of, packet)!, passing, around);
    case 'refuse':
      return { kind: 'lost', loss: around.refuse(frontendOf(table, verdict.of, packet)!) };
    case 'remember-entrance': {
      const entrance = verdict.entrances.find(({ mac }) => mac === passing.sourceMac);
      if (!entrance) return 'next';
      connection.mark = entrance.mark;
      return { kind: 'goes', text: `mark ${hex(entrance.mark)}` };
    }
    case 'clamp-mss':
      passing.packet = { ...packet, size: Math.min(packet.size, verdict.to + IP_AND_TCP) };
      return { kind: 'goes', text: `at most ${verdict.to} bytes` };
    case 'restore-mark':
      passing.mark = connection.mark;
      return { kind: 'goes', text: `mark ${hex(connection.mark)}` };
  }
}

const frontendOf = (
  table: NftTable,
  kind: Frontend['kind'],
  { protocol, destination: { ip, port } }: WalkedPacket,
): Frontend | undefined => table.frontends.get(kind === 'port' ? portKey({ protocol, port }) : vipKey(ip));

function nextBackend(frontend: Frontend, passing: Passing, around: Surroundings): Outcome {
  if (frontend.backends.length === 0) return 'next';
  if (frontend.kind === 'port' && frontend.keepClient)
    passing.connection.mark = (passing.connection.mark | CLIENT_KEPT) >>> 0;
  const slot = around.choose(frontend);
  const [ip, port] =
    frontend.kind === 'port'
      ? ([frontend.backends[slot]!.address, frontend.backends[slot]!.port] as const)
      : ([frontend.backends[slot]!, passing.packet.destination.port] as const);
  translateDestination(passing, ip, port);
  const kept = frontend.kind === 'port' && frontend.keepClient ? ', client kept' : '';
  const text = `chain ${chainOf(frontend)}, slot ${slot} of ${frontend.backends.length}: DNAT to ${ip}:${port}${kept}`;
  return { kind: 'done', text };
}

function translateDestination(passing: Passing, ip: Ipv4, port: number): Outcome {
  const destination = { ip, port };
  passing.packet = { ...passing.packet, destination };
  passing.connection.translated = { ...passing.connection.translated, destination };
  return { kind: 'done', text: `DNAT to ${ip}:${port}` };
}

function translateSource(passing: Passing, ip: Ipv4): Outcome {
  const source = { ip, port: passing.packet.source.port };
  passing.packet = { ...passing.packet, source };
  passing.connection.translated = { ...passing.connection.translated, source };
  return { kind: 'done', text: `SNAT to ${ip}` };
}

export const sameEnd = (a: Ends['source'], b: Ends['source']): boolean => a.ip === b.ip && a.port === b.port;

const hex = (value: number): string => `0x${value.toString(16).padStart(8, '0')}`;
