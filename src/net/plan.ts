/**
 * What a node's kernel must hold, from the network view, the sandboxes on this node and a few local facts. Pure: the
 * same planner feeds the reconciler, the golden files, explanations and `--dry-run`.
 */
import { addressOf, interfaceAddress, parseCidr, prefixLength } from '../kit/cidr.ts';
import type { ContainerId, InterfaceAddress, Ipv4, Mac } from '../model/ids.ts';
import type { NetworkItem, NetworkView } from '../model/network-view.ts';
import type { HostPort } from '../model/spec.ts';
import {
  bridgeName,
  GATEWAY_BRIDGE,
  GATEWAY_LINK,
  GATEWAY_PORT,
  gatewayPortName,
  INGRESS_LINK,
  INGRESS_PORT,
  innerName,
  portName,
  vxlanName,
} from './link-names.ts';
import { planNft, type Surroundings } from './nft-plan.ts';
import { nftStateOf } from './nft-state.ts';
import { planReturnPaths, planSandboxTable, rotationOf, sourceOf } from './sandbox-table.ts';
import type { SandboxSpec } from './network.ts';
import {
  type KernelState,
  linkKey,
  type Link,
  type NftTable,
  type Place,
  StateBuilder,
  ZERO_MAC,
} from './state.ts';

/** A sandbox as this node made it: the spec, and what was chosen here. */
export interface SandboxRecord {
  readonly spec: SandboxSpec;
  /** On the gateway bridge; undefined for an internal one. */
  readonly gateway: InterfaceAddress | undefined;
  /** Every published port filled in. */
  readonly hostPorts: readonly HostPort[];
  readonly links: LinkNumbers;
  /** Its service keeps its clients' addresses, or has while this stood: such connections need their way back. */
  readonly keepsClients: boolean;
}

/** N of `ethN` in the sandbox: they stay while it stands, though networks come and go. */
export interface LinkNumbers {
  /** One an attachment, in the spec's order. */
  readonly networks: readonly number[];
  readonly gateway: number;
}

export interface Facts {
  readonly uplinkMtu: number;
  readonly vtep: Ipv4;
  /** Address of the gateway bridge, which is the containers' default route. */
  readonly gateway: InterfaceAddress;
}

export interface Desired extends KernelState {
  readonly tables: ReadonlyMap<Place, NftTable>;
  /** Links of sandboxes on networks that the view does not (yet) hold: neither made nor removed. */
  readonly kept: ReadonlySet<string>;
}

/** 14 Ethernet + 20 IPv4 + 8 UDP + 8 VXLAN: what the tunnel adds to each packet. */
const VXLAN_OVERHEAD = 50;

const mtuOf = (network: NetworkItem, facts: Facts): number => network.mtu ?? facts.uplinkMtu - VXLAN_OVERHEAD;

export function surroundingsOf(view: NetworkView, facts: Facts): Surroundings {
  const ingress = [...view.networks.values()].find((network) => network.ingress);
  return { gateway: parseCidr(facts.gateway), ingressMtu: ingress && mtuOf(ingress, facts) };
}

export function planNode(view: NetworkView, sandboxes: readonly SandboxRecord[], facts: Facts): Desired {
  const state = new StateBuilder();
  const kept = new Set<string>();
  const tables = new Map<Place, NftTable>();
  const rotation = rotationOf(view);
  planRoot(state, facts);
  planFabric(state, view, facts);
  for (const record of sandboxes) planSandbox(state, kept, record, view, facts);
  const hostPorts = sandboxes.flatMap((s) =>
    s.gateway ? [{ address: addressOf(s.gateway), ports: s.hostPorts }] : [],
  );
  tables.set('root', planNft(view, surroundingsOf(view, facts), hostPorts));
  for (const record of sandboxes) tables.set(record.spec.id, planSandboxTable(record, view, rotation));
  for (const [place, table] of tables) state.nft.set(place, nftStateOf(table));
  return Object.assign(state, { tables, kept });
}

/** One sandbox alone, for `attach`. */
export function planOne(record: SandboxRecord, view: NetworkView, facts: Facts): Desired {
  const state = new StateBuilder();
  const kept = new Set<string>();
  planSandbox(state, kept, record, view, facts);
  const table = planSandboxTable(record, view, rotationOf(view));
  state.nft.set(record.spec.id, nftStateOf(table));
  return Object.assign(state, { tables: new Map<Place, NftTable>([[record.spec.id, table]]), kept });
}

