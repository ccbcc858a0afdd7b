/**
 * Brings each container of this node to where its task should be: observe, plan one step, do it, observe again.
 * Keyed by container id, a pure function of the task id, so that what a killed agent left (container, sandbox, files)
 * meets its task again, and what has no task is found by the same pass.
 *
 * INVARIANTS
 * - Nothing is touched before the first snapshot.
 * - Nothing waits inside a reconcile for a registry or a grace period: those come back as marks (task-steps.ts).
 * One task more costs its own steps and one entry of each full pass.
 */
import { isDeepStrictEqual } from 'node:util';
import { containerEvent } from '../containerd/container-event.ts';
import type { ContainerInfo } from '../containerd/runtime.ts';
import { Loop, type Requeue } from '../kit/loop.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId, TaskId } from '../model/ids.ts';
import { containerIdOf } from '../model/names.ts';
import type { TaskStatus } from '../model/objects.ts';
import { isAfter } from '../model/task-state.ts';
import type { TaskItem } from '../rpc/messages.ts';
import { TASK_LABEL } from './container-config.ts';
import { HealthChecks } from './health.ts';
import type { NetworkLoop } from './network-loop.ts';
import { Openings, type OpeningsOptions } from './opening.ts';
import { doorOf } from './opening-plan.ts';
import { type Context, type Local, TaskSteps, type TaskStepsOptions } from './task-steps.ts';
import { type Notes, type Observed, opened, planTask, type Step } from './task-plan.ts';

export interface WorkerOptions extends Omit<TaskStepsOptions, 'mark'> {
  readonly networkLoop: Pick<NetworkLoop, 'isReadyFor' | 'view'>;
  readonly listeners: OpeningsOptions['listeners'];
  /** A container of a user's own: neither it nor its sandbox is a task's. */
  readonly isStandalone?: (id: ContainerId) => boolean;
  readonly concurrency?: number;
  readonly fullPassMs?: number;
}

/** What was seen of the node, for one item. */
interface Look {
  readonly item: TaskItem | undefined;
  readonly seen: Observed;
}

/** More than any task needs from assigned to its end: a plan that does not settle is a defect, not a busy loop. */
const MAX_STEPS = 40;
const FULL_PASS_MS = 30_000;

export class Worker {
  readonly #options: WorkerOptions;
  readonly #loop: Loop<ContainerId>;
  readonly #taskIds = new Map<ContainerId, TaskId>();
  readonly #locals = new Map<ContainerId, Local>();
  readonly #steps: TaskSteps;
  readonly #health: HealthChecks;
  readonly #openings: Openings;

