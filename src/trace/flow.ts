/**
 * Observations to flows: all packets between two ends, both ways, from the one that opened it. A connection is one
 * flow before translation and another behind it (join.ts). Pure.
 */
import { reversed, type Tuple, tupleKey, tupleOf } from './conntrack.ts';
import type { Packet } from './decode.ts';
import { byTime, type Observation, spotOf } from './observe.ts';

export interface Flow {
  /** The same for both ways. */
  readonly key: string;
  /** As it was opened: from the client. */
  readonly tuple: Tuple;
  /** TCP's initial sequence number, which no translation changes; undefined for UDP. */
  readonly isn: number | undefined;
  /** In order of time. */
  readonly seen: readonly Observation[];
}

export type Way = 'forward' | 'back';

export const isSyn = ({ tcp }: Packet): boolean =>
  tcp !== undefined && tcp.flags.includes('SYN') && !tcp.flags.includes('ACK');
export const isSynAck = ({ tcp }: Packet): boolean =>
  tcp !== undefined && tcp.flags.includes('SYN') && tcp.flags.includes('ACK');

/** Undefined for what is neither TCP nor UDP. */
export function flowKey(packet: Packet): string | undefined {
  const tuple = tupleOf(packet);
  if (!tuple) return undefined;
  const [forward, back] = [tupleKey(tuple), tupleKey(reversed(tuple))];
  return forward < back ? forward : back;
}

export const wayOf = ({ tuple }: Flow, { source }: Packet): Way =>
  source.ip === tuple.source && source.port === tuple.sourcePort ? 'forward' : 'back';

/**
 * `expects` tells which end answers, where a UDP flow was joined in its middle. TCP is known by its first packet alone:
 * a connection that was open before the capture is no flow.
 */
export function flowsOf(
  observations: readonly Observation[],
  expects: (destination: Tuple) => boolean,
): readonly Flow[] {
  const groups = Map.groupBy(observations.toSorted(byTime), ({ packet }) => flowKey(packet));
  return [...groups].flatMap(([key, seen]) => {
    if (key === undefined) return [];
    const first = tupleOf(seen[0]!.packet)!;
    if (first.protocol === 'tcp') return tcpFlows(key, seen);
    const tuple = !expects(first) && expects(reversed(first)) ? reversed(first) : first;
    return [{ key, tuple, isn: undefined, seen }];
  });
}

/** One for each initial sequence number: a client may take the same port again. */
function tcpFlows(key: string, seen: readonly Observation[]): readonly Flow[] {
  const flows = new Map<number, Observation[]>();
  let current: Observation[] | undefined;
  for (const observation of seen) {
    const { packet } = observation;
    if (isSyn(packet)) {
      const isn = packet.tcp!.sequence;
      current = flows.get(isn) ?? [];
      flows.set(isn, current);
    }
    current?.push(observation);
  }
  return [...flows].map(([isn, own]) => ({
    key,
    tuple: tupleOf(own.find(({ packet }) => isSyn(packet))!.packet)!,
    isn,
    seen: own,
  }));
}

/** Of the packets that may be the first of a flow: what connection tracking is asked for. Each once. */
export function openingTuples(observations: readonly Observation[]): readonly Tuple[] {
  const tuples = new Map<string, Tuple>();
  for (const { packet } of observations) {
    const tuple = packet.protocol === 'udp' || isSyn(packet) ? tupleOf(packet) : undefined;
    if (tuple) tuples.set(tupleKey(tuple), tuple);
  }
  return [...tuples.values()];
}

/** Segments that passed one spot more than once; at the spot where most did. Tells TCP's retransmissions. */
export function retransmissions(flow: Flow, way: Way): number {
  if (flow.isn === undefined) return 0;
  const bySpot = new Map<string, { readonly segments: Set<string>; again: number }>();
  for (const observation of flow.seen) {
    const { packet } = observation;
    if (wayOf(flow, packet) !== way || !takesSequence(packet)) continue;
    const spot = spotOf(observation);
    const at = bySpot.get(spot) ?? { segments: new Set(), again: 0 };
    bySpot.set(spot, at);
    const segment = `${packet.tcp!.sequence}+${packet.payload}`;
    if (at.segments.has(segment)) at.again++;
    at.segments.add(segment);
  }
  return Math.max(0, ...[...bySpot.values()].map(({ again }) => again));
}

/** An acknowledgement alone may come as often as it likes. */
const takesSequence = ({ tcp, payload }: Packet): boolean =>
  tcp !== undefined && !tcp.flags.includes('RST') && (payload > 0 || /SYN|FIN/.test(tcp.flags.join()));
