/**
 * `bench dns`: what a name costs. From inside a container, at the resolver's address, so over the translation in its
 * sandbox; beside it Debian's dnsmasq in the same namespace, which knows the same name. First as fast as answers come,
 * then at half of 10,000 questions a second.
 */
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isRunning } from '../../kit/detached.ts';
import { procStat } from '../../kit/proc-stat.ts';
import { runProcess } from '../../kit/process.ts';
import { until } from '../../lab/cluster.ts';
import { buildImage } from '../../lab/image.ts';
import type { Lab } from '../../lab/lab.ts';
import { hasProgram } from '../../lab/requirements.ts';
import { SkeinError } from '../../model/errors.ts';
import { RESOLVER } from '../../model/network-view.ts';
import { awaitRunning, loadEverywhere, onlyReplica } from './cluster.ts';
import type { DnsFigures } from './dns-load.ts';
import { type BenchResult, type Figure, rotated } from './figures.ts';
import type { Benchmark, BenchStage } from './stage.ts';

const SERVICES = 200;
const QUICK_SERVICES = 5;
const WANTED = 10_000;
/** In a round. */
const RUNS = 3;
const PEER = { name: 'dnsmasq', address: '127.0.0.12', port: 5353 } as const;
const SKEIN = { name: 'skein', address: RESOLVER.address, port: RESOLVER.port } as const;
const LOAD = fileURLToPath(new URL(`./dns-load${extname(import.meta.url)}`, import.meta.url));
const ASKER = 'asker';
const ASKED = 'svc1';

type Contender = typeof SKEIN | typeof PEER;
type Server = Contender & { readonly pid: number };

export const dnsBenchmark: Benchmark = {
  name: 'dns',
  description: 'questions a second and their latency, inside a container, against dnsmasq',
  run: runDns,
};

async function runDns(stage: BenchStage): Promise<BenchResult> {
  const { progress, quick, signal } = stage;
  const lab = await stage.lab({ nodes: 1 });
  const engine = lab.engine('node1');
  const image = await buildImage();
  await loadEverywhere(lab, image, signal);
  const { Id: network } = await engine.post<{ Id: string }>('/networks/create', {
    Name: 'names',
    Driver: 'overlay',
    Scope: 'swarm',
  });
  const services = quick ? QUICK_SERVICES : SERVICES;
  progress(`dns: ${services} services on one network`);
  const create = (name: string, replicas: number) =>
    engine.post('/services/create', {
      Name: name,
      TaskTemplate: {
        ContainerSpec: { Image: image.name, StopGracePeriod: 1_000_000_000 },
        Networks: [{ Target: network }],
      },
      Mode: { Replicated: { Replicas: replicas } },
    });
  await create(ASKER, 1);
  for (let i = 1; i <= services; i++) await create(`svc${i}`, 0);
  await awaitRunning(engine, ASKER, 1, signal);
  const { pid } = await onlyReplica(lab, ASKER);
  const inside = ['nsenter', `--net=/proc/${pid}/ns/net`, '--'];
  await until(`${ASKED} to have an address`, () => isKnown(inside, SKEIN), { timeoutMs: 20_000, signal });
  const peer = hasProgram(PEER.name);
  const servers: Server[] = [{ ...SKEIN, pid: resolverOf(lab) }];
  if (peer) servers.push({ ...PEER, pid: await startPeer(stage, inside, lab) });
  const figures = await measure(stage, inside, servers);
  return {
    name: 'dns',
    title: 'Names inside a container',
    method:
      `One process in the container's namespace asks for the virtual IP of one of ${services} services through 16 sockets: ` +
      `64 questions at a time, then ${WANTED / 2} a second; ${stage.rounds} rounds, in each ${RUNS} interleaved runs of ${stage.seconds} s. Each ` +
      'server is one thread, so what it answers at most is what one core answers. Every answer was right.',
    figures,
    paired: true,
    targets: [],
    limits: [
      { quantity: /^processor time/, contender: SKEIN.name, atMost: 1e6 / WANTED },
      { quantity: /^lost/, contender: SKEIN.name, atMost: 0 },
      { quantity: /^p99/, contender: SKEIN.name, atMost: 2 },
    ],
    missing: peer ? [] : ['dnsmasq is not installed (apt-get install dnsmasq-base)'],
  };
}

