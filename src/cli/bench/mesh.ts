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
import {
  CONNECTIONS,
  KEPT_RUNS,
  LATENCY_RUNS,
  THROUGHPUT_RUNS,
  type Measure,
  NEW_RUNS,
  runsOf,
  STREAMS,
  UNHURRIED,
} from './mesh-measures.ts';
import type { Benchmark, BenchStage } from './stage.ts';
import { wrk, type WrkFigures } from './wrk.ts';

const MANY = 5_000;
const QUICK_MANY = 50;
const FIRST_PORT = 20_000;
/**
 * Where the client closes first, its ports wait for a minute: without these it would have none left after 28,000
 * connections, and the contender that lets it close first (HAProxy) would be blamed.
 */
const CLIENT_SYSCTLS = ['net.ipv4.tcp_tw_reuse=1', 'net.ipv4.ip_local_port_range=1024 65535'];

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
      `${KEPT_RUNS} for kept ones, ${THROUGHPUT_RUNS} for throughput and ${LATENCY_RUNS} for the latency. ` +
      'Requests that failed count for no speed; they are counted over all runs. ' +
      'The bare path is the same links, bridges and tunnel, routed without translation and without connection tracking: ' +
      'no mesh can be faster, so its lead over HAProxy is the most that any can have here, where client and server share ' +
      'the processors. Processor time is what all processors are busy for a connection, client and server included: what is ' +
      'more than on the bare path is the way’s own.',
    figures: [...few, ...lots],
    paired: true,
    targets: [
      { quantity: /^(?!processor time|failed)/, of: 'mesh', against: 'bare path', atLeast: 0.9 },
      { quantity: /^new connections/, of: 'mesh', against: 'HAProxy', atLeast: 3 },
      { quantity: /^processor time/, of: 'mesh', against: 'HAProxy', beyond: 'bare path', atLeast: 3 },
    ],
    limits: [{ quantity: /^failed/, contender: 'mesh', atMost: 0 }],
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
  const failed = new Map<string, Figure>();
  for (let round = 1; round <= stage.rounds; round++) {
    stage.progress(`mesh, ${situation}: round ${round} of ${stage.rounds}`);
    for (const { target, measure, contender } of runsOf(TARGETS, contenders, round, stage.quick)) {
      const replica = replicas.get(target)!;
      const url = `${urlOf(lab, contender, target, replica)}${measure.path}`;
      if (measure.close) forgetConnections(namespaces);
      const figures = await load(stage, lab.enter(CLIENT), url, measure);
      addFailed(failed, `failed requests, ${target.name}, ${situation}`, contender, figures.errors);
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
  return [
    ...[...values.values()].map(({ figure, values: all }) => ({ ...figure, values: all })),
    ...failed.values(),
  ].toSorted((a, b) => order(a) - order(b));
}

/** Of all runs together: one that fails now and then would not show in a median. */
function addFailed(
  figures: Map<string, Figure>,
  quantity: string,
  contender: Contender,
  times: number,
): void {
  const key = `${quantity} ${contender}`;
  const [before = 0] = figures.get(key)?.values ?? [];
  figures.set(key, { ...{ quantity, contender, unit: 'requests', lower: true }, values: [before + times] });
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
  { seconds, signal }: BenchStage,
  enter: readonly string[],
  url: string,
  { connections, threads = 1, close }: Measure,
): Promise<WrkFigures & { readonly busyUs: number }> {
  signal.throwIfAborted();
  const before = busySeconds();
  const run = { enter, url, connections, threads, seconds, signal, ...(close && { close }) };
  const figures = await wrk(runProcess, run);
  return { ...figures, busyUs: ((busySeconds() - before) / seconds / figures.requestsPerSecond) * 1e6 };
}

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
