/**
 * Captured packets to connections: which packets are one connection before and after translation. Two witnesses:
 * conntrack's tuples of the node that took the connection, where it has them, and TCP's initial sequence number,
 * which no translation changes. Pure. Cost: one pass over the packets, then a lookup a connection.
 */
import type { ConntrackEntry, Tuple } from './conntrack.ts';
import type { Packet, TcpFlag, Tunnel } from './decode.ts';

export interface Observation {
  readonly point: string;
  readonly time: bigint;
  readonly direction: 'in' | 'out' | 'other';
  readonly packet: Packet;
}

/** An address and port of a node where connections come in. */
export interface Entrance {
  readonly point: string;
  readonly address: string;
  readonly port: number;
  readonly protocol: 'tcp' | 'udp';
}

export interface Hop {
  readonly source: Packet['source'];
  readonly destination: Packet['destination'];
  readonly flags: readonly TcpFlag[];
  /** Forward is towards the container. */
  readonly way: 'forward' | 'back';
  /** Before translation: between client and node. */
  readonly outside: boolean;
  /** The tunnel that it was seen in, if it was. */
  readonly tunnel: Tunnel | undefined;
  /** Where the same packet was seen. */
  readonly points: readonly string[];
  readonly time: bigint;
}

export interface Connection {
  readonly entrance: Entrance;
  readonly client: { readonly ip: string; readonly port: number };
  /** The container's side, as the packet after translation says. */
  readonly backend: { readonly ip: string; readonly port: number };
  readonly kind: 'same host' | 'cross host';
  readonly joinedBy: 'conntrack' | 'sequence number';
  readonly hops: readonly Hop[];
}

export interface JoinInput {
  readonly observations: readonly Observation[];
  readonly entrances: readonly Entrance[];
  /** By capture point. */
  readonly conntrack: ReadonlyMap<string, readonly ConntrackEntry[]>;
}

const tupleKey = (t: Tuple): string =>
  `${t.protocol} ${t.source}:${t.sourcePort} ${t.destination}:${t.destinationPort}`;

const reversed = (t: Tuple): Tuple => ({
  protocol: t.protocol,
  source: t.destination,
  sourcePort: t.destinationPort,
  destination: t.source,
  destinationPort: t.sourcePort,
});

function tupleOf({ protocol, source, destination }: Packet): Tuple | undefined {
  if (protocol !== 'tcp' && protocol !== 'udp') return undefined;
  return {
    protocol,
    source: source.ip,
    sourcePort: source.port,
    destination: destination.ip,
    destinationPort: destination.port,
  };
}

const isSyn = ({ tcp }: Packet): boolean =>
  tcp !== undefined && tcp.flags.includes('SYN') && !tcp.flags.includes('ACK');
const isSynAck = ({ tcp }: Packet): boolean =>
  tcp !== undefined && tcp.flags.includes('SYN') && tcp.flags.includes('ACK');

/** Packets that open or answer: for TCP the handshake, for UDP each. */
type Index = ReadonlyMap<string, readonly Observation[]>;

function indexByTuple(observations: readonly Observation[]): Index {
  const index = new Map<string, Observation[]>();
  for (const seen of observations) {
    const tuple = tupleOf(seen.packet);
    if (!tuple || (tuple.protocol === 'tcp' && !seen.packet.tcp?.flags.includes('SYN'))) continue;
    const key = tupleKey(tuple);
    const list = index.get(key);
    if (list) list.push(seen);
    else index.set(key, [seen]);
  }
  return index;
}

