/**
 * Status reports of the agents, written in batches. The last report of a task stands for those before it.
 *
 * INVARIANTS
 * - A status never goes back, and only the node that a task is on may report on it.
 * - A report is written, superseded, or refused for good; an unavailable store only delays it.
 */
import { type Clock, SKEW_MS, timestamp } from '../../kit/clock.ts';
import type { Log } from '../../kit/log.ts';
import { isCode } from '../../model/errors.ts';
import type { NodeId, TaskId } from '../../model/ids.ts';
import type { Task, TaskStatus } from '../../model/objects.ts';
import { atLeast, isBefore } from '../../model/task-state.ts';
import type { Fence, Op, Store } from '../../store/store.ts';
import type { View } from '../../store/view.ts';
import { isUp } from '../task.ts';

export interface Report {
  readonly nodeId: NodeId;
  readonly status: TaskStatus;
}

export interface ReportsOptions {
  readonly store: Pick<Store, 'get' | 'transact'>;
  readonly view: Pick<View, 'get'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly fence: Fence | undefined;
}

const BATCH_MS = 100;
/** The least time between the end of a write and the next; where writes are slow, as long as the last one took. */
const REST_MS = 2;
const BATCH_SIZE = 100;
const RETRY_MS = 250;

/** The task with the report in it; undefined when there is nothing to write. */
export function accept(task: Task | undefined, { nodeId, status }: Report): Task | undefined {
  if (!task || task.nodeId !== nodeId || isBefore(status.state, task.status.state)) return undefined;
  const next = { ...status, container: status.container };
  if (saidOf(next) === saidOf(task.status)) return undefined;
  const starts = task.startedAt === undefined && isUp({ status: next });
  return { ...task, status: next, ...(starts && { startedAt: next.timestamp }) };
}

/** All but when: every session begins with what was said before, and the clock of its node may have been set since. */
const saidOf = (status: TaskStatus): string => JSON.stringify({ ...status, timestamp: '' });

export class Reports {
  readonly #options: ReportsOptions;
  #pending = new Map<TaskId, Report>();
  /** Nodes whose clocks were off when they last reported. */
  readonly #skewed = new Set<NodeId>();
  #cancel: (() => void) | undefined;
  /** When the timer that `#cancel` ends is due. */
  #due = 0;
  /** No rest is due before the first. */
  #restUntil = 0;
  #writing: Promise<void> | undefined;
  #stopped = false;

  constructor(options: ReportsOptions) {
    this.#options = options;
  }

  /** `sentAt`: by the clock of the node. What it says of when is told in ours, by which others plan. */
  add(
    nodeId: NodeId,
    reports: readonly { readonly id: TaskId; readonly status: TaskStatus }[],
    sentAt: number | undefined,
  ): void {
    const aheadMs = this.#aheadMs(nodeId, sentAt);
    for (const { id, status: said } of reports) {
      const status = aheadMs === 0 ? said : { ...said, timestamp: this.#ours(said.timestamp, aheadMs) };
      const task = this.#options.view.get('task', id);
      if (task && task.nodeId !== nodeId)
        this.#options.log.warn('a node reported on a task that is not its own', {
          'node.id': nodeId,
          'task.id': id,
        });
      else this.#pending.set(id, { nodeId, status });
    }
    if (this.#pending.size >= BATCH_SIZE) this.#start();
    else this.#schedule(this.#patience());
  }

  /** That time by our clock: nothing that is still to come, whatever the node says. */
  #ours(said: string, aheadMs: number): string {
    const at = Date.parse(said) - aheadMs;
    return timestamp(Math.max(0, Math.min(at, this.#options.clock.now())));
  }

  /** How far the clock of the node is ahead of ours, where that is more than a message may take. */
  #aheadMs(nodeId: NodeId, sentAt: number | undefined): number {
    const { clock, log } = this.#options;
    const ahead = sentAt === undefined ? 0 : Math.round(sentAt - clock.now());
    if (Math.abs(ahead) <= SKEW_MS) {
      this.#skewed.delete(nodeId);
      return 0;
    }
    if (!this.#skewed.has(nodeId))
      log.warn('the clock of a node shows another time than ours: keep the clocks of all nodes set', {
        'node.id': nodeId,
        'ahead.ms': ahead,
      });
    this.#skewed.add(nodeId);
    return ahead;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    await this.#writing;
  }

  #schedule(ms: number): void {
    if (this.#stopped || this.#writing) return;
    const { clock } = this.#options;
    const due = clock.monotonic() + ms;
    if (this.#cancel && this.#due <= due) return;
    this.#cancel?.();
    this.#due = due;
    this.#cancel = clock.after(ms, () => this.#start());
  }

  /**
   * The states on the way up are for people to read and can wait; that a task runs, or ended, others wait for: the first
   * such report goes at once, those that come in a flood are gathered while the store rests as long as it has worked.
   */
  #patience(): number {
    const urgent = [...this.#pending.values()].some(({ status }) => atLeast(status.state, 'running'));
    return urgent ? Math.max(0, this.#restUntil - this.#options.clock.monotonic()) : BATCH_MS;
  }

  #start(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    if (this.#stopped || this.#writing || this.#pending.size === 0) return;
    const begun = this.#options.clock.monotonic();
    this.#writing = this.#write().then((wait) => {
      const ended = this.#options.clock.monotonic();
      this.#restUntil = ended + Math.min(BATCH_MS, Math.max(REST_MS, ended - begun));
      this.#writing = undefined;
      if (this.#pending.size >= BATCH_SIZE && wait === 0) this.#start();
      else if (this.#pending.size > 0) this.#schedule(wait || this.#patience());
    });
  }

  /** Writes one batch; resolves to how long to wait before the next. */
  async #write(): Promise<number> {
    const batch = [...this.#pending].slice(0, BATCH_SIZE);
    for (const [id] of batch) this.#pending.delete(id);
    const { store, view, fence, log } = this.#options;
    try {
      await this.#transact(batch.map(([id, report]) => accept(view.get('task', id), report)));
      return 0;
    } catch (error) {
      if (isCode(error, 'out-of-sequence')) return this.#oneByOne(batch, store, fence);
      if (isCode(error, 'failed-precondition')) return 0; // another leads; the agents report to it again
      log.warn('cannot write status reports, will try again', { err: error });
      this.#giveBack(batch);
      return RETRY_MS;
    }
  }

  /** The view was behind: each task is read again, so that one contended task does not hold up the others. */
  async #oneByOne(
    batch: readonly (readonly [TaskId, Report])[],
    store: ReportsOptions['store'],
    fence: Fence | undefined,
  ): Promise<number> {
    const left: (readonly [TaskId, Report])[] = [];
    for (const entry of batch) {
      try {
        const task = accept(await store.get('task', entry[0]), entry[1]);
        if (task) await store.transact([update(task)], fence);
      } catch (error) {
        if (isCode(error, 'failed-precondition')) return 0;
        left.push(entry);
      }
    }
    this.#giveBack(left);
    return left.length > 0 ? RETRY_MS : 0;
  }

  /** A newer report that came meanwhile wins. */
  #giveBack(batch: readonly (readonly [TaskId, Report])[]): void {
    for (const [id, report] of batch) if (!this.#pending.has(id)) this.#pending.set(id, report);
  }

  async #transact(tasks: readonly (Task | undefined)[]): Promise<void> {
    const ops = tasks.filter((task) => task !== undefined).map(update);
    if (ops.length > 0) await this.#options.store.transact(ops, this.#options.fence);
  }
}

const update = (task: Task): Op => ({ op: 'update', kind: 'task', object: task, version: task.version });
