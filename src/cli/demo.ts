/**
 * `skein demo`: a two-node cluster in a lab, one published service, and the proof of what the mesh does with it, from
 * what was measured just now. It leaves nothing behind, however it ends.
 */
import { mkdirSync } from 'node:fs';
import type { Command } from 'commander';
import { isRunning, writePidFile } from '../kit/detached.ts';
import { runProcess } from '../kit/process.ts';
import { isCode, SkeinError } from '../model/errors.ts';
import { until, untilAnsweredBy } from '../lab/cluster.ts';
import { buildImage } from '../lab/image.ts';
import { downLab, Lab } from '../lab/lab.ts';
import { DEMO_LAB as NAME, labFolders } from '../lab/plan.ts';
import { hasProgram, requireHost } from '../lab/requirements.ts';
import { CheckList } from './demo/checks.ts';
import { nodeStates, type Replica, replicasOf, type TaskFact, taskFacts } from './demo/facts.ts';
import { provePackets } from './demo/packets.ts';
import {
  ask,
  proveIngress,
  proveMesh,
  provePings,
  proveReplicas,
  PUBLISHED,
  type Stage,
  TARGET,
} from './demo/proofs.ts';
import { untilInterrupted } from './interrupt.ts';

const SERVICE = 'web';
const REPLICAS = 3;
const pidFile = `${labFolders(NAME).data}/demo.pid`;

const print = (text: string): void => void process.stdout.write(`${text}\n`);
const progress = (text: string): void => void process.stderr.write(`... ${text}\n`);
const title = (text: string): void => print(`\n== ${text}\n`);

export function registerDemo(program: Command): void {
  program
    .command('demo')
    .description('a two-node cluster on this machine, one published service, and its packets on paper')
    .option('--once', 'prove everything, clean up and exit; 0 only if every check held')
    .action(async (options: { readonly once?: boolean }) => {
      process.exitCode = await runDemo(options.once ?? false);
    });
}

async function runDemo(once: boolean): Promise<number> {
  await requireHost();
  if (isRunning(pidFile) !== undefined)
    throw new SkeinError('already-exists', 'a demo runs on this machine already; end it first');
  const signal = untilInterrupted(progress);
  // What a killed demo left: nobody else uses this lab's name.
  await downLab(NAME);
  mkdirSync(labFolders(NAME).data, { recursive: true });
  writePidFile(pidFile, process.pid);
  const checks = new CheckList();
  let proven = false;
  try {
    const stage = await build(checks, signal);
    await proveAll(stage);
    title('Checks');
    print(checks.render());
    proven = true;
    if (!once) await stay(stage);
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    progress('taking the lab down');
    await downLab(NAME);
  }
  return checks.exitCode(proven);
}

async function build(checks: CheckList, signal: AbortSignal): Promise<Stage> {
  progress('building the demo image from busybox and perl of this machine');
  const image = await buildImage({ name: 'skein/web:latest', server: { port: TARGET } });
  const lab = await Lab.up({ name: NAME, nodes: 2 }, { progress }, signal);
  const states = await nodeStates(lab.engine('node1'));
  const shown = [...states].map(([name, state]) => `${name} ${state}`).join(', ');
  checks.add('a cluster of two nodes', [...states.values()].join() === 'ready,ready', shown);
  await lab.load(image, signal);
  await createService(lab, image.name, signal);
  return { lab, checks, print, signal };
}

