/**
 * The benchmarks as a user runs them, in their short form: every table is whole, and nothing is left on the machine. No
 * figure is judged here: the machine may be busy. A peer that is not installed is said aloud, and its column missing.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runProcess } from '../../src/kit/process.ts';
import { downLab } from '../../src/lab/lab.ts';
import { hasProgram } from '../../src/lab/requirements.ts';
import type { BenchResult, Judgement } from '../../src/cli/bench/figures.ts';
import { machineState } from './machine.ts';

const MAIN = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'src', 'cli', 'main.ts');
const LOAD = ['wrk', 'nginx'].filter((program) => !hasProgram(program));
const skip = LOAD.length > 0 && `not installed: ${LOAD.join(', ')} (npm run bench installs them)`;
if (skip) console.error(`SKIPPED: the benchmarks: ${skip}`);

interface Report {
  readonly machine: { readonly cores: number; readonly kernel: string };
  readonly results: readonly (BenchResult & { readonly judgements: readonly Judgement[] })[];
}

/** What a benchmark compares, by the peers that are installed. */
const CONTENDERS: Readonly<Record<string, readonly string[]>> = {
  mesh: ['mesh', 'bare path', ...(hasProgram('haproxy') ? ['HAProxy'] : [])],
  program: ['10 services', '50 services'],
  failover: ['Skein'],
  deploy: ['Skein', 'containerd', ...(hasProgram('dockerd') ? ['Docker Swarm'] : [])],
  memory: ['skeind'],
};

const folder = mkdtempSync(join(tmpdir(), 'skein-bench-test-'));
after(async () => {
  for (const name of Object.keys(CONTENDERS)) await downLab(`bench-${name}`);
  rmSync(folder, { recursive: true, force: true });
});

for (const [name, contenders] of Object.entries(CONTENDERS))
  test(
    `bench ${name}: every quantity of every contender, a judgement for each target, nothing left`,
    { skip },
    async () => {
      const before = await machineState(`bench-${name}`);
      const file = join(folder, `${name}.md`);
      const argv = [process.execPath, MAIN, 'bench', name, '--quick', '--json', '--write', file];
      const { stdout } = await runProcess(argv, { timeoutMs: 400_000 });
      const { machine, results } = JSON.parse(stdout) as Report;
      assert.ok(machine.cores > 0 && machine.kernel !== '');
      const [result] = results;
      assert.ok(result && results.length === 1);
      for (const missing of result.missing) console.error(`NOT MEASURED: ${missing}`);
      const quantities = new Set(result.figures.map(({ quantity }) => quantity));
      assert.ok(quantities.size > 1, 'several quantities');
      const cells = result.figures.map(({ quantity, contender }) => `${quantity} | ${contender}`);
      // containerd alone knows no networks and no secrets.
      const compared = (quantity: string) =>
        contenders.filter((c) => c !== 'containerd' || !quantity.includes('network'));
      const wanted = [...quantities].flatMap((q) => compared(q).map((c) => `${q} | ${c}`));
      assert.deepEqual(cells.sort(), wanted.sort(), 'the table has no hole');
      for (const { quantity, contender, values } of result.figures)
        assert.ok(
          values.length > 0 &&
            values.every((v) => Number.isFinite(v) && (v > 0 || quantity.startsWith('failed'))),
          `${quantity} of ${contender}: ${String(values)}`,
        );
      assert.ok(result.judgements.length >= quantities.size, 'every quantity has a target');
      const page = readFileSync(file, 'utf8');
      for (const quantity of quantities)
        assert.ok(page.includes(`| ${quantity}`), `${quantity} is on the page`);
      assert.deepEqual(await machineState(`bench-${name}`), before, 'nothing is left');
    },
  );
