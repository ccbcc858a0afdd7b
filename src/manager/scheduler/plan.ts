/**
 * Which node runs each pending task, or why none does. Tasks of one service and spec are placed together: nodes are
 * filtered once for all of them. Called by the schedule loop of the leader; tasks of global services come with their
 * node and are only checked.
 */
import type { TaskId } from '../../model/ids.ts';
import type { Task } from '../../model/objects.ts';
import type { View } from '../../store/view.ts';
import type { Plan, Step } from '../step.ts';
import { isWanted, olderFirst } from '../task.ts';
import { type Candidate, claimOn, Pipeline } from './filters.ts';
import { count, countGeneric, type Ledger } from './ledger.ts';
import { Spread } from './spread.ts';

export interface SchedulePlan extends Plan {
  /** Tasks that found no node. */
  readonly refused: ReadonlySet<string>;
}

interface Draft {
  readonly view: View;
  readonly ledger: Ledger;
  readonly now: number;
  /** What this plan has counted in the ledger's loads, to be taken back at its end: copying all would cost more. */
  readonly undo: (() => void)[];
  readonly steps: Step[];
  readonly refused: Set<string>;
}

export const isPending = (task: Task | undefined): task is Task =>
  task?.status.state === 'pending' && isWanted(task);

export function planSchedule(view: View, ledger: Ledger, keys: Iterable<string>, now: number): SchedulePlan {
  const draft: Draft = { view, ledger, now, undo: [], steps: [], refused: new Set() };
  const tasks = [...keys].map((key) => view.get('task', key as TaskId)).filter(isPending);
  const oldestFirst = tasks.sort(olderFirst);
  for (const task of oldestFirst.filter((t) => t.nodeId !== undefined)) checkFixed(draft, task);
  const groups = Map.groupBy(
    oldestFirst.filter((t) => t.nodeId === undefined),
    (t) => `${t.serviceId}/${t.specVersion}`,
  );
  for (const group of groups.values()) placeGroup(draft, group);
  for (const undo of draft.undo) undo();
  return { steps: draft.steps, wake: [], refused: draft.refused };
}

function checkFixed(draft: Draft, task: Task): void {
  const node = draft.view.get('node', task.nodeId!);
  if (!node) return refuse(draft, task, 'no suitable node');
  const pipeline = new Pipeline(task);
  // The task is already counted on its node; it must not stand in its own way.
  const load = draft.ledger.load(node.id);
  count(load, task, -1);
  const fits = pipeline.passes({ node, load });
  count(load, task, 1);
  if (!fits) return refuse(draft, task, pipeline.explain());
  const given = claimOn({ node, load }, task)!;
  countGeneric(load, given, 1);
  draft.undo.push(() => countGeneric(load, given, -1));
  draft.steps.push({ kind: 'assign-task', task, nodeId: node.id, genericResources: given });
}

function placeGroup(draft: Draft, group: readonly Task[]): void {
  const first = group[0]!;
  const pipeline = new Pipeline(first);
  const all = [...draft.view.all('node').values()].map(
    (node): Candidate => ({ node, load: draft.ledger.load(node.id) }),
  );
  const spread = new Spread(
    first,
    all.filter((c) => pipeline.passes(c)),
    (node) => draft.ledger.isFailing(node.id, first, draft.now),
  );
  for (const task of group) {
    const found = spread.take((candidate) => pipeline.passes(candidate));
    if (!found) refuse(draft, task, pipeline.explain());
    else {
      const { node, load } = found;
      const genericResources = claimOn(found, task)!;
      const placed = { ...task, genericResources };
      count(load, placed, 1);
      draft.undo.push(() => count(load, placed, -1));
      draft.steps.push({ kind: 'assign-task', task, nodeId: node.id, genericResources });
    }
  }
}

function refuse(draft: Draft, task: Task, err: string): void {
  draft.refused.add(task.id);
  if (task.status.err !== err) draft.steps.push({ kind: 'explain-task', task, err });
}
