/**
 * One node's part of the way of a connection's packet, through the plan that its kernel holds: hooks and rules, routes,
 * neighbours, bridges, FDB and tunnels, to where it is delivered, leaves the node, or is lost. Pure.
 *
 * INVARIANT: a walk ends: a crossing of a bridge is counted, and there is no other way from one namespace to another.
 * Cost: what one packet costs the kernel, for each backend that the rules may choose.
 */
import type { Ipv4, Mac } from '../model/ids.ts';
import type { Link, Place } from '../net/state.ts';
import type { Ends, Leg, Loss, WalkedHop, WalkedPacket, WalkEnd, WalkStart } from '../rpc/explain.ts';
import { candidatesOf, refusalOf } from './explain-backends.ts';
import { throughFirewall } from './explain-firewall.ts';
import { type Connection, type Hook, type Passing, runHook, sameEnd } from './explain-nft.ts';
import { isContainer, type NodeMap, type Route } from './explain-node.ts';

/** A leg for each backend that may be chosen; at least one. */
export function walk(map: NodeMap, start: WalkStart): readonly Leg[] {
  const first = new Walk(map, start, 0);
  const legs = [first.run()];
  for (let slot = 1; slot < first.choices; slot++) legs.push(new Walk(map, start, slot).run());
  return legs;
}

/** Frames across bridges: a way through a node has four at most. */
const MOST_CROSSINGS = 16;
/** Of a source that follows from the route. */
export const ANY_ADDRESS = '0.0.0.0' as Ipv4;

interface Frame {
  readonly packet: WalkedPacket;
  readonly sourceMac: Mac;
  readonly destinationMac: Mac;
}

class Walk {
  choices = 1;
  readonly #map: NodeMap;
  readonly #start: WalkStart;
  readonly #slot: number;
  readonly #hops: WalkedHop[] = [];
  readonly #decisions: string[] = [];
  readonly #connections = new Map<Place, Connection>();
  #passedOver: readonly string[] = [];
  #crossings = 0;

  constructor(map: NodeMap, start: WalkStart, slot: number) {
    this.#map = map;
    this.#start = start;
    this.#slot = slot;
  }

