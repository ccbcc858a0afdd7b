/**
 * Brings each container of this node to where its task should be: observe, plan one step, do it, observe again.
 * Keyed by container id, a pure function of the task id, so that what a killed agent left (container, sandbox, files)
 * meets its task again, and what has no task is found by the same pass.
 *
 * INVARIANTS
 * - Nothing is touched before the first snapshot.
 * - Nothing waits inside a reconcile for a registry or a grace period: those come back as marks.
 * One task more costs its own steps and one entry of each full pass.
 */
import { isDeepStrictEqual } from 'node:util';
import { containerEvent, imageEvent } from '../containerd/container-event.ts';
import type { ContainerInfo, ContainerRuntime, RegistryAuth } from '../containerd/runtime.ts';
import type { Clock } from '../kit/clock.ts';
import type { Tell } from '../kit/event-log.ts';
import type { Log } from '../kit/log.ts';
import { Loop, type Requeue } from '../kit/loop.ts';
import { isCode, SkeinError } from '../model/errors.ts';
import type { ContainerId, TaskId } from '../model/ids.ts';
import { containerIdOf, type HashText } from '../model/names.ts';
import type { TaskStatus } from '../model/objects.ts';
import { isAfter } from '../model/task-state.ts';
import type { NodeNetwork, Sandbox } from '../net/network.ts';
import type { TaskItem } from '../rpc/messages.ts';
import type { Assignments } from './assignments.ts';
import { containerConfig, fileContents, sandboxSpec, TASK_LABEL } from './container-config.ts';
import { HealthChecks } from './health.ts';
import type { NetworkLoop } from './network-loop.ts';
import type { PayloadStore } from './payload-store.ts';
import { payloadFiles } from './payloads.ts';
import type { Reporter } from './reporter.ts';
import type { TaskFiles } from './task-files.ts';
import { type Notes, type Observed, planTask, type Step } from './task-plan.ts';
import type { NodeNames } from '../model/template.ts';

export interface WorkerOptions {
  readonly runtime: ContainerRuntime;
  readonly network: NodeNetwork;
  readonly networkLoop: Pick<NetworkLoop, 'isReadyFor' | 'view'>;
  readonly assignments: Assignments;
  readonly reporter: Reporter;
  readonly files: TaskFiles;
  readonly payloads: PayloadStore;
  readonly hash: HashText;
  readonly node: () => NodeNames;
  /** The node's /etc/resolv.conf, as it is now. */
  readonly resolvConf: () => Promise<string>;
  readonly clock: Clock;
  readonly log: Log;
  /** A container of a user's own: neither it nor its sandbox is a task's. */
  readonly isStandalone?: (id: ContainerId) => boolean;
  /** Hears of pulls and of health. */
  readonly tell?: Tell;
  readonly concurrency?: number;
  readonly fullPassMs?: number;
}

/** What is remembered of one container in this life. */
interface Local {
  /** The item that was last planned for. */
  item?: TaskItem | undefined;
  failure?: Notes['failure'];
  stopSince?: number | undefined;
  attachFailures?: number;
  pull?: AbortController | undefined;
  sandbox?: Sandbox | undefined;
}

/** What was seen of the node, for one item. */
interface Look {
  readonly item: TaskItem | undefined;
  readonly seen: Observed;
}

interface Context {
  readonly id: ContainerId;
  readonly item: TaskItem | undefined;
  readonly local: Local;
}

type Executors = {
  readonly [K in Step['kind']]: (
    step: Extract<Step, { kind: K }>,
    context: Context,
  ) => Promise<Requeue | void>;
};

/** More than any task needs from assigned to its end: a plan that does not settle is a defect, not a busy loop. */
const MAX_STEPS = 40;
const ATTACH_TRIES = 5;
const FULL_PASS_MS = 30_000;
/** Worth another try of the same step: the daemon is away, not the request wrong. */
const TRANSIENT = ['unavailable', 'deadline-exceeded', 'canceled', 'resource-exhausted'] as const;

export class Worker {
  readonly #options: WorkerOptions;
  readonly #loop: Loop<ContainerId>;
  readonly #taskIds = new Map<ContainerId, TaskId>();
  readonly #locals = new Map<ContainerId, Local>();
  readonly #background = new Set<Promise<void>>();
  readonly #health: HealthChecks;

