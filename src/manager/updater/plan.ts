/**
 * Rolling updates. Reads how far each slot is from the stored tasks and says which slots are changed next, and what
 * the update's status becomes. Nothing is remembered between plans, so an update survives a change of leader.
 *
 * A new task that ends within the monitor's time of its start is a failure of the update; one that ends later is the
 * restart policy's affair, as are tasks made before the update began (it was paused, and goes on).
 */
import { hadBegun, overAt, timestamp } from '../../kit/clock.ts';
import type { Service, Task, UpdateStatus } from '../../model/objects.ts';
import type { UpdateConfig } from '../../model/spec.ts';
import type { SlotFacts } from '../orchestrator/slot-plan.ts';
import { endedByItself, isUp, isWanted, ms, timeOf } from '../task.ts';

export interface UpdatePlan {
  /** Slots whose task is replaced now. */
  readonly replace: readonly SlotFacts[];
  readonly status: UpdateStatus | undefined;
  /** The service goes back to its previous spec; `status` says so. */
  readonly rollback: boolean;
  readonly wakeAt: number | undefined;
}

const DEFAULTS: UpdateConfig = { Parallelism: 1 };
/** Zero is not said, as in Docker. */
const monitorMs = ({ Monitor }: UpdateConfig): number => ms(Monitor || 5_000_000_000);
const IDLE: UpdatePlan = { replace: [], status: undefined, rollback: false, wakeAt: undefined };

/** New in this update: made from the current version of the spec. */
const isFresh = (service: Service) => (task: Task) => task.specVersion === service.specVersion;

export function planUpdate(service: Service, slots: readonly SlotFacts[], now: number): UpdatePlan {
  const state = service.updateStatus?.state;
  if (state === 'paused' || state === 'rollback_paused') return IDLE;
  const running = state === 'updating' || state === 'rollback_started';
  const dirty = slots.filter((facts) => facts.outdated && !isReplaced(service)(facts));
  const started: UpdateStatus | undefined = running ? undefined : begin(now);
  if (!running && dirty.length === 0) return IDLE;
  const failed = running ? failure(service, slots, dirty.length, now) : undefined;
  if (failed) return failed;
  return advance(service, slots, dirty, started, now);
}

const begin = (now: number): UpdateStatus => ({
  state: 'updating',
  startedAt: timestamp(now),
  message: 'update in progress',
});

/**
 * The slot had its turn: a new task was made, and goes on; or it ended by itself, which is the restart policy's affair.
 * One that was stopped with its node before it took over from the old one gives its turn back.
 */
const isReplaced =
  (service: Service) =>
  ({ slot }: SlotFacts): boolean =>
    slot.tasks.some((task) => isFresh(service)(task) && (isWanted(task) || endedByItself(task)));

function advance(
  service: Service,
  slots: readonly SlotFacts[],
  dirty: readonly SlotFacts[],
  status: UpdateStatus | undefined,
  now: number,
): UpdatePlan {
  const config = configOf(service);
  const settled = slots.filter(isReplaced(service)).map((facts) => settledAt(service, facts));
  const pauses = settled.map((at) => (at === undefined ? Infinity : overAt(at, ms(config.Delay ?? 0), now)));
  const busy = pauses.filter((until) => until > now).length;
  const limit = config.Parallelism === 0 ? Infinity : config.Parallelism;
  if (dirty.length > 0) {
    const free = Math.max(0, limit - busy);
    const replace = dirty.toSorted(idleFirst).slice(0, free === Infinity ? undefined : free);
    return { replace, status, rollback: false, wakeAt: earliest(pauses, now) };
  }
  if (settled.some((at) => at === undefined)) return { ...IDLE, status };
  const stable = Math.max(...settled.map((at) => overAt(at!, monitorMs(config), now)), -Infinity);
  if (stable > now) return { ...IDLE, status, wakeAt: stable };
  return { ...IDLE, status: completed(service, now) };
}

function completed(service: Service, now: number): UpdateStatus {
  const rollback = service.updateStatus?.state === 'rollback_started';
  return {
    ...service.updateStatus,
    state: rollback ? 'rollback_completed' : 'completed',
    completedAt: timestamp(now),
    message: rollback ? 'rollback completed' : 'update completed',
  };
}

/** When the slot's first new task came up, or ended before that; undefined while it is on its way. */
function settledAt(service: Service, { slot }: SlotFacts): number | undefined {
  const times = slot.tasks
    .filter((task) => isFresh(service)(task) && (task.startedAt || isUp(task) || endedByItself(task)))
    .map((task) => timeOf(task.startedAt ?? task.status.timestamp));
  return times.length === 0 ? undefined : Math.min(...times);
}

/** Slots that serve nobody are changed first; the sort keeps the order of the others. */
const idleFirst = (a: SlotFacts, b: SlotFacts): number => Number(isServing(a)) - Number(isServing(b));
const isServing = ({ best }: SlotFacts): boolean => best !== undefined && isUp(best);

const earliest = (times: readonly number[], now: number): number | undefined => {
  const later = times.filter((at) => at > now && at !== Infinity);
  return later.length === 0 ? undefined : Math.min(...later);
};

const configOf = (service: Service): UpdateConfig =>
  (service.updateStatus?.state === 'rollback_started'
    ? service.spec.RollbackConfig
    : service.spec.UpdateConfig) ?? DEFAULTS;

/**
 * What too many failed slots lead to; undefined while there are not too many. Of each slot the task that this update
 * made counts, not what the restart policy made after it; the ratio is of the slots that the update is about.
 */
function failure(
  service: Service,
  slots: readonly SlotFacts[],
  waiting: number,
  now: number,
): UpdatePlan | undefined {
  const config = configOf(service);
  if (config.FailureAction === 'continue') return undefined;
  const began = timeOf(service.updateStatus?.startedAt ?? service.createdAt);
  const made = slots
    .flatMap(({ slot }) => slot.tasks.find(isFresh(service)) ?? [])
    .filter((task) => hadBegun(began, timeOf(task.createdAt), now));
  const ranFor = (t: Task) => (t.startedAt ? timeOf(t.status.timestamp) - timeOf(t.startedAt) : 0);
  const failed = made.filter((t) => endedByItself(t) && ranFor(t) <= monitorMs(config));
  const ratio = failed.length / (made.length + waiting);
  if (failed.length === 0 || ratio <= (config.MaxFailureRatio ?? 0)) return undefined;
  const reason = `due to failure or early termination of task ${failed[0]!.id}`;
  const rolling = service.updateStatus?.state === 'rollback_started';
  const back = config.FailureAction === 'rollback' && !rolling && service.previousSpec !== undefined;
  return {
    ...IDLE,
    rollback: back,
    status: back
      ? { state: 'rollback_started', startedAt: timestamp(now), message: `update rolled back ${reason}` }
      : {
          ...service.updateStatus,
          state: rolling ? 'rollback_paused' : 'paused',
          message: `${rolling ? 'rollback' : 'update'} paused ${reason}`,
        },
  };
}
