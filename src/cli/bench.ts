/** `skein bench`: what Skein costs, against real peers, as ratios of one run. The benchmarks are in bench/. */
import { writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { type Command, InvalidArgumentError } from 'commander';
import { runProcess } from '../kit/process.ts';
import { downLab, Lab } from '../lab/lab.ts';
import { benchLab } from '../lab/plan.ts';
import { hasProgram, requireHost } from '../lab/requirements.ts';
import { SkeinError } from '../model/errors.ts';
import { deployBenchmark } from './bench/deploy.ts';
import { dnsBenchmark } from './bench/dns.ts';
import { failoverBenchmark } from './bench/failover.ts';
import { type BenchResult, judge } from './bench/figures.ts';
import { memoryBenchmark } from './bench/memory.ts';
import { meshBenchmark } from './bench/mesh.ts';
import { programBenchmark } from './bench/program.ts';
import { asMarkdown, asText, describeMachine } from './bench/report.ts';
import type { Benchmark, BenchStage } from './bench/stage.ts';
import { untilInterrupted } from './interrupt.ts';

/** In the order in which they run. */
const BENCHMARKS: readonly Benchmark[] = [
  meshBenchmark,
  programBenchmark,
  failoverBenchmark,
  dnsBenchmark,
  deployBenchmark,
  memoryBenchmark,
];

interface BenchOptions {
  readonly rounds: number;
  readonly seconds: number;
  readonly quick?: boolean;
  readonly json?: boolean;
  readonly write?: string;
}

const progress = (text: string): void => void process.stderr.write(`... ${text}\n`);
const print = (text: string): void => void process.stdout.write(`${text}\n`);

export function registerBench(program: Command): void {
  const list = BENCHMARKS.map(({ name, description }) => `  ${name.padEnd(10)}${description}`).join('\n');
  program
    .command('bench [name]')
    .description('measure, against real peers, in labs of its own')
    .addHelpText('after', `\nBenchmarks (all of them unless one is named):\n${list}`)
    .option('--rounds <n>', 'interleaved rounds', whole, 5)
    .option('--seconds <n>', 'length of each single measurement', whole, 1)
    .option('--quick', 'one short round: shows that everything runs, measures nothing well')
    .option('--json', 'print the results as JSON')
    .option('--write <file>', 'write the results as Markdown')
    .action(bench);
}

function whole(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('must be a whole number above 0');
  return Number(text);
}

async function bench(name: string | undefined, options: BenchOptions): Promise<void> {
  const chosen = BENCHMARKS.filter((b) => name === undefined || name === 'all' || b.name === name);
  if (chosen.length === 0)
    throw new SkeinError(
      'invalid-argument',
      `no such benchmark: ${name} (there are: ${BENCHMARKS.map((b) => b.name).join(', ')}, all)`,
    );
  await requireHost();
  for (const [program, pkg] of [
    ['wrk', 'wrk'],
    ['nginx', 'nginx-light'],
  ] as const)
    if (!hasProgram(program))
      throw new SkeinError(
        'failed-precondition',
        `${program} makes and answers the load: apt-get install ${pkg}`,
      );
  const signal = untilInterrupted(progress);
  const loadBefore = loadavg()[0]!;
  const results: BenchResult[] = [];
  for (const benchmark of chosen) {
    results.push(await runOne(benchmark, options, signal));
    if (!options.json) print(asText(results.at(-1)!));
  }
  const machine = await describeMachine(runProcess, new Date(), loadBefore);
  if (options.json)
    print(
      JSON.stringify({ machine, results: results.map((r) => ({ ...r, judgements: judge(r) })) }, null, 2),
    );
  if (options.write) writeFileSync(options.write, asMarkdown(results, machine));
}

/** Everything that the benchmark made is gone when this ends, however it ends. */
async function runOne(
  benchmark: Benchmark,
  options: BenchOptions,
  signal: AbortSignal,
): Promise<BenchResult> {
  const undo: (() => Promise<void> | void)[] = [];
  const stage: BenchStage = {
    rounds: options.quick ? 1 : options.rounds,
    seconds: options.quick ? 1 : options.seconds,
    quick: options.quick ?? false,
    progress,
    signal,
    async lab(labOptions, tools) {
      const name = benchLab(benchmark.name);
      // What a killed run left: nobody else uses this lab's name.
      await downLab(name);
      undo.push(async () => void (await downLab(name)));
      return Lab.up({ ...labOptions, name }, { progress, ...tools }, signal);
    },
    cleanUp: (work) => void undo.push(work),
  };
  try {
    return await benchmark.run(stage);
  } catch (error) {
    signal.throwIfAborted(); // whatever it broke off
    throw error;
  } finally {
    for (const work of undo.reverse())
      try {
        await work();
      } catch (error) {
        progress(`could not clean up: ${SkeinError.from(error).message}`);
      }
  }
}
