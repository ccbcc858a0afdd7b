/**
 * The states of a task, in order (swarmkit's TaskState). An observed state never goes back: `advance` is the only
 * way to compare two, and the store refuses a status report that would go backwards.
 */
export const TASK_STATES = [
  'new',
  'pending',
  'assigned',
  'accepted',
  'preparing',
  'ready',
  'starting',
  'running',
  'complete',
  'shutdown',
  'failed',
  'rejected',
  'remove',
  'orphaned',
] as const;

export type TaskState = (typeof TASK_STATES)[number];

const RANK: ReadonlyMap<TaskState, number> = new Map(TASK_STATES.map((state, rank) => [state, rank]));
const rank = (state: TaskState): number => RANK.get(state)!;

export const isBefore = (a: TaskState, b: TaskState): boolean => rank(a) < rank(b);
export const isAfter = (a: TaskState, b: TaskState): boolean => rank(a) > rank(b);
export const atLeast = (a: TaskState, b: TaskState): boolean => rank(a) >= rank(b);
/** The task has ended and its container will not run again. */
export const isTerminal = (state: TaskState): boolean => isAfter(state, 'running');
