/** Connections as rows of the packet table, and what stands beside it. Pure. */
import type { Connection, Hop } from './join.ts';
import { type PathRow, renderRows, type TraceNames, translationOf } from './table.ts';

/**
 * The hops that the reference capture shows: the way to the container, and across hosts the container's answer over
 * the overlay. `whole` shows the way back on every segment.
 */
export function shownHops(connection: Connection, whole = false): readonly Hop[] {
  if (whole) return connection.hops;
  return connection.hops.filter(
    (hop) => hop.way === 'forward' || (connection.kind === 'cross host' && !hop.outside),
  );
}

export const rowsOf = (connection: Connection, whole = false): readonly PathRow[] =>
  shownHops(connection, whole).map((hop, index, hops) => {
    const before = hops[index - 1];
    return {
      kind: connection.kind,
      hop: index + 1,
      source: hop.source,
      destination: hop.destination,
      flags: hop.flags,
      translation: before?.way === hop.way ? translationOf(before, hop) : undefined,
    };
  });

export const renderConnections = (
  connections: readonly Connection[],
  names: TraceNames,
  options: { readonly whole?: boolean } = {},
): string =>
  renderRows(
    connections.flatMap((connection) => rowsOf(connection, options.whole)),
    names,
  );

/** Where a cross-host connection left the node: one line a tunnel. */
export function renderTunnel(connection: Connection): string | undefined {
  const tunnel = connection.hops.find((hop) => hop.tunnel && hop.way === 'forward')?.tunnel;
  return (
    tunnel &&
    `carried in VXLAN ${tunnel.vni} from ${tunnel.source} to ${tunnel.destination}, UDP port ${tunnel.port}`
  );
}
