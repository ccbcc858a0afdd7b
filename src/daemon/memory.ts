/**
 * How skeind is started so that it stays small: it shares every node with what the node is there for. V8 and glibc as
 * they come are tuned for programs that own their machine: a young generation of 32 MB, and freed buffers that stay
 * with the process. With these a worker of 50 tasks holds 120 MB resident instead of 200 (`bench memory`).
 *
 * Flags and environment, because both count from the first allocation on. The systemd unit and the lab start skeind
 * with them; the programs that it starts inherit the environment, and are not linked to glibc's allocator.
 */

/**
 * A young generation that a deploy does not fill again and again: with the smallest one a seventh of its time is
 * garbage collection. What it makes the heap grow by is given back when skeind is idle, for which it must be able to ask
 * for a collection (heap-trimmer.ts, ADR 16).
 */
export const NODE_FLAGS: readonly string[] = ['--max-semi-space-size=4', '--expose-gc'];

/**
 * Buffers of streams (64 KiB) go back to the kernel when they are freed; glibc would raise that limit by itself. One
 * arena: the threads beside the main one allocate little, and each would keep its own.
 */
export const MALLOC_ENV: Readonly<Record<string, string>> = {
  MALLOC_MMAP_THRESHOLD_: '32768',
  MALLOC_TRIM_THRESHOLD_: '65536',
  MALLOC_ARENA_MAX: '1',
};
