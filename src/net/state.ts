/**
 * The part of a node's kernel that is Skein's, as plain values: what the planners want (`plan.ts`), what was read back
 * (`observe.ts`) and what the difference is about (`diff-plan.ts`) are all a `KernelState`.
 *
 * Every object stands in a map under a key that says what the kernel lets exist only once; two equal keys with
 * different values are one object that must change. Scale: one FDB entry and one neighbour a remote endpoint, one
 * element a backend of a published port, six objects a local sandbox's link.
 */
import type { Cidr, ContainerId, InterfaceAddress, Ipv4, Mac, Vni } from '../model/ids.ts';
import type { Protocol } from '../model/spec.ts';

/** A network namespace of this node: its own, the fabric, or a container's. */
export type Place = 'root' | 'fabric' | ContainerId;

/** A link of another kind that stands under one of our names (`other`) is deleted and made again. */
export type LinkKind =
  | { readonly kind: 'bridge' }
  | { readonly kind: 'vxlan'; readonly vni: Vni; readonly local: Ipv4; readonly port: number }
  | { readonly kind: 'veth'; readonly peer: { readonly place: Place; readonly name: string } }
  | { readonly kind: 'other'; readonly type: string };

/** How a bridge treats one of its ports. */
export interface PortFlags {
  readonly learning: boolean;
  /** Unknown unicast is sent here. */
  readonly flood: boolean;
  /** May not talk to other isolated ports. */
  readonly isolated: boolean;
}

export interface Link {
  readonly place: Place;
  readonly name: string;
  readonly type: LinkKind;
  /** undefined: whatever the kernel gave. */
  readonly mac: Mac | undefined;
  readonly mtu: number;
  readonly master: string | undefined;
  readonly port: PortFlags | undefined;
  readonly up: boolean;
}

export interface Address {
  readonly place: Place;
  readonly link: string;
  readonly address: InterfaceAddress;
}

export interface Neighbour {
  readonly place: Place;
  readonly link: string;
  readonly ip: Ipv4;
  readonly mac: Mac;
}

/** `vtep`: an entry of a VXLAN device; without: of the bridge that `link` is a port of. */
export interface FdbEntry {
  readonly place: Place;
  readonly link: string;
  readonly mac: Mac;
  readonly vtep: Ipv4 | undefined;
}

export interface DefaultRoute {
  readonly place: Place;
  readonly link: string;
  readonly via: Ipv4;
  /** undefined: the main table. */
  readonly table: number | undefined;
  /** What a socket without an address of its own is given as source; undefined: the address of the link. */
  readonly source: Ipv4 | undefined;
}

/** Packets with this mark are routed by the table of the same number. */
export interface MarkRule {
  readonly place: Place;
  readonly mark: number;
}

export interface Sysctl {
  readonly place: Place;
  /** As a path under /proc/sys: `net/ipv4/ip_forward`. */
  readonly key: string;
  readonly value: string;
}

export interface KernelState {
  readonly netns: ReadonlySet<Place>;
  readonly links: ReadonlyMap<string, Link>;
  readonly addresses: ReadonlyMap<string, Address>;
  readonly neighbours: ReadonlyMap<string, Neighbour>;
  readonly fdb: ReadonlyMap<string, FdbEntry>;
  readonly routes: ReadonlyMap<string, DefaultRoute>;
  readonly markRules: ReadonlyMap<string, MarkRule>;
  readonly sysctls: ReadonlyMap<string, Sysctl>;
  /** The table `ip skein` of each namespace that has one: root, and every sandbox. */
  readonly nft: ReadonlyMap<Place, NftState>;
}

// ---- nftables: the table `ip skein` of a namespace.