  constructor(options: WorkerOptions) {
    this.#options = options;
    const { clock, log } = options;
    const { runtime, files } = options;
    this.#health = new HealthChecks({
      ...{ runtime, files, clock, log },
      changed: (container, status) => {
        options.tell?.(containerEvent(container, `health_status: ${status}`));
        this.mark(container.id);
      },
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
    this.#loop.start();
  }

  /** Containers run on; a pull that goes on is given up. */
  async stop(): Promise<void> {
    const stopped = this.#loop.stop();
    for (const local of this.#locals.values()) local.pull?.abort();
    await Promise.all([stopped, this.#health.stop()]);
    await Promise.all(this.#background);
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
      const wait = await this.#execute(step, context);
      if (wait) return wait;
      look = lookAfter(step, look, context.local);
    }
    if (!signal.aborted) throw new SkeinError('internal', `container ${id} does not settle`);
  }

  #context(id: ContainerId): Context {
    const taskId = this.#taskIds.get(id);
    const item = taskId === undefined ? undefined : this.#options.assignments.tasks.get(taskId);
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

  async #observe({ id, item, local }: Context): Promise<Observed> {
    const { runtime, network, networkLoop, files, payloads, reporter } = this.#options;
    const [container, sandbox, hasFiles, started, hasPayloads] = await Promise.all([
      runtime.get(id),
      network.hasSandbox(id),
      files.has(id),
      files.isStarted(id),
      payloads.has(id),
    ]);
    if (!sandbox) local.sandbox = undefined;
    const ours = container && this.#isOurs(container) ? container : undefined;
    const known = item && reporter.statusOf(item).health;
    const wanted = item && !container && !local.pull && !isAfter(item.desiredState, 'complete');
    return {
      id,
      container: ours,
      sandbox,
      attached: local.sandbox,
      files: hasFiles,
      payloads: hasPayloads,
      imagePresent: wanted ? await runtime.images.has(item.spec.ContainerSpec.Image) : true,
      networksReady: item !== undefined && networkLoop.isReadyFor(item),
      health: await this.#health.look(item && ours, id, known),
      notes: {
        started,
        pulling: local.pull !== undefined,
        failure: local.failure,
        stopSince: local.stopSince,
      },
    };
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

  async #execute(step: Step, context: Context): Promise<Requeue | void> {
    this.#options.log.debug('step', {
      'container.id': context.id,
      'task.id': context.item?.id,
      step: step.kind,
      ...(step.kind === 'report' && { state: step.status.state, reason: step.status.err }),
    });
    return (this.#executors[step.kind] as (step: Step, context: Context) => Promise<Requeue | void>)(
      step,
      context,
    );
  }