const bridge = (place: Place, name: string, mtu: number): Link => ({
  place,
  name,
  type: { kind: 'bridge' },
  mac: undefined,
  mtu,
  master: undefined,
  port: undefined,
  up: true,
});

const GATEWAY_MAC = '02:53:4b:00:00:01' as Mac;

/**
 * The gateway bridge stands in the fabric like the others, and the node's end of it is a veth: in the root namespace
 * br_netfilter would translate a container's call of a host-mode port on the bridge itself, and lose it there.
 */
function planRoot(state: StateBuilder, facts: Facts): void {
  state.netns.add('root');
  state.netns.add('fabric');
  state.sysctl('root', 'net/ipv4/ip_forward', '1');
  state.link(bridge('fabric', GATEWAY_BRIDGE, facts.uplinkMtu));
  planVeth(
    state,
    { place: 'root', name: GATEWAY_LINK, mac: GATEWAY_MAC },
    { place: 'fabric', name: GATEWAY_PORT, master: GATEWAY_BRIDGE },
    facts.uplinkMtu,
  );
  state.address('root', GATEWAY_LINK, facts.gateway);
  planLoopbackAccess(state, GATEWAY_LINK);
}

/** 127.0.0.1:PORT of the node leads to containers: packets from and to loopback addresses pass this link. */
function planLoopbackAccess(state: StateBuilder, link: string): void {
  state.sysctl('root', `net/ipv4/conf/${link}/route_localnet`, '1');
  state.sysctl('root', `net/ipv4/conf/${link}/rp_filter`, '2');
  // The node's other addresses are not offered on this link.
  state.sysctl('root', `net/ipv4/conf/${link}/arp_ignore`, '1');
  state.sysctl('root', `net/ipv4/conf/${link}/arp_announce`, '2');
}

function planFabric(state: StateBuilder, view: NetworkView, facts: Facts): void {
  for (const key of ['iptables', 'ip6tables', 'arptables'])
    state.sysctl('fabric', `net/bridge/bridge-nf-call-${key}`, '0');
  state.sysctl('fabric', 'net/ipv6/conf/all/disable_ipv6', '1');
  state.sysctl('fabric', 'net/ipv6/conf/default/disable_ipv6', '1');
  for (const network of view.networks.values()) planNetwork(state, network, view, facts);
  planEndpoints(state, view);
}

/**
 * Bridge ports neither learn nor flood: every MAC of a network is known from the view, local ones as static entries.
 * So a container can not take over another's MAC, and no packet shows up where it was not sent. The VXLAN port alone
 * floods: what is not local is remote, which saves the bridge an entry for each remote endpoint.
 */
function planNetwork(state: StateBuilder, network: NetworkItem, view: NetworkView, facts: Facts): void {
  const name = bridgeName(network.vni);
  const mtu = mtuOf(network, facts);
  state.link(bridge('fabric', name, mtu));
  if (view.self)
    state.link({
      ...bridge('fabric', vxlanName(network.vni), mtu),
      type: { kind: 'vxlan', vni: network.vni, local: facts.vtep, port: view.self.dataPathPort },
      master: name,
      port: { learning: false, flood: true, isolated: false },
    });
  if (network.ingress && view.self?.ingress) planIngress(state, network, view.self.ingress, mtu);
}

function planIngress(
  state: StateBuilder,
  network: NetworkItem,
  ingress: { readonly address: Ipv4; readonly mac: Mac },
  mtu: number,
): void {
  planVeth(
    state,
    { place: 'root', name: INGRESS_LINK, mac: ingress.mac },
    { place: 'fabric', name: INGRESS_PORT, master: bridgeName(network.vni) },
    mtu,
  );
  state.address('root', INGRESS_LINK, interfaceAddress(ingress.address, prefixLength(network.subnet)));
  planLoopbackAccess(state, INGRESS_LINK);
}

interface End {
  readonly place: Place;
  readonly name: string;
}

