/** What Docker refuses of a container's settings before it makes or changes one, in its words. Pure. */
import type { z } from 'zod';
import { signalNumber } from '../../containerd/signal.ts';
import { invalid } from '../http-error.ts';
import type { containerCreateBody, hostConfig } from '../schemas/host.ts';

type Body = z.infer<typeof containerCreateBody>;
type Host = z.infer<typeof hostConfig>;

const MIN_MEMORY = 6 * 1024 * 1024;
const RESTART = ['', 'no', 'always', 'unless-stopped', 'on-failure'];
const MS = 1_000_000;

export function checkSettings(body: Body, host: Host): void {
  const { WorkingDir = '', StopSignal = '' } = body;
  if (WorkingDir !== '' && !WorkingDir.startsWith('/'))
    throw invalid(`the working directory '${WorkingDir}' is invalid, it needs to be an absolute path`);
  if (StopSignal !== '') signalNumber(StopSignal);
  const { OomScoreAdj = 0, Isolation = '' } = host;
  if (Math.abs(OomScoreAdj) > 1000)
    throw invalid(`Invalid value ${OomScoreAdj}, range for oom score adj is [-1000, 1000]`);
  if (Isolation !== '' && Isolation !== 'default')
    throw invalid(`Invalid isolation: "${Isolation}" - linux only supports 'default'`);
  checkHealth(body.Healthcheck);
  checkRestart(host.RestartPolicy);
  if (host.AutoRemove && !['', 'no'].includes(host.RestartPolicy?.Name ?? ''))
    throw invalid("can't create 'AutoRemove' container with restart policy");
}

function checkHealth(health: Body['Healthcheck']): void {
  for (const field of ['Interval', 'Timeout', 'StartPeriod'] as const) {
    const value = health?.[field] ?? 0;
    if (value !== 0 && value < MS) throw invalid(`${field} in Healthcheck cannot be less than 1ms`);
  }
  if ((health?.Retries ?? 0) < 0) throw invalid('Retries in Healthcheck cannot be negative');
}

export function checkRestart(policy: Host['RestartPolicy']): void {
  const { Name = '', MaximumRetryCount: retries = 0 } = policy ?? {};
  if (!RESTART.includes(Name)) throw invalid(`invalid restart policy '${Name}'`);
  if (Name !== 'on-failure' && retries !== 0)
    throw invalid(`maximum retry count cannot be used with restart policy '${Name}'`);
  if (retries < 0) throw invalid('maximum retry count cannot be negative');
}

/** `isNew`: a change may name one of the two sizes of memory and leave the other as it is. */
export function checkLimits(host: Host, processors: number, isNew: boolean): void {
  const { Memory, MemorySwap, NanoCpus = 0 } = host;
  if (Memory > 0 && Memory < MIN_MEMORY) throw invalid('Minimum memory limit allowed is 6MB');
  if (Memory > 0 && MemorySwap > 0 && MemorySwap < Memory)
    throw invalid('Minimum memoryswap limit should be larger than memory limit, see usage');
  if (isNew && Memory === 0 && MemorySwap > 0)
    throw invalid('You should always set the Memory limit when using Memoryswap limit, see usage');
  if (NanoCpus < 0 || NanoCpus > processors * 1e9)
    throw invalid(
      `Range of CPUs is from 0.01 to ${processors}.00, as there are only ${processors} CPUs available`,
    );
}
