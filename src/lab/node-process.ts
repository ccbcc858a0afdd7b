/** The processes of one node: starts skeind in the node's namespace, finds and signals it and what it started. */
import { mkdirSync, readFileSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ensureRunning, isRunning } from '../kit/detached.ts';
import { MALLOC_ENV, NODE_FLAGS } from '../daemon/memory.ts';
import { SkeinError } from '../model/errors.ts';
import type { NodePlan } from './plan.ts';
import { suspend } from './signals.ts';
import { writeWhole } from './state.ts';

export const PROCESSES = ['skeind', 'containerd', 'etcd'] as const;
export type ProcessName = (typeof PROCESSES)[number];
export type Pids = Readonly<Record<ProcessName, number | null>>;

/** The skein command beside the running code: dist/cli/main.js when built, src/cli/main.ts in development. */
function skeinCommand(): readonly string[] {
  const here = fileURLToPath(import.meta.url);
  return [process.execPath, ...NODE_FLAGS, join(dirname(here), '..', 'cli', `main${extname(here)}`)];
}

/** What runs as a node's daemon: a function of the node, so that tests of the lab alone may stand something in. */
export type DaemonCommand = (node: NodePlan) => readonly string[];

export const daemonCommand: DaemonCommand = (node) => [
  ...skeinCommand(),
  'daemon',
  ...['--data-root', node.dataRoot, '--run-root', node.runRoot, '--socket', node.socket],
  ...['--hostname', node.name, '--cgroup-parent', node.cgroupParent, '--settings', settingsFile(node)],
];

/** skeind's is the lab's; containerd and etcd keep theirs in folders of their own. */
const pidFile = (node: NodePlan, name: ProcessName): string =>
  ({
    skeind: `${node.runRoot}/skeind.pid`,
    containerd: `${node.runRoot}/containerd/containerd.pid`,
    etcd: `${node.dataRoot}/etcd/etcd.pid`,
  })[name];
export const logFile = (node: NodePlan): string => `${node.dataRoot}/skeind.log`;
const settingsFile = (node: NodePlan): string => `${node.dataRoot}/settings.json`;

export function pidsOf(node: NodePlan): Pids {
  const pid = (name: ProcessName) => isRunning(pidFile(node, name)) ?? null;
  return { skeind: pid('skeind'), containerd: pid('containerd'), etcd: pid('etcd') };
}

export function writeSettings(node: NodePlan, settings: Readonly<Record<string, unknown>>): void {
  mkdirSync(node.dataRoot, { recursive: true });
  writeWhole(settingsFile(node), `${JSON.stringify(settings, null, 2)}\n`);
}

/** The machine's name servers are not to be reached from a lab: who asks them is told so soon. */
const LOOKUP_ENV = { RES_OPTIONS: 'timeout:1 attempts:1' };

/** Starts skeind if it does not run. `nsenter` becomes the daemon: the pid stays. */
export async function startDaemon(node: NodePlan, command: DaemonCommand): Promise<number> {
  mkdirSync(node.runRoot, { recursive: true });
  const { pid } = await ensureRunning({
    name: `skeind of ${node.name}`,
    argv: ['nsenter', `--net=${node.netns}`, '--', ...command(node)],
    env: { ...process.env, ...MALLOC_ENV, ...LOOKUP_ENV },
    pidFile: pidFile(node, 'skeind'),
    logFile: logFile(node),
  });
  return pid;
}

/** Signals one process; waits until it is gone when the signal is one that ends it. */
export async function signalProcess(
  node: NodePlan,
  name: ProcessName,
  signal: NodeJS.Signals,
): Promise<void> {
  const pid = isRunning(pidFile(node, name));
  if (pid === undefined) throw new SkeinError('not-found', `${name} does not run on ${node.name}`);
  if (signal === 'SIGSTOP') return suspend([pid]);
  process.kill(pid, signal);
  if (!['SIGKILL', 'SIGTERM', 'SIGINT'].includes(signal)) return;
  const deadline = Date.now() + 15_000;
  while (isRunning(pidFile(node, name)) === pid) {
    if (Date.now() > deadline)
      throw new SkeinError('deadline-exceeded', `${name} of ${node.name} has not ended 15 s after ${signal}`);
    await delay(10);
  }
}

/** The end of the daemon's log, for the message when it does not come up. */
export function logTail(node: NodePlan, lines = 15): string {
  try {
    return readFileSync(logFile(node), 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  } catch {
    return '(no log)';
  }
}
