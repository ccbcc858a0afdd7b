/**
 * One slot of a service: the tasks that fill it now and filled it before. Decides what is wrong with the slot apart
 * from an outdated spec (that is the updater's): ended tasks, lost and drained nodes, tasks too many.
 */
import type { NodeId } from '../../model/ids.ts';
import type { Service, Task } from '../../model/objects.ts';
import { atLeast } from '../../model/task-state.ts';
import type { View } from '../../store/view.ts';
import { type Constraint, satisfies } from '../constraint.ts';
import { releaseAt, shouldRestart } from '../restart/plan.ts';
import type { Plan, Step } from '../step.ts';
import type { Overfull } from './overfull.ts';
import {
  endedByItself,
  hasEnded,
  type Ids,
  isAssigned,
  isDrained,
  isLost,
  isOutdated,
  isUp,
  isWanted,
  newTask,
  nodeOf,
  olderFirst,
  restartDelay,
} from '../task.ts';

export interface Context {
  readonly view: View;
  readonly service: Service;
  /** Of the service's placement, parsed once for all its tasks. */
  readonly constraints: readonly Constraint[];
  readonly overfull: Overfull;
  readonly now: number;
  readonly ids: Ids;
}

export interface Slot {
  /** 1..N of a replicated service; 0 for a global one, whose slots are nodes. */
  readonly number: number;
  readonly nodeId: NodeId | undefined;
  /** Oldest first, without those that wait to be removed. */
  readonly tasks: readonly Task[];
}

export interface SlotFacts {
  readonly slot: Slot;
  /** Wanted, not ended, on a node that can go on running it: the task that fills the slot. */
  readonly best: Task | undefined;
  /** Wanted, but to go as soon as the order of updates lets it. */
  readonly leaving: readonly Task[];
  /** Nothing fills it and the restart policy says that nothing shall. */
  readonly finished: boolean;
  readonly outdated: boolean;
}

export const slotOf = (number: number, nodeId: NodeId | undefined, tasks: Iterable<Task>): Slot => ({
  number,
  nodeId,
  tasks: [...tasks].filter((task) => task.desiredState !== 'remove').toSorted(olderFirst),
});

export const startsFirst = (service: Service): boolean => {
  const state = service.updateStatus?.state;
  const goesBack = state === 'rollback_started' || state === 'rollback_paused';
  const config = goesBack ? service.spec.RollbackConfig : service.spec.UpdateConfig;
  return config?.Order === 'start-first';
};

/**
 * Its node is drained, satisfies the constraints no more (somebody changed its labels), or has become too small for all
 * that it runs. A paused node keeps what it
 * has, as in Docker; an outdated task is the updater's, however many there are.
 */
function mustLeave({ view, service, constraints, overfull }: Context, task: Task): boolean {
  const node = nodeOf(view, task);
  if (node === undefined || node.spec.Availability === 'pause') return false;
  if (isDrained(node) || overfull.has(task, node)) return true;
  return !satisfies(node, constraints) && !isOutdated(task, service, node);
}

export function factsOf(context: Context, slot: Slot): SlotFacts {
  const { view, service } = context;
  const live = slot.tasks.filter((task) => isWanted(task) && !hasEnded(task) && !isLost(view, task));
  const staying = live.filter((task) => !mustLeave(context, task));
  const outdated = (task: Task) => isOutdated(task, service, nodeOf(view, task));
  const ranked = staying.toSorted((a, b) => Number(outdated(a)) - Number(outdated(b)) || furtherFirst(a, b));
  const best = ranked[0];
  const newest = slot.tasks.at(-1);
  const finished =
    live.length === 0 && newest !== undefined && endedByItself(newest) && !shouldRestart(newest, slot.tasks);
  const shown = best ?? (finished ? newest : undefined);
  return {
    slot,
    best,
    leaving: live.filter((task) => task !== best),
    finished,
    outdated: shown !== undefined && outdated(shown),
  };
}

/** Then older before newer. */
const furtherFirst = (a: Task, b: Task): number =>
  Number(atLeast(b.status.state, a.status.state)) - Number(atLeast(a.status.state, b.status.state)) ||
  olderFirst(a, b);

/** The step that brings the slot to one good task, if it is not there. */
export function repairSlot(context: Context, facts: SlotFacts): readonly Step[] {
  const { view, service } = context;
  const { slot, best, leaving, finished } = facts;
  const wanted = slot.tasks.filter(isWanted);
  const early = finished ? undefined : endedEarly(context, slot);
  const gone = wanted.filter((task) => task !== early?.task && (hasEnded(task) || isLost(view, task)));
  const first = startsFirst(service);
  const mayGo = !first || (best !== undefined && isUp(best));
  const stop = [...gone, ...(mayGo ? leaving : [])];
  const start = needsTask(facts, first) && !finished && !early ? successor(context, slot, stop) : undefined;
  if (stop.length === 0 && !start) return [];
  return [{ kind: 'change-slot', stop, desired: 'shutdown', start }];
}

/**
 * The newest task, where it ended (its image was refused, say) before its own delay was over. Its successor waits for
 * that: a restart is never sooner after the one before it than the policy says, whatever the reason.
 */
function endedEarly({ view, service, now }: Context, { tasks }: Slot) {
  const task = tasks.at(-1);
  if (task?.desiredState !== 'ready' || !endedByItself(task) || task.specVersion !== service.specVersion)
    return undefined;
  const at = releaseAt(view, task, tasks, now);
  return at > now ? { task, at } : undefined;
}

function needsTask({ slot, best, outdated }: SlotFacts, first: boolean): boolean {
  if (best === undefined) return true;
  // The new task of a start-first update ended while the old one still serves: the policy decides, as for any.
  const newest = slot.tasks.at(-1)!;
  return (
    first &&
    outdated &&
    newest !== best &&
    isWanted(newest) &&
    endedByItself(newest) &&
    shouldRestart(newest, slot.tasks)
  );
}

/** The next task of the slot: prepared at once, run when what it replaces has stopped and any delay is over. */
export function successor(context: Context, slot: Slot, stopped: readonly Task[]) {
  const newest = slot.tasks.at(-1);
  const waits =
    stopped.some((task) => isAssigned(task) && !hasEnded(task)) ||
    (newest !== undefined && endedByItself(newest) && restartDelay(context.service.spec.TaskTemplate) > 0);
  return newTask({
    service: context.service,
    slot: slot.number,
    nodeId: slot.nodeId,
    desiredState: waits ? 'ready' : 'running',
    ids: context.ids,
    now: context.now,
  });
}

/** Lets a 'ready' task of the slot run when its time has come. */
export function releaseSlot(context: Context, slot: Slot): Plan {
  const { view, service, now } = context;
  const steps: Step[] = [];
  const early = endedEarly(context, slot);
  const wake: { key: string; at: number }[] = early ? [{ key: service.id, at: early.at }] : [];
  for (const task of slot.tasks) {
    if (task.desiredState !== 'ready' || hasEnded(task) || isLost(view, task)) continue;
    const at = releaseAt(view, task, slot.tasks, now);
    if (at <= now) steps.push({ kind: 'release-task', task });
    else wake.push({ key: service.id, at });
  }
  return { steps, wake };
}
