/**
 * `bench deploy`: from the call that creates a service to all its tasks running, on one node, on the ingress network.
 * Against containerd alone (the same client library, the same image, prepared namespaces, no networks), and against a
 * Docker Swarm of Debian's docker.io in a namespace of its own. Interleaved rounds. And against the Swarm alone, services
 * as applications have them: with a network of the user's, a secret, a config and a health check.
 */
import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Containerd } from '../../containerd/containerd.ts';
import { ContainerdProcess } from '../../containerd/daemon-process.ts';
import { inParallel } from '../../containerd/transfer.ts';
import { systemClock } from '../../kit/clock.ts';
import { silentLog } from '../../kit/log.ts';
import type { EngineClient } from '../../lab/client.ts';
import { until } from '../../lab/cluster.ts';
import { buildImage } from '../../lab/image.ts';
import type { BuiltImage } from '../../lab/image-archive.ts';
import { hasProgram } from '../../lab/requirements.ts';
import type { ContainerId } from '../../model/ids.ts';
import { createNetns, removeNetns } from '../../kit/netns.ts';
import { awaitRunning, awaitTold, createService, makeOutfit, type Outfit } from './cluster.ts';
import { type DockerSwarm, startDockerSwarm } from './docker-swarm.ts';
import { type BenchResult, type Figure, rotated } from './figures.ts';
import { makePlace } from './place.ts';
import type { Benchmark, BenchStage } from './stage.ts';

/** Replicas, and how often in a round: what takes a tenth of a second is another by a tenth now and then. */
type Size = readonly [replicas: number, times: number];
const SIZES: readonly Size[] = [
  [1, 8],
  [20, 3],
  [50, 2],
];
const QUICK_SIZES: readonly Size[] = [
  [1, 1],
  [3, 1],
];
const OUTFITTED_SIZE = 20;
const QUICK_OUTFITTED_SIZE = 2;
const CONCURRENCY = 8;
const SETTLE_MS = 500;
/** Between the event of the last container and its task that runs. */
const LAST_ASKED_EVERY_MS = 2;

export const deployBenchmark: Benchmark = {
  name: 'deploy',
  description: 'from service create to N/N running, against containerd alone and a Docker Swarm',
  run: runDeploy,
};

interface Contender {
  readonly name: string;
  /** Seconds from nothing to `replicas` running; what was made is gone afterwards. */
  deploy(replicas: number): Promise<number>;
  /** The same of a service with network, secret, config and health check, where there is such a thing. */
  readonly deployOutfitted?: (replicas: number) => Promise<number>;
}

/** One thing that is measured of every contender that can do it. */
interface Trial {
  readonly quantity: string;
  readonly replicas: number;
  /** In a round. */
  readonly times: number;
  readonly of: (contender: Contender) => ((replicas: number) => Promise<number>) | undefined;
}

function trials(quick: boolean): readonly Trial[] {
  const plain = ([replicas, times]: Size): Trial => ({
    quantity: `${replicas} replica${replicas === 1 ? '' : 's'}`,
    replicas,
    times,
    of: (contender) => (count) => contender.deploy(count),
  });
  const replicas = quick ? QUICK_OUTFITTED_SIZE : OUTFITTED_SIZE;
  return [
    ...(quick ? QUICK_SIZES : SIZES).map(plain),
    {
      quantity: `${replicas} replicas with network, secret, config, health check`,
      replicas,
      times: 1,
      of: ({ deployOutfitted }) => deployOutfitted,
    },
  ];
}

/** A warm-up, then the rounds. Who goes first changes. */
function* runsOf(planned: readonly Trial[], contenders: readonly Contender[], rounds: number) {
  for (const contender of contenders) yield { round: 0, trial: planned[0]!, contender };
  for (let round = 1; round <= rounds; round++)
    for (const trial of planned)
      for (let time = 0; time < trial.times; time++)
        for (const contender of rotated(contenders, round + time))
          if (trial.of(contender)) yield { round, trial, contender };
}

