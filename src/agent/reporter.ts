/**
 * The latest status of each task of this node, on its way to the manager. What the manager knows (it comes with the
 * item) and what was reported in this life are joined: the later state counts, so a report never goes back.
 */
import { isDeepStrictEqual } from 'node:util';
import type { TaskId } from '../model/ids.ts';
import type { TaskStatus } from '../model/objects.ts';
import { isAfter, isBefore } from '../model/task-state.ts';
import type { TaskItem } from '../rpc/messages.ts';

/** The session: takes statuses to the manager, and says the latest of each task again after a broken connection. */
export interface StatusSink {
  report(id: TaskId, status: TaskStatus): void;
  applied(revision: number): void;
}

export class Reporter {
  readonly #sink: Pick<StatusSink, 'report'>;
  readonly #latest = new Map<TaskId, TaskStatus>();

  constructor(sink: Pick<StatusSink, 'report'>) {
    this.#sink = sink;
  }

  /** The status to go on from. */
  statusOf(item: TaskItem): TaskStatus {
    const own = this.#latest.get(item.id);
    return own && !isBefore(own.state, item.status.state) ? own : item.status;
  }

  /** Drops what says nothing new and what would go back. */
  report(item: TaskItem, status: TaskStatus): void {
    const known = this.statusOf(item);
    if (isAfter(known.state, status.state)) return;
    if (isDeepStrictEqual({ ...known, timestamp: '' }, { ...status, timestamp: '' })) return;
    this.#latest.set(item.id, status);
    this.#sink.report(item.id, status);
  }

  forget(id: TaskId): void {
    this.#latest.delete(id);
  }

  /** All that are not among these. */
  forgetOthers(known: ReadonlyMap<TaskId, unknown>): void {
    for (const id of this.#latest.keys()) if (!known.has(id)) this.#latest.delete(id);
  }
}
