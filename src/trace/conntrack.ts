/**
 * What the kernel itself says of a connection: the tuple that it came with, where it is translated. Asked of one
 * namespace, by the tuple that the packets have after translation: one look-up a connection, whatever else it tracks.
 */
import { inNetns } from '../kit/netns.ts';
import { originalOf, type Tuple } from '../net/conntrack.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../net/netlink.ts';
import type { Packet } from './decode.ts';

export type { Tuple };

/** Packets that come as `before` go on as `after`. */
export interface Translation {
  readonly before: Tuple;
  readonly after: Tuple;
}

export const tupleKey = (t: Tuple): string =>
  `${t.protocol} ${t.source}:${t.sourcePort} ${t.destination}:${t.destinationPort}`;

export const reversed = (t: Tuple): Tuple => ({
  protocol: t.protocol,
  source: t.destination,
  sourcePort: t.destinationPort,
  destination: t.source,
  destinationPort: t.sourcePort,
});

export function tupleOf({ protocol, source, destination }: Packet): Tuple | undefined {
  if (protocol !== 'tcp' && protocol !== 'udp') return undefined;
  return {
    protocol,
    source: source.ip,
    sourcePort: source.port,
    destination: destination.ip,
    destinationPort: destination.port,
  };
}

/** Of those tuples that are what a translation in this namespace made. */
export function translationsTo(netns: string, tuples: readonly Tuple[]): readonly Translation[] {
  if (tuples.length === 0) return [];
  return inNetns(netns, () => {
    const socket = new NetlinkSocket(NETLINK_NETFILTER);
    try {
      return tuples.flatMap((after) => {
        const before = originalOf(socket, reversed(after));
        return before && tupleKey(before) !== tupleKey(after) ? [{ before, after }] : [];
      });
    } finally {
      socket.close();
    }
  });
}
