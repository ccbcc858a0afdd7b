/**
 * The containers of a user's own on this node (`docker run`): made, started, and cleared up after when they end. What
 * they are is in containerd's record of each (`notes`), that they exist also in a folder of this agent's, so that
 * their sandboxes are never taken for those of a task that is gone (`owns`).
 *
 * INVARIANTS
 * - A container of this kind has a folder from before its record until after its sandbox and attachments are gone.
 * - It has a sandbox and attachments only from a start until the end of that run; one reconcile a container brings
 *   that about, whatever was killed in between. Starts, removals and reconciles of one container never overlap.
 * - Whether it is wanted to run is on disk before it is started, and before it is asked to end: what the user said last
 *   decides whether it is started again (standalone-runs.ts).
 */
import { containerEvent, isNews } from '../containerd/container-event.ts';
import type { ContainerEvent, ContainerInfo, ContainerRuntime } from '../containerd/runtime.ts';
import { type Clock, overAt } from '../kit/clock.ts';
import { KeyedLocks } from '../kit/keyed-locks.ts';
import type { Tell } from '../kit/event-log.ts';
import type { Log } from '../kit/log.ts';
import { Loop, type Requeue } from '../kit/loop.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import type { HashText } from '../model/names.ts';
import type { RestartPolicy, StandaloneSpec, WantedStand } from '../model/standalone.ts';
import { followContainers } from './follow-containers.ts';
import type { Health } from './health-plan.ts';
import { HealthChecks } from './health.ts';
import { checkRemovable } from './removable.ts';
import type { Restart, RestartReport } from './restart-plan.ts';
import { standaloneConfig, standaloneFiles } from './standalone-config.ts';
import { StandaloneNames } from './standalone-names.ts';
import { type NetworkPlace, specOf, StandaloneNetworks } from './standalone-networks.ts';
import { StandaloneRuns } from './standalone-runs.ts';
import type { TaskFiles } from './task-files.ts';

export interface StandaloneOptions {
  readonly runtime: ContainerRuntime;
  readonly files: TaskFiles;
  readonly place: () => NetworkPlace | undefined;
  readonly runRoot: string;
  readonly resolvConf: () => string;
  readonly newId: () => ContainerId;
  readonly random: () => number;
  readonly hash: HashText;
  /** Hears of health. */
  readonly tell: Tell;
  readonly clock: Clock;
  readonly log: Log;
}

export interface RemoveOptions {
  /** Though it runs, or is about to. */
  readonly force: boolean;
  /** Its anonymous volumes stay. */
  readonly keepVolumes: boolean;
}

const FULL_PASS_MS = 30_000;
/** How long what has ended waits for a client to read its last words. */
const READ_MS = 30_000;
/** How often it is looked whether the node has its networks again. */
const PLACE_MS = 1_000;

export class Standalone {
  readonly #options: StandaloneOptions;
  readonly #ids: Set<ContainerId>;
  readonly #holders = new Map<ContainerId, Set<object>>();
  readonly #locks = new KeyedLocks<ContainerId>();
  readonly #names: StandaloneNames;
  readonly #health: HealthChecks;
  readonly #loop: Loop<ContainerId>;
  readonly #networks: StandaloneNetworks;
  readonly #runs: StandaloneRuns;
  readonly #abort = new AbortController();
  #watching: Promise<void> = Promise.resolve();

  static async open(options: StandaloneOptions): Promise<Standalone> {
    return new Standalone(options, await options.files.list());
  }

