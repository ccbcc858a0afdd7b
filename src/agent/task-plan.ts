/**
 * What to do next for one task: from what the manager wants and what containerd and the kernel say, to one step.
 * Pure. Called again after every step with reality read anew, so a killed agent goes on where the last one was; a
 * wrong step here starts a container twice or leaves one behind.
 *
 * INVARIANTS
 * - A report never goes back in state: `status` is the highest known, of the manager or of this agent.
 * - What was said to listen on its ports, or was waited for long enough, is never said not to again.
 * - A container is started at most once: `started` is there before the first attempt, for whoever comes after a killed
 *   agent, and on disk before anybody hears that it runs.
 * - Without an item, or when an ended task is to be removed, everything of the container goes; the worker asks only
 *   after the first snapshot.
 */
import { isDeepStrictEqual } from 'node:util';
import { timestamp } from '../kit/clock.ts';
import type { ContainerId } from '../model/ids.ts';
import type { TaskStatus } from '../model/objects.ts';
import type { ContainerSpec, PortSpec } from '../model/spec.ts';
import { isAfter, isBefore, isTerminal, type TaskState } from '../model/task-state.ts';
import type { ContainerInfo } from '../containerd/runtime.ts';
import type { TaskItem } from '../rpc/messages.ts';

export type Step =
  | { readonly kind: 'report'; readonly status: TaskStatus }
  | { readonly kind: 'pull-image' }
  | { readonly kind: 'cancel-pull' }
  /** Of a container that is there: to know it again, in this process. */
  | { readonly kind: 'attach-sandbox' }
  /** With its sandbox. */
  | { readonly kind: 'create-container' }
  | { readonly kind: 'start-container' }
  | { readonly kind: 'signal-stop'; readonly signal: string }
  | { readonly kind: 'kill-container' }
  | { readonly kind: 'remove-container' }
  | { readonly kind: 'detach-sandbox' }
  | { readonly kind: 'remove-payloads' }
  | { readonly kind: 'remove-files' }
  /** Nothing until something changes, or until `until` (ms). */
  | { readonly kind: 'wait'; readonly until: number | undefined };

/** What this agent knows beside containerd and the kernel; all but `started` is lost with the process. */
export interface Notes {
  /** The container was started once, be it before a reboot. */
  readonly started: boolean;
  readonly pulling: boolean;
  /** Something that will not get better by itself went wrong. */
  readonly failure: { readonly state: 'failed' | 'rejected'; readonly err: string } | undefined;
  /** Since the stop signal was sent, ms. */
  readonly stoppingMs: number | undefined;
}

export interface Observed {
  readonly id: ContainerId;
  readonly container: ContainerInfo | undefined;
  /** The kernel has it. */
  readonly sandbox: boolean;
  /** Attached, or attached again, by this process: its path and ports are known. */
  readonly attached: { readonly hostPorts: readonly PortSpec[] } | undefined;
  readonly files: boolean;
  /** Its secrets and configs are on this node. */
  readonly payloads: boolean;
  /** Looked up only while there is no container. */
  readonly imagePresent: boolean;
  /** The networks of the task are in the view that was last applied. */
  readonly networksReady: boolean;
  /** By its health check; `none` without one and before it runs. */
  readonly health: TaskStatus['health'];
  /** Its published ports that are still waited for (opening-plan.ts). */
  readonly notListening: readonly number[];
  readonly notes: Notes;
}

const DEFAULT_GRACE_MS = 10_000;
/** Docker's words, which people search for. */
const UNHEALTHY = 'dockerexec: unhealthy container';
const idle: Step = { kind: 'wait', until: undefined };

/** `status` is the latest known of the task. */
export function planTask(
  item: TaskItem | undefined,
  status: TaskStatus | undefined,
  seen: Observed,
  now: number,
): Step {
  if (!item || !status) return planRemoval(seen, now);
  if (isTerminal(status.state))
    return item.desiredState === 'remove' ? planRemoval(seen, now) : planEnded(seen, now);
  const say: Say = (state, message, err = '') => report(status, seen, state, message, err, now);
  if (isAfter(item.desiredState, 'complete')) return planStop(status, seen, say, now);
  if (isBefore(status.state, 'accepted')) return say('accepted', 'accepted');
  const { failure } = seen.notes;
  if (failure) return say(failure.state, failure.state === 'failed' ? 'started' : 'preparing', failure.err);
  if (isRunning(seen) && isUnhealthy(status, seen)) return planUnhealthy(status, seen, say, now);
  return planRun(item, status, seen, say);
}

type Say = (state: TaskState, message: string, err?: string) => Step;

function planRun(item: TaskItem, status: TaskStatus, seen: Observed, say: Say): Step {
  const { container } = seen;
  switch (container?.status) {
    case undefined:
      if (isAfter(status.state, 'ready') || seen.notes.started)
        return say('failed', 'started', 'the container is gone: it was removed outside Skein');
      return planPrepare(status, seen, say);
    case 'unknown':
      if (seen.notes.started) return say('failed', 'started', 'the node restarted while the task ran');
      return { kind: 'remove-container' }; // half made
    case 'created':
      return planStart(item, status, seen, say);
    case 'running':
    case 'paused':
      if (!seen.sandbox) return say('failed', 'started', 'the network namespace of the container is gone');
      return planUp(status, seen, say);
    case 'stopped':
      if (isUnhealthy(status, seen)) return say('failed', 'started', unhealthyExit(container!.exitCode));
      return container!.exitCode === 0
        ? say('complete', 'finished')
        : say('failed', 'started', `task: non-zero exit (${container!.exitCode})`);
  }
}

/**
 * It runs; a task with a health check counts as running from its first good probe on. One without counts at once, as
 * people expect who publish a port of something that opens it late, and says what is not listened on yet.
 */
