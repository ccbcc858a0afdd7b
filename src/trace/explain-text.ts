/** An explanation as text: the packet table, then what is lost and why, whom the rules pass over, and what decided. Pure. */
import type { ExplainedPath, Explanation } from './explain.ts';
import { renderRows, type TraceNames } from './table.ts';

export function renderExplanation(
  { paths, passedOver }: Explanation,
  names: TraceNames,
  options: { readonly rules?: boolean } = {},
): string {
  const rows = paths.flatMap((path) => path.rows);
  const lost = paths.filter(({ loss }) => loss !== undefined);
  return [
    ...(rows.length > 0 ? [renderRows(rows, names)] : []),
    ...block([...new Set(lost.map((path) => `lost${towards(path, names)}: ${path.loss!.text}`))]),
    ...block(passedOver.map((task) => `not chosen: ${task}`)),
    ...(options.rules ? paths.filter(({ decisions }) => decisions.length > 0) : []).flatMap((path) =>
      decided(path, names),
    ),
  ].join('\n');
}

const block = (lines: readonly string[]): readonly string[] => (lines.length > 0 ? ['', ...lines] : []);

function towards({ backend, rows }: ExplainedPath, names: TraceNames): string {
  const ip = backend ?? (rows.length > 1 ? rows.at(-1)!.destination.ip : undefined);
  if (ip === undefined) return '';
  const name = names.addresses.get(ip);
  return ` on the way to ${name ? `${ip} (${name})` : ip}`;
}

const decided = (path: ExplainedPath, names: TraceNames): readonly string[] => [
  '',
  `${path.kind}${towards(path, names)}, decided by`,
  ...path.decisions.map((text) => `  ${text}`),
];
