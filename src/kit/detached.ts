/**
 * Processes that outlive the one which starts them: containerd and etcd stay up while skeind restarts. A pid file
 * names the process by pid *and* start time (field 22 of /proc/PID/stat), so a pid that the kernel gave to somebody
 * else is never adopted, let alone signalled.
 *
 * INVARIANT: the pid file is written (by rename) before `ensureRunning` resolves; a starter killed between spawn and
 * rename leaves a process without a file, which the next starter finds by its argument vector and adopts.
 */
import { spawn } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { SkeinError } from '../model/errors.ts';
import { procStat } from './proc-stat.ts';

export interface DetachedSpec {
  /** For messages: "containerd". */
  readonly name: string;
  readonly argv: readonly string[];
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly pidFile: string;
  /** Standard output and error, appended. */
  readonly logFile: string;
}

interface ProcessMark {
  readonly pid: number;
  readonly startTime: string;
}

/** State letter and start time of a process; undefined when there is none. */
function statOf(pid: number): { readonly state: string; readonly startTime: string } | undefined {
  const fields = procStat(`/proc/${pid}`);
  return fields && { state: fields[0]!, startTime: fields[19]! };
}

const isAlive = (mark: ProcessMark): boolean => {
  const stat = statOf(mark.pid);
  return stat !== undefined && stat.state !== 'Z' && stat.state !== 'X' && stat.startTime === mark.startTime;
};

function readMark(pidFile: string): ProcessMark | undefined {
  try {
    const [pid, startTime] = readFileSync(pidFile, 'utf8').trim().split(' ');
    return pid && startTime ? { pid: Number(pid), startTime } : undefined;
  } catch {
    return undefined;
  }
}

/** Writes the pid file of `pid`: `<pid> <start time>`. */
export function writePidFile(pidFile: string, pid: number): void {
  const startTime = statOf(pid)?.startTime;
  if (startTime === undefined)
    throw new SkeinError('internal', `process ${pid} ended before it could be recorded`);
  mkdirSync(dirname(pidFile), { recursive: true });
  writeFileSync(`${pidFile}.new`, `${pid} ${startTime}\n`);
  renameSync(`${pidFile}.new`, pidFile);
}

/** The pid that the file names, if that very process still runs. */
export function isRunning(pidFile: string): number | undefined {
  const mark = readMark(pidFile);
  return mark && isAlive(mark) ? mark.pid : undefined;
}

/** A process with exactly this argument vector, started by somebody who did not live to write the pid file. */
function findByArgv(argv: readonly string[]): number | undefined {
  const wanted = `${argv.join('\0')}\0`;
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      if (readFileSync(`/proc/${entry}/cmdline`, 'utf8') === wanted) return Number(entry);
    } catch {
      // ended while we looked
    }
  }
  return undefined;
}

/** Adopts the process if it runs, starts it in a session of its own if not. */
export async function ensureRunning(
  spec: DetachedSpec,
): Promise<{ readonly pid: number; readonly started: boolean }> {
  const running = isRunning(spec.pidFile) ?? findByArgv(spec.argv);
  if (running !== undefined) {
    writePidFile(spec.pidFile, running);
    cutLog(spec.logFile);
    return { pid: running, started: false };
  }
  mkdirSync(dirname(spec.logFile), { recursive: true });
  const log = openSync(spec.logFile, 'a', 0o640);
  try {
    const [command = '', ...args] = spec.argv;
    const child = spawn(command, args, {
      detached: true,
      stdio: ['ignore', log, log],
      ...(spec.cwd && { cwd: spec.cwd }),
      ...(spec.env && { env: spec.env }),
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (cause) =>
        reject(
          new SkeinError('internal', `cannot start ${spec.name} (${command}): ${cause.message}`, { cause }),
        ),
      );
    });
    child.unref();
    writePidFile(spec.pidFile, child.pid!);
    return { pid: child.pid!, started: true };
  } finally {
    closeSync(log);
  }
}

const MAX_LOG_BYTES = 32 * 1024 * 1024;

/** Empties a log that has grown too large, now and then to be called. Its writer appends, so it may be cut under it. */
export function cutLog(logFile: string): void {
  if ((statSync(logFile, { throwIfNoEntry: false })?.size ?? 0) > MAX_LOG_BYTES) truncateSync(logFile, 0);
}

export interface StopOptions {
  readonly signal?: NodeJS.Signals;
  /** After this many ms the process is killed. */
  readonly timeoutMs?: number;
}

/** Signals the process and waits until it has ended; SIGKILL after the timeout. Removes the pid file. */
export async function stopDetached(pidFile: string, options: StopOptions = {}): Promise<void> {
  const mark = readMark(pidFile);
  if (mark && isAlive(mark)) {
    signalMark(mark, options.signal ?? 'SIGTERM');
    const deadline = performance.now() + (options.timeoutMs ?? 10_000);
    let killed = false;
    while (isAlive(mark)) {
      if (performance.now() > deadline && !killed) {
        killed = true;
        signalMark(mark, 'SIGKILL');
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
  // Another may have been started meanwhile by somebody who saw this one end.
  if (isRunning(pidFile) === undefined) rmSync(pidFile, { force: true });
}

function signalMark(mark: ProcessMark, signal: NodeJS.Signals): void {
  try {
    process.kill(mark.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
