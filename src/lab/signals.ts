/**
 * Signals to processes that may end meanwhile, and a stop like that of a machine that hangs. kill(2) returns when
 * SIGSTOP is sent, not when it has taken hold: a busy machine lets threads go on for up to 20 ms (measured), long
 * enough for an etcd to answer one call more.
 */
import { readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { procStat } from '../kit/proc-stat.ts';
import { SkeinError } from '../model/errors.ts';

export function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // ended by itself
  }
}

/** Resolves when no thread of these processes runs any more; those that ended meanwhile are passed over. */
export async function suspend(pids: readonly number[]): Promise<void> {
  for (const pid of pids) send(pid, 'SIGSTOP');
  const deadline = Date.now() + 15_000;
  for (let left = pids.filter(runs); left.length > 0; left = left.filter(runs)) {
    if (Date.now() > deadline)
      throw new SkeinError('deadline-exceeded', `processes do not stop by SIGSTOP: ${left.join(', ')}`);
    await delay(1);
  }
}

const runs = (pid: number): boolean => threadsOf(pid).some(threadRuns);

/** Folders of its threads; none when it has ended. */
function threadsOf(pid: number): readonly string[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map((tid) => `/proc/${pid}/task/${tid}`);
  } catch {
    return [];
  }
}

/** Whether it is neither stopped nor dead. */
const threadRuns = (folder: string): boolean => !'TtZX'.includes(procStat(folder)?.[0] ?? 'X');
