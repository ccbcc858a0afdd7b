/**
 * What a walk knows of the node that it passes: the plan that the executors installed, a few facts beside it, and
 * look-ups over both. Pure. Cost: one pass over links and addresses for each request, then a look-up a step.
 */
import { addressOf, contains, parseCidr } from '../kit/cidr.ts';
import type { Cidr, Ipv4, Mac, NodeId, Vni } from '../model/ids.ts';
import type { NetworkView } from '../model/network-view.ts';
import type { ForeignChain } from '../net/firewall-plan.ts';
import type { Desired } from '../net/plan.ts';
import { shortName } from './explain-backends.ts';
import { type Address, fdbKey, type Link, linkKey, neighbourKey, type Place } from '../net/state.ts';

/** The node as it is planned, and what of it no plan holds. */
export interface WalkedNode {
  readonly plan: Desired;
  /** What the plan was made from. */
  readonly view: NetworkView;
  /** What the managers say, where this node sees it otherwise: peers that it steers away from. */
  readonly managersView: NetworkView;
  /** Peers out of rotation in this node's eyes, and for how many milliseconds. */
  readonly away: ReadonlyMap<NodeId, number>;
  readonly uplink: { readonly name: string; readonly mac: Mac; readonly mtu: number };
  readonly vtep: Ipv4;
  /** Addresses of the root namespace, whoever gave them. */
  readonly addresses: ReadonlySet<Ipv4>;
  /** Base chains of others that forwarded packets and tunnels meet. */
  readonly chains: readonly ForeignChain[];
}

interface Standing extends Address {
  readonly ip: Ipv4;
  readonly subnet: Cidr;
}

export interface Route {
  readonly link: string;
  /** The next hop; undefined: the destination itself. */
  readonly via: Ipv4 | undefined;
  /** The address that a new connection would bear. */
  readonly source: Ipv4 | undefined;
}

export class NodeMap {
  readonly node: WalkedNode;
  readonly #standings: ReadonlyMap<Place, readonly Standing[]>;
  readonly #ports: ReadonlyMap<string, readonly Link[]>;
  readonly #tasks = new Map<Place, string | undefined>();

  constructor(node: WalkedNode) {
    this.node = node;
    const standings = [...node.plan.addresses.values()].map(
      (a): Standing => ({
        ...a,
        ip: addressOf(a.address),
        subnet: parseCidr(a.address),
      }),
    );
    this.#standings = Map.groupBy(standings, ({ place }) => place);
    const ports = [...node.plan.links.values()].filter(({ master }) => master !== undefined);
    this.#ports = Map.groupBy(ports, ({ place, master }) => linkKey({ place, name: master! }));
  }

  get name(): string {
    return this.node.view.self?.hostname ?? 'this node';
  }

  /** A place as people know it. */
  where(place: Place): string {
    return `${this.name}, ${isContainer(place) ? (this.#taskIn(place) ?? `container ${place.slice(0, 12)}`) : 'root'}`;
  }

  #taskIn(place: Place): string | undefined {
    if (!this.#tasks.has(place)) this.#tasks.set(place, this.#findTaskIn(place));
    return this.#tasks.get(place);
  }

  #findTaskIn(place: Place): string | undefined {
    const macs = new Set(
      [...this.node.plan.links.values()].filter((l) => l.place === place).map((l) => l.mac),
    );
    const endpoint = [...this.node.view.endpoints.values()].find(({ mac }) => macs.has(mac));
    return endpoint && shortName(endpoint.name);
  }

  link(place: Place, name: string): Link | undefined {
    return this.node.plan.links.get(linkKey({ place, name }));
  }

  /** The container with a link of this MAC. */
  placeOf(mac: Mac): Place | undefined {
    return [...this.node.plan.links.values()].find((link) => isContainer(link.place) && link.mac === mac)
      ?.place;
  }

  vxlan(vni: Vni): Link | undefined {
    return [...this.node.plan.links.values()].find(({ type }) => type.kind === 'vxlan' && type.vni === vni);
  }

  isLocal(place: Place, ip: Ipv4): boolean {
    if (ip.startsWith('127.')) return true;
    if (place === 'root' && this.node.addresses.has(ip)) return true;
    return (this.#standings.get(place) ?? []).some((standing) => standing.ip === ip);
  }

  addressOn(place: Place, link: string): Ipv4 | undefined {
    return (this.#standings.get(place) ?? []).find((standing) => standing.link === link)?.ip;
  }

  /** By the table of the packet's mark, then by the link whose subnet it is in, then by the default route. */
  route(place: Place, destination: Ipv4, mark: number): Route | undefined {
    const { routes, markRules } = this.node.plan;
    const marked = markRules.has(`${place}|${mark}`) ? routes.get(`${place}|${mark}`) : undefined;
    if (marked) return { ...marked, source: this.addressOn(place, marked.link) };
    const near = (this.#standings.get(place) ?? []).find(({ subnet }) => contains(subnet, destination));
    if (near) return { link: near.link, via: undefined, source: near.ip };
    if (place === 'root') return { link: this.node.uplink.name, via: undefined, source: this.node.vtep };
    const last = routes.get(`${place}|`);
    return last && { ...last, source: last.source ?? this.addressOn(place, last.link) };
  }

  ports(bridge: Link): readonly Link[] {
    return this.#ports.get(linkKey(bridge)) ?? [];
  }

  /** The bridge that the other end of a veth is a port of. */
  portOf(link: Link): Link | undefined {
    return link.type.kind === 'veth' ? this.link(link.type.peer.place, link.type.peer.name) : undefined;
  }

  bridgeOf(port: Link): Link | undefined {
    return port.master === undefined ? undefined : this.link(port.place, port.master);
  }

  /** Entry of the bridge that leads to one of its ports. */
  portTo(bridge: Link, mac: Mac): Link | undefined {
    return this.ports(bridge).find(
      ({ place, name, type }) =>
        type.kind !== 'vxlan' && this.node.plan.fdb.has(fdbKey({ place, link: name, mac, vtep: undefined })),
    );
  }

  vtepTo({ place, name }: Link, mac: Mac): Ipv4 | undefined {
    return this.node.plan.fdb.get(fdbKey({ place, link: name, mac, vtep: undefined }))?.vtep;
  }

  /** Whom the link's segment knows under this address: told entries, then who answers ARP there. */
  neighbour(link: Link, ip: Ipv4): Mac | undefined {
    const told = (l: Link) =>
      this.node.plan.neighbours.get(neighbourKey({ place: l.place, link: l.name, ip }))?.mac;
    const port = this.portOf(link);
    const bridge = port && this.bridgeOf(port);
    return told(link) ?? (bridge && this.#askSegment(bridge, told, ip));
  }

  #askSegment(bridge: Link, told: (link: Link) => Mac | undefined, ip: Ipv4): Mac | undefined {
    for (const port of this.ports(bridge)) {
      if (port.type.kind === 'vxlan') {
        const mac = told(port);
        if (mac) return mac;
      } else if (port.type.kind === 'veth') {
        const { place, name } = port.type.peer;
        if (this.addressOn(place, name) === ip) return this.link(place, name)?.mac;
      }
    }
    return undefined;
  }
}

export const isContainer = (place: Place): boolean => place !== 'root' && place !== 'fabric';