export type Match =
  | { readonly kind: 'iifname' | 'oifname'; readonly name: string; readonly not?: boolean }
  | { readonly kind: 'saddr' | 'daddr'; readonly cidr: Cidr; readonly not?: boolean }
  /** The destination is an address of this node. */
  | { readonly kind: 'daddr-local' }
  | { readonly kind: 'dport'; readonly protocol: Protocol; readonly port: number }
  | { readonly kind: 'protocol'; readonly protocol: Protocol }
  | { readonly kind: 'tcp-syn' }
  | { readonly kind: 'ct-new' }
  /** Of who began a connection that bears no mark yet. */
  | { readonly kind: 'ct-unmarked' }
  /** An answer, of a connection that bears a mark. */
  | { readonly kind: 'ct-marked-reply' }
  /** The connection's mark has (or has not) the bits of a client that keeps its address. */
  | { readonly kind: 'ct-client-kept'; readonly not?: boolean }
  /** The connection's destination was translated. */
  | { readonly kind: 'ct-dnat' };

export type Verdict =
  | { readonly kind: 'accept' | 'drop' | 'masquerade' }
  | { readonly kind: 'snat'; readonly to: Ipv4 }
  | { readonly kind: 'dnat'; readonly to: Ipv4; readonly port: number }
  /** To the container that this port of this one address is bound for, if any (`bound`). */
  | { readonly kind: 'bound-port' }
  /** For a frontend: takes along how many backends it has (`counts`), and goes to the chain `balance`. */
  | { readonly kind: 'frontend'; readonly of: Frontend['kind'] }
  /** In `balance`: to the round robin of that frontend over that many (`published` or `vips`). */
  | { readonly kind: 'round-robin'; readonly of: Frontend['kind'] }
  /** The caller hears at once: by a TCP reset, or ICMP port unreachable. */
  | { readonly kind: 'refuse'; readonly of: Frontend['kind']; readonly by: 'reset' | 'unreachable' }
  /** Marks the connection by the MAC it came from; goes on. */
  | { readonly kind: 'remember-entrance'; readonly entrances: readonly Entrance[] }
  /** Lowers the segment size that the peer is told; goes on. */
  | { readonly kind: 'clamp-mss'; readonly to: number }
  /** The packet takes the mark of its connection; goes on. */
  | { readonly kind: 'restore-mark' };

/** A node's ingress endpoint as a container sees it, and the mark of connections that came through it. */
export interface Entrance {
  readonly mac: Mac;
  readonly mark: number;
}

export interface Rule {
  /** Names the rule for people: comment in the kernel, label in an explanation. */
  readonly name: string;
  readonly matches: readonly Match[];
  readonly verdict: Verdict;
}

/** A chain whose rules are known beforehand. */
export interface FixedChain {
  readonly name: string;
  readonly rules: readonly Rule[];
}

export interface BaseChain extends FixedChain {
  readonly type: 'nat' | 'filter' | 'route';
  readonly hook: 'prerouting' | 'output' | 'postrouting' | 'forward';
  readonly priority: number;
}

/**
 * What connections are made to, and the backends they are sent to by slot; none: refused. `standing` are all that are or
 * may come to be among them, at least the backends: what can be made before it is needed is made for that many.
 */
export type Frontend = PublishedPort | ServiceVip;

/** In the root namespace: a port of this node. */
export interface PublishedPort {
  readonly kind: 'port';
  readonly protocol: Protocol;
  readonly port: number;
  readonly backends: readonly Backend[];
  readonly standing: number;
  /** The backend sees the client's own address. */
  readonly keepClient: boolean;
}

export interface Backend {
  readonly address: Ipv4;
  readonly port: number;
}

/** In the root namespace: a port of one address of this node, and the one container behind it. */
export interface BoundPort {
  readonly protocol: Protocol;
  readonly address: Ipv4;
  readonly port: number;
  readonly backend: Backend;
}

/** In a sandbox: a service's virtual IP, on every port. */
export interface ServiceVip {
  readonly kind: 'vip';
  readonly address: Ipv4;
  readonly backends: readonly Ipv4[];
  readonly standing: number;
}

/** The rule of one of a frontend's chains: a round robin over so many slots. */
export interface RoundRobin {
  readonly modulus: number;
  readonly keepClient: boolean;
}