export function joinConnections(input: JoinInput): readonly Connection[] {
  const observations = input.observations.toSorted((a, b) =>
    a.time < b.time ? -1 : a.time > b.time ? 1 : 0,
  );
  const index = indexByTuple(observations);
  const syns = new Map<number, Observation[]>();
  for (const seen of observations.filter((o) => isSyn(o.packet))) {
    const { sequence } = seen.packet.tcp!;
    syns.set(sequence, [...(syns.get(sequence) ?? []), seen]);
  }
  const connections: Connection[] = [];
  const done = new Set<string>();
  for (const first of observations) {
    const entrance = entranceOf(first, input.entrances);
    const original = entrance && tupleOf(first.packet)!;
    const key = original && `${entrance.point} ${tupleKey(original)} ${first.packet.tcp?.sequence ?? ''}`;
    if (!original || done.has(key!)) continue;
    done.add(key!);
    const found =
      byConntrack(original, input.conntrack.get(entrance.point) ?? []) ??
      bySequence(first, syns.get(first.packet.tcp?.sequence ?? -1) ?? []);
    const connection = found && build(entrance, first, original, found, index);
    if (connection) connections.push(connection);
  }
  return connections;
}

function entranceOf(seen: Observation, entrances: readonly Entrance[]): Entrance | undefined {
  const { packet, point } = seen;
  if (packet.tunnel || (packet.protocol === 'tcp' && !isSyn(packet))) return undefined;
  return entrances.find(
    (e) =>
      e.point === point &&
      e.protocol === packet.protocol &&
      e.address === packet.destination.ip &&
      e.port === packet.destination.port,
  );
}

interface Translation {
  readonly tuple: Tuple;
  readonly joinedBy: Connection['joinedBy'];
}

function byConntrack(original: Tuple, entries: readonly ConntrackEntry[]): Translation | undefined {
  const key = tupleKey(original);
  const entry = entries.find((e) => tupleKey(e.original) === key);
  return entry && { tuple: reversed(entry.reply), joinedBy: 'conntrack' };
}

function bySequence(first: Observation, candidates: readonly Observation[]): Translation | undefined {
  const key = tupleKey(tupleOf(first.packet)!);
  const other = candidates.find((seen) => tupleKey(tupleOf(seen.packet)!) !== key);
  return other && { tuple: tupleOf(other.packet)!, joinedBy: 'sequence number' };
}

function build(
  entrance: Entrance,
  first: Observation,
  original: Tuple,
  { tuple, joinedBy }: Translation,
  index: Index,
): Connection | undefined {
  const sequence = first.packet.tcp?.sequence;
  const belongs = ({ packet }: Observation): boolean =>
    sequence === undefined ||
    (isSyn(packet) && packet.tcp!.sequence === sequence) ||
    (isSynAck(packet) && packet.tcp!.acknowledgement === (sequence + 1) >>> 0);
  const hopsOf = (t: Tuple, way: Hop['way'], outside: boolean): Hop[] =>
    mergeHops((index.get(tupleKey(t)) ?? []).filter(belongs), way, outside);
  const inside = hopsOf(tuple, 'forward', false);
  if (inside.length === 0) return undefined;
  return {
    entrance,
    client: { ip: original.source, port: original.sourcePort },
    backend: { ip: tuple.destination, port: tuple.destinationPort },
    kind: inside.some((hop) => hop.tunnel) ? 'cross host' : 'same host',
    joinedBy,
    hops: [
      ...hopsOf(original, 'forward', true),
      ...inside,
      ...hopsOf(reversed(tuple), 'back', false),
      ...hopsOf(reversed(original), 'back', true),
    ],
  };
}

/** One packet is seen at many devices; it is one hop as long as its addresses are the same. */
function mergeHops(seen: readonly Observation[], way: Hop['way'], outside: boolean): Hop[] {
  const hops = new Map<string, Hop>();
  for (const { packet, point, time } of seen) {
    const key = `${packet.source.mac} ${packet.destination.mac}`;
    const known = hops.get(key);
    hops.set(key, {
      source: packet.source,
      destination: packet.destination,
      flags: packet.tcp?.flags ?? [],
      way,
      outside,
      tunnel: known?.tunnel ?? packet.tunnel,
      points: [...new Set([...(known?.points ?? []), point])],
      time: known?.time ?? time,
    });
  }
  return [...hops.values()];
}
