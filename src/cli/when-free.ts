/**
 * Debian's package programs, when another of them is at work, as a host's own upgrade often is after its start. Of their
 * locks `apt-get install` can wait for one by itself, that of dpkg; `apt-get update` and `dpkg --configure` wait for none.
 * Who could not have a lock says so and ends, having done nothing, and is run again here. They are to speak English.
 */
import { type Clock, sleep } from '../kit/clock.ts';
import { SkeinError } from '../model/errors.ts';

/** As long as `apt-get install` is told to wait by itself. */
const WAIT_MS = 120_000;
const LOOK_MS = 1_000;
const IS_BUSY = /could not get lock|locked by another process/i;

/** The last error where it does not get free in time: it names the process that has the lock. */
export async function whenFree(
  run: () => Promise<unknown>,
  clock: Clock,
  say: (text: string) => void,
): Promise<void> {
  const deadline = clock.monotonic() + WAIT_MS;
  for (let told = false; ; told = true)
    try {
      await run();
      return;
    } catch (error) {
      const { message } = SkeinError.from(error);
      if (!IS_BUSY.test(message) || clock.monotonic() >= deadline) throw error;
      if (!told) say("  another program is at work on this host's packages; waiting for it to end");
      await sleep(clock, LOOK_MS);
    }
}