  run(): Leg {
    const end = this.#begin();
    return {
      hops: this.#hops,
      decisions: this.#decisions,
      tracked: [...this.#connections].map(([place, { mark, original, translated }]) => ({
        ...{ place, mark, original, translated },
      })),
      end,
      passedOver: this.#passedOver,
    };
  }

  #begin(): WalkEnd {
    const { from, packet } = this.#start;
    const { uplink, chains, view } = this.#map.node;
    switch (from.at) {
      case 'uplink':
        this.#hop(packet, undefined, uplink.mac, true);
        return this.#enter('root', uplink.name, packet, undefined);
      case 'node':
        return this.#originate('root', packet);
      case 'container': {
        const place = (from.id ?? (from.mac && this.#map.placeOf(from.mac))) as Place | undefined;
        if (place === undefined || !this.#map.node.plan.netns.has(place))
          return lost('no-such-container', `${this.#map.name} has no such container on its networks`);
        return this.#originate(place, packet);
      }
      case 'tunnel': {
        const device = this.#map.vxlan(from.vni);
        const bridge = device && this.#map.bridgeOf(device);
        if (!bridge)
          return lost(
            'no-such-container',
            `${this.#map.name} takes no part in the network with VNI ${from.vni}`,
          );
        const { passed, doubts } = this.#input(from.vtep, view.self?.dataPathPort ?? 0, chains);
        this.#decisions.push(...doubts);
        return passed ?? this.#bridge(bridge, device, { ...from, packet });
      }
    }
  }

  /** The tunnel itself is a packet to the node, which its firewall may not let in. */
  #input(vtep: Ipv4, port: number, chains: NodeMap['node']['chains']) {
    const { uplink, vtep: own } = this.#map.node;
    const { loss, doubts } = throughFirewall(
      chains,
      'input',
      {
        ...{ iif: uplink.name, oif: undefined, source: vtep, destination: own, protocol: 'udp' },
        ...{ sourcePort: 0, destinationPort: port, translated: false, isNew: true },
      },
      this.#map.name,
    );
    return { passed: loss && ({ kind: 'lost', loss } as const), doubts };
  }

  /** A packet comes into a namespace that routes or holds addresses. */
  #enter(place: Place, iif: string, packet: WalkedPacket, sourceMac: Mac | undefined): WalkEnd {
    const passing = this.#passing(place, packet, iif, sourceMac);
    const loss = this.#hook('prerouting', place, passing);
    if (loss) return { kind: 'lost', loss };
    this.#restoreDestination(passing);
    if (this.#map.isLocal(place, passing.packet.destination.ip)) return this.#arrive(place, passing.packet);
    if (isContainer(place))
      return lost(
        'no-such-container',
        `no address ${passing.packet.destination.ip} in ${this.#map.where(place)}`,
      );
    return this.#forward(passing);
  }

  /** A process in the namespace sends. */
  #originate(place: Place, given: WalkedPacket): WalkEnd {
    const wanted = given.destination.ip;
    const near = this.#map.isLocal(place, wanted);
    const first = near ? { source: wanted } : this.#map.route(place, wanted, 0);
    if (!first) return this.#noRoute(place, wanted);
    const ip = given.source.ip === ANY_ADDRESS ? (first.source ?? wanted) : given.source.ip;
    const packet = { ...given, source: { ...given.source, ip } };
    const passing = this.#passing(place, packet, undefined, undefined);
    const loss = this.#hook('output', place, passing);
    if (!sameEnd(packet.destination, passing.packet.destination) || loss)
      this.#hop(packet, undefined, undefined, false);
    if (loss) return { kind: 'lost', loss };
    const destination = passing.packet.destination.ip;
    if (this.#map.isLocal(place, destination)) {
      this.#hop(passing.packet, undefined, undefined, false);
      return this.#arrive(place, passing.packet);
    }
    const route = this.#map.route(place, destination, passing.mark);
    return route ? this.#leave(place, passing, route) : this.#noRoute(place, destination);
  }

  #forward(passing: Passing): WalkEnd {
    const { packet, connection, iif = '' } = passing;
    const route = this.#map.route('root', packet.destination.ip, passing.mark)!;
    passing.oif = route.link;
    const loss = this.#hook('forward', 'root', passing);
    if (loss) return { kind: 'lost', loss };
    const { source, destination, protocol } = passing.packet;
    const seen = throughFirewall(
      this.#map.node.chains,
      'forward',
      {
        ...{ iif, oif: route.link, source: source.ip, destination: destination.ip, protocol },
        ...{ sourcePort: source.port, destinationPort: destination.port },
        translated: !sameEnd(connection.original.destination, connection.translated.destination),
        isNew: connection.isNew,
      },
      this.#map.name,
    );
    this.#decisions.push(...seen.doubts);
    return seen.loss ? { kind: 'lost', loss: seen.loss } : this.#leave('root', passing, route);
  }

  #leave(place: Place, passing: Passing, route: Route): WalkEnd {
    passing.oif = route.link;
    const loss = this.#hook('postrouting', place, passing);
    if (loss) return { kind: 'lost', loss };
    this.#restoreSource(passing);
    const { packet } = passing;
    const link = this.#map.link(place, route.link);
    const where = this.#map.where(place);
    const mtu = link?.mtu ?? this.#map.node.uplink.mtu;
    if (packet.size > mtu)
      return lost(
        'mtu',
        `${packet.size} bytes do not fit ${route.link} in ${where} (MTU ${mtu}), which answers "fragmentation needed"`,
      );
    const nextHop = route.via ?? packet.destination.ip;
    if (!link) {
      this.#decisions.push(`${where}: route to ${packet.destination.ip} by ${route.link}`);
      this.#hop(packet, this.#map.node.uplink.mac, undefined, true);
      return { kind: 'uplink', packet };
    }
    const mac = this.#map.neighbour(link, nextHop);
    if (!mac) return lost('no-neighbour', `nobody on ${link.name} in ${where} is known as ${nextHop}`);
    this.#decisions.push(`${where}: route to ${packet.destination.ip} by ${link.name}, ${nextHop} is ${mac}`);
    this.#hop(packet, link.mac, mac, false);
    const port = this.#map.portOf(link);
    const bridge = port && this.#map.bridgeOf(port);
    if (!bridge) return lost('no-route', `${link.name} in ${where} leads to no bridge`);
    return this.#bridge(bridge, port, { packet, sourceMac: link.mac!, destinationMac: mac });
  }

  #bridge(bridge: Link, from: Link, frame: Frame): WalkEnd {
    if (++this.#crossings > MOST_CROSSINGS)
      return lost('endless', `it goes round in circles on ${this.#map.name}`);
    const where = `${this.#map.name}, bridge ${bridge.name}`;
    const to = this.#map.portTo(bridge, frame.destinationMac);
    if (!to) return this.#tunnel(bridge, from, frame, where);
    if (to.name === from.name)
      return lost('no-fdb', `${where}: ${frame.destinationMac} is where it comes from`);
    if (to.port?.isolated && from.port?.isolated)
      return lost('no-route', `${where}: containers do not see each other here`);
    if (frame.packet.size > to.mtu)
      return lost('mtu', `${where}: ${frame.packet.size} bytes do not fit ${to.name} (MTU ${to.mtu})`);
    if (to.type.kind !== 'veth') return lost('no-fdb', `${where}: ${to.name} leads nowhere`);
    this.#decisions.push(`${where}: FDB says ${frame.destinationMac} is at ${to.name}`);
    const { place, name } = to.type.peer;
    return this.#enter(place, name, frame.packet, frame.sourceMac);
  }

  /** What no port is known for is flooded, and the VXLAN device alone takes that. */
  #tunnel(bridge: Link, from: Link, frame: Frame, where: string): WalkEnd {
    const device = this.#map
      .ports(bridge)
      .find(({ name, type, port }) => type.kind === 'vxlan' && port?.flood && name !== from.name);
    const vtep = device && this.#map.vtepTo(device, frame.destinationMac);
    if (device?.type.kind !== 'vxlan' || !vtep)
      return lost('no-fdb', `${where}: no FDB entry for ${frame.destinationMac}`);
    if (frame.packet.size > device.mtu)
      return lost(
        'mtu',
        `${where}: ${frame.packet.size} bytes do not fit ${device.name} (MTU ${device.mtu})`,
      );
    this.#decisions.push(`${where}: FDB of ${device.name} says ${frame.destinationMac} is at ${vtep}`);
    return { kind: 'tunnel', vni: device.type.vni, vtep, ...frame };
  }

  #arrive(place: Place, packet: WalkedPacket): WalkEnd {
    if (isContainer(place) || packet.reply) return { kind: 'delivered', place, packet };
    return lost(
      'not-published',
      `${this.#map.name} publishes no port ${packet.protocol}/${packet.destination.port}`,
    );
  }

  /** What the namespace remembers of the connection; of a new one nothing yet. */
  #passing(place: Place, packet: WalkedPacket, iif: string | undefined, sourceMac: Mac | undefined): Passing {
    const ends: Ends = { source: packet.source, destination: packet.destination };
    const known = packet.reply ? this.#start.tracked.find((t) => t.place === place) : undefined;
    const connection: Connection = {
      mark: known?.mark ?? 0,
      original: known?.original ?? ends,
      translated: known?.translated ?? ends,
      isNew: !packet.reply,
    };
    this.#connections.set(place, connection);
    return { packet, mark: 0, connection, iif, oif: undefined, sourceMac };
  }

  #hook(hook: Hook, place: Place, passing: Passing): Loss | undefined {
    const { node } = this.#map;
    const table = node.plan.tables.get(place);
    if (!table) return undefined;
    const { oif } = passing;
    return runHook(table, hook, passing, {
      where: this.#map.where(place),
      isLocal: (ip) => this.#map.isLocal(place, ip),
      masquerade: oif === node.uplink.name ? node.vtep : this.#map.addressOn(place, oif ?? ''),
      choose: (frontend) => {
        this.choices = frontend.backends.length;
        this.#passedOver = candidatesOf(frontend, node)?.passedOver ?? [];
        return this.#slot;
      },
      refuse: (frontend) => refusalOf(frontend, node),
      decide: (text) => void this.#decisions.push(text),
    });
  }

  /** An answer bears again the addresses that the connection was opened with: the destination before it is routed... */
  #restoreDestination(passing: Passing): void {
    const { packet, connection } = passing;
    if (packet.reply && sameEnd(packet.destination, connection.translated.source))
      passing.packet = { ...packet, destination: connection.original.source };
  }

  /** ... and the source as the last thing before it leaves. */
  #restoreSource(passing: Passing): void {
    const { packet, connection } = passing;
    if (packet.reply && sameEnd(packet.source, connection.translated.destination))
      passing.packet = { ...packet, source: connection.original.destination };
  }

  #hop(ends: Ends, sourceMac: Mac | undefined, destinationMac: Mac | undefined, outside: boolean): void {
    const { source, destination } = ends;
    this.#hops.push({ source, destination, sourceMac, destinationMac, outside });
  }

  #noRoute(place: Place, to: Ipv4): WalkEnd {
    return lost('no-route', `${this.#map.where(place)} has no route to ${to}: its networks are internal`);
  }
}

const lost = (code: Loss['code'], text: string): WalkEnd => ({ kind: 'lost', loss: { code, text } });
