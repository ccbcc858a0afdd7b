/**
 * The nftables table `ip skein` of a node's root namespace: what it must hold, typed, so that it can be written as
 * text, programmed, and walked without traffic.
 *
 * Cost: a new connection meets one lookup in `published`, one chain, one lookup in a slots map, however many ports are
 * published. Every published port has a chain of its own because round robin needs a counter of its own; the chain
 * holds the modulus only, the backends are elements of the flat map (port . slot -> address . port).
 * A change of how many backends a port has replaces that rule, and for a new rule the kernel checks every chain of the
 * table again: 0.1 ms with 10 published ports, 0.6 ms with 1,000, 3 ms with 5,000. Elements alone are not checked so.
 *
 * Services with `skein.client-ip=preserve` mark their connections in their port's chain, and are left out of the source
 * translation; what of the node itself calls them by a loopback address has no address to keep.
 */
import type { Cidr, Ipv4 } from '../model/ids.ts';
import type { PortSpec } from '../model/spec.ts';
import type { EndpointItem, NetworkView } from '../model/network-view.ts';
import { ipToInt } from '../kit/cidr.ts';
import { GATEWAY_LINK, INGRESS_LINK } from './link-names.ts';
import { ruleMark } from './nft-names.ts';
import { ruleText } from './nft-text.ts';
import type { Backend, BaseChain, ChainRule, Frontend, NftState, PublishedPort, Rule } from './state.ts';

export interface NftTable {
  /** `mesh` in the root namespace, `sandbox` in a container's (sandbox-table.ts). */
  readonly kind: 'mesh' | 'sandbox';
  readonly bases: readonly BaseChain[];
  readonly frontends: ReadonlyMap<string, Frontend>;
}

export const LOOPBACK = '127.0.0.0/8' as Cidr;

/** Each base chain and why it stands at its priority. Order is the order of the hooks a packet meets. */
const BASES = {
  // Before connection tracking and translation (-300): a reply is still addressed to the ingress endpoint here, so
  // whatever names a loopback address on the wire is an intruder that route_localnet would let in.
  guard: { type: 'filter', hook: 'prerouting', priority: -300 },
  // mangle: what comes out of the ingress network, before anything looks at it.
  'clamp-in': { type: 'filter', hook: 'prerouting', priority: -150 },
  // dstnat: where destination translation has its place for packets that come in.
  prerouting: { type: 'nat', hook: 'prerouting', priority: -100 },
  // The same for connections of the node itself: to its own address or to 127.0.0.1.
  output: { type: 'nat', hook: 'output', priority: -100 },
  // filter: after routing, so that the way out is known.
  forward: { type: 'filter', hook: 'forward', priority: 0 },
  // mangle: what goes into the ingress network, the node's own connections too.
  'clamp-out': { type: 'filter', hook: 'postrouting', priority: -150 },
  // srcnat: the last thing before a packet leaves.
  postrouting: { type: 'nat', hook: 'postrouting', priority: 100 },
} as const;

const published: Rule = {
  name: 'published ports',
  matches: [{ kind: 'daddr-local' }],
  verdict: { kind: 'published' },
};

const guardRule = (link: string): Rule => ({
  name: `no loopback from ${link}`,
  matches: [
    { kind: 'iifname', name: link },
    { kind: 'daddr', cidr: LOOPBACK },
  ],
  verdict: { kind: 'drop' },
});

/** The ingress network and the outside meet only in translated connections; neither routes into the other. */
const forwardRules: readonly Rule[] = [
  { name: 'translated', matches: [{ kind: 'ct-dnat' }], verdict: { kind: 'accept' } },
  ...(['iifname', 'oifname'] as const).map(
    (kind): Rule => ({
      name: kind === 'iifname' ? 'ingress is no router' : 'no way into ingress',
      matches: [{ kind, name: INGRESS_LINK }, { kind: 'ct-new' }],
      verdict: { kind: 'drop' },
    }),
  ),
];

