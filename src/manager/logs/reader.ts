/**
 * What one reader of logs has asked for, has got and still waits for: which tasks to ask which node for, and from where
 * on. Decides only; the broker asks.
 */
import type { NodeId, TaskId } from '../../model/ids.ts';
import type { Task } from '../../model/objects.ts';
import { isBefore, isTerminal } from '../../model/task-state.ts';
import type { LogRecord, LogRequest } from '../../rpc/messages.ts';

/** What a reader says; the rest of a LogRequest is made for each node. */
export type Asked = Omit<LogRequest, 'id' | 'tasks' | 'after'>;

export class LogReader {
  readonly #asked: Asked;
  readonly #task: (id: TaskId) => Task | undefined;
  /** Time of the newest line of each task that was given on; at first the time of asking, where no past is wanted. */
  readonly #after = new Map<TaskId, string>();
  /** Asked for and not to be asked for again. */
  readonly #done = new Set<TaskId>();
  readonly #failures = new Set<string>();

  constructor(asked: Asked, task: (id: TaskId) => Task | undefined) {
    this.#asked = asked;
    this.#task = task;
  }

  /** Requests for the tasks not asked for yet, by node; from here on they count as asked for. */
  next(ids: readonly TaskId[], now: string): Map<NodeId, Omit<LogRequest, 'id'>> {
    const byNode = new Map<NodeId, TaskId[]>();
    for (const id of ids) {
      const task = this.#done.has(id) ? undefined : this.#task(id);
      if (task?.nodeId === undefined || !this.#isDue(task)) continue;
      this.#done.add(id);
      byNode.set(task.nodeId, [...(byNode.get(task.nodeId) ?? []), id]);
    }
    const requests = [...byNode].map(([node, tasks]) => [node, this.#request(tasks)] as const);
    // Who wants no more than the end of the past wants all that comes after it, also from a node that breaks off first.
    if (this.#asked.tail !== undefined)
      for (const id of [...byNode.values()].flat()) if (!this.#after.has(id)) this.#after.set(id, now);
    return new Map(requests);
  }

  passed({ taskId, time }: LogRecord): void {
    this.#after.set(taskId, time);
  }

  /** A node's part has ended; true: some of its tasks are to be asked for again. */
  ended(tasks: readonly TaskId[], failure: string | undefined): boolean {
    if (!this.#asked.follow) {
      if (failure !== undefined) this.#failures.add(failure);
      return false;
    }
    const again = tasks.filter((id) => {
      const task = this.#task(id);
      return task && (failure !== undefined || !isTerminal(task.status.state));
    });
    for (const id of again) this.#done.delete(id);
    return again.length > 0;
  }

  /** In Docker's words; undefined: everything asked for came. */
  get incomplete(): string | undefined {
    if (this.#failures.size === 0) return undefined;
    const reasons = [...this.#failures].sort().join(', ');
    return `rpc error: code = Unknown desc = warning: incomplete log stream. some logs could not be retrieved for the following reasons: ${reasons}`;
  }

  /** As in Docker, who does not follow is not kept waiting for what has not begun. */
  #isDue({ status }: Task): boolean {
    return this.#asked.follow || !isBefore(status.state, 'running');
  }

  #request(tasks: readonly TaskId[]): Omit<LogRequest, 'id'> {
    const known = tasks.flatMap((id) => {
      const time = this.#after.get(id);
      return time === undefined ? [] : [[id, time] as const];
    });
    return { ...this.#asked, tasks, ...(known.length > 0 && { after: Object.fromEntries(known) }) };
  }
}
