/** The runtime's events for as long as the signal lasts: a stream that breaks is opened again, and begins with a resync. */
import type { ContainerEvent, ContainerRuntime } from '../containerd/runtime.ts';
import { type Clock, sleep } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';

const REOPEN_MS = 1_000;

export async function followContainers(
  { runtime, clock, log }: { runtime: Pick<ContainerRuntime, 'events'>; clock: Clock; log: Log },
  on: (event: ContainerEvent) => Promise<void> | void,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      for await (const event of runtime.events(signal)) await on(event);
    } catch (error) {
      if (!signal.aborted) log.warn('stream of container events broke, opening it again', { err: error });
    }
    await sleep(clock, REOPEN_MS, signal);
  }
}
