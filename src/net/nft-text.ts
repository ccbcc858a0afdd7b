/** The nftables table as the text that nft reads: what golden files hold, and how the fixed part is loaded. */
import { ruleComment, chainOf, type NftTable } from './nft-plan.ts';
import { portMark, PROTOCOLS, slotsMap, slotsMaps, TABLE } from './nft-names.ts';
import type { BaseChain, Match, PublishedPort, Rule, Verdict } from './state.ts';
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
    case 'ct-new':
      return 'ct state new';
    case 'ct-dnat':
      return 'ct status dnat';
  }
}

function verdictText(verdict: Verdict): string {
  switch (verdict.kind) {
    case 'snat':
      return `snat to ${verdict.to}`;
    case 'published':
      return 'meta l4proto . th dport vmap @published';
    default:
      return verdict.kind;
  }
}

export const ruleText = (rule: Rule): string =>
  [...rule.matches.map(matchText), verdictText(rule.verdict)].join(' ');

const commented = (rule: Rule): string => `${ruleText(rule)} comment "${ruleComment(rule)}"`;

const baseHead = (chain: BaseChain): string =>
  `type ${chain.type} hook ${chain.hook} priority ${chain.priority}; policy accept;`;

const slotsText = (map: string, protocol: Protocol, elements: readonly string[]): string[] => [
  `  map ${map} {`,
  `    typeof ${protocol} dport . numgen inc mod 2 : ip daddr . ${protocol} dport;`,
  ...elementsText(elements),
  '  }',
];

const elementsText = (elements: readonly string[]): string[] =>
  elements.length === 0 ? [] : ['    elements = {', ...elements.map((e) => `      ${e},`), '    };'];

function portRule(port: PublishedPort): string {
  const { protocol, backends } = port;
  const comment = `comment "${portMark(backends.length)}"`;
  if (backends.length > 0)
    return `dnat ip to ${protocol} dport . numgen inc mod ${backends.length} map @${slotsMap(protocol, port.port)} ${comment}`;
  return protocol === 'tcp'
    ? `reject with tcp reset ${comment}`
    : `meta l4proto ${protocol} reject with icmp port-unreachable ${comment}`;
}

/** The whole table. With no ports it is the fixed part, which the kernel gets as this text. */
export function tableText(table: NftTable): string {
  const ports = [...table.ports.values()].sort(
    (a, b) => PROTOCOLS.indexOf(a.protocol) - PROTOCOLS.indexOf(b.protocol) || a.port - b.port,
  );
  const slotsOf = (map: string) =>
    ports
      .filter((p) => slotsMap(p.protocol, p.port) === map)
      .flatMap((p) => p.backends.map((b, slot) => `${p.port} . ${slot} : ${b.address} . ${b.port}`));
  return [
    `table ip ${TABLE} {`,
    ...PROTOCOLS.flatMap((protocol) =>
      slotsMaps(protocol).flatMap((map) => slotsText(map, protocol, slotsOf(map))),
    ),
    ...ports.flatMap((port) => [`  chain ${chainOf(port)} {`, `    ${portRule(port)}`, '  }']),
    '  map published {',
    '    type inet_proto . inet_service : verdict;',
    ...elementsText(ports.map((p) => `${p.protocol} . ${p.port} : goto ${chainOf(p)}`)),
    '  }',
    ...table.bases.flatMap((chain) => [
      `  chain ${chain.name} {`,
      `    ${baseHead(chain)}`,
      ...chain.rules.map((rule) => `    ${commented(rule)}`),
      '  }',
    ]),
    '}',
    '',
  ].join('\n');
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
