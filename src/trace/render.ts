/** Connections as rows of the packet table, and the line that stands under each. Pure. */
import type { Connection, Hop, Sighting } from './connection.ts';
import { milliseconds, type PathRow, renderRows, type TraceNames, translationOf } from './table.ts';

/** How far the clock of a node may be off, in nanoseconds; a node that is not named is exact. */
export type Uncertainties = ReadonlyMap<string, number>;

/**
 * The hops that the reference capture shows: the way to the container, and across hosts the container's answer over
 * the overlay. Of what reaches no container, all.
 */
export function shownHops({ hops, kind }: Pick<Connection, 'hops' | 'kind'>): readonly Hop[] {
  return hops.filter(
    (hop) => hop.way === 'forward' || kind === 'lost' || (kind === 'cross host' && !hop.outside),
  );
}

export const rowsOf = (
  connection: Connection,
  clocks: Uncertainties = new Map(),
  hops: readonly Hop[] = shownHops(connection),
): readonly PathRow[] =>
  hops.map((hop, index) => {
    const before = hops[index - 1];
    return {
      kind: connection.kind,
      hop: index + 1,
      source: hop.source,
      destination: hop.destination,
      flags: hop.flags,
      translation: before?.way === hop.way ? translationOf(before, hop) : undefined,
      ...tookOf(hop, hops[index + 1], clocks),
    };
  });

/** Until the next hop of its way begins, else until it was seen last: at the container's link, or the client's node. */
function tookOf(
  hop: Hop,
  next: Hop | undefined,
  clocks: Uncertainties,
): Pick<PathRow, 'took' | 'uncertainty'> {
  const from = hop.sightings[0];
  const goesOn = next?.way === hop.way ? next.sightings[0] : undefined;
  const to = goesOn ?? (hop.sightings.length > 1 ? hop.sightings.at(-1) : undefined);
  if (!from || !to) return {};
  return { took: Number(to.time - from.time), uncertainty: between(from, to, clocks) };
}

const between = (a: Sighting, b: Sighting, clocks: Uncertainties): number =>
  a.point === b.point ? 0 : (clocks.get(a.point) ?? 0) + (clocks.get(b.point) ?? 0);

export const renderConnections = (
  connections: readonly Connection[],
  names: TraceNames,
  clocks?: Uncertainties,
): string =>
  renderRows(
    connections.flatMap((connection) => rowsOf(connection, clocks)),
    names,
  );

/** Where a cross-host connection left the node: one line a tunnel. */
function renderTunnel(connection: Connection): string | undefined {
  const tunnel = connection.hops.find((hop) => hop.tunnel && hop.way === 'forward')?.tunnel;
  return (
    tunnel &&
    `carried in VXLAN ${tunnel.vni} from ${tunnel.source} to ${tunnel.destination}, UDP port ${tunnel.port}`
  );
}

/** What became of it, in one line. */
export function renderOutcome(connection: Connection): string {
  const { outcome, resetBy, answeredIn, started, ended, retransmissions, joinedBy } = connection;
  const lasted = milliseconds(Number(ended - started));
  return [
    outcome === 'unanswered'
      ? `unanswered, last seen ${lastSeen(connection)}`
      : outcome === 'reset'
        ? `reset by the ${resetBy} after ${lasted}`
        : outcome === 'closed'
          ? `closed after ${lasted}`
          : `${connection.protocol === 'tcp' ? 'open' : 'answered'}, seen for ${lasted}`,
    ...(answeredIn === undefined ? [] : [`first answer after ${milliseconds(answeredIn)}`]),
    ...retransmitted(retransmissions.forward, 'client'),
    ...retransmitted(retransmissions.back, 'container'),
    renderTunnel(connection),
    joinedBy === 'address' ? 'not translated' : `hops joined by ${joinedBy}`,
  ]
    .filter((part) => part !== undefined)
    .join('; ');
}

const retransmitted = (times: number, who: string): readonly string[] =>
  times === 0 ? [] : [`${times} ${times === 1 ? 'retransmission' : 'retransmissions'} by the ${who}`];

function lastSeen({ hops }: Connection): string {
  const last = hops.flatMap(({ sightings }) => sightings).at(-1);
  return last ? `on ${last.point}, ${last.link} ${last.direction}` : 'nowhere';
}