  constructor(options: WorkerOptions) {
    this.#options = options;
    const { clock, log, runtime, files, listeners } = options;
    this.#steps = new TaskSteps({ ...options, mark: (id) => this.#loop.mark(id) });
    this.#health = new HealthChecks({
      ...{ runtime, files, clock, log, hash: options.hash },
      probing: (container, action, attributes) =>
        options.tell?.({ ...containerEvent(container, action, attributes), fleeting: true }),
      changed: (container, status) => {
        options.tell?.(containerEvent(container, `health_status: ${status}`));
        this.mark(container.id);
      },
    });
    this.#openings = new Openings({
      listeners,
      clock,
      log,
      changed: (id, closed) => this.#opened(id, closed),
    });
    this.#loop = new Loop<ContainerId>({
      name: 'worker',
      clock,
      log,
      reconcile: (id, signal) => this.#reconcile(id, signal),
      concurrency: options.concurrency ?? 8,
      full: { interval: options.fullPassMs ?? FULL_PASS_MS, keys: () => this.#keys() },
    });
  }

  start(): void {
    this.#health.start();
    this.#openings.start();
    this.#loop.start();
  }

  /** Containers run on; a pull that goes on is given up. */
  async stop(): Promise<void> {
    const stopped = this.#loop.stop();
    for (const local of this.#locals.values()) local.pull?.abort();
    await Promise.all([stopped, this.#health.stop(), this.#openings.stop()]);
    await this.#steps.settled();
  }

  mark(id: ContainerId): void {
    if (!this.#isStandalone(id)) this.#loop.mark(id);
  }

  markTask(taskId: TaskId): void {
    const id = containerIdOf(taskId, this.#options.hash);
    this.#taskIds.set(id, taskId);
    this.#loop.mark(id);
  }

  /** The item is new or another. What only brings back what this agent said is nothing to look at. */
  follow(taskId: TaskId): void {
    const { assignments, hash, reporter } = this.#options;
    const item = assignments.tasks.get(taskId);
    const last = this.#locals.get(containerIdOf(taskId, hash))?.item;
    if (!item || !last || !isEcho(item, last, reporter.statusOf(item))) this.markTask(taskId);
  }

  /** Everything that is wanted or there. */
  async markAll(): Promise<void> {
    for (const id of await this.#keys()) this.#loop.mark(id);
  }

  async #keys(): Promise<Iterable<ContainerId>> {
    const { runtime, network, assignments, hash, files, payloads } = this.#options;
    if (assignments.revision === undefined) return [];
    const keys = new Set<ContainerId>();
    for (const taskId of assignments.tasks.keys()) {
      const id = containerIdOf(taskId, hash);
      this.#taskIds.set(id, taskId);
      keys.add(id);
    }
    for (const info of await runtime.list()) if (this.#isOurs(info)) keys.add(info.id);
    for (const id of await network.sandboxes()) if (!this.#isStandalone(id)) keys.add(id);
    for (const id of await files.list()) keys.add(id);
    for (const id of await payloads.list()) keys.add(id);
    return keys;
  }

  #isStandalone(id: ContainerId): boolean {
    return this.#options.isStandalone?.(id) ?? false;
  }

  /** Made by this agent for a task: anything else in the containerd namespace is left alone. */
  #isOurs(info: ContainerInfo): boolean {
    const taskId = info.labels[TASK_LABEL] as TaskId | undefined;
    return taskId !== undefined && containerIdOf(taskId, this.#options.hash) === info.id;
  }

  async #reconcile(id: ContainerId, signal: AbortSignal): Promise<Requeue | void> {
    let look: Look | undefined;
    for (let i = 0; i < MAX_STEPS && !signal.aborted; i++) {
      if (this.#options.assignments.revision === undefined) return;
      const context = this.#context(id);
      if (look?.item !== context.item) look = undefined;
      look ??= { item: context.item, seen: await this.#observe(context) };
      const step = await this.#next(context, look.seen);
      if (signal.aborted) return;
      if (step.kind === 'wait') return this.#rest(context, step.until);
      const outcome = await this.#steps.take(step, context);
      if (outcome && 'after' in outcome) return outcome;
      look = outcome
        ? { item: look.item, seen: await this.#lookOn(look.seen, outcome.seen, context) }
        : undefined;
    }
    if (!signal.aborted) throw new SkeinError('internal', `container ${id} does not settle`);
  }

  #itemOf(id: ContainerId): TaskItem | undefined {
    const taskId = this.#taskIds.get(id);
    return taskId === undefined ? undefined : this.#options.assignments.tasks.get(taskId);
  }

  #context(id: ContainerId): Context {
    const item = this.#itemOf(id);
    let local = this.#locals.get(id);
    if (!local) this.#locals.set(id, (local = {}));
    local.item = item;
    return { id, item, local };
  }

  async #next(context: Context, seen: Observed): Promise<Step> {
    const { reporter, clock } = this.#options;
    const status = context.item && reporter.statusOf(context.item);
    return planTask(context.item, status, seen, clock.now());
  }

  async #observe(context: Context): Promise<Observed> {
    const { runtime, network, networkLoop, files, payloads } = this.#options;
    const { id, item, local } = context;
    const wants = item && !local.pull && !isAfter(item.desiredState, 'complete');
    const image = async () => (wants ? runtime.images.local(item.spec.ContainerSpec.Image) : undefined);
    const isNew = local.container === undefined; // in all likelihood there is none: both are asked for at once
    const [container, early, sandbox, hasFiles, started, hasPayloads] = await Promise.all([
      runtime.get(id),
      isNew ? image() : undefined,
      network.hasSandbox(id),
      files.has(id),
      files.isStarted(id),
      payloads.has(id),
    ]);
    if (!sandbox) local.sandbox = undefined;
    const ours = container && this.#isOurs(container) ? container : undefined;
    local.container = ours;
    if (local.stopSince !== undefined && ours?.status === 'stopped') {
      local.stopSince = undefined;
      runtime.announce(id, 'stop');
    }
    const wanted = wants && !container;
    if (wanted) local.image = isNew ? early : await image();
    return {
      id,
      container: ours,
      sandbox,
      attached: local.sandbox,
      files: hasFiles,
      payloads: hasPayloads,
      imagePresent: !wanted || local.image !== undefined,
      networksReady: item !== undefined && networkLoop.isReadyFor(item),
      ...(await this.#readiness(ours, context)),
      notes: this.#notesOf(local, started),
    };
  }

  /** After a step that told what it made. */
  async #lookOn(before: Observed, known: Partial<Observed>, context: Context): Promise<Observed> {
    const { files, networkLoop } = this.#options;
    const { id, item, local } = context;
    return {
      ...before,
      ...known,
      networksReady: item !== undefined && networkLoop.isReadyFor(item),
      ...(known.container && (await this.#readiness(known.container, context))),
      notes: this.#notesOf(local, await files.isStarted(id)),
    };
  }

  #notesOf({ pull, failure, stopSince }: Local, started: boolean): Notes {
    const now = this.#options.clock.monotonic();
    const stoppingMs = stopSince === undefined ? undefined : now - stopSince;
    return { started, pulling: pull !== undefined, failure, stoppingMs };
  }

  async #readiness(
    container: ContainerInfo | undefined,
    { id, item }: Context,
  ): Promise<Pick<Observed, 'health' | 'notListening'>> {
    const { reporter, assignments } = this.#options;
    const known = item && reporter.statusOf(item);
    const health = await this.#health.look(item && container, id, known?.health);
    const door = item && container && doorOf(item, container, assignments.networkView()?.networks);
    return { health, notListening: this.#openings.look(id, door, known) };
  }

  /** Nothing else of it has changed, so nothing is looked at: a deploy would pay for a look at each of its containers. */
  #opened(id: ContainerId, closed: readonly number[]): void {
    const { reporter, clock } = this.#options;
    const item = this.#itemOf(id);
    const known = item && reporter.statusOf(item);
    if (known?.state === 'running') reporter.report(item!, opened(known, closed, clock.now()));
  }

  #rest({ id, item, local }: Context, until: number | undefined): Requeue | void {
    if (!item) {
      this.#locals.delete(id);
      const taskId = this.#taskIds.get(id);
      if (taskId !== undefined) this.#options.reporter.forget(taskId);
      this.#taskIds.delete(id);
      if (until !== undefined) this.#locals.set(id, local);
    }
    if (until !== undefined) return { after: Math.max(0, until - this.#options.clock.now()) };
  }
}

/** Only the status changed, and to nothing later than what was known (`joined`): every report comes back like that. */
const isEcho = (item: TaskItem, last: TaskItem, joined: TaskStatus): boolean =>
  joined !== item.status && isDeepStrictEqual({ ...item, status: joined }, { ...last, status: joined });
