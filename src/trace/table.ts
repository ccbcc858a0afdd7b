/**
 * The packet table of the reference capture: one row a hop, a packet as it is on one segment of its way. `skein trace`
 * fills it with what was captured, `skein explain` with what the rules say; both are printed here and are compared row
 * by row. Pure.
 */
import type { TcpFlag } from './decode.ts';

/** `lost`: it reaches no container. */
export type PathKind = 'same host' | 'cross host' | 'lost';

/** One end of a packet. No MAC: it is on no wire there (translated before it leaves its namespace). No port: ICMP. */
export interface PathEnd {
  readonly ip: string;
  readonly mac?: string | undefined;
  readonly port?: number | undefined;
}

export interface PathRow {
  readonly kind: PathKind;
  /** From 1, within one connection. */
  readonly hop: number;
  readonly source: PathEnd;
  readonly destination: PathEnd;
  readonly flags: readonly TcpFlag[];
  /** What was done to the addresses since the row before, see `translationOf`; undefined: nothing. */
  readonly translation?: string | undefined;
  /** How long the packet took from this row to the next, in nanoseconds; only what was captured has it. */
  readonly took?: number | undefined;
  /** Its nodes' clocks agree to so many nanoseconds only. */
  readonly uncertainty?: number | undefined;
}

/** Names that people know, by address; what has none is shown bare. */
export interface TraceNames {
  readonly addresses: ReadonlyMap<string, string>;
  readonly macs?: ReadonlyMap<string, string> | undefined;
}

type Ends = Pick<PathRow, 'source' | 'destination'>;

/** `DNAT`, `SNAT` or both: which ends of a packet differ between two segments of the same way. */
export function translationOf(before: Ends, after: Ends): string | undefined {
  const differs = (a: PathEnd, b: PathEnd) => a.ip !== b.ip || a.port !== b.port;
  const done = [
    ...(differs(before.destination, after.destination) ? ['DNAT'] : []),
    ...(differs(before.source, after.source) ? ['SNAT'] : []),
  ];
  return done.length === 0 ? undefined : done.join(' + ');
}

const HEAD = ['case', 'hop', 'source IP', 'source MAC', 'destination IP', 'destination MAC', 'ports, flags'];

/** The columns of the reference capture; translation and time behind them where any row has one. */
export function renderRows(rows: readonly PathRow[], names: TraceNames): string {
  const translated = rows.some((row) => row.translation !== undefined);
  const timed = rows.some((row) => row.took !== undefined);
  const more = (translation: string, took: string) => [
    ...(translated ? [translation] : []),
    ...(timed ? [took] : []),
  ];
  return renderTable([
    [...HEAD, ...more('translated', 'took')],
    ...rows.map((row) => [...cells(row, names), ...more(row.translation ?? '', tookText(row))]),
  ]);
}

const cells = ({ kind, hop, source, destination, flags }: PathRow, names: TraceNames): string[] => [
  kind,
  String(hop),
  named(source.ip, names.addresses),
  source.mac === undefined ? '-' : named(source.mac, names.macs),
  named(destination.ip, names.addresses),
  destination.mac === undefined ? '-' : named(destination.mac, names.macs),
  portsText(source, destination) + (flags.length > 0 ? ` [${flags.join(', ')}]` : ''),
];

const portsText = (source: PathEnd, destination: PathEnd): string =>
  source.port === undefined || destination.port === undefined ? '' : `${source.port} -> ${destination.port}`;

function named(value: string, names: ReadonlyMap<string, string> | undefined): string {
  const name = names?.get(value);
  return name === undefined ? value : `${value} (${name})`;
}

function tookText({ took, uncertainty = 0 }: PathRow): string {
  if (took === undefined) return '';
  return uncertainty === 0 ? milliseconds(took) : `${milliseconds(took)} ± ${milliseconds(uncertainty)}`;
}

/** `0.042 ms`, from nanoseconds. */
export const milliseconds = (nanoseconds: number): string => `${(nanoseconds / 1e6).toFixed(3)} ms`;

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
