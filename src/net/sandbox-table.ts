/**
 * The nftables table `ip skein` of a container's own namespace. Pure.
 *
 * - Names: what the container asks of 127.0.0.11 goes to the port on which the node's resolver listens there; port 53
 *   itself stays free for a container that is a name server.
 * - Virtual IPs: translated where the connection begins, so that the backend sees the true source, no hop is added and
 *   no address is spent on balancing. Round robin over the backends in rotation, on any port and protocol.
 * - For a service that keeps its clients' addresses: a connection is marked by the MAC of the ingress endpoint that it
 *   came through, and its answers are routed back by that node (rules and tables: `planReturnPaths`). A node may keep
 *   clients before this one knows of it: what began meanwhile is marked when its client tries again. And a container
 *   that once had such clients keeps their way back as long as it stands, for they do not all end at a word. A UDP
 *   server that listens on every address lets the kernel choose the source of its answer before any mark: the default
 *   route names the address that it was asked at (`sourceOf`), and what the container itself sends out is translated.
 *
 * Cost: a few chains and elements for each virtual IP on the container's networks; a change of one backend is a few
 * elements in each local container on its network (nft-plan.ts says why).
 */
import { addressOf, ipToInt, range } from '../kit/cidr.ts';
import type { Cidr, Ipv4, NetworkId, ServiceId } from '../model/ids.ts';
import { type NetworkItem, type NetworkView, RESOLVER } from '../model/network-view.ts';
import { innerName } from './link-names.ts';
import type { SandboxSpec } from './network.ts';
import type { SandboxRecord } from './plan.ts';
import { balanceOf, NOBODY, type Standing, standingBy } from './nft-plan.ts';
import { vipKey } from './nft-state.ts';
import type { BaseChain, Entrance, NftTable, Rule, ServiceVip, StateBuilder } from './state.ts';

/** Each base chain and why it stands at its priority. */
const BASES = {
  // mangle: after connection tracking (-200) has the connection, before translation (-100).
  remember: { type: 'filter', hook: 'prerouting', priority: -150 },
  // A packet whose mark changes here is routed anew.
  answer: { type: 'route', hook: 'output', priority: -150 },
  // dstnat: connections that the container opens.
  output: { type: 'nat', hook: 'output', priority: -100 },
  // srcnat: connections that the container opens by the gateway, though the route gave them another source.
  leave: { type: 'nat', hook: 'postrouting', priority: 100 },
} as const;

const RESOLVER_CIDR = `${RESOLVER.address}/32` as Cidr;

const nameRule = (protocol: 'udp' | 'tcp'): Rule => ({
  name: `names over ${protocol}`,
  matches: [
    { kind: 'daddr', cidr: RESOLVER_CIDR },
    { kind: 'dport', protocol, port: RESOLVER.port },
  ],
  verdict: { kind: 'dnat', to: RESOLVER.address, port: RESOLVER.listens },
});

const OUTPUT: readonly Rule[] = [
  nameRule('udp'),
  nameRule('tcp'),
  { name: 'virtual IPs', matches: [], verdict: { kind: 'frontend', of: 'vip' } },
];

/** Where connections through the mesh come into the container, and each node's way in and its mark. */
interface Entries {
  readonly link: string;
  /** The container's own there. */
  readonly address: Ipv4;
  readonly nodes: readonly (Entrance & { readonly address: Ipv4 })[];
}

/** What of a sandbox its table follows from. */
export type TableRecord = Pick<SandboxRecord, 'spec' | 'links' | 'keepsClients'>;

/** Undefined for a sandbox whose service never kept its clients' addresses. */
function entriesOf({ spec, links, keepsClients }: TableRecord, view: NetworkView): Entries | undefined {
  if (!keepsClients) return undefined;
  const index = spec.attachments.findIndex((a) => view.networks.get(a.networkId)?.ingress);
  const network = view.networks.get(spec.attachments[index]?.networkId as NetworkId);
  if (!network) return undefined;
  const own = view.self?.ingress;
  const others = [...view.endpoints.values()].filter(
    (e) => e.taskId === undefined && e.networkId === network.networkId && e.nodeId !== view.self?.nodeId,
  );
  const nodes = [...(own ? [own] : []), ...others]
    .map(({ address, mac }) => ({ address, mac, mark: markOf(address, network) }))
    .sort((a, b) => a.mark - b.mark);
  const { address } = spec.attachments[index]!;
  return nodes.length > 0
    ? { link: innerName(links.networks[index]!), address: addressOf(address), nodes }
    : undefined;
}

