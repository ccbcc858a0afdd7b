/**
 * `bench failover`: a node is cut off the underlay, and put back. How long until the kernels of the others send nobody
 * there, and how long until they do again.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { BackendWatch } from './backend-watch.ts';
import { awaitRunning, createService, loadEverywhere } from './cluster.ts';
import type { BenchResult, Figure } from './figures.ts';
import { BENCH_IMAGE, buildBenchImage } from './image.ts';
import type { Benchmark, BenchStage } from './stage.ts';

const CUTS = 20;
const QUICK_CUTS = 1;
const SERVICE = 'bench';
const PORT = 8001;
const CUT = 'node3';
const OTHERS = ['node1', 'node2'] as const;
const REPLICAS = 6;
const LEFT = 4;
/**
 * Between a change and the next: over the second that two changes of one peer are apart, and by a length that walks
 * through the period of the probes.
 */
const PAUSE_MS = 1_200;
const WALK_MS = 37;
const PROBE_MS = 200;

export const failoverBenchmark: Benchmark = {
  name: 'failover',
  description: 'a node is cut off 20 times: when the others leave it, when they come back',
  run: runFailover,
};

async function runFailover(stage: BenchStage): Promise<BenchResult> {
  const { progress, quick, signal } = stage;
  const lab = await stage.lab({ nodes: OTHERS.length + 1 });
  await loadEverywhere(lab, await buildBenchImage(), signal);
  const publish = { port: PORT, target: 80 };
  await createService(lab.engine('node1'), {
    name: SERVICE,
    image: BENCH_IMAGE,
    replicas: REPLICAS,
    publish,
  });
  await awaitRunning(lab.engine('node1'), SERVICE, REPLICAS, signal);
  const watch = await BackendWatch.open(lab, OTHERS, PORT, signal);
  stage.cleanUp(() => watch.close());
  /** How long the slower of the others took. */
  const timed = async (act: () => Promise<void>, backends: number): Promise<number> => {
    const changed = watch.next(OTHERS, backends);
    const began = Date.now();
    await Promise.all([act(), changed]);
    return Math.max(...(await changed)) - began;
  };
  const [left, returned]: [number[], number[]] = [[], []];
  const cuts = quick ? QUICK_CUTS : CUTS;
  for (let n = 0; n < cuts; n++) {
    progress(`failover: cut ${n + 1} of ${cuts}`);
    await delay(PAUSE_MS + ((n * WALK_MS) % PROBE_MS), undefined, { signal });
    left.push(await timed(() => lab.cut(CUT), LEFT));
    await delay(PAUSE_MS, undefined, { signal });
    returned.push(await timed(() => lab.heal(CUT), REPLICAS));
  }
  const figure = (quantity: string, values: readonly number[]): Figure => ({
    ...{ quantity, contender: 'Skein', unit: 'ms', lower: true, values },
  });
  return {
    name: 'failover',
    title: 'A node that is cut off, and comes back',
    method:
      `Three nodes, ${REPLICAS} tasks; ${cuts} times the link of ${CUT} is cut for over a second and put back. From the cut to the commit, ` +
      'by the kernel of the slower of the other two, with which new connections go elsewhere, and back.',
    figures: [
      figure('cut: left after', left),
      figure('cut: left after, the worst', [Math.max(...left)]),
      figure('return: used after', returned),
      figure('return: used after, the worst', [Math.max(...returned)]),
    ],
    targets: [],
    limits: [
      { quantity: /^cut: left after$/, contender: 'Skein', atMost: 1_000 },
      { quantity: /^cut: .* worst$/, contender: 'Skein', atMost: 1_500 },
      { quantity: /^return: /, contender: 'Skein', atMost: 1_000 },
    ],
    missing: [],
  };
}
