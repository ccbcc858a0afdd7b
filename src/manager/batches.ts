/** From the steps of a round to transactions of the store. Pure. */
import { SkeinError } from '../model/errors.ts';
import { idOf } from '../store/codec.ts';
import type { Op } from '../store/store.ts';
import { opsOf, type Step } from './step.ts';

const keyOf = (op: Op): string => `${op.kind}/${idOf(op)}`;

/** The operations of each step of one planner, but those of steps that touch an object which an earlier one touches. */
export function apart(
  steps: readonly Step[],
  now: number,
): { readonly planned: readonly (readonly Op[])[]; readonly skipped: boolean } {
  const touched = new Set<string>();
  const planned: (readonly Op[])[] = [];
  for (const step of steps) {
    const ops = opsOf(step, now);
    if (ops.some((op) => touched.has(keyOf(op)))) continue;
    for (const op of ops) touched.add(keyOf(op));
    planned.push(ops);
  }
  return { planned, skipped: planned.length < steps.length };
}

/**
 * Cuts what several planners want, one after the other, into transactions of at most `limit` operations. What later
 * steps do to an object becomes one with what earlier ones do; steps that have an object in common are never torn apart,
 * nor is one step: together they may be larger than the limit, and go alone then.
 */
export function batchesOf(planned: readonly (readonly Op[])[], limit: number): readonly (readonly Op[])[] {
  const batches: Op[][] = [];
  for (const ops of together(planned)) {
    const last = batches.at(-1);
    if (last && last.length + ops.length <= limit) last.push(...ops);
    else batches.push([...ops]);
  }
  return batches;
}

/** Groups of steps with objects in common, each with one operation an object, in the order of their first steps. */
function together(planned: readonly (readonly Op[])[]): readonly (readonly Op[])[] {
  const groups = new Set<Map<string, Op>>();
  const groupOf = new Map<string, Map<string, Op>>();
  for (const ops of planned) {
    const [group = new Map<string, Op>(), ...others] = new Set(
      ops.flatMap((op) => groupOf.get(keyOf(op)) ?? []),
    );
    groups.add(group);
    for (const other of others) {
      for (const [key, op] of other) groupOf.set(key, group.set(key, op));
      groups.delete(other);
    }
    for (const op of ops) {
      const key = keyOf(op);
      groupOf.set(key, group.set(key, after(group.get(key), op)));
    }
  }
  return [...groups].map((group) => [...group.values()]);
}

/** The first names the version that is there, the last says what is to be. */
function after(first: Op | undefined, last: Op): Op {
  if (!first) return last;
  if (first.op === 'create' && last.op === 'update') return { ...first, object: last.object } as Op;
  if (first.op === 'update' && last.op !== 'create') return { ...last, version: first.version } as Op;
  throw new SkeinError(
    'internal',
    `a plan wants to ${last.op} ${keyOf(last)}, which it wants to ${first.op}`,
  );
}