function postroutingRules(ingress: Ipv4 | undefined, gateway: Cidr): Rule[] {
  const toGateway = { kind: 'oifname', name: GATEWAY_LINK } as const;
  const masquerade = { kind: 'masquerade' } as const;
  return [
    ...(ingress
      ? [
          {
            name: 'ingress source',
            matches: [
              { kind: 'oifname', name: INGRESS_LINK },
              { kind: 'ct-dnat' },
              { kind: 'ct-client-kept', not: true },
            ],
            verdict: { kind: 'snat', to: ingress },
          } as const,
          {
            name: 'ingress source of loopback',
            matches: [
              { kind: 'oifname', name: INGRESS_LINK },
              { kind: 'ct-dnat' },
              { kind: 'saddr', cidr: LOOPBACK },
            ],
            verdict: { kind: 'snat', to: ingress },
          } as const,
        ]
      : []),
    {
      name: 'way out',
      matches: [
        { kind: 'saddr', cidr: gateway },
        { kind: 'oifname', name: GATEWAY_LINK, not: true },
      ],
      verdict: masquerade,
    },
    // A container that calls a host-mode port of its own node: the answer must come back this way.
    {
      name: 'host port from a container',
      matches: [toGateway, { kind: 'saddr', cidr: gateway }, { kind: 'ct-dnat' }],
      verdict: masquerade,
    },
    {
      name: 'host port from loopback',
      matches: [toGateway, { kind: 'saddr', cidr: LOOPBACK }, { kind: 'ct-dnat' }],
      verdict: masquerade,
    },
  ];
}

/**
 * No segment is larger than this node's stretch of the ingress network: a container on a node with a larger uplink
 * would send more than this node's uplink takes, and no router stands between them to say so.
 */
const clampRule = (kind: 'iifname' | 'oifname', mtu: number): Rule => ({
  name: 'segments fit the ingress network',
  matches: [{ kind, name: INGRESS_LINK }, { kind: 'tcp-syn' }],
  verdict: { kind: 'clamp-mss', to: mtu - IP_AND_TCP },
});

const IP_AND_TCP = 40;

function planBases(ingress: Ipv4 | undefined, { gateway, ingressMtu }: Surroundings): BaseChain[] {
  const rules: Record<keyof typeof BASES, readonly Rule[]> = {
    guard: [guardRule(INGRESS_LINK), guardRule(GATEWAY_LINK)],
    'clamp-in': ingressMtu ? [clampRule('iifname', ingressMtu)] : [],
    'clamp-out': ingressMtu ? [clampRule('oifname', ingressMtu)] : [],
    prerouting: [published],
    output: [published],
    forward: forwardRules,
    postrouting: postroutingRules(ingress, gateway),
  };
  return (Object.keys(BASES) as (keyof typeof BASES)[]).map((name) => ({
    name,
    ...BASES[name],
    rules: rules[name],
  }));
}

export const portKey = (p: { readonly protocol: string; readonly port: number }): string =>
  `${p.protocol}/${p.port}`;
export const vipKey = (address: Ipv4): string => `vip/${address}`;
const frontendKey = (f: Frontend): string => (f.kind === 'port' ? portKey(f) : vipKey(f.address));

/** Host-mode ports of one sandbox, at its address on the gateway bridge. */
export interface HostPorts {
  readonly address: Ipv4;
  readonly ports: readonly PortSpec[];
}

/** What the table must know of its node. */
export interface Surroundings {
  readonly gateway: Cidr;
  /** undefined: no ingress network. */
  readonly ingressMtu: number | undefined;
}

