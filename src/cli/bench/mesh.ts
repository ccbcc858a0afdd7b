/**
 * `bench mesh`: what the routing mesh costs. From the lab's client through node1, to a task on node1 and to one on
 * node2, three ways, interleaved:
 *
 * - mesh: the published port of node1.
 * - bare path: the same links, bridges and tunnel without the mesh: the client routes the task's own address over
 *   node1, which forwards it without connection tracking; the task's namespace is given the way back.
 * - HAProxy: Debian's, in TCP mode on node1, two threads, to a task of its own beside the other. It reaches the task
 *   from the address that the mesh comes from too: at one task the sockets that wait out their last minute there
 *   (TIME-WAIT) would refuse the next contender's connections.
 *
 * What a way itself costs is told apart from what client and server cost, who share the processors with it, by the time
 * that all processors are busy for a connection: what is more than on the bare path is the way's own.
 *
 * Then the same again while the cluster publishes thousands of services more.
 */
import { inNetns } from '../../kit/netns.ts';
import { runProcess } from '../../kit/process.ts';
import { until } from '../../lab/cluster.ts';
import type { Lab } from '../../lab/lab.ts';
import { hasProgram } from '../../lab/requirements.ts';
import { forgetAll } from '../../net/conntrack.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../net/netlink.ts';
import type { Replica } from '../demo/facts.ts';
import { busySeconds } from './busy.ts';
import { awaitRunning, createService, loadEverywhere, onlyReplica } from './cluster.ts';
import type { BenchResult, Figure } from './figures.ts';
import {
  CLIENT,
  type Contender,
  CONTENDERS,
  openBarePath,
  startProxy,
  type Target,
  TARGETS,
  urlOf,
} from './mesh-ways.ts';
import { BENCH_IMAGE, BIG_BYTES, buildBenchImage } from './image.ts';
import type { Benchmark, BenchStage } from './stage.ts';
import { wrk, type WrkFigures } from './wrk.ts';

const MANY = 5_000;
const QUICK_MANY = 50;
const FIRST_PORT = 20_000;
const CONNECTIONS = 32;
const STREAMS = 4;
/** Connections for the latency: so few that nothing queues for a core, which would be all that is measured. */
const UNHURRIED = 2;
const NEW_RUNS = 5;
const LATENCY_RUNS = 16;
/**
 * Where the client closes first, its ports wait for a minute: without these it would have none left after 28,000
 * connections, and the contender that lets it close first (HAProxy) would be blamed.
 */
const CLIENT_SYSCTLS = ['net.ipv4.tcp_tw_reuse=1', 'net.ipv4.ip_local_port_range=1024 65535'];
interface Quantity {
  readonly quantity: string;
  readonly unit: string;
  readonly lower?: boolean;
  readonly of: (figures: WrkFigures & { readonly busyUs: number }) => number;
}

/** One run of the load program, and what is read from it. */
interface Measure {
  readonly path: string;
  readonly connections: number;
  readonly threads?: number;
  readonly close?: boolean;
  /** How often in a round. Where it is near its target, or one hiccup of the machine makes it, a few rounds say little. */
  readonly runs: number;
  /** Of a run, where its figure is one of the machine's moods: many short runs say more than few long ones. */
  readonly seconds?: number;
  readonly quantities: readonly Quantity[];
}

const MEASURES: readonly Measure[] = [
  {
    path: '/',
    connections: CONNECTIONS,
    // One thread is a core's worth of load: what a contender costs would hide on the other core.
    threads: 2,
    close: true,
    runs: NEW_RUNS,
    quantities: [
      { quantity: 'new connections', unit: '1/s', of: (f) => f.requestsPerSecond },
      { quantity: 'processor time a new connection', unit: 'us', lower: true, of: (f) => f.busyUs },
    ],
  },
  {
    path: '/',
    connections: CONNECTIONS,
    runs: 1,
    quantities: [{ quantity: 'requests on kept connections', unit: '1/s', of: (f) => f.requestsPerSecond }],
  },
  {
    path: '/',
    connections: UNHURRIED,
    runs: LATENCY_RUNS,
    seconds: 1,
    quantities: [{ quantity: 'p99 latency', unit: 'ms', lower: true, of: (f) => f.p99Ms }],
  },
  {
    path: '/big',
    connections: STREAMS,
    runs: 1,
    quantities: [{ quantity: 'throughput', unit: 'MB/s', of: (f) => f.megabytesPerSecond }],
  },
];

