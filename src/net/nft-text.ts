/** The nftables table as the text that nft reads: what golden files hold, and how the fixed part is loaded. */
import { ipToInt } from '../kit/cidr.ts';
import {
  BALANCE,
  BOUND,
  CHAINS,
  COUNTS,
  chainOf,
  roundRobinsOf,
  CLIENT_KEPT,
  CLIENT_KEPT_MASK,
  PROTOCOLS,
  ruleMark,
  slotsMap,
  slotsMaps,
  TABLE,
  vipSlotsMap,
  vipSlotsMaps,
} from './nft-names.ts';
import type {
  BaseChain,
  BoundPort,
  FixedChain,
  Frontend,
  Match,
  NftTable,
  RoundRobin,
  Rule,
  Verdict,
} from './state.ts';
import type { Protocol } from '../model/spec.ts';

function matchText(match: Match): string {
  switch (match.kind) {
    case 'iifname':
    case 'oifname':
      return `${match.kind} ${match.not ? '!= ' : ''}"${match.name}"`;
    case 'saddr':
    case 'daddr':
      return `ip ${match.kind} ${match.not ? '!= ' : ''}${match.cidr}`;
    case 'daddr-local':
      return 'fib daddr type local';
    case 'dport':
      return `${match.protocol} dport ${match.port}`;
    case 'protocol':
      return `meta l4proto ${match.protocol}`;
    case 'tcp-syn':
      return 'tcp flags & (syn | rst) == syn';
    case 'ct-new':
      return 'ct state new';
    case 'ct-unmarked':
      return 'ct direction original ct mark 0';
    case 'ct-marked-reply':
      return 'ct direction reply ct mark != 0';
    case 'ct-client-kept':
      return `ct mark and ${hex(CLIENT_KEPT_MASK)} ${match.not ? '!=' : '=='} ${hex(CLIENT_KEPT)}`;
    case 'ct-dnat':
      return 'ct status dnat';
  }
}

/** What names a frontend in a packet, and its type in a map. */
const KEYS = {
  port: { text: 'meta l4proto . th dport', type: 'inet_proto . inet_service' },
  vip: { text: 'ip daddr', type: 'ipv4_addr' },
} as const;

const hex = (value: number): string => `0x${value.toString(16).padStart(8, '0')}`;

function verdictText(verdict: Verdict): string {
  switch (verdict.kind) {
    case 'snat':
      return `snat to ${verdict.to}`;
    case 'dnat':
      return `dnat to ${verdict.to}:${verdict.port}`;
    case 'bound-port':
      return `dnat ip to ip daddr . meta l4proto . th dport map @${BOUND}`;
    case 'frontend':
      return `meta priority set ${KEYS[verdict.of].text} map @${COUNTS} goto ${BALANCE}`;
    case 'round-robin':
      return `${KEYS[verdict.of].text} . meta priority vmap @${CHAINS[verdict.of]}`;
    case 'refuse':
      return verdict.by === 'reset' ? 'reject with tcp reset' : 'reject with icmp port-unreachable';
    case 'remember-entrance':
      return `ct mark set ether saddr map { ${verdict.entrances.map((e) => `${e.mac} : ${hex(e.mark)}`).join(', ')} }`;
    case 'clamp-mss':
      return `tcp option maxseg size set ${verdict.to}`;
    case 'restore-mark':
      return 'meta mark set ct mark';
    default:
      return verdict.kind;
  }
}

export const ruleText = (rule: Rule): string =>
  [...rule.matches.map(matchText), verdictText(rule.verdict)].join(' ');

/** Name of the rule and a digest of its text: a rule that was replaced or is of another version reads differently. */
export const ruleComment = (rule: Rule): string => `${rule.name} #${digest(ruleText(rule))}`;

/** FNV-1a, 32 bits: tells texts apart, protects nothing. */
function digest(text: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, '0');
}

const commented = (rule: Rule): string => `${ruleText(rule)} comment "${ruleComment(rule)}"`;

const baseHead = (chain: BaseChain): string =>
  `type ${chain.type} hook ${chain.hook} priority ${chain.priority}; policy accept;`;

const mapText = (map: string, type: string, elements: readonly string[]): string[] => [
  `  map ${map} {`,
  `    ${type};`,
  ...elementsText(elements),
  '  }',
];

const slotsType = (protocol: Protocol): string =>
  `typeof ${protocol} dport . numgen inc mod 2 : ip daddr . ${protocol} dport`;
const BOUND_TYPE = 'type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service';
const VIP_SLOTS_TYPE = 'typeof ip daddr . numgen inc mod 2 : ip daddr';

const elementsText = (elements: readonly string[]): string[] =>
  elements.length === 0 ? [] : ['    elements = {', ...elements.map((e) => `      ${e},`), '    };'];

function roundRobinRule(f: Frontend, roundRobin: RoundRobin): string {
  const { modulus, keepClient } = roundRobin;
  const slots = f.kind === 'port' ? slotsMap(f.protocol, f.port) : vipSlotsMap(f.address);
  const pick = (key: string) => `${key} . numgen inc mod ${modulus} map @${slots}`;
  const mark = keepClient ? `ct mark set ct mark or ${hex(CLIENT_KEPT)} ` : '';
  const rule =
    f.kind === 'port'
      ? `meta l4proto ${f.protocol} ${mark}dnat ip to ${pick(`${f.protocol} dport`)}`
      : `dnat to ${pick('ip daddr')}`;
  return `${rule} comment "${ruleMark(roundRobin)}"`;
}

