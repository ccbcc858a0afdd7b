/**
 * Deletes tasks that nobody needs: past the history a slot keeps, of removed services and slots, never assigned; and
 * gives up on tasks whose node is gone, or down for a day. Without it the store would grow with every restart.
 *
 * INVARIANT: a task that stood on a network is deleted only when the quarantine of its addresses is over, so that the
 * store, and with it any later leader, knows which addresses may not be given out yet. Until then it is to be removed
 * and shown to nobody.
 *
 * Cost: the tasks of the services that something ended in.
 */
import type { ServiceId } from '../../model/ids.ts';
import { slotKey } from '../../model/names.ts';
import type { Service, Task } from '../../model/objects.ts';
import type { View } from '../../store/view.ts';
import { QUARANTINE_MS } from '../allocator/address-pool.ts';
import type { Plan, Step } from '../step.ts';
import { hasEnded, isAssigned, isAttachment, isWanted, nodeOf, olderFirst, timeOf } from '../task.ts';

const ORPHANED_AFTER_MS = 24 * 3600_000;
const DEFAULT_HISTORY = 5;

export function planReap(view: View, keys: Iterable<string>, now: number): Plan {
  const plans = [...keys].sort().map((key) => reapService(view, key as ServiceId, now));
  return { steps: plans.flatMap((plan) => plan.steps), wake: plans.flatMap((plan) => plan.wake) };
}

function reapService(view: View, id: ServiceId, now: number): Plan {
  const tasks = [...view.tasksOfService(id)].sort(olderFirst);
  const due = tasks.map((task) => ({ task, at: orphanAt(view, task) }));
  const orphans = due.filter(({ at }) => at <= now).map(({ task }): Step => ({ kind: 'orphan-task', task }));
  const over = tasks.filter(isOver).map((task) => ({ task, at: deletableAt(task) }));
  const gone = over.filter(({ at }) => at <= now).map(({ task }): Step => ({ kind: 'delete-task', task }));
  const excess = [...Map.groupBy(tasks, slotKey).values()].flatMap((slot) =>
    excessOf(view, slot, view.get('service', id)),
  );
  const retired = excess.map(
    (task): Step => ({ kind: 'change-slot', stop: [task], desired: 'remove', start: undefined }),
  );
  const later = [...due, ...over].map(({ at }) => at).filter((at) => at > now && at !== Infinity);
  return {
    steps: [...orphans, ...gone, ...retired],
    wake: later.length > 0 ? [{ key: id, at: Math.min(...later) }] : [],
  };
}

/** When the task is given up for lost: at once on a node that was removed, after a day on one that is down. */
function orphanAt(view: View, task: Task): number {
  if (task.nodeId === undefined || hasEnded(task) || !isAssigned(task)) return Infinity;
  const node = nodeOf(view, task);
  if (!node) return 0;
  return node.status.state === 'down' ? timeOf(node.updatedAt) + ORPHANED_AFTER_MS : Infinity;
}

/** To be removed, or never begun: nothing of it runs any more. */
const isOver = (task: Task): boolean =>
  (task.desiredState === 'remove' && (hasEnded(task) || !isAssigned(task))) ||
  (task.desiredState === 'shutdown' && !isAssigned(task));

const deletableAt = (task: Task): number =>
  isAssigned(task) && task.attachments.length > 0 ? timeOf(task.status.timestamp) + QUARANTINE_MS : 0;

/** Ended tasks beyond the history of their slot, oldest first. */
function excessOf(view: View, slot: readonly Task[], service: Service | undefined): Task[] {
  const history = slot.filter((task) => task.desiredState !== 'remove' && !isOver(task));
  if (slot.some(isAttachment)) return history.filter(hasEnded); // of a node that is gone: nobody starts it again
  const excess = history.length - keep(view, service);
  const isPast = (task: Task) => !isWanted(task) || task.jobIteration !== service?.jobStatus?.jobIteration;
  const dead = history.filter((task, i) => isPast(task) && hasEnded(task) && !isPredecessor(history, i));
  return dead.slice(0, Math.max(0, excess));
}

/** A task that waits for its predecessor's delay needs it. */
const isPredecessor = (history: readonly Task[], i: number): boolean =>
  history[i + 1]?.desiredState === 'ready';

/** Counting restarts needs as many tasks as may be counted. */
function keep(view: View, service: Service | undefined): number {
  const attempts = service?.spec.TaskTemplate.RestartPolicy?.MaxAttempts ?? 0;
  if (attempts > 0) return attempts + 1;
  return view.cluster?.spec.Orchestration.TaskHistoryRetentionLimit ?? DEFAULT_HISTORY;
}