  private constructor(options: StandaloneOptions, known: readonly ContainerId[]) {
    this.#options = options;
    this.#ids = new Set(known);
    this.#runs = new StandaloneRuns(options, known);
    this.#networks = new StandaloneNetworks(options);
    this.#names = new StandaloneNames(options);
    const { runtime, files, clock, log, hash, tell } = options;
    this.#health = new HealthChecks({
      ...{ runtime, files, clock, log, hash },
      probing: (container, action, attributes) =>
        tell({ ...containerEvent(container, action, attributes), fleeting: true }),
      changed: (container, status) => tell(containerEvent(container, `health_status: ${status}`)),
    });
    this.#loop = new Loop<ContainerId>({
      name: 'standalone',
      clock,
      log,
      reconcile: (id) => this.#locks.run(id, () => this.#reconcile(id)),
      full: { interval: FULL_PASS_MS, keys: () => this.#ids },
    });
  }

  /** From now on what ends is cleared up after. */
  run(): void {
    this.#health.start();
    this.#loop.start();
    this.#watching = followContainers(this.#options, (event) => this.#on(event), this.#abort.signal);
  }

  /** Lets go; the containers run on. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await Promise.all([this.#loop.stop(), this.#health.stop(), this.#watching]);
  }

  /** It, its sandbox and its attachments are this class's business and nobody else's. */
  owns(id: ContainerId): boolean {
    return this.#ids.has(id);
  }

  create(spec: StandaloneSpec): Promise<ContainerId> {
    const id = this.#options.newId();
    return this.#names.give(id, spec.name, (name) => {
      this.#ids.add(id);
      return this.#locks.run(id, () => this.#create(id, { ...spec, name }));
    });
  }

  /** `docker rename`, of whoever's container. */
  rename(id: ContainerId, name: string): Promise<void> {
    return this.#names.give(id, name, () => this.#options.runtime.update(id, { name }));
  }

  async #create(id: ContainerId, named: StandaloneSpec): Promise<ContainerId> {
    const { runtime, files, runRoot } = this.#options;
    try {
      const paths = await files.write(id, standaloneFiles(id, named, [], ''));
      const image = await runtime.images.local(named.container.Image);
      await runtime.create(standaloneConfig(id, named, runRoot, paths, image?.config ?? {}));
      return id;
    } catch (error) {
      await this.#forget(id);
      throw error;
    }
  }

  /** False: it runs already. */
  start(info: ContainerInfo): Promise<boolean> {
    return this.#locks.run(info.id, async () => {
      const now = await this.#known(info.id);
      if (now.status === 'paused')
        throw new SkeinError('failed-precondition', 'cannot start a paused container, try unpause instead');
      if (now.status === 'running') return false;
      await this.#runs.start(info.id);
      try {
        await this.#begin(now);
      } catch (error) {
        await this.#runs.startFailed(info.id);
        // As in Docker, whose CLI waits for it to be gone.
        if (specOf(now).autoRemove) await this.#remove(info.id);
        throw error;
      } finally {
        this.#loop.mark(info.id); // clears up where it did not start, or has ended already
      }
      return true;
    });
  }

  /** A user ends it: it is not started again by itself. */
  async endWanted(id: ContainerId): Promise<void> {
    if (this.owns(id)) await this.#locks.run(id, () => this.#runs.end(id));
  }

  setRestart(id: ContainerId, restart: RestartPolicy): Promise<void> {
    return this.#locks.run(id, async () => this.#runs.setPolicy(await this.#known(id), restart));
  }

  /** Undefined without a policy, and of a task's. */
  async restarts(info: ContainerInfo): Promise<RestartReport | undefined> {
    return this.owns(info.id) ? this.#runs.report(info) : undefined;
  }

  /** Of its health check, in this run. */
  health(id: ContainerId): Promise<Health | undefined> {
    return this.#options.files.readHealth(id);
  }

  /** With what it runs, where it is forced. */
  remove(id: ContainerId, { force, keepVolumes }: RemoveOptions): Promise<void> {
    return this.#locks.run(id, async () => {
      const { runtime } = this.#options;
      const info = await runtime.get(id);
      if (force) await this.#runs.end(id);
      else if (info) checkRemovable(info, (await this.#runs.report(info))?.waiting ?? false);
      if (info?.status === 'running') await runtime.kill(id, 'SIGKILL');
      await this.#remove(id, { keepVolumes });
    });
  }

  async #remove(id: ContainerId, options = { keepVolumes: false }): Promise<void> {
    await this.#health.look(undefined, id, undefined);
    await this.#options.runtime.remove(id, options);
    await this.#networks.take(id);
    await this.#forget(id);
  }

  /** `docker network connect` and `disconnect`. */
  connect(id: ContainerId, wanted: WantedStand): Promise<void> {
    return this.#locks.run(id, async () => this.#networks.connect(await this.#known(id), wanted));
  }

  disconnect(id: ContainerId, target: string, force: boolean): Promise<void> {
    return this.#locks.run(id, async () => this.#networks.disconnect(await this.#known(id), target, force));
  }

  async #known(id: ContainerId): Promise<ContainerInfo> {
    const info = await this.#options.runtime.get(id);
    if (!info) throw new SkeinError('not-found', `No such container: ${id}`);
    return info;
  }

  /** Somebody reads its output: it is not removed by itself before the release. */
  hold(id: ContainerId): () => void {
    const key = {};
    const holders = this.#holders.get(id) ?? new Set<object>();
    this.#holders.set(id, holders.add(key));
    return () => {
      holders.delete(key);
      if (holders.size > 0) return;
      this.#holders.delete(id);
      this.#loop.mark(id);
    };
  }

  async #reconcile(id: ContainerId): Promise<Requeue | void> {
    const { runtime, clock } = this.#options;
    const info = await runtime.get(id);
    await this.#health.look(info, id, undefined);
    if (!this.owns(id)) return;
    if (!info) return this.#remove(id);
    await this.#runs.look(info);
    if (info.status === 'running' || info.status === 'paused') return;
    await this.#networks.take(id);
    const again = await this.#runs.next(info);
    if (again) return this.#startAgain(info, again);
    if (info.status !== 'stopped' || !specOf(info).autoRemove) return;
    const readUntil = Date.parse(info.exitedAt ?? '') + READ_MS;
    if (this.#holders.has(id) && clock.now() < readUntil) return { after: readUntil - clock.now() };
    await this.#remove(id);
  }

  async #startAgain(info: ContainerInfo, again: Restart): Promise<Requeue | void> {
    const { place, clock } = this.#options;
    const wait = overAt(again.endedAt, again.waitMs, clock.now()) - clock.now();
    if (wait > 0) return { after: wait };
    if (!place()?.ready) return { after: PLACE_MS };
    await this.#runs.startAgain(info.id, again);
    await this.#begin(info);
  }

  /** A run, whose health nothing is known of yet. */
  async #begin(info: ContainerInfo): Promise<void> {
    const { runtime, files } = this.#options;
    await this.#health.look(undefined, info.id, undefined);
    await files.forgetHealth(info.id);
    await this.#networks.bring(info);
    await runtime.start(info.id);
  }

  async #forget(id: ContainerId): Promise<void> {
    await this.#options.files.remove(id);
    this.#ids.delete(id);
    this.#runs.forget(id);
  }

  #on(event: ContainerEvent): void {
    if (event.type === 'resync') for (const id of this.#ids) this.#loop.mark(id);
    else if (isNews(event) && this.#ids.has(event.id)) this.#loop.mark(event.id);
  }
}