const chainText = (name: string, rules: readonly string[]): string[] => [
  `  chain ${name} {`,
  ...rules.map((rule) => `    ${rule}`),
  '  }',
];

/** The whole table. With no frontends it is the fixed part, which the kernel gets as this text. */
export const tableText = (table: NftTable): string =>
  [
    `table ip ${TABLE} {`,
    ...(table.kind === 'mesh' ? meshText(table) : vipsText(table)),
    ...chainText(table.balance.name, table.balance.rules.map(commented)),
    ...table.bases.flatMap((chain) =>
      chainText(chain.name, [baseHead(chain), ...chain.rules.map(commented)]),
    ),
    '}',
    '',
  ].join('\n');

function meshText(table: NftTable): string[] {
  const ports = [...table.frontends.values()]
    .filter((f) => f.kind === 'port')
    .sort((a, b) => PROTOCOLS.indexOf(a.protocol) - PROTOCOLS.indexOf(b.protocol) || a.port - b.port);
  const slotsOf = (map: string) =>
    ports
      .filter((p) => slotsMap(p.protocol, p.port) === map)
      .flatMap((p) => p.backends.map((b, slot) => `${p.port} . ${slot} : ${b.address} . ${b.port}`));
  return [
    ...PROTOCOLS.flatMap((protocol) =>
      slotsMaps(protocol).flatMap((map) => mapText(map, slotsType(protocol), slotsOf(map))),
    ),
    ...frontendsText('port', ports, (p) => `${p.protocol} . ${p.port}`),
    ...mapText(BOUND, BOUND_TYPE, [...table.bound.values()].map(boundText)),
  ];
}

const boundText = ({ address, protocol, port, backend }: BoundPort): string =>
  `${address} . ${protocol} . ${port} : ${backend.address} . ${backend.port}`;

function vipsText(table: NftTable): string[] {
  const vips = [...table.frontends.values()]
    .filter((f) => f.kind === 'vip')
    .sort((a, b) => ipToInt(a.address) - ipToInt(b.address));
  const slotsOf = (map: string) =>
    vips
      .filter((vip) => vipSlotsMap(vip.address) === map)
      .flatMap((vip) => vip.backends.map((backend, slot) => `${vip.address} . ${slot} : ${backend}`));
  return [
    ...vipSlotsMaps.flatMap((map) => mapText(map, VIP_SLOTS_TYPE, slotsOf(map))),
    ...frontendsText('vip', vips, (vip) => vip.address),
  ];
}

/** The round robins of frontends, the map that leads to them, and the one that says which it is to be. */
function frontendsText<F extends Frontend>(
  kind: F['kind'],
  frontends: readonly F[],
  keyOf: (frontend: F) => string,
): string[] {
  const all = frontends.flatMap((f) => roundRobinsOf(f).map((roundRobin) => ({ f, roundRobin })));
  const { type } = KEYS[kind];
  return [
    ...all.flatMap(({ f, roundRobin }) =>
      chainText(chainOf(f, roundRobin.modulus), [roundRobinRule(f, roundRobin)]),
    ),
    ...mapText(
      CHAINS[kind],
      `type ${type} . classid : verdict`,
      all.map(
        ({ f, roundRobin: { modulus } }) => `${keyOf(f)} . ${classid(modulus)} : goto ${chainOf(f, modulus)}`,
      ),
    ),
    ...mapText(
      COUNTS,
      `type ${type} : classid`,
      frontends.map((f) => `${keyOf(f)} : ${classid(f.backends.length)}`),
    ),
  ];
}

/** A packet's priority, as nft writes it. */
const classid = (count: number): string => `${(count >>> 16).toString(16)}:${(count & 0xffff).toString(16)}`;

/** Takes the table away with all it holds, there or not. */
export const removeTableText = `table ip ${TABLE} {}\ndelete table ip ${TABLE}\n`;

/**
 * Replaces one fixed chain, whatever it holds; `exists` says whether there is one. A chain without a hook stays and is
 * filled anew, for others lead to it; a base chain may hang on a wrong hook.
 */
export function replaceChainText(chain: BaseChain | FixedChain, exists: boolean): string {
  const head = 'hook' in chain ? ` { ${baseHead(chain)} }` : '';
  const remove = 'hook' in chain ? removeChainLines(chain.name) : [flushLine(chain.name)];
  return [
    ...(exists ? remove : []),
    `add chain ip ${TABLE} ${chain.name}${head}`,
    ...chain.rules.map((rule) => `add rule ip ${TABLE} ${chain.name} ${commented(rule)}`),
    '',
  ].join('\n');
}

export const removeChainText = (name: string): string => `${removeChainLines(name).join('\n')}\n`;

const flushLine = (name: string): string => `flush chain ip ${TABLE} ${name}`;
const removeChainLines = (name: string): string[] => [flushLine(name), `delete chain ip ${TABLE} ${name}`];