function planUp(status: TaskStatus, seen: Observed, say: Say): Step {
  if (status.state === 'running') return isKnown(status, seen) ? idle : say('running', 'started');
  if (!seen.attached) return { kind: 'attach-sandbox' };
  return seen.health === 'starting' ? idle : say('running', 'started');
}

const isKnown = (status: TaskStatus, seen: Observed): boolean =>
  status.health === seen.health && isDeepStrictEqual(status.notListening ?? [], closedOf(status, seen));

/** What was seen may be older than what was said meanwhile: of that, ports only go. */
const closedOf = ({ state, notListening }: TaskStatus, seen: Observed): readonly number[] =>
  state === 'running' ? seen.notListening.filter((port) => notListening?.includes(port)) : seen.notListening;

const isUnhealthy = (status: TaskStatus, seen: Observed): boolean =>
  seen.health === 'unhealthy' || (status.health === 'unhealthy' && status.state === 'running');

/** Out of rotation first, then stopped as at any other end; the task fails when it has ended. */
function planUnhealthy(status: TaskStatus, seen: Observed, say: Say, now: number): Step {
  if (status.state === 'running' && status.health !== 'unhealthy')
    return say('running', 'unhealthy container');
  return stopContainer(seen, now);
}

const unhealthyExit = (exitCode: number): string =>
  exitCode === 0 ? UNHEALTHY : `task: non-zero exit (${exitCode}): ${UNHEALTHY}`;

function planPrepare(status: TaskStatus, seen: Observed, say: Say): Step {
  if (isBefore(status.state, 'preparing')) return say('preparing', 'preparing');
  if (seen.notes.pulling) return idle;
  if (!seen.imagePresent) return { kind: 'pull-image' };
  return seen.networksReady ? { kind: 'create-container' } : idle;
}

function planStart(item: TaskItem, status: TaskStatus, seen: Observed, say: Say): Step {
  // Its process stands in a namespace that is no more; nothing has run yet, so it is made anew.
  if (!seen.sandbox) return { kind: 'remove-container' };
  if (isBefore(status.state, 'ready')) return say('ready', 'prepared');
  if (isBefore(item.desiredState, 'running')) return idle;
  if (isBefore(status.state, 'starting')) return say('starting', 'starting');
  if (!seen.attached) return seen.networksReady ? { kind: 'attach-sandbox' } : idle;
  return { kind: 'start-container' };
}

function planStop(status: TaskStatus, seen: Observed, say: Say, now: number): Step {
  if (seen.notes.pulling) return { kind: 'cancel-pull' };
  if (isRunning(seen)) return stopContainer(seen, now);
  return say('shutdown', 'shutdown', isBefore(status.state, 'accepted') ? '' : status.err);
}

/** The container stays for its logs; all else of it goes. One that never ran has no logs. */
function planEnded(seen: Observed, now: number): Step {
  if (seen.notes.pulling) return { kind: 'cancel-pull' };
  if (isRunning(seen)) return stopContainer(seen, now);
  if (seen.container?.status === 'created' || isHalfMade(seen)) return { kind: 'remove-container' };
  if (seen.payloads) return { kind: 'remove-payloads' };
  if (seen.sandbox) return { kind: 'detach-sandbox' };
  return idle; // its files stay until the item goes: they tell that it was started
}

function planRemoval(seen: Observed, now: number): Step {
  if (seen.notes.pulling) return { kind: 'cancel-pull' };
  if (isRunning(seen)) return stopContainer(seen, now);
  if (seen.container) return { kind: 'remove-container' };
  if (seen.payloads) return { kind: 'remove-payloads' };
  if (seen.sandbox) return { kind: 'detach-sandbox' };
  if (seen.files) return { kind: 'remove-files' };
  return idle;
}

const isRunning = ({ container }: Observed): boolean =>
  container?.status === 'running' || container?.status === 'paused';
const isHalfMade = ({ container, notes }: Observed): boolean =>
  container?.status === 'unknown' && !notes.started;

/** After a restart of the agent the signal is sent once more, with the full grace: nobody remembers when it was. */
function stopContainer(seen: Observed, now: number): Step {
  const spec = seen.container!.config.spec;
  const { stoppingMs } = seen.notes;
  if (stoppingMs === undefined) return { kind: 'signal-stop', signal: spec.StopSignal || 'SIGTERM' };
  const left = graceMs(spec) - stoppingMs;
  return left > 0 ? { kind: 'wait', until: now + left } : { kind: 'kill-container' };
}

/** Below 0, which a user's own container alone may have (`--stop-timeout -1`), is for ever. */
export const graceMs = ({ StopGracePeriod: grace }: Pick<ContainerSpec, 'StopGracePeriod'>): number =>
  grace === undefined ? DEFAULT_GRACE_MS : grace < 0 ? Infinity : grace / 1e6;

/** A running task, of whose ports only these are closed any more. */
export function opened(
  { notListening: _, ...known }: TaskStatus,
  closed: readonly number[],
  now: number,
): TaskStatus {
  return { ...known, timestamp: timestamp(now), ...(closed.length > 0 && { notListening: closed }) };
}

function report(
  known: TaskStatus,
  seen: Observed,
  state: TaskState,
  message: string,
  err: string,
  now: number,
): Step {
  const { container, attached } = seen;
  const closed = state === 'running' ? closedOf(known, seen) : [];
  return {
    kind: 'report',
    status: {
      timestamp: timestamp(now),
      state,
      message,
      err,
      container: container && { containerId: seen.id, pid: container.pid, exitCode: container.exitCode },
      ports: state === 'running' ? (attached?.hostPorts ?? []) : [],
      health: state === 'running' ? seen.health : 'none',
      ...(closed.length > 0 && { notListening: closed }),
    },
  };
}
