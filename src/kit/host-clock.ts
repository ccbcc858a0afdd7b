/** The clock that the kernel stamps packets with, to the nanosecond, and which kernel it is that has it. */
import { readFileSync } from 'node:fs';
import { loadLibc } from './libc.ts';

export interface HostClock {
  /** Nanoseconds since the epoch. */
  readonly time: bigint;
  /** The same for all that one kernel runs: they read one clock. */
  readonly boot: string;
}

export const readHostClock = (): HostClock => ({
  time: loadLibc().realtime(),
  boot: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
});
