/**
 * For tests only: every node's agent in one object. Moves the tasks of ready nodes through their states as a real
 * agent does, one state a tick, obeys desired states, and fails the images it is told to.
 */
import { type Clock, timestamp } from '../../kit/clock.ts';
import { isCode } from '../../model/errors.ts';
import type { NodeId } from '../../model/ids.ts';
import type { Node, Task, TaskStatus } from '../../model/objects.ts';
import { atLeast, isTerminal, type TaskState } from '../../model/task-state.ts';
import type { Store } from '../../store/store.ts';
import type { View } from '../../store/view.ts';
import { draftOf } from '../step.ts';

const NEXT: Partial<Record<TaskState, TaskState>> = {
  assigned: 'accepted',
  accepted: 'preparing',
  preparing: 'ready',
  ready: 'starting',
  starting: 'running',
};

export class FakeAgents {
  readonly #store: Store;
  readonly #view: View;
  readonly #clock: Clock;
  /** Images whose containers end, and how. */
  readonly ends = new Map<string, { state: 'failed' | 'complete' | 'rejected'; err: string }>();
  /** Nodes whose agent says nothing. */
  readonly silent = new Set<NodeId>();

  constructor(store: Store, view: View, clock: Clock) {
    this.#store = store;
    this.#view = view;
    this.#clock = clock;
  }

  /** One round of every agent. */
  async tick(): Promise<void> {
    for (const task of [...this.#view.all('task').values()]) {
      const node = task.nodeId && this.#view.get('node', task.nodeId);
      if (!node || node.status.state !== 'ready' || this.silent.has(node.id)) continue;
      const patch = this.#next(task);
      if (patch) await this.#report(task, patch);
    }
  }

  async setNode(id: string, patch: Partial<Pick<Node, 'spec' | 'status'>>): Promise<void> {
    const node = (await this.#store.get('node', id as NodeId))!;
    await this.#store.transact([
      { op: 'update', kind: 'node', object: { ...draftOf<'node'>(node), ...patch }, version: node.version },
    ]);
  }

  #next({ status, desiredState, spec }: Task): Partial<TaskStatus> | undefined {
    const { state } = status;
    if (!atLeast(state, 'assigned') || isTerminal(state)) return undefined;
    if (atLeast(desiredState, 'shutdown')) return { state: 'shutdown', message: 'shutdown' };
    const end = this.ends.get(spec.ContainerSpec.Image);
    if (end && (state === 'running' || (end.state === 'rejected' && state === 'preparing')))
      return { state: end.state, message: end.state, err: end.err };
    const next = NEXT[state];
    return next && atLeast(desiredState, next) ? { state: next, message: next } : undefined;
  }

  async #report(task: Task, patch: Partial<TaskStatus>): Promise<void> {
    const status = { ...task.status, err: '', ...patch, timestamp: timestamp(this.#clock.now()) };
    const starts = status.state === 'running' && task.startedAt === undefined;
    const reported = { ...draftOf<'task'>(task), status, ...(starts && { startedAt: status.timestamp }) };
    try {
      await this.#store.transact([{ op: 'update', kind: 'task', object: reported, version: task.version }]);
    } catch (error) {
      if (!isCode(error, 'out-of-sequence')) throw error;
    }
  }
}