/** Knows the same name and forwards nothing. */
async function startPeer(stage: BenchStage, inside: readonly string[], lab: Lab): Promise<number> {
  const options = ['--no-daemon', '--no-resolv', '--no-hosts', '--bind-interfaces', '--conf-file=/dev/null'];
  const listen = [`--listen-address=${PEER.address}`, `--port=${PEER.port}`];
  const [command = '', ...args] = [...lab.enter('node1'), ...inside, PEER.name, ...options, ...listen];
  const peer = spawn(command, [...args, '--user=root', `--host-record=${ASKED},10.9.9.9`], {
    stdio: 'ignore',
  });
  const ended = new Promise<void>((resolve) => peer.on('close', () => resolve()));
  stage.cleanUp(async () => {
    peer.kill('SIGTERM');
    await ended;
  });
  await until('dnsmasq to answer', () => isKnown(inside, PEER), { timeoutMs: 10_000, signal: stage.signal });
  return peer.pid!;
}

/** The resolver of the lab's only node. */
function resolverOf(lab: Lab): number {
  const folder = join(lab.node('node1').runRoot, 'resolver');
  const pidFile = readdirSync(folder).find((name) => name.endsWith('.pid'));
  const pid = pidFile && isRunning(join(folder, pidFile));
  if (!pid) throw new SkeinError('unavailable', `no resolver runs in ${folder}`);
  return pid;
}

/** Ticks of 10 ms: the sum of a whole measurement is exact enough. */
const MICROS_PER_TICK = 10_000;

/** Spent by the process so far, in the kernel and out of it. */
function cpuMicros(pid: number): number {
  const fields = procStat(`/proc/${pid}`);
  if (!fields) throw new SkeinError('unavailable', `process ${pid} has ended`);
  return (Number(fields[11]) + Number(fields[12])) * MICROS_PER_TICK;
}

async function isKnown(inside: readonly string[], contender: Contender): Promise<true | string> {
  const { answered, wrong } = await load(inside, contender, 0.05, 100);
  return (answered > 0 && wrong === 0) || `${answered} answers, ${wrong} of them wrong`;
}

async function load(
  inside: readonly string[],
  { address, port }: Contender,
  seconds: number,
  rate: number,
): Promise<DnsFigures> {
  const argv = [process.execPath, LOAD, address, String(port), ASKED, String(seconds), String(rate)];
  const { stdout } = await runProcess([...inside, ...argv]);
  return JSON.parse(stdout) as DnsFigures;
}

async function measure(
  { rounds, seconds, quick, signal }: BenchStage,
  inside: readonly string[],
  servers: readonly Server[],
): Promise<readonly Figure[]> {
  const rows = servers.map((contender) => ({
    contender,
    rate: [] as number[],
    cpu: [] as number[],
    lost: [] as number[],
    p50: [] as number[],
    p99: [] as number[],
  }));
  for (let run = 0; run < rounds * (quick ? 1 : RUNS); run++)
    for (const { contender, rate, cpu, lost, p50, p99 } of rotated(rows, run)) {
      signal.throwIfAborted();
      const before = cpuMicros(contender.pid);
      const most = await load(inside, contender, seconds, 0);
      cpu.push((cpuMicros(contender.pid) - before) / most.answered);
      const half = await load(inside, contender, seconds, WANTED / 2);
      if (most.wrong + half.wrong > 0)
        throw new SkeinError('internal', `${contender.name}: ${most.wrong + half.wrong} wrong answers`);
      lost.push(most.asked - most.answered + half.asked - half.answered);
      rate.push(most.answered / most.seconds);
      p50.push(half.p50Ms);
      p99.push(half.p99Ms);
    }
  return rows.flatMap(({ contender: { name }, rate, cpu, lost, p50, p99 }): Figure[] => [
    { quantity: 'questions answered', contender: name, unit: '1/s', values: rate },
    { quantity: 'processor time a question', contender: name, unit: 'us', lower: true, values: cpu },
    {
      quantity: 'lost',
      contender: name,
      unit: 'questions',
      lower: true,
      values: [lost.reduce((all, n) => all + n, 0)],
    },
    { quantity: 'p50 at 5,000/s', contender: name, unit: 'ms', lower: true, values: p50 },
    { quantity: 'p99 at 5,000/s', contender: name, unit: 'ms', lower: true, values: p99 },
  ]);
}