/** A table `ip skein`, typed. */
export interface NftTable {
  /** `mesh` in the root namespace, `sandbox` in a container's (sandbox-table.ts). */
  readonly kind: 'mesh' | 'sandbox';
  readonly bases: readonly BaseChain[];
  readonly balance: FixedChain;
  readonly frontends: ReadonlyMap<string, Frontend>;
  /** None but in the root namespace. */
  readonly bound: ReadonlyMap<string, BoundPort>;
}

/**
 * `fixed` holds the base chains and `balance` by name. A frontend is an element of `counts`, that says how many
 * backends it has; an element of `published` (root) or `vips` (sandbox) and a chain for each number that it can have
 * without a new rule; and, a backend, one element of a slots map: `chains` says what a chain does, `slots` where slot n
 * leads. Flat maps, so that a change of one backend is a few elements, whatever else exists. A bound port is one element
 * of `bound`.
 */
export interface NftState {
  readonly present: boolean | typeof OTHER_LAYOUT;
  /** Chain -> what its hook and rules must read as (`chainMark`). */
  readonly fixed: ReadonlyMap<string, string>;
  readonly chains: ReadonlyMap<string, string>;
  readonly published: ReadonlyMap<string, string>;
  readonly counts: ReadonlyMap<string, string>;
  readonly slots: ReadonlyMap<string, string>;
  readonly bound: ReadonlyMap<string, string>;
}

/** A table stands there that this version does not understand: of another version, or a stranger's. */
export const OTHER_LAYOUT = 'other layout';

export const emptyNft: NftState = {
  present: false,
  fixed: new Map(),
  chains: new Map(),
  published: new Map(),
  counts: new Map(),
  slots: new Map(),
  bound: new Map(),
};

export const linkKey = (l: Pick<Link, 'place' | 'name'>): string => `${l.place}|${l.name}`;
const addressKey = (a: Address): string => `${a.place}|${a.link}|${a.address}`;
export const neighbourKey = (n: Pick<Neighbour, 'place' | 'link' | 'ip'>): string =>
  `${n.place}|${n.link}|${n.ip}`;
export const ZERO_MAC = '00:00:00:00:00:00' as Mac;
/** The flood list is one all-zero entry a peer; any other MAC leads to one place. */
export const fdbKey = (f: FdbEntry): string =>
  `${f.place}|${f.link}|${f.mac}${f.mac === ZERO_MAC ? `|${f.vtep}` : ''}`;
const routeKey = (r: Pick<DefaultRoute, 'place' | 'table'>): string => `${r.place}|${r.table ?? ''}`;
const markRuleKey = (r: MarkRule): string => `${r.place}|${r.mark}`;
const sysctlKey = (s: Pick<Sysctl, 'place' | 'key'>): string => `${s.place}|${s.key}`;

/** A KernelState that is being written down. */
export class StateBuilder implements KernelState {
  readonly netns = new Set<Place>();
  readonly links = new Map<string, Link>();
  readonly addresses = new Map<string, Address>();
  readonly neighbours = new Map<string, Neighbour>();
  readonly fdb = new Map<string, FdbEntry>();
  readonly routes = new Map<string, DefaultRoute>();
  readonly markRules = new Map<string, MarkRule>();
  readonly sysctls = new Map<string, Sysctl>();
  readonly nft = new Map<Place, NftState>();

  link(link: Link): void {
    this.links.set(linkKey(link), link);
  }
  address(place: Place, link: string, address: InterfaceAddress): void {
    const value = { place, link, address };
    this.addresses.set(addressKey(value), value);
  }
  neighbour(value: Neighbour): void {
    this.neighbours.set(neighbourKey(value), value);
  }
  fdbEntry(value: FdbEntry): void {
    this.fdb.set(fdbKey(value), value);
  }
  route(value: DefaultRoute): void {
    this.routes.set(routeKey(value), value);
  }
  markRule(value: MarkRule): void {
    this.markRules.set(markRuleKey(value), value);
  }
  sysctl(place: Place, key: string, value: string): void {
    const entry = { place, key, value };
    this.sysctls.set(sysctlKey(entry), entry);
  }
}