  readonly #executors: Executors = {
    report: async ({ status }, { item }) => {
      if (item) this.#options.reporter.report(item, status);
    },
    'pull-image': async (_, context) => this.#startPull(context),
    'cancel-pull': async (_, { local }) => {
      local.pull?.abort();
      local.pull = undefined;
    },
    'attach-sandbox': (_, context) => this.#attach(context),
    'create-container': (_, context) => this.#create(context),
    'start-container': (_, context) => this.#start(context),
    'signal-stop': async ({ signal }, { id, local }) => {
      await this.#options.runtime.kill(id, signal);
      local.stopSince = this.#options.clock.now();
    },
    'kill-container': async (_, { id }) => {
      await this.#options.runtime.kill(id, 'SIGKILL');
      return { after: 1_000 }; // its exit event comes sooner
    },
    'remove-container': async (_, { id, local }) => {
      await this.#options.runtime.remove(id);
      local.stopSince = undefined;
    },
    'detach-sandbox': async (_, { id, local }) => {
      await this.#options.network.detach(id);
      local.sandbox = undefined;
    },
    'remove-payloads': (_, { id }) => this.#options.payloads.remove(id),
    'remove-files': (_, { id }) => this.#options.files.remove(id),
    wait: async () => {},
  };

  #startPull({ id, item, local }: Context): void {
    const pull = (local.pull = new AbortController());
    const reference = item!.spec.ContainerSpec.Image;
    const auth = decodeAuth(item!.registryAuth);
    const work = (async () => {
      try {
        const { runtime, tell } = this.#options;
        const { signal } = pull;
        await runtime.images.pull(reference, { ...(auth && { auth }), signal, forTask: true });
        tell?.(imageEvent('pull', reference));
      } catch (error) {
        if (!pull.signal.aborted) local.failure = { state: 'rejected', err: pullError(error, reference) };
      } finally {
        if (local.pull === pull) local.pull = undefined;
        this.#loop.mark(id);
      }
    })();
    this.#background.add(work);
    void work.finally(() => this.#background.delete(work));
  }

  async #attach({ id, item, local }: Context): Promise<void> {
    const view = this.#options.networkLoop.view;
    if (!item || !view) throw new SkeinError('unavailable', 'the network view is not applied yet');
    try {
      local.sandbox = await this.#options.network.attach(sandboxSpec(item, id, view));
      local.attachFailures = 0;
    } catch (thrown) {
      // The kernel may be busy with a namespace that is going: a few more tries before the task is given up.
      const error = SkeinError.from(thrown);
      local.attachFailures = (local.attachFailures ?? 0) + 1;
      if (isCode(error, ...TRANSIENT) || (error.code === 'internal' && local.attachFailures < ATTACH_TRIES))
        throw error;
      local.failure = { state: 'rejected', err: error.message };
    }
  }

  async #create({ id, item, local }: Context): Promise<void> {
    const { assignments, files, payloads, runtime, resolvConf } = this.#options;
    const node = this.#options.node();
    await this.#try(local, async () => {
      const paths = await files.write(id, fileContents(item!, node, id, await resolvConf()));
      const secret = payloadFiles(item!, node, assignments.payloads);
      Object.assign(paths, await payloads.write(id, secret));
      const place = { id, netnsPath: local.sandbox!.netnsPath, files: paths };
      const image = await runtime.images.get(item!.spec.ContainerSpec.Image);
      await runtime.create(containerConfig(item!, node, place, image?.config ?? {}));
    });
  }

  async #start({ id, local }: Context): Promise<void> {
    await this.#options.files.markStarted(id);
    await this.#try(local, async () => {
      await this.#options.runtime.start(id);
    });
  }

  /** A "no" of the node becomes the task's failure; what may pass is thrown on, to the loop's backoff. */
  async #try(local: Local, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (thrown) {
      const error = SkeinError.from(thrown);
      if (isCode(error, 'already-exists')) return; // of a life before: the next look finds it
      if (isCode(error, ...TRANSIENT)) throw error;
      if (error.code === 'internal')
        local.failure = { state: 'failed', err: `starting container failed: ${error.message}` };
      else local.failure = { state: 'rejected', err: error.message };
    }
  }
}

/**
 * What is known without looking again, which costs calls to containerd and to the shim: a report changes nothing on
 * the node, an attach the sandbox alone (only this key's reconcile makes its container).
 */
function lookAfter(step: Step, look: Look, local: Local): Look | undefined {
  if (step.kind === 'report') return look;
  const attached = step.kind === 'attach-sandbox' && local.sandbox;
  return attached ? { item: look.item, seen: { ...look.seen, sandbox: true, attached } } : undefined;
}

/** Only the status changed, and to nothing later than what was known (`joined`): every report comes back like that. */
const isEcho = (item: TaskItem, last: TaskItem, joined: TaskStatus): boolean =>
  joined !== item.status && isDeepStrictEqual({ ...item, status: joined }, { ...last, status: joined });

function pullError(thrown: unknown, reference: string): string {
  return isCode(thrown, 'not-found') ? `No such image: ${reference}` : SkeinError.from(thrown).message;
}

/** What is no credential is none: some clients send any text. */
export function decodeAuth(base64: string | undefined): RegistryAuth | undefined {
  if (!base64) return undefined;
  try {
    const value: unknown = JSON.parse(Buffer.from(base64, 'base64').toString('utf8'));
    return typeof value === 'object' && value !== null ? (value as RegistryAuth) : undefined;
  } catch {
    return undefined;
  }
}
