/** Connections as the packet table of the reference capture: aligned text, raw values with names beside them. Pure. */
import type { Connection, Hop } from './join.ts';

/** Names that people know, by address; what has none is shown bare. */
export interface TraceNames {
  readonly addresses: ReadonlyMap<string, string>;
  readonly macs?: ReadonlyMap<string, string>;
}

const HEAD = ['case', 'hop', 'source IP', 'source MAC', 'destination IP', 'destination MAC', 'ports, flags'];

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

const named = (value: string, names: ReadonlyMap<string, string> | undefined): string => {
  const name = names?.get(value);
  return name === undefined ? value : `${value} (${name})`;
};

export function renderHops(connection: Connection, names: TraceNames, whole = false): readonly string[][] {
  return shownHops(connection, whole).map((hop, index) => [
    connection.kind,
    String(index + 1),
    named(hop.source.ip, names.addresses),
    named(hop.source.mac, names.macs),
    named(hop.destination.ip, names.addresses),
    named(hop.destination.mac, names.macs),
    `${hop.source.port} -> ${hop.destination.port}${hop.flags.length > 0 ? ` [${hop.flags.join(', ')}]` : ''}`,
  ]);
}

export function renderConnections(
  connections: readonly Connection[],
  names: TraceNames,
  options: { readonly whole?: boolean } = {},
): string {
  return renderTable([HEAD, ...connections.flatMap((c) => renderHops(c, names, options.whole))]);
}

/** Where a cross-host connection left the node: one line a tunnel. */
export function renderTunnel(connection: Connection): string | undefined {
  const tunnel = connection.hops.find((hop) => hop.tunnel && hop.way === 'forward')?.tunnel;
  return (
    tunnel &&
    `carried in VXLAN ${tunnel.vni} from ${tunnel.source} to ${tunnel.destination}, UDP port ${tunnel.port}`
  );
}

/** Columns as wide as their widest cell, two spaces apart, a rule under the head. */
export function renderTable(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd();
  const [head = [], ...body] = rows;
  return [line(head), widths.map((width) => '-'.repeat(width)).join('  '), ...body.map(line)].join('\n');
}
