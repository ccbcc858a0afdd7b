/**
 * When a user's own container is started again. Pure; the rules are Docker's: by its policy, unless the user ended it, at
 * first a tenth of a second after its end, twice as long after each run that was short, a minute at most.
 */
import type { ContainerInfo } from '../containerd/runtime.ts';
import { backoff } from '../kit/backoff.ts';
import type { RestartPolicy } from '../model/standalone.ts';

/** Kept on disk of each container, so that neither a restart of skeind nor a reboot forgets it. */
export interface Runs {
  /** A user started it, and has not ended it since. */
  readonly wanted: boolean;
  /** Starts that no user asked for, since one did. */
  readonly restarts: number;
  /** Runs in a row that were short. */
  readonly short: number;
  /** It ended for good by the policy that it had then: by another, only a start of skeind brings it back. */
  readonly over?: boolean;
}

export const STARTED: Runs = { wanted: true, restarts: 0, short: 0 };
/** Of one that was never started. */
export const UNWANTED: Runs = { ...STARTED, wanted: false };

/** As Docker shows it. */
export interface RestartReport {
  /** Starts that no user asked for, since one did. */
  readonly count: number;
  /** It has ended, and is about to be started again. */
  readonly waiting: boolean;
}

/** A start to come, and what is to be kept of it before. */
export interface Restart {
  /** When the run before ended, ms since the epoch, and how long after that it is to be. */
  readonly endedAt: number;
  readonly waitMs: number;
  readonly runs: Runs;
}

const WAIT = { base: 100, cap: 60_000 };
const LONG_RUN_MS = 10_000;

/** Undefined: not by itself. */
export function planRestart(
  policy: RestartPolicy | undefined,
  runs: Runs,
  { status, exitCode, startedAt = '', exitedAt = '' }: RunInfo,
): Restart | undefined {
  if (status !== 'stopped' || !runs.wanted || runs.over || !wants(policy, runs, exitCode)) return undefined;
  const endedAt = Date.parse(exitedAt) || 0;
  const ran = endedAt - Date.parse(startedAt);
  const short = ran >= LONG_RUN_MS ? 1 : runs.short + 1;
  const next = { ...runs, restarts: runs.restarts + 1, short };
  return { endedAt, waitMs: backoff(WAIT, short), runs: next };
}

type RunInfo = Pick<ContainerInfo, 'status' | 'exitCode' | 'startedAt' | 'exitedAt'>;

function wants(policy: RestartPolicy | undefined, { restarts }: Runs, exitCode: number): boolean {
  if (policy?.name !== 'on-failure') return policy?.name === 'always' || policy?.name === 'unless-stopped';
  return exitCode !== 0 && (policy.maxRetries === 0 || restarts < policy.maxRetries);
}

/** When skeind starts: what is always to run is wanted again, though a user had ended it; what is over, by the policy it has now. */
export function afterOpening(policy: RestartPolicy | undefined, runs: Runs): Runs {
  if (policy?.name === 'always' && !runs.wanted) return STARTED;
  return runs.over ? { ...runs, over: false } : runs;
}
