/** What a job's spec says, with Docker's defaults. */
import type { ServiceMode, ServiceSpec } from '../model/spec.ts';

export const isJob = ({ Mode }: Pick<ServiceSpec, 'Mode'>): boolean =>
  Mode.ReplicatedJob !== undefined || Mode.GlobalJob !== undefined;

/** One at a time unless said otherwise, and as many completions as may run at once. */
export function jobSize(job: NonNullable<ServiceMode['ReplicatedJob']>): {
  readonly concurrent: number;
  readonly completions: number;
} {
  const concurrent = job.MaxConcurrent ?? 1;
  return { concurrent, completions: job.TotalCompletions ?? concurrent };
}
