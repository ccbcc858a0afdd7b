/**
 * Signals to processes that may end meanwhile, and a stop like that of a machine that hangs. kill(2) returns when
 * SIGSTOP is sent, not when it has taken hold: a busy machine lets threads go on for up to 20 ms (measured), long
 * enough for an etcd to answer one call more.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
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

const runs = (pid: number): boolean =>
  orNone(() => readdirSync(`/proc/${pid}/task`), []).some(threadRuns(pid));

/** Whether it is neither stopped nor dead (proc_pid_stat(5), `state`). */
const threadRuns = (pid: number) => (tid: string) => {
  const stat = orNone(() => readFileSync(`/proc/${pid}/task/${tid}/stat`, 'utf8'), ') X');
  return !'TtZX'.includes(stat[stat.lastIndexOf(')') + 2]!);
};

/** What /proc says, or of what has ended meanwhile, what stands for it. */
function orNone<T>(read: () => T, none: T): T {
  try {
    return read();
  } catch {
    return none;
  }
}
