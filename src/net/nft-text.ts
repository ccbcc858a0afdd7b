/** The nftables table as the text that nft reads: what golden files hold, and how the fixed part is loaded. */
import { ipToInt } from '../kit/cidr.ts';
import { ruleComment, chainOf, chainRuleOf, type NftTable } from './nft-plan.ts';
import {
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
import type { BaseChain, Match, PublishedPort, Rule, ServiceVip, Verdict } from './state.ts';
import type { Protocol } from '../model/spec.ts';

function matchText(match: Match): string {
  switch (match.kind) {
    case 'iifname':
    case 'oifname':
      return `${match.kind} ${match.not ? '!= ' : ''}"${match.name}"`;
    case 'saddr':
    case 'daddr':
      return `ip ${match.kind} ${match.cidr}`;
    case 'daddr-local':
      return 'fib daddr type local';
    case 'dport':
      return `${match.protocol} dport ${match.port}`;
    case 'tcp-syn':
      return 'tcp flags & (syn | rst) == syn';
    case 'ct-new':
      return 'ct state new';
    case 'ct-marked-reply':
      return 'ct direction reply ct mark != 0';
    case 'ct-client-kept':
      return `ct mark and ${hex(CLIENT_KEPT_MASK)} ${match.not ? '!=' : '=='} ${hex(CLIENT_KEPT)}`;
    case 'ct-dnat':
      return 'ct status dnat';
  }
}

const hex = (value: number): string => `0x${value.toString(16).padStart(8, '0')}`;

function verdictText(verdict: Verdict): string {
  switch (verdict.kind) {
    case 'snat':
      return `snat to ${verdict.to}`;
    case 'dnat':
      return `dnat to ${verdict.to}:${verdict.port}`;
    case 'published':
      return 'meta l4proto . th dport vmap @published';
    case 'vip':
      return 'ip daddr vmap @vips';
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
const VIP_SLOTS_TYPE = 'typeof ip daddr . numgen inc mod 2 : ip daddr';

const elementsText = (elements: readonly string[]): string[] =>
  elements.length === 0 ? [] : ['    elements = {', ...elements.map((e) => `      ${e},`), '    };'];

function portRule(port: PublishedPort): string {
  const { protocol, backends, keepClient } = port;
  const comment = `comment "${ruleMark(chainRuleOf(port))}"`;
  const mark = keepClient ? `meta l4proto ${protocol} ct mark set ct mark or ${hex(CLIENT_KEPT)} ` : '';
  if (backends.length > 0)
    return `${mark}dnat ip to ${protocol} dport . numgen inc mod ${backends.length} map @${slotsMap(protocol, port.port)} ${comment}`;
  return protocol === 'tcp'
    ? `reject with tcp reset ${comment}`
    : `meta l4proto ${protocol} reject with icmp port-unreachable ${comment}`;
}

function vipRules(vip: ServiceVip): string[] {
  const { address, backends } = vip;
  const comment = `comment "${ruleMark(chainRuleOf(vip))}"`;
  if (backends.length > 0)
    return [`dnat to ip daddr . numgen inc mod ${backends.length} map @${vipSlotsMap(address)} ${comment}`];
  return [
    `meta l4proto tcp reject with tcp reset ${comment}`,
    `reject with icmp port-unreachable ${comment}`,
  ];
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
    ...ports.flatMap((port) => chainText(chainOf(port), [portRule(port)])),
    ...mapText(
      'published',
      'type inet_proto . inet_service : verdict',
      ports.map((p) => `${p.protocol} . ${p.port} : goto ${chainOf(p)}`),
    ),
  ];
}

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
    ...vips.flatMap((vip) => chainText(chainOf(vip), vipRules(vip))),
    ...mapText(
      'vips',
      'type ipv4_addr : verdict',
      vips.map((vip) => `${vip.address} : goto ${chainOf(vip)}`),
    ),
  ];
}

/** Takes the table away with all it holds, there or not. */
export const removeTableText = `table ip ${TABLE} {}\ndelete table ip ${TABLE}\n`;

/** Replaces one base chain, whatever it holds; `exists` says whether there is one to remove first. */
export function replaceBaseText(chain: BaseChain, exists: boolean): string {
  return [
    ...(exists ? removeBaseLines(chain.name) : []),
    `add chain ip ${TABLE} ${chain.name} { ${baseHead(chain)} }`,
    ...chain.rules.map((rule) => `add rule ip ${TABLE} ${chain.name} ${commented(rule)}`),
    '',
  ].join('\n');
}

export const removeBaseText = (name: string): string => `${removeBaseLines(name).join('\n')}\n`;

const removeBaseLines = (name: string): string[] => [
  `flush chain ip ${TABLE} ${name}`,
  `delete chain ip ${TABLE} ${name}`,
];