async function createService(lab: Lab, image: string, signal: AbortSignal): Promise<void> {
  const engine = lab.engine('node1');
  const publish = `mode=ingress,target=${TARGET},published=${PUBLISHED}`;
  const argv = ['docker', 'service', 'create', '--name', SERVICE, '--replicas', String(REPLICAS)];
  const command = [...argv, '--publish', publish, image];
  title('The service');
  if (hasProgram('docker')) {
    print(`$ ${command.join(' ')}`);
    const config = `${lab.plan.dataFolder}/docker`;
    mkdirSync(config, { recursive: true });
    const env = { ...process.env, DOCKER_HOST: `unix://${engine.socket}`, DOCKER_CONFIG: config };
    const { stdout, stderr } = await runProcess(command, { env, signal, timeoutMs: 60_000 }).catch(
      async (error: unknown) => {
        if (!signal.aborted) print(`tasks: ${describeTasks(await taskFacts(engine, SERVICE))}`);
        throw error;
      },
    );
    // Without a terminal the CLI prints its progress line again and again.
    print([...new Set(`${stdout}${stderr}`.trim().split('\n'))].join('\n'));
  } else {
    print('(no docker CLI here: the same through the API)');
    const Ports = [{ Protocol: 'tcp', TargetPort: TARGET, PublishedPort: PUBLISHED, PublishMode: 'ingress' }];
    const created = await engine.post<{ ID: string }>('/services/create', {
      Name: SERVICE,
      TaskTemplate: { ContainerSpec: { Image: image } },
      Mode: { Replicated: { Replicas: REPLICAS } },
      EndpointSpec: { Ports },
    });
    print(created.ID);
  }
  const running = async (): Promise<true | string> => {
    const tasks = await taskFacts(engine, SERVICE);
    if (tasks.filter((task) => task.state === 'running').length === REPLICAS) return true;
    return `tasks: ${describeTasks(tasks)}`;
  };
  await until(`${REPLICAS} running tasks`, running, { timeoutMs: 60_000, signal });
  await settle(lab, signal);
}

/** A task runs when its container does: its server listens a moment later, and a moment after that every node sends to it. */
async function settle(lab: Lab, signal: AbortSignal): Promise<void> {
  for (const node of lab.plan.nodes) {
    const answer = async () => (await ask({ lab, signal }, 'client', node.address, PUBLISHED))?.container;
    const settled = untilAnsweredBy(REPLICAS, node.name, answer, { timeoutMs: 20_000, signal });
    await settled.catch((error: unknown) => {
      // Where they never come to answer it is the proofs that say so.
      if (!isCode(error, 'deadline-exceeded')) throw error;
    });
  }
}

const describeTasks = (tasks: readonly TaskFact[]): string =>
  tasks.map((task) => `${task.state}${task.error && ` (${task.error})`}`).join(', ') || 'none';

async function proveAll(stage: Stage): Promise<void> {
  const { lab, checks, signal } = stage;
  let replicas: readonly Replica[] = [];
  const section = async (text: string, prove: () => Promise<unknown>): Promise<void> => {
    signal.throwIfAborted();
    title(text);
    await checks.attempt(text, async () => void (await prove()));
    // What an interruption broke off was no proof that failed.
    signal.throwIfAborted();
  };
  await section('Three replicas', async () => {
    replicas = await replicasOf(lab.engine('node1'), SERVICE, (node) => lab.engine(node));
    await proveReplicas(stage, replicas);
  });
  let ingress: Awaited<ReturnType<typeof proveIngress>> = [];
  await section('docker network inspect ingress', async () => {
    ingress = await proveIngress(stage);
  });
  await section('Every node answers, from all containers', () => proveMesh(stage, replicas));
  await section('One segment', () => provePings(stage, replicas));
  await section('The packets', () => provePackets(stage, ingress, replicas));
}

/** Until Ctrl-C. */
async function stay({ lab, signal }: Stage): Promise<void> {
  const [a] = lab.plan.nodes;
  title('Go on by hand');
  if (!hasProgram('docker')) print('# the docker CLI comes with: apt-get install docker.io');
  print(`export DOCKER_HOST=unix://${a!.socket}`);
  for (const command of ['node ls', 'service ls', `service ps ${SERVICE}`, `service scale ${SERVICE}=5`])
    print(`docker ${command}`);
  const get = hasProgram('curl') ? 'curl' : 'busybox wget -q -O -';
  for (const node of lab.plan.nodes)
    print(
      `nsenter --net=${lab.plan.client.netns} ${get} http://${node.address}:${PUBLISHED}/   # ${node.name}`,
    );
  print('\nCtrl-C ends it and leaves nothing behind.');
  const alive = setInterval(() => {}, 60_000);
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
  clearInterval(alive);
}