/** A veth: an end that holds an address, and an end that is a bridge's port. */
function planVeth(
  state: StateBuilder,
  inner: End & { readonly mac: Mac },
  port: End & { readonly master: string; readonly isolated?: boolean },
  mtu: number,
): void {
  state.link({
    ...bridge(inner.place, inner.name, mtu),
    type: { kind: 'veth', peer: { place: port.place, name: port.name } },
    mac: inner.mac,
  });
  state.link({
    ...bridge(port.place, port.name, mtu),
    type: { kind: 'veth', peer: { place: inner.place, name: inner.name } },
    master: port.master,
    port: { learning: false, flood: false, isolated: port.isolated ?? false },
  });
  state.fdbEntry({ place: port.place, link: port.name, mac: inner.mac, vtep: undefined });
}

/**
 * What hangs on endpoints. The node's own way into the ingress network is told every MAC, local ones too: it never
 * asks by ARP, so no first packet waits and no stale answer outlives an address that changed hands.
 */
export function planEndpoints(state: StateBuilder, view: NetworkView): void {
  for (const endpoint of view.endpoints.values()) {
    const network = view.networks.get(endpoint.networkId);
    if (!network || !view.self) continue;
    const isSelf = endpoint.nodeId === view.self.nodeId;
    if (network.ingress && view.self.ingress && (endpoint.taskId || !isSelf))
      state.neighbour({ place: 'root', link: INGRESS_LINK, ip: endpoint.address, mac: endpoint.mac });
    const vtep = view.peers.get(endpoint.nodeId)?.vtep;
    if (!vtep || isSelf) continue;
    const link = vxlanName(network.vni);
    state.fdbEntry({ place: 'fabric', link, mac: endpoint.mac, vtep });
    state.fdbEntry({ place: 'fabric', link, mac: ZERO_MAC, vtep });
    state.neighbour({ place: 'fabric', link, ip: endpoint.address, mac: endpoint.mac });
  }
}

function planSandbox(
  state: StateBuilder,
  kept: Set<string>,
  record: SandboxRecord,
  view: NetworkView,
  facts: Facts,
): void {
  const { spec, links } = record;
  state.netns.add(spec.id);
  // Before the links are made, which take it from here.
  state.sysctl(spec.id, 'net/ipv6/conf/default/disable_ipv6', '1');
  state.sysctl(spec.id, 'net/ipv4/conf/all/rp_filter', '2');
  state.link(loopback(spec.id));
  spec.attachments.forEach((attachment, index) => {
    const network = view.networks.get(attachment.networkId);
    const number = links.networks[index]!;
    const port = { place: 'fabric', name: portName(spec.id, number) } as const;
    const inner = { place: spec.id, name: innerName(number) };
    if (!network) return void kept.add(linkKey(port)).add(linkKey(inner));
    planVeth(
      state,
      { ...inner, mac: attachment.mac },
      { ...port, master: bridgeName(network.vni) },
      mtuOf(network, facts),
    );
    state.address(spec.id, inner.name, attachment.address);
  });
  if (record.gateway) planGateway(state, record, record.gateway, facts, sourceOf(record, view));
  planReturnPaths(state, record, view);
}

const loopback = (place: Place): Link => ({
  ...bridge(place, 'lo', 65536),
  type: { kind: 'other', type: 'loopback' },
});

function planGateway(
  state: StateBuilder,
  { spec, links }: SandboxRecord,
  address: InterfaceAddress,
  facts: Facts,
  source: Ipv4 | undefined,
): void {
  const link = innerName(links.gateway);
  const mac = gatewayMac(spec.id);
  planVeth(
    state,
    { place: spec.id, name: link, mac },
    { place: 'fabric', name: gatewayPortName(spec.id), master: GATEWAY_BRIDGE, isolated: true },
    facts.uplinkMtu,
  );
  state.address(spec.id, link, address);
  state.route({ place: spec.id, link, via: addressOf(facts.gateway), table: undefined, source });
  // Besides saving an ARP exchange, it says in the kernel which addresses of the gateway subnet are taken.
  state.neighbour({ place: 'root', link: GATEWAY_LINK, ip: addressOf(address), mac });
}

/** Derived from the container's id: unique on the node's bridge, and the same each time. */
const gatewayMac = (id: ContainerId): Mac => `02:${(id.slice(0, 10).match(/../g) ?? []).join(':')}` as Mac;
