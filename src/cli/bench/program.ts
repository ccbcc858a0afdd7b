/**
 * `bench program`: from when a task runs and listens, as its node wrote it, to the commit with which the kernel of the
 * last of five nodes sends connections to it, with few and with thousands of published services. Beside it, over the
 * same range: the first packet of a connection through the mesh, and a node's reading back of its own kernel.
 */
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { EngineClient } from '../../lab/client.ts';
import type { Lab } from '../../lab/lab.ts';
import { BackendWatch } from './backend-watch.ts';
import { awaitRunning, createService, loadEverywhere } from './cluster.ts';
import { type BenchResult, type Figure, median, quantile } from './figures.ts';
import { BENCH_IMAGE, buildBenchImage } from './image.ts';
import { publishMany } from './mesh.ts';
import { rereadMs } from './reread.ts';
import type { Benchmark, BenchStage } from './stage.ts';

const NODES = 5;
const SERVICES = [10, 1_000, 5_000];
const QUICK_SERVICES = [10, 50];
const CHANGES = 50;
const QUICK_CHANGES = 3;
const CONNECTIONS = 200;
const SERVICE = 'bench';
const PORT = 8001;
/** Where connections come from. */
const CLIENT = 'client';
const CONNECT = fileURLToPath(new URL(`connect-load${extname(import.meta.url)}`, import.meta.url));
/** Below this the first size counts as better than the others: what is above is the noise of short measurements. */
const FLAT = 0.7;

export const programBenchmark: Benchmark = {
  name: 'program',
  description: 'from a running task to its use by five nodes, with 10, 1,000 and 5,000 published services',
  run: runProgram,
};

const contender = (services: number): string => `${services} services`;

async function runProgram(stage: BenchStage): Promise<BenchResult> {
  const { progress, quick, signal } = stage;
  const sizes = quick ? QUICK_SERVICES : SERVICES;
  const lab = await stage.lab({ nodes: NODES });
  const engine = lab.engine('node1');
  await loadEverywhere(lab, await buildBenchImage(), signal);
  const publish = { port: PORT, target: 80 };
  await createService(engine, { name: SERVICE, image: BENCH_IMAGE, replicas: 1, publish });
  await awaitRunning(engine, SERVICE, 1, signal);
  const figures: Figure[] = [];
  for (const [n, count] of sizes.entries()) {
    progress(`program: publishing ${count} services`);
    await publishMany(lab, count, signal, sizes[n - 1]);
    const figure = (quantity: string, values: readonly number[]): Figure => ({
      ...{ quantity, contender: contender(count), unit: 'ms', lower: true, values },
    });
    figures.push(figure('first packet there and back, p50', await firstPackets(stage, lab)));
    const usable: number[] = [];
    for (let round = 0; round < stage.rounds; round++) usable.push(...(await grow(stage, lab)));
    figures.push(figure('usable on all nodes after, p50', usable));
    figures.push(figure('usable on all nodes after, p99', [quantile(usable, 0.99)]));
    figures.push(figure('reading back as many endpoints', await rereadMs(stage, count)));
  }
  const each = (quantity: RegExp, atMost: number) =>
    sizes.map((count) => ({ quantity, contender: contender(count), atMost }));
  return {
    name: 'program',
    title: 'From a running task to its use on every node',
    method:
      `Five nodes; ${stage.rounds} times a service grows by one task ${quick ? QUICK_CHANGES : CHANGES} times while so many services more publish ` +
      'a port each. From the time of the report that the task runs and its server listens (before, nobody could use it) ' +
      'to the commit, by the kernel of the last node, with which the published port leads to the task. First packet: a connection is opened, one after another, from the client through ' +
      "node1. Reading back: a node by itself with so many endpoints. All nodes share this machine's cores.",
    figures,
    targets: sizes.slice(1).map((count) => ({
      ...{ quantity: /^usable.*p50|^first/, of: contender(count), against: contender(sizes[0]!) },
      atLeast: FLAT,
    })),
    limits: [...each(/^usable.*p50/, 50), ...each(/^usable.*p99/, 200), ...each(/^reading back/, 1_000)],
    missing: [],
  };
}

/** Grows the service task by task and shrinks it again: how long after it ran each task was used everywhere. */
async function grow({ quick, signal, cleanUp }: BenchStage, lab: Lab): Promise<readonly number[]> {
  const engine = lab.engine('node1');
  const nodes = lab.plan.nodes.map((node) => node.name);
  const watch = await BackendWatch.open(lab, nodes, PORT, signal);
  cleanUp(() => watch.close());
  const known = new Set((await runningTasks(engine)).map((task) => task.ID));
  const values: number[] = [];
  for (let n = 0; n < (quick ? QUICK_CHANGES : CHANGES); n++) {
    const replicas = known.size + 1;
    const used = watch.next(nodes, replicas);
    await Promise.all([scale(engine, replicas), used]);
    const task = (await runningTasks(engine)).find(({ ID }) => !known.has(ID))!;
    known.add(task.ID);
    values.push(Math.max(...(await used)) - Date.parse(task.Status.Timestamp));
  }
  watch.close();
  await scale(engine, 1);
  await awaitRunning(engine, SERVICE, 1, signal);
  return values;
}

async function firstPackets({ rounds, signal }: BenchStage, lab: Lab): Promise<readonly number[]> {
  const argv = [process.execPath, CONNECT, lab.node('node1').address, String(PORT), String(CONNECTIONS)];
  const values: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const { stdout } = await lab.exec(CLIENT, argv, { signal });
    values.push(median(JSON.parse(stdout) as number[]));
  }
  return values;
}

interface ServiceAnswer {
  readonly ID: string;
  readonly Version: { readonly Index: number };
  readonly Spec: object;
}

async function scale(engine: EngineClient, replicas: number): Promise<void> {
  const { ID, Version, Spec } = await engine.get<ServiceAnswer>(`/services/${SERVICE}`);
  const spec = { ...Spec, Mode: { Replicated: { Replicas: replicas } } };
  await engine.post(`/services/${ID}/update`, spec, { query: { version: Version.Index } });
}

interface TaskAnswer {
  readonly ID: string;
  readonly Status: { readonly State: string; readonly Timestamp: string };
}

async function runningTasks(engine: EngineClient): Promise<readonly TaskAnswer[]> {
  const filters = JSON.stringify({ service: [SERVICE], 'desired-state': ['running'] });
  const tasks = await engine.get<TaskAnswer[]>('/tasks', { query: { filters } });
  return tasks.filter((task) => task.Status.State === 'running');
}
