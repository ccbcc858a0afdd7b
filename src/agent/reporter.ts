/**
 * The latest status of each task of this node, on its way to the manager. What the manager knows (it comes with the
 * item) and what was reported in this life are joined: the later state counts, so a report never goes back.
 */
import { isDeepStrictEqual } from 'node:util';
import type { TaskId } from '../model/ids.ts';
import type { TaskStatus } from '../model/objects.ts';
import { isAfter, isBefore } from '../model/task-state.ts';
import type { TaskItem } from '../rpc/messages.ts';

/** Takes statuses to the manager; keeps the latest of each task over a broken connection. */
export interface StatusSink {
  status(id: TaskId, status: TaskStatus): void;
  applied(revision: number): void;
}

export class Reporter {
  readonly #sink: Pick<StatusSink, 'status'>;
  readonly #latest = new Map<TaskId, TaskStatus>();

  constructor(sink: Pick<StatusSink, 'status'>) {
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
    this.#sink.status(item.id, status);
  }

  forget(id: TaskId): void {
    this.#latest.delete(id);
  }

  /** Everything reported in this life, for a session that starts anew. */
  all(): readonly { readonly id: TaskId; readonly status: TaskStatus }[] {
    return [...this.#latest].map(([id, status]) => ({ id, status }));
  }
}