export const meshBenchmark: Benchmark = {
  name: 'mesh',
  description: 'a published port against the bare path and against HAProxy, with 1 and with 5,000 services',
  run: runMesh,
};

async function runMesh(stage: BenchStage): Promise<BenchResult> {
  const { progress, quick, signal } = stage;
  const lab = await stage.lab({ nodes: 2 });
  const engine = lab.engine('node1');
  progress('loading the image');
  await loadEverywhere(lab, await buildBenchImage(), signal);
  const replicas = new Map<Target, Replica>();
  const proxied = new Map<Target, Replica>();
  for (const target of TARGETS)
    for (const [suffix, port, tasks] of [
      ['', target.published, replicas],
      ['-proxied', target.unused, proxied],
    ] as const) {
      const name = `bench-${target.node}${suffix}`;
      const publish = { port, target: 80 };
      await createService(engine, { name, image: BENCH_IMAGE, replicas: 1, node: target.node, publish });
      await awaitRunning(engine, name, 1, signal);
      tasks.set(target, await onlyReplica(lab, name));
    }
  await lab.exec(CLIENT, ['busybox', 'sysctl', '-w', ...CLIENT_SYSCTLS]);
  await openBarePath(lab, [...replicas.values()]);
  const proxy = hasProgram('haproxy');
  if (proxy) await startProxy(stage, lab, proxied);
  const contenders = CONTENDERS.filter((c) => proxy || c !== 'HAProxy');
  const namespaces = [
    ...lab.plan.nodes.map(({ netns }) => netns),
    ...[...replicas.values(), ...proxied.values()].map(({ pid }) => `/proc/${pid}/ns/net`),
  ];
  const measure = (situation: string) =>
    measureAll({ stage, lab, replicas, namespaces, contenders, situation });
  const few = quick ? [] : await measure('with 4 services');
  const many = quick ? QUICK_MANY : MANY;
  progress(`publishing ${many} services more`);
  await publishMany(lab, many, signal);
  const lots = await measure(`with ${many} services more`);
  return {
    name: 'mesh',
    title: 'The routing mesh against the bare path and HAProxy',
    method:
      `wrk, ${CONNECTIONS} connections (two threads for new ones, or one; ${UNHURRIED} for the latency; ${STREAMS} streams of ${BIG_BYTES / 1e6} MB for throughput), from the ` +
      `client's namespace through node1 to nginx in one task; ${stage.rounds} interleaved rounds, ${stage.seconds} s a run; ${NEW_RUNS} runs a round for new connections, each with empty connection tables in nodes and containers, ` +
      `${LATENCY_RUNS} of a second for the latency. ` +
      'The bare path is the same links, bridges and tunnel, routed without translation and without connection tracking: ' +
      'no mesh can be faster, so its lead over HAProxy is the most that any can have here, where client and server share ' +
      'the processors. Processor time is what all processors are busy for a connection, client and server included: what is ' +
      'more than on the bare path is the way’s own.',
    figures: [...few, ...lots],
    targets: [
      { quantity: /^(?!processor time)/, of: 'mesh', against: 'bare path', atLeast: 0.9 },
      { quantity: /^new connections/, of: 'mesh', against: 'HAProxy', atLeast: 3 },
      { quantity: /^processor time/, of: 'mesh', against: 'HAProxy', beyond: 'bare path', atLeast: 3 },
    ],
    missing: proxy ? [] : ['HAProxy is not installed (apt-get install haproxy)'],
  };
}

interface Ground {
  readonly stage: BenchStage;
  readonly lab: Lab;
  readonly replicas: ReadonlyMap<Target, Replica>;
  /** Those on the ways that track connections. */
  readonly namespaces: readonly string[];
  readonly contenders: readonly Contender[];
  readonly situation: string;
}

