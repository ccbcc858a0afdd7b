/**
 * When a slot's ended task is followed by another, and when that one may run. Nothing is remembered: every answer
 * follows from the stored tasks of the slot, so a new leader goes on where the old one stopped.
 *
 * A replacement is made at once with desired state 'ready' (its image is pulled while the delay passes) and released
 * to 'running' when the delay is over and its predecessor has stopped.
 */
import { overAt } from '../../kit/clock.ts';
import type { Task } from '../../model/objects.ts';
import type { View } from '../../store/view.ts';
import {
  endedByItself,
  hasEnded,
  isAssigned,
  isLost,
  isWanted,
  ms,
  olderFirst,
  restartDelay,
  timeOf,
} from '../task.ts';

/** Longest wait for a predecessor that does not stop, beyond its own grace period. */
const STUCK_MS = 60_000;
const DEFAULT_GRACE_NS = 10_000_000_000;

/** Whether the policy lets another task follow `ended`, the newest of `slot`. */
export function shouldRestart(ended: Task, slot: readonly Task[]): boolean {
  const policy = ended.spec.RestartPolicy;
  const condition = policy?.Condition ?? 'any';
  if (condition === 'none') return false;
  if (condition === 'on-failure' && ended.status.state === 'complete') return false;
  if (!policy?.MaxAttempts) return true;
  return restartsSoFar(ended, slot) < policy.MaxAttempts;
}

/** Tasks of the same spec that followed one which ended by itself, within the window before the last end. */
function restartsSoFar(ended: Task, slot: readonly Task[]): number {
  const window = ms(ended.spec.RestartPolicy?.Window ?? 0);
  const since = window > 0 ? timeOf(ended.status.timestamp) - window : -Infinity;
  const same = slot.filter((task) => task.specVersion === ended.specVersion).toSorted(olderFirst);
  return same.filter((task, i) => i > 0 && endedByItself(same[i - 1]!) && timeOf(task.createdAt) >= since)
    .length;
}

/** The time at which a 'ready' task may run, as far as is known: sooner when its predecessor stops. */
export function releaseAt(view: View, task: Task, slot: readonly Task[], now: number): number {
  const before = slot
    .filter((other) => other.id !== task.id && olderFirst(other, task) < 0)
    .toSorted(olderFirst);
  const created = timeOf(task.createdAt);
  const delay = isRestartOf(view, task, before.at(-1)) ? restartDelay(task.spec) : 0;
  const delayed = overAt(created, delay, now);
  const stopping = before.filter((other) => isStopping(view, other));
  if (stopping.length === 0) return delayed;
  const grace = Math.max(
    ...stopping.map((other) => ms(other.spec.ContainerSpec.StopGracePeriod ?? DEFAULT_GRACE_NS)),
  );
  return Math.max(delayed, overAt(created, grace + STUCK_MS, now));
}

/** The delay is for restarts and lost nodes; updates and drains go on as soon as the old task has stopped. */
const isRestartOf = (view: View, task: Task, predecessor: Task | undefined): boolean =>
  predecessor !== undefined &&
  predecessor.specVersion === task.specVersion &&
  (endedByItself(predecessor) ||
    predecessor.status.state === 'orphaned' ||
    (!hasEnded(predecessor) && isLost(view, predecessor)));

const isStopping = (view: View, task: Task): boolean =>
  !isWanted(task) && isAssigned(task) && !hasEnded(task) && !isLost(view, task);
