/**
 * Does the steps of a task's plan, one each: calls to the runtime, the network, the task's files, the reports. What the
 * node answers with "no" becomes the task's failure; what may pass is thrown on, to the loop's backoff.
 *
 * INVARIANT: no step waits for a registry: a pull goes on in the background and marks its container when it ends.
 */
import { transferEvent } from '../containerd/container-event.ts';
import type { ContainerInfo, ContainerRuntime, LocalImage, RegistryAuth } from '../containerd/runtime.ts';
import type { Clock } from '../kit/clock.ts';
import type { Tell } from '../kit/event-log.ts';
import type { Log } from '../kit/log.ts';
import type { Requeue } from '../kit/loop.ts';
import { isCode, SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import type { HashText } from '../model/names.ts';
import type { NodeNames } from '../model/template.ts';
import type { NodeNetwork, Sandbox } from '../net/network.ts';
import type { TaskItem } from '../rpc/messages.ts';
import type { Assignments } from './assignments.ts';
import { containerConfig, fileContents, sandboxSpec } from './container-config.ts';
import type { NetworkLoop } from './network-loop.ts';
import type { PayloadStore } from './payload-store.ts';
import { payloadFiles } from './payloads.ts';
import type { Reporter } from './reporter.ts';
import type { TaskFiles } from './task-files.ts';
import type { Notes, Observed, Step } from './task-plan.ts';

/** What is remembered of one container in this life. */
export interface Local {
  /** The item that was last planned for. */
  item?: TaskItem | undefined;
  failure?: Notes['failure'];
  /** When the stop signal was sent, by the monotonic clock. */
  stopSince?: number | undefined;
  attachFailures?: number;
  pull?: AbortController | undefined;
  sandbox?: Sandbox | undefined;
  /** Its image, as it was last seen. */
  image?: LocalImage | undefined;
  /** As it was made, or found to be. */
  container?: ContainerInfo | undefined;
}

export interface Context {
  readonly id: ContainerId;
  readonly item: TaskItem | undefined;
  readonly local: Local;
}

/**
 * What is known after a step without looking again, which costs calls to containerd and to the shim; nothing: the node is
 * looked at again. It is true as long as it is this key's reconcile alone that makes and starts its container: an end
 * that comes sooner marks the key.
 */
export interface Known {
  readonly seen: Partial<Observed>;
}

/** Or: to be taken up again later. */
export type Outcome = Known | Requeue | void;

type Executors = {
  readonly [K in Step['kind']]: (step: Extract<Step, { kind: K }>, context: Context) => Promise<Outcome>;
};

const ATTACH_TRIES = 5;
/** Worth another try of the same step: the daemon is away, not the request wrong. */
const TRANSIENT = ['unavailable', 'deadline-exceeded', 'canceled', 'resource-exhausted'] as const;

export interface TaskStepsOptions {
  readonly runtime: ContainerRuntime;
  readonly network: NodeNetwork;
  readonly networkLoop: Pick<NetworkLoop, 'view'>;
  readonly assignments: Assignments;
  readonly reporter: Reporter;
  readonly files: TaskFiles;
  readonly payloads: PayloadStore;
  readonly hash: HashText;
  readonly node: () => NodeNames;
  /** The node's /etc/resolv.conf, as it is now. */
  readonly resolvConf: () => string;
  readonly clock: Clock;
  readonly log: Log;
  /** Hears of pulls and of health. */
  readonly tell?: Tell;
  /** Something of this container has changed: it wants to be looked at again. */
  readonly mark: (id: ContainerId) => void;
}

export class TaskSteps {
  readonly #options: TaskStepsOptions;
  readonly #background = new Set<Promise<void>>();

  constructor(options: TaskStepsOptions) {
    this.#options = options;
  }

  /** Pulls that were given up have ended. */
  async settled(): Promise<void> {
    await Promise.all(this.#background);
  }

  async take(step: Step, context: Context): Promise<Outcome> {
    this.#options.log.debug('step', {
      'container.id': context.id,
      'task.id': context.item?.id,
      step: step.kind,
      ...(step.kind === 'report' && { state: step.status.state, reason: step.status.err }),
    });
    return (this.#executors[step.kind] as (step: Step, context: Context) => Promise<Outcome>)(step, context);
  }

  readonly #executors: Executors = {
    report: async ({ status }, { item }) => {
      if (item) this.#options.reporter.report(item, status);
      return { seen: {} };
    },
    'pull-image': async (_, context) => this.#startPull(context),
    'cancel-pull': async (_, { local }) => {
      local.pull?.abort();
      local.pull = undefined;
    },
    'attach-sandbox': (_, context) => this.#try(context.local, () => this.#attach(context)),
    'create-container': (_, context) => this.#create(context),
    'start-container': (_, context) => this.#start(context),
    'signal-stop': async ({ signal }, { id, local }) => {
      await this.#options.runtime.kill(id, signal);
      local.stopSince = this.#options.clock.monotonic();
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
        const image = await runtime.images.pull(reference, { ...(auth && { auth }), signal, forTask: true });
        tell?.(transferEvent('pull', reference, image.config));
      } catch (error) {
        if (!pull.signal.aborted) local.failure = { state: 'rejected', err: pullError(error, reference) };
      } finally {
        if (local.pull === pull) local.pull = undefined;
        this.#options.mark(id);
      }
    })();
    this.#background.add(work);
    void work.finally(() => this.#background.delete(work));
  }

  async #attach(context: Context): Promise<Known> {
    const { id, item, local } = context;
    const view = this.#options.networkLoop.view;
    if (!item || !view) throw new SkeinError('unavailable', 'the network view is not applied yet');
    try {
      local.sandbox = await this.#options.network.attach(sandboxSpec(item, id, view));
      local.attachFailures = 0;
      return { seen: { sandbox: true, attached: local.sandbox } };
    } catch (thrown) {
      throw attachError(SkeinError.from(thrown), local);
    }
  }

  /** With its sandbox, where it has none yet: that is made while containerd makes the container's root and process. */
  async #create(context: Context): Promise<Outcome> {
    const { id, item, local } = context;
    const { assignments, files, network, payloads, runtime, resolvConf } = this.#options;
    const node = this.#options.node();
    return this.#try(local, async () => {
      const paths = await files.write(id, fileContents(item!, node, id, resolvConf()));
      const secret = payloadFiles(item!, node, assignments.payloads);
      Object.assign(paths, await payloads.write(id, secret));
      const place = { id, netnsPath: network.netnsPath(id), files: paths };
      const { image } = local;
      const config = containerConfig(item!, node, place, image?.config ?? {});
      let sandbox: Known['seen'] = {};
      const namespace = async () => {
        if (!local.sandbox) await network.prepare(id);
      };
      const surroundings = async () => {
        if (!local.sandbox) sandbox = (await this.#attach(context)).seen;
      };
      local.container = await runtime.create(config, { ...(image && { image }), namespace, surroundings });
      return { seen: { ...sandbox, container: local.container, files: true, payloads: secret.length > 0 } };
    });
  }

  async #start({ id, local }: Context): Promise<Outcome> {
    const { files, runtime } = this.#options;
    const marked = files.markStarted(id);
    return this.#try(local, async () => {
      const [pid] = await Promise.all([runtime.start(id), marked]);
      return local.container && { seen: { container: { ...local.container, status: 'running', pid } } };
    });
  }

  /** A "no" of the node becomes the task's failure; what may pass is thrown on, to the loop's backoff. */
  async #try(local: Local, work: () => Promise<Outcome>): Promise<Outcome> {
    try {
      return await work();
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

/** The kernel may be busy with a namespace that is going: a few more tries before the task is given up. */
function attachError(error: SkeinError, local: Local): SkeinError {
  if (isCode(error, ...TRANSIENT)) return error;
  local.attachFailures = (local.attachFailures ?? 0) + 1;
  const again = error.code === 'internal' && local.attachFailures < ATTACH_TRIES;
  return new SkeinError(again ? 'unavailable' : 'failed-precondition', error.message, { cause: error });
}

function pullError(thrown: unknown, reference: string): string {
  return isCode(thrown, 'not-found') ? `No such image: ${reference}` : SkeinError.from(thrown).message;
}

/** What is no credential is none: some clients send any text. */
function decodeAuth(base64: string | undefined): RegistryAuth | undefined {
  if (!base64) return undefined;
  try {
    const value: unknown = JSON.parse(Buffer.from(base64, 'base64').toString('utf8'));
    return typeof value === 'object' && value !== null ? (value as RegistryAuth) : undefined;
  } catch {
    return undefined;
  }
}
