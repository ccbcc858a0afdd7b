/**
 * The nftables table `ip skein` of a node's root namespace: what it must hold, typed, so that it can be written as
 * text, programmed, and walked without traffic.
 *
 * Cost: a new connection meets a lookup in `counts` (how many backends has the port?), one in `published` (the chain of
 * that port's round robin over so many) and one in a slots map (port . slot -> address . port), however many ports are
 * published. A round robin has a chain of its own because it needs a counter of its own, whose modulus is part of the
 * rule; and for a new rule or a new way to a chain the kernel checks every chain of the table again, 3 ms with 5,000
 * ports. So a port has the chains of all round robins up to a power of two, enough for every task that stands on the
 * network, in rotation or not: they are made when a task gets its address, before it runs, and as often as the tasks
 * double. A backend that comes or goes is elements of `counts` and slots only, 0.3 ms whatever else is published.
 *
 * A port of one address (`docker run -p ADDRESS:PORT:TARGET`) has one container and no round robin: it is one element of
 * `bound`, where a new connection is looked up before, by address, protocol and port.
 *
 * How many backends there are goes from one rule to the next as the packet's priority: what carries a value between
 * rules must be of the packet, its mark is the administrator's, and the priority is set anew when it is forwarded
 * (ip_forward) or means the first packet of a connection only.
 *
 * Services with `skein.client-ip=preserve` mark their connections in their port's chain, and are left out of the source
 * translation; what of the node itself calls them by a loopback address has no address to keep.
 */
import type { Cidr, Ipv4 } from '../model/ids.ts';
import type { HostPort, Protocol } from '../model/spec.ts';
import type { EndpointItem, NetworkView } from '../model/network-view.ts';
import { ipToInt } from '../kit/cidr.ts';
import { GATEWAY_LINK, INGRESS_LINK } from './link-names.ts';
import { BALANCE, PROTOCOLS } from './nft-names.ts';
import { boundKey, portKey } from './nft-state.ts';
import type {
  Backend,
  BaseChain,
  BoundPort,
  FixedChain,
  Frontend,
  Match,
  NftTable,
  PublishedPort,
  Rule,
} from './state.ts';

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
  verdict: { kind: 'frontend', of: 'port' },
};

/**
 * Ports of one address, ahead of those of all: there where a container has one, for every new connection is looked up
 * then. What the wire brings for a loopback address is not led anywhere: bound there, a port is for the node itself.
 */
const boundPorts = (protocols: readonly Protocol[], ...and: readonly Match[]): Rule[] =>
  protocols.map(
    (protocol): Rule => ({
      name: `${protocol} ports of one address`,
      matches: [{ kind: 'protocol', protocol }, { kind: 'daddr-local' }, ...and],
      verdict: { kind: 'bound-port' },
    }),
  );

/** What no round robin takes, because the frontend has no backend, is refused. */
export const balanceOf = (of: Frontend['kind']): FixedChain => ({
  name: BALANCE,
  rules: [
    { name: 'next backend', matches: [], verdict: { kind: 'round-robin', of } },
    {
      name: 'no backend',
      matches: [{ kind: 'protocol', protocol: 'tcp' }],
      verdict: { kind: 'refuse', of, by: 'reset' },
    },
    { name: 'no backend', matches: [], verdict: { kind: 'refuse', of, by: 'unreachable' } },
  ],
});

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

function planBases(
  ingress: Ipv4 | undefined,
  bound: readonly Protocol[],
  { gateway, ingressMtu }: Surroundings,
): BaseChain[] {
  const rules: Record<keyof typeof BASES, readonly Rule[]> = {
    guard: [guardRule(INGRESS_LINK), guardRule(GATEWAY_LINK)],
    'clamp-in': ingressMtu ? [clampRule('iifname', ingressMtu)] : [],
    'clamp-out': ingressMtu ? [clampRule('oifname', ingressMtu)] : [],
    prerouting: [...boundPorts(bound, { kind: 'daddr', cidr: LOOPBACK, not: true }), published],
    output: [...boundPorts(bound), published],
    forward: forwardRules,
    postrouting: postroutingRules(ingress, gateway),
  };
  return (Object.keys(BASES) as (keyof typeof BASES)[]).map((name) => ({
    name,
    ...BASES[name],
    rules: rules[name],
  }));
}

/** Host-mode ports of one sandbox, at its address on the gateway bridge. */
export interface HostPorts {
  readonly address: Ipv4;
  readonly ports: readonly HostPort[];
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
  const opened = hostPorts.flatMap(openedBy);
  for (const { at, backend, ...port } of opened)
    if (!at) add({ ...port, backends: [backend], standing: 1, keepClient: false });
  const endpoints = ingressEndpoints(view);
  for (const service of view.services.values()) {
    const { standing, addresses } = endpoints.get(service.serviceId) ?? NOBODY;
    for (const spec of service.ingressPorts) {
      const backends = addresses.map((address): Backend => ({ address, port: spec.TargetPort }));
      const keepClient = service.preserveClientIp;
      if (spec.PublishedPort)
        add({ protocol: spec.Protocol, port: spec.PublishedPort, backends, standing, keepClient });
    }
  }
  // What a service publishes it publishes at every address.
  const bound = opened.flatMap(({ at, ...port }) =>
    at && !frontends.has(portKey(port)) ? [{ ...port, address: at }] : [],
  );
  const boundProtocols = PROTOCOLS.filter((one) => bound.some(({ protocol }) => protocol === one));
  return {
    kind: 'mesh',
    bases: planBases(view.self?.ingress?.address, boundProtocols, surroundings),
    balance: balanceOf('port'),
    frontends,
    bound: new Map(bound.map((port) => [boundKey(port), port])),
  };
}

interface OpenedPort extends Omit<BoundPort, 'address'> {
  /** The only address; undefined: all. */
  readonly at: Ipv4 | undefined;
}

const openedBy = ({ address, ports }: HostPorts): OpenedPort[] =>
  ports.flatMap(({ HostIp, Protocol, PublishedPort, TargetPort }) =>
    PublishedPort
      ? [{ at: HostIp, protocol: Protocol, port: PublishedPort, backend: { address, port: TargetPort } }]
      : [],
  );

/** A service's endpoints on one network. */
export interface Standing {
  /** In rotation or not. */
  standing: number;
  /** Of those in rotation, in order. */
  readonly addresses: Ipv4[];
}

export const NOBODY: Standing = { standing: 0, addresses: [] };

/** On the ingress network, by service. */
const ingressEndpoints = (view: NetworkView): Map<string, Standing> =>
  standingBy(view, ({ networkId, serviceId }) =>
    view.networks.get(networkId)?.ingress ? serviceId : undefined,
  );

/** Endpoints of services by what `keyOf` says; undefined: left out. */
export function standingBy(
  view: NetworkView,
  keyOf: (endpoint: EndpointItem) => string | undefined,
): Map<string, Standing> {
  const found = new Map<string, Standing>();
  for (const endpoint of view.endpoints.values()) {
    const key = keyOf(endpoint);
    if (key === undefined) continue;
    let entry = found.get(key);
    if (!entry) found.set(key, (entry = { standing: 0, addresses: [] }));
    entry.standing++;
    if (endpoint.inRotation) entry.addresses.push(endpoint.address);
  }
  for (const { addresses } of found.values()) addresses.sort((a, b) => ipToInt(a) - ipToInt(b));
  return found;
}
