/**
 * Which stopping tasks wait for which nodes (docs/adr/0006). A task is held until every ready node that takes one of
 * its networks has applied a revision in which it is out of rotation, or is no longer ready, or five seconds have
 * passed.
 *
 * INVARIANT: `release` is called once for each held task, and never before its last node is off its list.
 */
import type { Clock } from '../../kit/clock.ts';
import type { NodeId, TaskId } from '../../model/ids.ts';

const DRAIN_LIMIT_MS = 5000;

interface Drain {
  readonly revision: number;
  readonly waiting: Set<NodeId>;
  readonly cancel: () => void;
}

export class Drains {
  readonly #clock: Clock;
  readonly #release: (task: TaskId) => void;
  readonly #drains = new Map<TaskId, Drain>();
  /** Tasks whose agent was told: they stay told. */
  readonly #released = new Set<TaskId>();

  constructor(clock: Clock, release: (task: TaskId) => void) {
    this.#clock = clock;
    this.#release = release;
  }

  isHeld(task: TaskId): boolean {
    return this.#drains.has(task);
  }

  /** The task left rotation at `revision`. Does nothing for a task that is held or released already. */
  begin(task: TaskId, revision: number, nodes: Iterable<NodeId>): void {
    if (this.#drains.has(task) || this.#released.has(task)) return;
    const waiting = new Set(nodes);
    if (waiting.size === 0) {
      this.#released.add(task);
      return;
    }
    const cancel = this.#clock.after(DRAIN_LIMIT_MS, () => this.#end(task));
    this.#drains.set(task, { revision, waiting, cancel });
  }

  /** The node's kernel agrees with `revision`. */
  applied(node: NodeId, revision: number): void {
    for (const [task, drain] of [...this.#drains])
      if (revision >= drain.revision && drain.waiting.delete(node) && drain.waiting.size === 0)
        this.#end(task);
  }

  /** Nobody waits for this node any more: it is down, or gone. */
  forgetNode(node: NodeId): void {
    this.applied(node, Number.POSITIVE_INFINITY);
  }

  /** The task has ended, is deleted, or is to run again. */
  forgetTask(task: TaskId): void {
    this.#drains.get(task)?.cancel();
    this.#drains.delete(task);
    this.#released.delete(task);
  }

  stop(): void {
    for (const { cancel } of this.#drains.values()) cancel();
    this.#drains.clear();
  }

  #end(task: TaskId): void {
    this.#drains.get(task)?.cancel();
    this.#drains.delete(task);
    this.#released.add(task);
    this.#release(task);
  }
}
