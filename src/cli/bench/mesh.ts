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
 * Then the same again while the cluster publishes thousands of services more.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runProcess } from '../../kit/process.ts';
import { until } from '../../lab/cluster.ts';
import type { Lab } from '../../lab/lab.ts';
import { hasProgram } from '../../lab/requirements.ts';
import type { Replica } from '../demo/facts.ts';
import { awaitRunning, createService, loadEverywhere, onlyReplica } from './cluster.ts';
import type { BenchResult, Figure } from './figures.ts';
import { BENCH_IMAGE, BIG_BYTES, buildBenchImage } from './image.ts';
import type { Benchmark, BenchStage } from './stage.ts';
import { wrk, type WrkFigures } from './wrk.ts';

const MANY = 5_000;
const QUICK_MANY = 50;
const FIRST_PORT = 20_000;
/** Where connections come from, and the node that they come in by. */
const CLIENT = 'client';
const ENTRY = 'node1';
const CONNECTIONS = 32;
const STREAMS = 4;
/** Connections for the latency: so few that nothing queues for a core, which would be all that is measured. */
const UNHURRIED = 2;
/**
 * Where the client closes first, its ports wait for a minute: without these it would have none left after 28,000
 * connections, and the contender that lets it close first (HAProxy) would be blamed.
 */
const CLIENT_SYSCTLS = ['net.ipv4.tcp_tw_reuse=1', 'net.ipv4.ip_local_port_range=1024 65535'];
const CONTENDERS = ['mesh', 'bare path', 'HAProxy'] as const;
type Contender = (typeof CONTENDERS)[number];

interface Target {
  readonly name: string;
  readonly node: string;
  readonly published: number;
  readonly proxied: number;
  /** Published for HAProxy's task, so that it stands on the ingress network; nobody asks there. */
  readonly unused: number;
}

const TARGETS: readonly Target[] = [
  { name: 'task on this node', node: 'node1', published: 8001, proxied: 9001, unused: 8101 },
  { name: 'task on the other node', node: 'node2', published: 8002, proxied: 9002, unused: 8102 },
];

interface Quantity {
  readonly quantity: string;
  readonly unit: string;
  readonly lower?: boolean;
  readonly of: (figures: WrkFigures) => number;
}

/** One run of the load program, and what is read from it. */
interface Measure {
  readonly path: string;
  readonly connections: number;
  readonly threads?: number;
  readonly close?: boolean;
  readonly quantities: readonly Quantity[];
}