export function planNft(
  view: NetworkView,
  surroundings: Surroundings,
  hostPorts: readonly HostPorts[],
): NftTable {
  const frontends = new Map<string, PublishedPort>();
  const add = (port: Omit<PublishedPort, 'kind'>) => frontends.set(portKey(port), { kind: 'port', ...port });
  for (const { address, ports: specs } of hostPorts)
    for (const spec of specs)
      if (spec.PublishedPort)
        add({
          protocol: spec.Protocol,
          port: spec.PublishedPort,
          backends: [{ address, port: spec.TargetPort }],
          keepClient: false,
        });
  const endpoints = ingressEndpoints(view);
  for (const service of view.services.values())
    for (const spec of service.ingressPorts) {
      const backends = (endpoints.get(service.serviceId) ?? []).map(
        (e): Backend => ({ address: e.address, port: spec.TargetPort }),
      );
      const keepClient = service.preserveClientIp;
      if (spec.PublishedPort)
        add({ protocol: spec.Protocol, port: spec.PublishedPort, backends, keepClient });
    }
  return { kind: 'mesh', bases: planBases(view.self?.ingress?.address, surroundings), frontends };
}

/** Endpoints in rotation on the ingress network, by service, in the order of their addresses. */
function ingressEndpoints(view: NetworkView): Map<string, EndpointItem[]> {
  const services = new Map<string, EndpointItem[]>();
  for (const endpoint of view.endpoints.values()) {
    if (!endpoint.serviceId || !endpoint.inRotation) continue;
    if (!view.networks.get(endpoint.networkId)?.ingress) continue;
    const list = services.get(endpoint.serviceId);
    if (list) list.push(endpoint);
    else services.set(endpoint.serviceId, [endpoint]);
  }
  for (const list of services.values()) list.sort((a, b) => ipToInt(a.address) - ipToInt(b.address));
  return services;
}

export const chainOf = (f: Frontend): string =>
  f.kind === 'port' ? `${f.protocol}-${f.port}` : `vip-${f.address}`;

export const chainRuleOf = (f: Frontend): ChainRule => ({
  modulus: f.backends.length,
  keepClient: f.kind === 'port' && f.keepClient && f.backends.length > 0,
});

/** How many rules the chain has: a port is of one protocol, an address of all, which are refused in two ways. */
const rulesOf = (f: Frontend): number => (f.kind === 'vip' && f.backends.length === 0 ? 2 : 1);

/** How a frontend's chain reads back: the comments of its rules. */
const chainText = (f: Frontend): string =>
  Array(rulesOf(f))
    .fill(ruleMark(chainRuleOf(f)))
    .join('; ');

/** The table as the maps that are compared with the kernel's. */
export function nftStateOf(table: NftTable): NftState {
  const chains = new Map<string, string>();
  const elements = new Map<string, string>();
  const slots = new Map<string, string>();
  for (const frontend of table.frontends.values()) {
    const key = frontendKey(frontend);
    chains.set(chainOf(frontend), chainText(frontend));
    elements.set(key, chainOf(frontend));
    targetsOf(frontend).forEach((target, slot) => slots.set(`${key}/${slot}`, target));
  }
  const bases = new Map(table.bases.map((chain) => [chain.name, chainMark(chain)]));
  return { present: true, bases, chains, published: elements, slots };
}

/** `address:port`, of a virtual IP `address`. */
const targetsOf = (f: Frontend): readonly string[] =>
  f.kind === 'port' ? f.backends.map((b) => `${b.address}:${b.port}`) : f.backends;

const HOOK_NUMBERS = { prerouting: 0, forward: 2, output: 3, postrouting: 4 } as const;

/** How a base chain is recognised: its hook, and the comments of its rules in order. */
const chainMark = (chain: BaseChain): string =>
  markOf(
    { type: chain.type, number: HOOK_NUMBERS[chain.hook], priority: chain.priority },
    chain.rules.map(ruleComment),
  );

export const markOf = (
  hook: { readonly type: string; readonly number: number; readonly priority: number },
  comments: readonly string[],
): string => `${hook.type} ${hook.number} ${hook.priority}: ${comments.join('; ')}`;

/** Name of the rule and a digest of its text: a rule that was replaced or is of another version reads differently. */
export const ruleComment = (rule: Rule): string => `${rule.name} #${digest(ruleText(rule))}`;

/** FNV-1a, 32 bits: tells texts apart, protects nothing. */
function digest(text: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, '0');
}