async function runDeploy(stage: BenchStage): Promise<BenchResult> {
  const image = await buildImage();
  const missing: string[] = [];
  const contenders: Contender[] = [await skein(stage, image), await bareContainerd(stage, image)];
  if (hasProgram('dockerd')) {
    try {
      contenders.push(await dockerSwarm(await startDockerSwarm(stage, image), stage, image));
    } catch (error) {
      missing.push(`a Docker Swarm could not be started here: ${(error as Error).message.slice(0, 300)}`);
    }
  } else missing.push("Debian's docker.io is not installed (apt-get install docker.io)");
  const figures = new Map<string, Figure & { readonly values: number[] }>();
  const planned = trials(stage.quick).filter(
    ({ of }) => contenders.filter((contender) => of(contender)).length > 1, // else there is nothing to compare
  );
  for (const { round, trial, contender } of runsOf(planned, contenders, stage.rounds)) {
    stage.signal.throwIfAborted();
    const { quantity, replicas } = trial;
    const when = round === 0 ? 'warm-up' : `round ${round} of ${stage.rounds}`;
    stage.progress(`deploy, ${when}: ${quantity}, ${contender.name}`);
    // What the one before left to do in the background (namespaces that go) is not charged to this one.
    await delay(SETTLE_MS, undefined, { signal: stage.signal });
    const taken = await trial.of(contender)!(replicas);
    if (round === 0) continue;
    const key = `${quantity} ${contender.name}`;
    if (!figures.has(key))
      figures.set(key, { quantity, contender: contender.name, unit: 's', lower: true, values: [] });
    figures.get(key)!.values.push(taken);
  }
  return {
    name: 'deploy',
    title: 'Service create to running, one node',
    method:
      `From the API call to N/N running as the API says, on the ingress network with a published port; ${stage.rounds} ` +
      `interleaved rounds, in each ${SIZES.map(([replicas, times]) => `${times} times ${replicas}`).join(', ')}. containerd: create and start of the same image by the same client, ${CONCURRENCY} at a time, in ` +
      'prepared namespaces, nothing else. With a network: one overlay network of a user, a secret, a config, and a health ' +
      'check whose first probe comes after half a second, before which no task counts as running.',
    figures: [...figures.values()].toSorted(
      (a, b) =>
        contenders.findIndex((c) => c.name === a.contender) -
        contenders.findIndex((c) => c.name === b.contender),
    ),
    paired: true,
    targets: [
      { quantity: /./, of: 'Skein', against: 'containerd', atLeast: 0.7 },
      { quantity: /./, of: 'Skein', against: 'Docker Swarm', atLeast: 2 },
    ],
    missing,
  };
}

const seconds = async (work: () => Promise<void>): Promise<number> => {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
};

async function skein(stage: BenchStage, image: BuiltImage): Promise<Contender> {
  const lab = await stage.lab({ nodes: 1 });
  const engine = lab.engine('node1');
  await engine.load(image.tar, stage.signal);
  return cluster('Skein', engine, image, stage.signal);
}

const dockerSwarm = (swarm: DockerSwarm, stage: BenchStage, image: BuiltImage): Promise<Contender> =>
  cluster('Docker Swarm', swarm.engine, image, stage.signal);

async function cluster(
  name: string,
  engine: EngineClient,
  image: BuiltImage,
  signal: AbortSignal,
): Promise<Contender> {
  const outfit = await makeOutfit(engine);
  return {
    name,
    deploy: (replicas) => deployService(engine, image.name, replicas, signal),
    deployOutfitted: (replicas) => deployService(engine, image.name, replicas, signal, outfit),
  };
}

/** The same calls for Skein and for Docker: both speak the Engine API. */
async function deployService(
  engine: EngineClient,
  image: string,
  replicas: number,
  signal: AbortSignal,
  outfit?: Outfit,
): Promise<number> {
  const name = `bench-${randomBytes(4).toString('hex')}`;
  const action = outfit ? 'health_status: healthy' : 'start';
  const told = { action, times: replicas, since: Date.now() / 1000 } as const;
  const taken = await seconds(async () => {
    await Promise.all([
      awaitTold(engine, name, told, signal),
      createService(engine, {
        name,
        image,
        replicas,
        publish: { port: 8000, target: 80 },
        ...(outfit && { outfit }),
      }),
    ]);
    await awaitRunning(engine, name, replicas, signal, LAST_ASKED_EVERY_MS);
  });
  await engine.delete(`/services/${name}`);
  await until(
    'the containers to be gone',
    async () => {
      const left = await engine.get<unknown[]>('/containers/json');
      return left.length === 0 || `${left.length} are left`;
    },
    { timeoutMs: 120_000, signal },
  );
  return taken;
}

async function bareContainerd(stage: BenchStage, image: BuiltImage): Promise<Contender> {
  const { folder, cgroupParent } = makePlace(stage, 'bench-containerd');
  const folders = { dataRoot: join(folder, 'data'), runRoot: join(folder, 'run') };
  const tools = { clock: systemClock, log: silentLog };
  const daemon = new ContainerdProcess({ ...folders, ...tools });
  stage.cleanUp(() => daemon.stop());
  await daemon.start();
  const runtime = await Containerd.open({
    socket: daemon.socket,
    ...folders,
    cgroupParent,
    insecureRegistries: [],
    ...tools,
  });
  stage.cleanUp(() => runtime.close());
  await runtime.images.load(chunks(image.tar), stage.signal);
  return { name: 'containerd', deploy: (replicas) => startAll(runtime, image.name, folder, replicas) };
}

async function* chunks(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function startAll(
  runtime: Containerd,
  image: string,
  folder: string,
  replicas: number,
): Promise<number> {
  const ids = Array.from(
    { length: replicas },
    () => createHash('sha256').update(randomBytes(16)).digest('hex') as ContainerId,
  );
  const netns = (id: ContainerId) => join(folder, 'netns', id);
  for (const id of ids) createNetns(netns(id));
  const start = async (id: ContainerId) => {
    const spec = { Image: image };
    const plain = { limits: undefined, hostname: id.slice(0, 12), files: {}, labels: {} };
    await runtime.create({ id, name: id, image, spec, netnsPath: netns(id), ...plain });
    await runtime.start(id);
  };
  const taken = await seconds(() => inParallel(ids, CONCURRENCY, start));
  await inParallel(ids, CONCURRENCY, async (id) => {
    await runtime.remove(id);
    removeNetns(netns(id));
  });
  return taken;
}
