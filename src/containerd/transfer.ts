/** How content goes to and from registries: tried again with a backoff where that may help, and several at a time. */
import { type BackoffPolicy, backoff } from '../kit/backoff.ts';
import { type Clock, sleep } from '../kit/clock.ts';
import { isCode, SkeinError } from '../model/errors.ts';

export interface Transfer {
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

const RETRY: BackoffPolicy = { base: 250, cap: 5000 };
const ATTEMPTS = 6;
/** A name server or a host that does not answer takes its time to do so at every try; one that refuses goes on to. */
const UNREACHABLE = { attempts: 4, ms: 10_000 };
const REASONS = [
  'EAI_AGAIN',
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'ETIMEDOUT',
  'UND_ERR_CONNECT_TIMEOUT',
];

/** Tries again what is `unavailable`; gives up on the rest, after ATTEMPTS, and sooner where nobody could be asked. */
export async function retried<T>({ clock, signal }: Transfer, work: () => Promise<T>): Promise<T> {
  let first: number | undefined;
  for (let failures = 1; ; failures++) {
    try {
      return await work();
    } catch (error) {
      if (signal.aborted) throw new SkeinError('canceled', 'canceled', { cause: error });
      if (!isCode(error, 'unavailable') || failures >= ATTEMPTS) throw error;
      first ??= clock.monotonic();
      const isOver = failures >= UNREACHABLE.attempts || clock.monotonic() - first >= UNREACHABLE.ms;
      if (isUnreachable(error) && isOver) throw error;
      await sleep(clock, backoff(RETRY, failures), signal);
    }
  }
}

/** By what the operating system said, which stands somewhere below. */
function isUnreachable(error: unknown): boolean {
  for (let at: unknown = error; at instanceof Error; at = at.cause)
    if (REASONS.includes((at as NodeJS.ErrnoException).code ?? '')) return true;
  return false;
}

export async function inParallel<T>(
  items: readonly T[],
  limit: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = [...items];
  const worker = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  const results = await Promise.allSettled(Array.from({ length: limit }, worker));
  const failed = results.find((result) => result.status === 'rejected');
  if (failed) throw failed.reason;
}

const PROGRESS_MS = 100;

/** Passes on how far it has come, ten times a second at most, and its end. */
export function everySoOften(clock: Clock, total: number, show: (current: number) => void) {
  let shown = -Infinity;
  return (current: number): void => {
    const now = clock.monotonic();
    if (now - shown < PROGRESS_MS && current < total) return;
    shown = now;
    show(current);
  };
}
