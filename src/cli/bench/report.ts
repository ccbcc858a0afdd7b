/** Results for people: text for the terminal, Markdown for docs/benchmarks.md, with the machine they come from. */
import { cpus, release, totalmem } from 'node:os';
import type { RunProcess } from '../../kit/process.ts';
import { renderTable } from '../../trace/table.ts';
import { type BenchResult, judge, tableOf } from './figures.ts';

export interface Machine {
  readonly cores: number;
  readonly processor: string;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly programs: Readonly<Record<string, string>>;
  readonly date: string;
  /** Load average when the benchmarks began: what else ran. */
  readonly loadBefore: number;
}

const PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  containerd: ['containerd', '--version'],
  runc: ['runc', '--version'],
  etcd: ['etcd', '--version'],
  nft: ['nft', '--version'],
  haproxy: ['haproxy', '-v'],
  dockerd: ['dockerd', '--version'],
};

export async function describeMachine(run: RunProcess, now: Date, loadBefore: number): Promise<Machine> {
  const programs: Record<string, string> = { node: process.version };
  for (const [name, argv] of Object.entries(PROGRAMS)) {
    const found = await run(argv).catch(() => undefined);
    const version = /v?(\d+\.\d+\.\d+)/.exec(found?.stdout ?? '')?.[1];
    if (version) programs[name] = version;
  }
  return {
    cores: cpus().length,
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    programs,
    date: now.toISOString().slice(0, 10),
    loadBefore,
  };
}

export function asText(result: BenchResult): string {
  const judgements = judge(result).map(({ text, holds }) => `${holds ? 'holds ' : 'MISSED'}  ${text}`);
  const missing = result.missing.map((text) => `missing: ${text}`);
  return [`\n== ${result.title}\n`, renderTable(tableOf(result)), '', ...judgements, ...missing].join('\n');
}

export function asMarkdown(results: readonly BenchResult[], machine: Machine): string {
  const programs = Object.entries(machine.programs).map(([name, version]) => `${name} ${version}`);
  return [
    '# Benchmarks',
    '',
    '<!-- Made by `npm run bench -- all --write docs/benchmarks.md`. Do not edit. -->',
    '',
    `Measured on ${machine.date}: ${machine.cores} cores (${machine.processor}), ${machine.memoryGiB} GiB, Linux ${machine.kernel}; ${programs.join(', ')}.`,
    `Load average when it began: ${machine.loadBefore.toFixed(1)}${machine.loadBefore < 0.5 ? '' : ' (the machine was not quiet)'}.`,
    'Everything, load and peers included, shares these cores: read the ratios, not the absolute numbers. A cell is the median and the range of all',
    'runs; a ratio above 1 means that the first column is better, for latencies and times too. Where the runs of all columns are interleaved',
    '(the mesh, names, service create), a ratio is the median of those of neighbouring runs: the machine’s drift is not in it.',
    ...results.flatMap(sectionOf),
    '',
  ].join('\n');
}

function sectionOf(result: BenchResult): string[] {
  const [head = [], ...rows] = tableOf(result);
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const judgements = judge(result).map(({ text, holds }) => `- ${holds ? 'holds' : '**missed**'}: ${text}`);
  return [
    '',
    `## ${result.title}`,
    '',
    result.method,
    '',
    line(head),
    line(head.map((_, i) => (i === 0 ? '---' : '--:'))),
    ...rows.map(line),
    ...(judgements.length > 0 ? ['', ...judgements] : []),
    ...(result.missing.length > 0 ? ['', ...result.missing.map((text) => `Not measured: ${text}.`)] : []),
  ];
}
