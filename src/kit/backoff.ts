/** Exponential backoff with a cap: 0 failures wait nothing, then `base`, 2 x `base`, ... up to `cap` (ms). */
export interface BackoffPolicy {
  readonly base: number;
  readonly cap: number;
}

export function backoff({ base, cap }: BackoffPolicy, failures: number): number {
  return failures <= 0 ? 0 : Math.min(cap, base * 2 ** Math.min(failures - 1, 30));
}
