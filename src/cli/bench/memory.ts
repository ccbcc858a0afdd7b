/** `bench memory`: what skeind holds resident, on a worker full of tasks and on a manager of many services. */
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { buildImage } from '../../lab/image.ts';
import type { Lab } from '../../lab/lab.ts';
import { SkeinError } from '../../model/errors.ts';
import { awaitRunning, createService, loadEverywhere } from './cluster.ts';
import type { BenchResult, Figure } from './figures.ts';
import type { Benchmark, BenchStage } from './stage.ts';

const TASKS = 50;
const SERVICES = 100;
const SAMPLES = 10;
const SAMPLE_MS = 1_000;

export const memoryBenchmark: Benchmark = {
  name: 'memory',
  description: 'resident memory of skeind on a worker with 50 tasks and a manager with 100 services',
  run: runMemory,
};

async function runMemory(stage: BenchStage): Promise<BenchResult> {
  const { signal, progress, quick } = stage;
  const [tasks, services] = quick ? [2, 5] : [TASKS, SERVICES];
  const lab = await stage.lab({ nodes: 2 });
  const engine = lab.engine('node1');
  const image = await buildImage();
  await loadEverywhere(lab, image, signal);
  progress(`memory: ${tasks} tasks on the worker, ${services} services on the manager`);
  const publish = { port: 8000, target: 80 };
  await createService(engine, { name: 'full', image: image.name, replicas: tasks, node: 'node2', publish });
  await awaitRunning(engine, 'full', tasks, signal);
  for (let i = 1; i < services; i++)
    await createService(engine, {
      name: `s${i}`,
      image: image.name,
      replicas: 0,
      publish: { port: 20_000 + i, target: 80 },
    });
  const figures: (Figure & { readonly values: number[] })[] = [
    {
      quantity: `worker with ${tasks} tasks`,
      contender: 'skeind',
      unit: 'MB resident',
      lower: true,
      values: [],
    },
    {
      quantity: `manager with ${services} services`,
      contender: 'skeind',
      unit: 'MB resident',
      lower: true,
      values: [],
    },
  ];
  for (let sample = 0; sample < (quick ? 1 : SAMPLES); sample++) {
    await delay(quick ? 0 : SAMPLE_MS, undefined, { signal });
    figures[0]!.values.push(residentOf(lab, 'node2'));
    figures[1]!.values.push(residentOf(lab, 'node1'));
  }
  return {
    name: 'memory',
    title: 'Resident memory of skeind',
    method: `VmRSS after everything runs, ${SAMPLES} samples a second apart.`,
    figures,
    targets: [],
    limits: [
      { quantity: /^worker/, contender: 'skeind', atMost: 130 },
      { quantity: /^manager/, contender: 'skeind', atMost: 200 },
    ],
    missing: [],
  };
}

/** MB, 10^6. */
function residentOf(lab: Lab, node: string): number {
  const pid = lab.report().nodes.find((n) => n.name === node)?.pids.skeind;
  if (!pid) throw new SkeinError('unavailable', `skeind does not run on ${node}`);
  const kib = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return (Number(kib) * 1024) / 1e6;
}