async function measureAll(ground: Ground): Promise<Figure[]> {
  const { stage, lab, replicas, namespaces, contenders, situation } = ground;
  const values = new Map<string, { figure: Omit<Figure, 'values'>; values: number[] }>();
  for (let round = 1; round <= stage.rounds; round++) {
    stage.progress(`mesh, ${situation}: round ${round} of ${stage.rounds}`);
    for (const { target, replica, measure, contender } of runsOf(replicas, contenders, round, stage.quick)) {
      const url = `${urlOf(lab, contender, target, replica)}${measure.path}`;
      if (measure.close) forgetConnections(namespaces);
      const figures = await load(stage, lab.enter(CLIENT), url, measure);
      if (figures.errors > 0) stage.progress(`${contender}: ${figures.errors} requests failed`);
      for (const { quantity: what, unit, lower = false, of } of measure.quantities) {
        const quantity = `${what}, ${target.name}, ${situation}`;
        const key = `${quantity} ${contender}`;
        const known = values.get(key) ?? { figure: { quantity, contender, unit, lower }, values: [] };
        known.values.push(of(figures));
        values.set(key, known);
      }
    }
  }
  const order = (f: Omit<Figure, 'values'>) => CONTENDERS.indexOf(f.contender as Contender);
  return [...values.values()]
    .map(({ figure, values: all }) => ({ ...figure, values: all }))
    .toSorted((a, b) => order(a) - order(b));
}

interface Run {
  readonly target: Target;
  readonly replica: Replica;
  readonly measure: Measure;
  readonly contender: Contender;
}

/** Of a round, side by side what is compared. Who goes first changes: a machine that tires favours nobody. */
function* runsOf(
  replicas: ReadonlyMap<Target, Replica>,
  contenders: readonly Contender[],
  round: number,
  quick: boolean,
): Generator<Run> {
  for (const [target, replica] of replicas)
    for (const measure of MEASURES)
      for (let run = 0; run < (quick ? 1 : measure.runs); run++)
        for (const contender of rotated(contenders, round + run))
          yield { target, replica, measure, contender };
}

/**
 * One client has 64,000 ports, used up in three seconds: a run would meet what the one before has left in these tables
 * for two minutes, and whoever tracks connections would be charged for it. Many clients would not.
 */
function forgetConnections(namespaces: readonly string[]): void {
  for (const netns of namespaces) {
    const socket = inNetns(netns, () => new NetlinkSocket(NETLINK_NETFILTER));
    try {
      forgetAll(socket);
    } finally {
      socket.close();
    }
  }
}

async function load(
  { seconds: usual, signal }: BenchStage,
  enter: readonly string[],
  url: string,
  { connections, threads = 1, close, seconds = usual }: Measure,
): Promise<WrkFigures & { readonly busyUs: number }> {
  signal.throwIfAborted();
  const before = busySeconds();
  const run = { enter, url, connections, threads, seconds, signal, ...(close && { close }) };
  const figures = await wrk(runProcess, run);
  return { ...figures, busyUs: ((busySeconds() - before) / seconds / figures.requestsPerSecond) * 1e6 };
}

const rotated = <T>(list: readonly T[], by: number): T[] => list.map((_, i) => list[(i + by) % list.length]!);

/** Publishes so many services without tasks, the first `known` being there already; until every node has them. */
export async function publishMany(lab: Lab, count: number, signal: AbortSignal, known = 0): Promise<void> {
  const engine = lab.engine('node1');
  let next = known;
  const worker = async () => {
    while (next < count) {
      signal.throwIfAborted();
      const port = FIRST_PORT + next++;
      await createService(engine, {
        name: `s${port}`,
        image: BENCH_IMAGE,
        replicas: 0,
        publish: { port, target: 80 },
      });
    }
  };
  await Promise.all(Array.from({ length: 16 }, worker));
  const last = FIRST_PORT + count - 1;
  for (const { name } of lab.plan.nodes)
    await until(
      `${name} to publish port ${last}`,
      async () => {
        const argv = ['nft', 'get', 'element', 'ip', 'skein', 'counts', `{ tcp . ${last} }`];
        return (await lab.exec(name, argv, { accept: [0, 1] })).code === 0 || 'not yet';
      },
      { timeoutMs: 60_000, signal },
    );
}