const MEASURES: readonly Measure[] = [
  {
    path: '/',
    connections: CONNECTIONS,
    // One thread is a core's worth of load: what a contender costs would hide on the other core.
    threads: 2,
    close: true,
    quantities: [{ quantity: 'new connections', unit: '1/s', of: (f) => f.requestsPerSecond }],
  },
  {
    path: '/',
    connections: CONNECTIONS,
    quantities: [{ quantity: 'requests on kept connections', unit: '1/s', of: (f) => f.requestsPerSecond }],
  },
  {
    path: '/',
    connections: UNHURRIED,
    quantities: [{ quantity: 'p99 latency', unit: 'ms', lower: true, of: (f) => f.p99Ms }],
  },
  {
    path: '/big',
    connections: STREAMS,
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
  const few = quick ? [] : await measureAll(stage, lab, replicas, proxy, 'with 4 services');
  const many = quick ? QUICK_MANY : MANY;
  progress(`publishing ${many} services more`);
  await publishMany(lab, many, signal);
  const lots = await measureAll(stage, lab, replicas, proxy, `with ${many} services more`);
  return {
    name: 'mesh',
    title: 'The routing mesh against the bare path and HAProxy',
    method:
      `wrk, ${CONNECTIONS} connections (two threads for new ones, or one; ${UNHURRIED} for the latency; ${STREAMS} streams of ${BIG_BYTES / 1e6} MB for throughput), from the ` +
      `client's namespace through node1 to nginx in one task; ${stage.rounds} interleaved rounds of ${stage.seconds} s. ` +
      'The bare path is the same links, bridges and tunnel, routed without translation and without connection tracking: ' +
      'no mesh can be faster, so its lead over HAProxy is the most that any can have here.',
    figures: [...few, ...lots],
    targets: [
      { quantity: /./, of: 'mesh', against: 'bare path', atLeast: 0.9 },
      { quantity: /^new connections/, of: 'mesh', against: 'HAProxy', atLeast: 3 },
    ],
    missing: proxy ? [] : ['HAProxy is not installed (apt-get install haproxy)'],
  };
}

/** The client reaches the tasks' own addresses over node1, untracked and untranslated, and they answer that way. */
async function openBarePath(lab: Lab, replicas: readonly Replica[]): Promise<void> {
  const [node] = lab.plan.nodes;
  const client = lab.plan.client.address;
  const hosts = replicas.map((r) => r.address).join(', ');
  const rules = [
    'table ip bench {',
    '  chain prerouting {',
    '    type filter hook prerouting priority -301;',
    `    ip saddr ${client} ip daddr { ${hosts} } notrack`,
    `    ip saddr { ${hosts} } ip daddr ${client} notrack`,
    '  }',
    '}',
  ];
  await lab.exec(ENTRY, ['nft', '-f', '-'], { input: `${rules.join('\n')}\n` });
  const { stdout } = await lab.exec(ENTRY, ['ip', '-4', '-o', 'address', 'show', 'dev', 'sk-ingress']);
  const endpoint = /inet ([\d.]+)/.exec(stdout)![1]!;
  for (const replica of replicas) {
    await lab.exec(CLIENT, ['ip', 'route', 'add', `${replica.address}/32`, 'via', node!.address]);
    const inside = ['nsenter', `--net=/proc/${replica.pid}/ns/net`, '--'];
    await runProcess([...inside, 'ip', 'route', 'add', `${client}/32`, 'via', endpoint]);
  }
}

async function startProxy(
  stage: BenchStage,
  lab: Lab,
  replicas: ReadonlyMap<Target, Replica>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'skein-bench-'));
  const file = join(folder, 'haproxy.cfg');
  const { address } = lab.plan.nodes[0]!;
  const listeners = [...replicas].flatMap(([target, replica]) => [
    `listen ${target.node}`,
    `  bind ${address}:${target.proxied}`,
    `  server task ${replica.address}:80`,
  ]);
  const head = ['global', '  maxconn 4000', '  nbthread 2', 'defaults', '  mode tcp'];
  const timeouts = ['connect 5s', 'client 30s', 'server 30s'].map((t) => `  timeout ${t}`);
  writeFileSync(file, `${[...head, ...timeouts, ...listeners].join('\n')}\n`);
  const [command = '', ...args] = [...lab.enter('node1'), 'haproxy', '-q', '-db', '-f', file];
  const proxy = spawn(command, args, { stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => proxy.on('close', () => resolve()));
  stage.cleanUp(async () => {
    proxy.kill('SIGTERM');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  });
  for (const { proxied } of replicas.keys())
    await until(
      'HAProxy to answer',
      async () => {
        const argv = ['busybox', 'wget', '-q', '-O', '/dev/null', `http://${address}:${proxied}/`];
        return (await lab.exec(CLIENT, argv, { accept: [0, 1] })).code === 0 || 'no answer';
      },
      { timeoutMs: 10_000, signal: stage.signal },
    );
}

function urlOf(lab: Lab, contender: Contender, target: Target, replica: Replica): string {
  const { address } = lab.plan.nodes[0]!;
  if (contender === 'bare path') return `http://${replica.address}:80`;
  return `http://${address}:${contender === 'mesh' ? target.published : target.proxied}`;
}

async function measureAll(
  stage: BenchStage,
  lab: Lab,
  replicas: ReadonlyMap<Target, Replica>,
  proxy: boolean,
  situation: string,
): Promise<Figure[]> {
  const values = new Map<string, { figure: Omit<Figure, 'values'>; values: number[] }>();
  const contenders = CONTENDERS.filter((c) => proxy || c !== 'HAProxy');
  for (let round = 1; round <= stage.rounds; round++) {
    stage.progress(`mesh, ${situation}: round ${round} of ${stage.rounds}`);
    // Who goes first changes with the round: a machine that tires favours nobody.
    for (const [target, replica] of replicas)
      for (const measure of MEASURES)
        for (const contender of rotated(contenders, round)) {
          stage.signal.throwIfAborted();
          const figures = await wrk(runProcess, {
            enter: lab.enter('client'),
            url: `${urlOf(lab, contender, target, replica)}${measure.path}`,
            connections: measure.connections,
            threads: measure.threads ?? 1,
            seconds: stage.seconds,
            signal: stage.signal,
            ...(measure.close && { close: true }),
          });
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
