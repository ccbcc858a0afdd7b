/** How long this machine's processors have worked, by the kernel's count. */
import { readFileSync } from 'node:fs';
import { USER_HZ } from '../../kit/user-hz.ts';

/** Seconds since boot, all processors together: user, nice, system, irq and softirq of `/proc/stat` (proc(5)). */
export function busySeconds(stat = readFileSync('/proc/stat', 'latin1')): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = stat
    .slice(0, stat.indexOf('\n'))
    .trim()
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return (user + nice + system + irq + softirq) / USER_HZ;
}
