import { readFileSync } from 'node:fs';

/**
 * Fields of the `stat` of a process or thread, by its folder in /proc, from the third on: the state letter is the first
 * (proc_pid_stat(5)). Undefined when there is none. Names may hold spaces and brackets.
 */
export function procStat(folder: string): readonly string[] | undefined {
  try {
    const stat = readFileSync(`${folder}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}