const FIRST_MARK = 0x45_0000;

/** Follows from the node's place in the ingress network alone, so that it outlives every change of the view. */
const markOf = (address: Ipv4, network: NetworkItem): number =>
  FIRST_MARK + ipToInt(address) - range(network.subnet).first;

/** `gateway`: the container's link to the gateway bridge. */
function basesOf(entries: Entries | undefined, gateway: string | undefined): BaseChain[] {
  const chain = (name: keyof typeof BASES, rules: readonly Rule[]): BaseChain => ({
    name,
    ...BASES[name],
    rules,
  });
  if (!entries) return [chain('output', OUTPUT)];
  const entrances = entries.nodes.map(({ mac, mark }) => ({ mac, mark }));
  return [
    chain('remember', [
      {
        name: 'entrance of a connection',
        matches: [{ kind: 'iifname', name: entries.link }, { kind: 'ct-unmarked' }],
        verdict: { kind: 'remember-entrance', entrances },
      },
    ]),
    chain('answer', [
      {
        name: 'answers leave by their entrance',
        matches: [{ kind: 'ct-marked-reply' }],
        verdict: { kind: 'restore-mark' },
      },
    ]),
    chain('output', OUTPUT),
    ...(gateway
      ? [
          chain('leave', [
            {
              name: 'way out',
              matches: [{ kind: 'oifname', name: gateway }],
              verdict: { kind: 'masquerade' },
            },
          ]),
        ]
      : []),
  ];
}

/** Who stands where by service and network: made once for all sandboxes. */
export type Rotation = ReadonlyMap<string, Standing>;

const rotationKey = (networkId: NetworkId, serviceId: ServiceId): string => `${networkId}/${serviceId}`;

export const rotationOf = (view: NetworkView): Rotation =>
  standingBy(view, ({ networkId, serviceId }) => serviceId && rotationKey(networkId, serviceId));

/** The ingress network has no names, and its virtual IPs no callers. */
const standsOn = (spec: SandboxSpec, view: NetworkView): ReadonlySet<NetworkId> =>
  new Set(spec.attachments.map((a) => a.networkId).filter((id) => view.networks.get(id)?.ingress === false));

export function planSandboxTable(record: TableRecord, view: NetworkView, rotation: Rotation): NftTable {
  const { spec, links } = record;
  const networks = standsOn(spec, view);
  const frontends = new Map<string, ServiceVip>();
  for (const service of networks.size > 0 ? view.services.values() : [])
    for (const { networkId, address } of service.virtualIps) {
      if (!networks.has(networkId)) continue;
      const { standing, addresses } = rotation.get(rotationKey(networkId, service.serviceId)) ?? NOBODY;
      frontends.set(vipKey(address), { kind: 'vip', address, backends: addresses, standing });
    }
  return {
    kind: 'sandbox',
    bases: basesOf(entriesOf(record, view), spec.internal ? undefined : innerName(links.gateway)),
    balance: balanceOf('vip'),
    frontends,
    bound: new Map(),
  };
}

/** For each node's entrance a table with the way back through it, and the rule that leads marked packets there. */
export function planReturnPaths(state: StateBuilder, record: TableRecord, view: NetworkView): void {
  const { spec } = record;
  const entries = entriesOf(record, view);
  for (const { address, mark } of entries?.nodes ?? []) {
    state.route({ place: spec.id, link: entries!.link, via: address, table: mark, source: undefined });
    state.markRule({ place: spec.id, mark });
  }
}

/** Of what a container sends by its default route without saying from where; undefined: as the link has it. */
export const sourceOf = (record: TableRecord, view: NetworkView): Ipv4 | undefined =>
  entriesOf(record, view)?.address;

export const isReturnMark = (mark: number): boolean => mark >= FIRST_MARK;
