/** One connection as it was seen on its whole way: from the flows that are one connection, to hops and an outcome. Pure. */
import type { Tuple } from './conntrack.ts';
import type { Packet, TcpFlag, Tunnel } from './decode.ts';
import { type Flow, isSyn, isSynAck, retransmissions, type Way, wayOf } from './flow.ts';
import { byTime, type Observation, spotOf } from './observe.ts';
import type { PathEnd, PathKind } from './table.ts';

export interface Sighting {
  readonly point: string;
  readonly link: string;
  readonly direction: Observation['direction'];
  readonly time: bigint;
}

export interface Hop {
  readonly source: PathEnd;
  readonly destination: PathEnd;
  readonly flags: readonly TcpFlag[];
  /** Forward is towards the container. */
  readonly way: Way;
  /** Before the last translation: between client and node. */
  readonly outside: boolean;
  /** The tunnel that it was seen in, if it was. */
  readonly tunnel: Tunnel | undefined;
  /** Where the same packet was seen, in order; none: nowhere, connection tracking alone tells of it. */
  readonly sightings: readonly Sighting[];
}

export type Outcome = 'open' | 'closed' | 'reset' | 'unanswered';

export interface Connection {
  readonly protocol: 'tcp' | 'udp';
  readonly client: Address;
  /** Where the client sent it. */
  readonly target: Address;
  /** The container's side, as the packet after translation says; undefined: it came to none. */
  readonly backend: Address | undefined;
  readonly kind: PathKind;
  readonly joinedBy: 'conntrack' | 'sequence number' | 'address';
  readonly hops: readonly Hop[];
  readonly outcome: Outcome;
  readonly resetBy: 'client' | 'container' | 'node' | undefined;
  /** By the client, and by the container. */
  readonly retransmissions: Readonly<Record<Way, number>>;
  /** From the first packet to the first answer, where the first packet was seen; nanoseconds. */
  readonly answeredIn: number | undefined;
  readonly started: bigint;
  readonly ended: bigint;
  /** Keys of the flows that it is made of. */
  readonly flows: readonly Flow[];
}

export interface Address {
  readonly ip: string;
  readonly port: number;
}

/** A way of the connection under one tuple; no flow: it was never on a wire. */
export interface Leg {
  readonly tuple: Tuple;
  readonly flow: Flow | undefined;
}

export function buildConnection(
  legs: readonly Leg[],
  joinedBy: Connection['joinedBy'],
  reachesBackend: boolean,
): Connection {
  const flows = legs.flatMap(({ flow }) => flow ?? []);
  const all = flows.flatMap(({ seen }) => seen).sort(byTime);
  const [first, last] = [legs[0]!.tuple, legs.at(-1)!.tuple];
  const isOutside = (leg: Leg) => !reachesBackend || leg !== legs.at(-1);
  const forward = legs.flatMap((leg) => forwardHops(leg, isOutside(leg)));
  const answer = answerKind(flows);
  const back = legs.toReversed().flatMap((leg) => backHops(leg, isOutside(leg), answer));
  const tunneled = forward.some((hop) => hop.tunnel && !hop.outside);
  const most = (way: Way) => Math.max(...flows.map((flow) => retransmissions(flow, way)));
  return {
    protocol: first.protocol,
    client: { ip: first.source, port: first.sourcePort },
    target: { ip: first.destination, port: first.destinationPort },
    backend: reachesBackend ? { ip: last.destination, port: last.destinationPort } : undefined,
    kind: !reachesBackend ? 'lost' : tunneled ? 'cross host' : 'same host',
    joinedBy,
    hops: [...forward, ...back],
    outcome: outcomeOf(flows),
    resetBy: resetBy(flows, reachesBackend),
    retransmissions: { forward: most('forward'), back: most('back') },
    answeredIn: answeredIn(flows[0]!),
    started: all[0]!.time,
    ended: all.at(-1)!.time,
    flows,
  };
}

function forwardHops({ tuple, flow }: Leg, outside: boolean): readonly Hop[] {
  if (flow) return hopsOf(flow, 'forward', outside, (p) => flow.isn === undefined || isSyn(p));
  const source = { ip: tuple.source, port: tuple.sourcePort };
  const destination = { ip: tuple.destination, port: tuple.destinationPort };
  const flags: readonly TcpFlag[] = tuple.protocol === 'tcp' ? ['SYN'] : [];
  return [{ source, destination, flags, way: 'forward', outside, tunnel: undefined, sightings: [] }];
}

const backHops = ({ flow }: Leg, outside: boolean, answers: (packet: Packet) => boolean): readonly Hop[] =>
  flow ? hopsOf(flow, 'back', outside, answers) : [];

/** Which packet is the answer: of TCP the second of the handshake, or else a reset. */
function answerKind(flows: readonly Flow[]): (packet: Packet) => boolean {
  if (flows.every(({ isn }) => isn === undefined)) return () => true;
  const accepted = flows.some(({ seen }) => seen.some(({ packet }) => isSynAck(packet)));
  return accepted ? isSynAck : isReset;
}

const isReset = ({ tcp }: Packet): boolean => tcp?.flags.includes('RST') ?? false;

/** One packet is seen at many interfaces; it is one hop as long as its addresses are the same. */
function hopsOf(flow: Flow, way: Way, outside: boolean, wanted: (packet: Packet) => boolean): readonly Hop[] {
  const hops = new Map<string, Hop>();
  const spots = new Set<string>();
  for (const seen of flow.seen) {
    const { packet, point, link, direction, time } = seen;
    if (wayOf(flow, packet) !== way || !wanted(packet)) continue;
    // The second time at one spot it is the next packet of its kind, or a retransmission.
    const spot = spotOf(seen);
    if (spots.has(spot)) continue;
    spots.add(spot);
    const key = `${packet.source.mac} ${packet.destination.mac}`;
    const known = hops.get(key);
    hops.set(key, {
      source: packet.source,
      destination: packet.destination,
      flags: packet.tcp?.flags ?? [],
      way,
      outside,
      tunnel: known?.tunnel ?? packet.tunnel,
      sightings: [...(known?.sightings ?? []), { point, link, direction, time }],
    });
  }
  return [...hops.values()];
}

function outcomeOf(flows: readonly Flow[]): Outcome {
  const has = (way: Way, test: (packet: Packet) => boolean) =>
    flows.some((flow) => flow.seen.some(({ packet }) => wayOf(flow, packet) === way && test(packet)));
  if (has('forward', isReset) || has('back', isReset)) return 'reset';
  if (!has('back', () => true)) return 'unanswered';
  const isFin = ({ tcp }: Packet) => tcp?.flags.includes('FIN') ?? false;
  return has('forward', isFin) && has('back', isFin) ? 'closed' : 'open';
}

/** A reset towards the client that the container's side never saw is the node's: its rules refuse. */
function resetBy(flows: readonly Flow[], reachesBackend: boolean): Connection['resetBy'] {
  const resets = flows.flatMap((flow, index) =>
    flow.seen
      .filter(({ packet }) => isReset(packet))
      .map(({ time, packet }) => ({ time, way: wayOf(flow, packet), inside: index === flows.length - 1 })),
  );
  const [first] = resets.sort(byTime);
  if (!first) return undefined;
  if (first.way === 'forward') return 'client';
  return reachesBackend && first.inside ? 'container' : 'node';
}

function answeredIn(flow: Flow): number | undefined {
  const [first] = flow.seen;
  const answer = flow.seen.find(
    ({ packet, point }) => point === first!.point && wayOf(flow, packet) === 'back',
  );
  return answer && Number(answer.time - first!.time);
}
