/** `until`, `label` and `label!` of the prune endpoints, the same for all of them. Pure. */
import type { Filters } from './filters.ts';
import { logTime } from './log-query.ts';

export const PRUNE_FILTERS = ['until', 'label', 'label!'];

type Accepts = (labels: Readonly<Record<string, string>> | null | undefined, created: number) => boolean;

export function pruneFilter(filters: Filters, now: number): Accepts {
  const limits = filters.get('until').map((text) => timeBefore(text, now));
  return (labels, created) =>
    filters.labels('label', labels) &&
    !(filters.has('label!') && filters.labels('label!', labels)) &&
    limits.every((limit) => created <= limit);
}

const UNITS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };
/** Looked for from the beginning alone: tried from every digit of a long number, it costs the square of its length. */
const DURATION = /^(?:\d+(?:\.\d+)?(?:ms|h|m|s))+$/;

/** A duration back from now ("24h"), or a time. */
export function timeBefore(text: string, now: number): number {
  if (DURATION.test(text))
    return [...text.matchAll(/([\d.]+)([a-z]+)/g)].reduce(
      (time, [, count, unit]) => time - Number(count) * UNITS[unit!]!,
      now,
    );
  const time = logTime('until', text);
  return time === undefined ? now : Date.parse(time);
}
