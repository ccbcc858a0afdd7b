/**
 * The host goes down: its containers are asked to end while there is still a network, and killed after their grace. Left
 * to systemd, which sends SIGTERM and waits, one that does not end on that holds the host for 90 s; and no process does,
 * which has no handler and is the first of its namespace. How they end is not recorded: the next start finds that the
 * machine went down under them, and replaces tasks for that reason.
 */
import { existsSync } from 'node:fs';
import { stopSignal } from '../agent/container-control.ts';
import { graceMs } from '../agent/task-plan.ts';
import { ContainerdApi, unless } from '../containerd/api.ts';
import { Containerd } from '../containerd/containerd.ts';
import { ContainerdProcess } from '../containerd/daemon-process.ts';
import type { ContainerRuntime } from '../containerd/runtime.ts';
import { signalNumber } from '../containerd/signal.ts';
import { systemClock } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import { runProcess, type RunProcess } from '../kit/process.ts';
import { isCode } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import type { Settings } from './settings.ts';

export interface Ending {
  readonly id: ContainerId;
  readonly signal: number;
  readonly graceMs: number;
}

const SYSTEMD = '/run/systemd/system';
const ASK_MS = 3_000;
/** Docker's own daemon waits no longer for its containers when it ends. */
const MAX_GRACE_MS = 15_000;
const KILLED_MS = 5_000;
const SIGKILL = 9;
const SIGTERM = 15;

export async function hostGoesDown(run: RunProcess = runProcess, systemd = SYSTEMD): Promise<boolean> {
  if (!existsSync(systemd)) return false;
  const argv = ['systemctl', 'is-system-running'];
  const answer = await run(argv, { accept: [0, 1], timeoutMs: ASK_MS }).catch(() => undefined);
  return answer?.stdout.trim() === 'stopping';
}

/** What is to be done to each that runs. A paused one goes on, to hear of it. */
export async function endingsOf(runtime: ContainerRuntime, log: Log): Promise<readonly Ending[]> {
  const all = await runtime.list().catch((error: unknown) => {
    log.warn('containers are left to the host, which goes down', { err: error });
    return [];
  });
  const up = all.filter(({ status }) => status === 'running' || status === 'paused');
  return Promise.all(
    up.map(async (info) => {
      if (info.status === 'paused') await runtime.resume(info.id).catch(() => undefined);
      const signal = await stopSignal(runtime, info)
        .then(signalNumber)
        .catch(() => SIGTERM);
      return { id: info.id, signal, graceMs: Math.min(graceMs(info.config.spec), MAX_GRACE_MS) };
    }),
  );
}

/** Once skeind has ended: by the containerd that it left, where one runs. */
export async function endAllContainers(settings: Settings, log: Log): Promise<void> {
  const { cgroupParent, insecureRegistries, dataRoot, runRoot } = settings;
  const clock = systemClock;
  const containerd = new ContainerdProcess({ dataRoot, runRoot, clock, log });
  try {
    if (containerd.pid === undefined) return;
    const { socket } = containerd;
    const place = { socket, dataRoot, runRoot, cgroupParent, insecureRegistries };
    const runtime = await Containerd.open({ ...place, clock, log });
    const endings = await endingsOf(runtime, log).finally(() => runtime.close());
    await endContainers(socket, endings);
  } finally {
    await containerd.close();
  }
}

export async function endContainers(socket: string, endings: readonly Ending[]): Promise<void> {
  if (endings.length === 0) return;
  const api = new ContainerdApi(socket);
  try {
    await Promise.allSettled(endings.map((ending) => end(api, ending)));
  } finally {
    api.close();
  }
}

async function end(api: ContainerdApi, { id, signal, graceMs: grace }: Ending): Promise<void> {
  await unless('not-found', api.tasks.kill({ containerId: id, signal }));
  if (await endsWithin(api, id, grace)) return;
  await unless('not-found', api.tasks.kill({ containerId: id, signal: SIGKILL }));
  await endsWithin(api, id, KILLED_MS);
}

async function endsWithin(api: ContainerdApi, id: ContainerId, timeoutMs: number): Promise<boolean> {
  try {
    await unless('not-found', api.tasks.wait({ containerId: id }, { timeoutMs }));
    return true;
  } catch (error) {
    if (isCode(error, 'deadline-exceeded')) return false;
    throw error;
  }
}
