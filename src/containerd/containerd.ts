/**
 * The real ContainerRuntime: containers by containerd and runc.
 *
 * INVARIANTS
 * - The container's record is the first thing made and the last thing removed: whatever a killed skeind leaves behind
 *   is in `list`, and `remove` clears all of it. Its snapshot is referred to by the record, so it is never collected.
 * - How a task ended is written down before its task is deleted, and it is deleted as soon as it has ended.
 * - Every container with a task has one tailer, from `create` or `open` on until all its output is recorded.
 * A container without a task and without a record of its end is `unknown`: it was being made, or the machine was
 * rebooted under it.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { type Clock, timestamp } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import { type RunProcess, runProcess } from '../kit/process.ts';
import { isCode, SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import { create as message, toBinary } from '@bufbuild/protobuf';
import { ContainerdApi, SNAPSHOTTER, unless } from './api.ts';
import { removeCgroup } from './cgroup.ts';
import { ContainerFiles, type Exit } from './container-files.ts';
import {
  CONFIG_EXTENSION,
  exitOf,
  lostExit,
  isoTime,
  ociError,
  record,
  statusOf,
  streamsOf,
} from './container-record.ts';
import { EventHub } from './event-hub.ts';
import { Execs } from './execs.ts';
import { makeFifo, openWriter } from './fifo.ts';
import type { Container } from './gen/containers_pb.js';
import { OptionsSchema } from './gen/runc-options_pb.js';
import { type Process, Status } from './gen/task-types_pb.js';
import { readHostLimits } from './host.ts';
import { readRootUsers, readUsers } from './image-users.ts';
import type { ImageUser } from './image-removal.ts';
import { Images, type LocalImage } from './images.ts';
import type { LogCap } from './log-files.ts';
import { queryLogs } from './log-query.ts';
import { fillVolume, removeVolume, type ResolvedMounts, resolveMounts } from './mounts.ts';
import { execProcess, type OciProcess } from './oci-process.ts';
import { type HostLimits, type ImageRunConfig, ociSpec } from './oci-spec.ts';
import type { ExecConfig, ExecProcess, TerminalSize } from './process.ts';
import { punchHole } from './punch-hole.ts';
import { RegistryClient } from './registry.ts';
import type {
  ContainerConfig,
  ContainerEvent,
  ContainerInfo,
  ContainerRuntime,
  LogLine,
  LogQuery,
} from './runtime.ts';
import { signalNumber } from './signal.ts';
import { readUsage, type Usage } from './usage.ts';
import { stdinPipe } from './stdin-pipe.ts';
import { Tailer } from './tailer.ts';
import type { UserDatabase } from './user.ts';

export interface ContainerdOptions {
  readonly socket: string;
  readonly dataRoot: string;
  readonly runRoot: string;
  /** Cgroup that holds the containers' own; several nodes on a machine need different ones. */
  readonly cgroupParent: string;
  /** `host`, `host:port` or CIDR: spoken to over plain HTTP. Loopback always is. */
  readonly insecureRegistries: readonly string[];
  readonly clock: Clock;
  readonly log: Log;
  readonly run?: RunProcess;
  readonly logCap?: LogCap;
  readonly fetch?: typeof fetch;
  readonly host?: HostLimits;
}

const DEFAULT_LOG_CAP: LogCap = { maxFileBytes: 10 * 1024 * 1024, maxFiles: 3 };
const SIGKILL = 9;
const END_TIMEOUT_MS = 10_000;
const CREATE_TIMEOUT_MS = 60_000;

export class Containerd implements ContainerRuntime {
  readonly images: Images;
  readonly #api: ContainerdApi;
  readonly #options: ContainerdOptions;
  readonly #files: ContainerFiles;
  readonly #events: EventHub;
  readonly #execs: Execs;
  readonly #run: RunProcess;
  readonly #host: HostLimits;
  readonly #tailers = new Map<ContainerId, Promise<Tailer>>();
  readonly #ending = new Map<ContainerId, Promise<void>>();
  readonly #deleting = new Map<ContainerId, Promise<void>>();
  readonly #users = new Map<string, UserDatabase>();
  readonly #stop = new AbortController();
  #watching: Promise<void> = Promise.resolve();
  #runcVersion: string | undefined;

  private constructor(api: ContainerdApi, options: ContainerdOptions) {
    this.#api = api;
    this.#options = options;
    this.#files = new ContainerFiles(join(options.dataRoot, 'containers'));
    this.#events = new EventHub(api, options.clock, options.log);
    this.#execs = new Execs({ api, runRoot: options.runRoot, clock: options.clock, log: options.log });
    this.#run = options.run ?? runProcess;
    this.#host = options.host ?? readHostLimits();
    this.images = new Images({
      api,
      clock: options.clock,
      unique,
      registry: new RegistryClient({
        insecure: options.insecureRegistries,
        fetch: options.fetch ?? fetch,
        clock: options.clock,
      }),
      users: () => this.#imageUsers(),
    });
  }

  /** Connects, clears what belongs to no container, and reads on in the output of those that run. */
  static async open(options: ContainerdOptions): Promise<Containerd> {
    await mkdir(join(options.dataRoot, 'containers'), { recursive: true, mode: 0o711 });
    await mkdir(join(options.runRoot, 'runc'), { recursive: true, mode: 0o711 });
    const runtime = new Containerd(new ContainerdApi(options.socket), options);
    try {
      await runtime.#api.ensureNamespace();
      await runtime.#sweep();
      await runtime.#adopt();
      await runtime.#execs.adopt();
    } catch (error) {
      runtime.#api.close();
      throw error;
    }
    runtime.#events.start();
    runtime.#watching = runtime.#watch();
    return runtime;
  }

  /** Lets go of everything; containers run on, their output waits in its files. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#execs.close();
    await this.#events.stop();
    await this.#watching;
    await Promise.allSettled(this.#ending.values());
    for (const tailer of this.#tailers.values()) await (await tailer.catch(() => undefined))?.stop();
    this.#tailers.clear();
    this.#api.close();
  }

  async version(): Promise<{ containerd: string; revision: string; runc: string }> {
    const { version, revision } = await this.#api.version.version({});
    if (this.#runcVersion === undefined) {
      const { stdout } = await this.#run(['runc', '--version'], { timeoutMs: 10_000 });
      this.#runcVersion = /version (\S+)/.exec(stdout)?.[1] ?? '';
    }
    return { containerd: version, revision, runc: this.#runcVersion };
  }

  async list(): Promise<readonly ContainerInfo[]> {
    const containers: Container[] = [];
    for await (const { container } of this.#api.containers.listStream({}, { timeoutMs: 60_000 }))
      if (container) containers.push(container);
    const { tasks } = await this.#api.tasks.list({});
    const byId = new Map(tasks.map((task) => [task.id, task]));
    const infos = await Promise.all(containers.map((c) => this.#info(c, byId.get(c.id))));
    return infos.filter((info) => info !== undefined);
  }

  async get(id: ContainerId): Promise<ContainerInfo | undefined> {
    const found = await unless('not-found', this.#api.containers.get({ id }));
    if (!found?.container) return undefined;
    return this.#info(found.container, await this.#task(id));
  }

  async create(config: ContainerConfig): Promise<void> {
    const { id } = config;
    const image = await this.images.local(config.image);
    if (!image) throw new SkeinError('not-found', `No such image: ${config.image}`);
    if (await unless('not-found', this.#api.containers.get({ id })))
      throw new SkeinError('already-exists', `container ${id} exists already`);
    const resolved = await this.#mounts(config, image.run);
    const spec = ociSpec({
      config,
      image: image.run,
      users: await this.#usersOf(image),
      mounts: resolved.mounts,
      cgroupParent: this.#options.cgroupParent,
      host: this.#host,
    });
    await this.#files.create(id, streamsOf(config), resolved.anonymous);
    await this.#api.containers.create({ container: record(config, spec, image, this.#runcOptions()) });
    try {
      await this.#prepareRoot(id, image);
      if (!config.restartable) await this.#createTask(config, resolved);
      await this.#tail(config);
    } catch (error) {
      await this.remove(id).catch((cause: unknown) =>
        this.#options.log.warn('half-made container stays until it is removed', {
          'container.id': id,
          err: cause,
        }),
      );
      throw ociError(error, 'failed to create task for container');
    }
  }

  async start(id: ContainerId): Promise<number> {
    const task = (await this.#task(id)) ?? (await this.#createAgain(id));
    if (task.status === Status.RUNNING || task.status === Status.PAUSED) return task.pid;
    try {
      const { pid } = await this.#api.tasks.start({ containerId: id }, { timeoutMs: CREATE_TIMEOUT_MS });
      return pid;
    } catch (error) {
      throw ociError(error, 'failed to start container');
    }
  }

  async kill(id: ContainerId, signal: string | number): Promise<void> {
    const number = signalNumber(signal);
    try {
      await this.#api.tasks.kill({ containerId: id, signal: number });
    } catch (error) {
      // Ended already: containerd says not found, or runc's own words for a process that is gone.
      if (isCode(error, 'not-found')) return;
      const task = await this.#task(id);
      if (task && task.status !== Status.STOPPED) throw error;
    }
  }

  async remove(id: ContainerId): Promise<void> {
    await this.#ending.get(id);
    await this.#removeTask(id);
    await this.#stopTail(id);
    await unless('not-found', this.#api.snapshots.remove({ snapshotter: SNAPSHOTTER, key: id }));
    await removeCgroup(this.#options.cgroupParent, id);
    for (const volume of await this.#files.anonymous(id)) await removeVolume(this.#volumes, volume);
    await this.#files.remove(id);
    await rm(this.#stdinPath(id), { force: true });
    await unless('not-found', this.#api.containers.delete({ id }));
  }

  events(signal: AbortSignal): AsyncIterable<ContainerEvent> {
    return this.#events.events(signal);
  }

  async *logs(id: ContainerId, query: LogQuery, signal: AbortSignal): AsyncIterable<LogLine> {
    if (!(await unless('not-found', this.#api.containers.get({ id }))))
      throw new SkeinError('not-found', `No such container: ${id}`);
    const tailer = await this.#tailers.get(id);
    yield* queryLogs(this.#files.folder(id), query, () => tailer, signal);
  }

  async stdin(id: ContainerId): Promise<Writable> {
    const { tasks } = this.#api;
    const task = await this.#task(id);
    if (!task?.stdin) throw new SkeinError('failed-precondition', `container ${id} has no open input`);
    const close = () => tasks.closeIO({ containerId: id, stdin: true });
    return stdinPipe(await openWriter(task.stdin), close, this.#options.log);
  }

  async resize(id: ContainerId, size: TerminalSize): Promise<void> {
    await unless('not-found', this.#api.tasks.resizePty({ containerId: id, ...size }));
  }

  async pause(id: ContainerId): Promise<void> {
    await this.#running(id);
    await this.#api.tasks.pause({ containerId: id });
  }

  async resume(id: ContainerId): Promise<void> {
    await this.#running(id);
    await this.#api.tasks.resume({ containerId: id });
  }

  async usage(id: ContainerId): Promise<Usage | undefined> {
    const task = await this.#task(id);
    if (task?.status !== Status.RUNNING && task?.status !== Status.PAUSED) return undefined;
    const cgroup = join(this.#options.cgroupParent, id);
    return readUsage(cgroup, this.#host.cgroupVersion, task.pid, totalmem());
  }

  async pids(id: ContainerId): Promise<readonly number[]> {
    await this.#running(id);
    const { processes } = await this.#api.tasks.listPids({ containerId: id });
    return processes.map(({ pid }) => pid);
  }

  async exec(id: ContainerId, config: ExecConfig): Promise<ExecProcess> {
    const found = await unless('not-found', this.#api.containers.get({ id }));
    if (!found?.container) throw new SkeinError('not-found', `No such container: ${id}`);
    const task = await this.#running(id);
    const own = JSON.parse(Buffer.from(found.container.spec?.value ?? []).toString()) as {
      readonly process: OciProcess;
    };
    const users = config.user === '' ? undefined : await readRootUsers(`/proc/${task.pid}/root`);
    return this.#execs.start(id, config, execProcess(own.process, config, users, this.#host));
  }

  async #running(id: ContainerId): Promise<Process> {
    const task = await this.#task(id);
    if (task?.status === Status.RUNNING || task?.status === Status.PAUSED) return task;
    throw new SkeinError('failed-precondition', `container ${id} is not running`);
  }

  async #imageUsers(): Promise<ImageUser[]> {
    const imageIds = new Map<string, string>();
    for await (const { container } of this.#api.containers.listStream({}, { timeoutMs: 60_000 }))
      if (container) imageIds.set(container.id, container.image);
    return (await this.list()).map(({ id, status }) => ({
      containerId: id,
      imageId: imageIds.get(id) ?? '',
      running: status === 'running' || status === 'paused',
    }));
  }

  get #volumes(): string {
    return join(this.#options.dataRoot, 'volumes');
  }

  #rootfs(id: ContainerId): string {
    const state = join(this.#options.runRoot, 'containerd', 'state', 'io.containerd.runtime.v2.task');
    return join(state, 'skein', id, 'rootfs');
  }

  /** runc's own state is private too; its default is one folder for the whole machine. */
  #runcOptions() {
    const root = join(this.#options.runRoot, 'runc');
    return {
      typeUrl: 'containerd.runc.v1.Options',
      value: toBinary(OptionsSchema, message(OptionsSchema, { root })),
    };
  }

  async #task(id: ContainerId): Promise<Process | undefined> {
    return (await unless('not-found', this.#api.tasks.get({ containerId: id })))?.process;
  }

  async #info(container: Container, task: Process | undefined): Promise<ContainerInfo | undefined> {
    const value = container.extensions[CONFIG_EXTENSION]?.value;
    if (!value) return undefined; // not ours
    const config = JSON.parse(Buffer.from(value).toString()) as ContainerConfig;
    const startedAt = config.restartable ? await this.#files.started(config.id) : undefined;
    const exit = (await this.#files.exit(config.id)) ?? exitOf(task) ?? lostExit(task, startedAt);
    const created = config.restartable && !task;
    const status = exit ? 'stopped' : created ? 'created' : statusOf(task);
    return {
      id: config.id,
      name: config.name,
      image: config.image,
      labels: config.labels,
      createdAt: isoTime(container.createdAt),
      ...(startedAt !== undefined && { startedAt }),
      status,
      pid: status === 'running' || status === 'paused' ? task!.pid : 0,
      exitCode: exit?.exitCode ?? 0,
      exitedAt: exit?.exitedAt,
      config,
    };
  }

  async #usersOf(image: LocalImage): Promise<UserDatabase> {
    if (image.snapshot === undefined) return { passwd: '', group: '' };
    const known = this.#users.get(image.snapshot);
    if (known) return known;
    const id = `skein-users-${unique()}`;
    const users = await this.#api.leased(id, this.#options.clock.now(), (call) =>
      readUsers(this.#api, image.snapshot!, id, call),
    );
    this.#users.set(image.snapshot, users);
    return users;
  }

  async #prepareRoot(id: ContainerId, image: LocalImage): Promise<void> {
    const snapshot = { snapshotter: SNAPSHOTTER, key: id };
    await unless('not-found', this.#api.snapshots.remove(snapshot)); // of a container of this id, half removed
    await this.#api.snapshots.prepare({ ...snapshot, parent: image.snapshot ?? '' });
  }

  async #createTask(config: ContainerConfig, { fill }: Pick<ResolvedMounts, 'fill'>): Promise<void> {
    const { id } = config;
    const { mounts } = await this.#api.snapshots.mounts({ snapshotter: SNAPSHOTTER, key: id });
    const folder = this.#files.folder(id);
    await this.#api.tasks.create(
      {
        containerId: id,
        rootfs: mounts,
        terminal: config.spec.TTY ?? false,
        stdin: config.spec.OpenStdin ? await this.#makeStdin(id) : '',
        stdout: join(folder, 'stdout'),
        stderr: config.spec.TTY ? '' : join(folder, 'stderr'),
        options: this.#runcOptions(),
      },
      { timeoutMs: CREATE_TIMEOUT_MS },
    );
    for (const { volume, target } of fill) await fillVolume(this.#run, this.#rootfs(id), target, volume);
  }

  /** The process of a restartable container that does not run. */
  async #createAgain(id: ContainerId): Promise<Pick<Process, 'status' | 'pid'>> {
    const info = await this.get(id);
    if (!info?.config.restartable) throw new SkeinError('not-found', `No such container: ${id}`);
    const { config } = info;
    await this.#ending.get(id);
    await this.#files.setStarted(id, timestamp(this.#options.clock.now()));
    try {
      const image = await this.images.local(config.image);
      await this.#createTask(config, await this.#mounts(config, image?.run));
      await this.#stopTail(id); // of the life before; two would record everything twice
      await this.#tail(config);
    } catch (error) {
      await this.#files.setExit(id, { exitCode: 128, exitedAt: timestamp(this.#options.clock.now()) });
      throw ociError(error, 'failed to create task for container');
    }
    return { status: Status.CREATED, pid: 0 };
  }

  #mounts({ id, spec }: ContainerConfig, image: ImageRunConfig | undefined): Promise<ResolvedMounts> {
    return resolveMounts(id, spec.Mounts ?? [], Object.keys(image?.Volumes ?? {}), this.#volumes);
  }

  #stdinPath(id: ContainerId): string {
    return join(this.#options.runRoot, 'stdin', id);
  }

  async #makeStdin(id: ContainerId): Promise<string> {
    const path = this.#stdinPath(id);
    await mkdir(join(this.#options.runRoot, 'stdin'), { recursive: true, mode: 0o700 });
    await rm(path, { force: true });
    makeFifo(path);
    return path;
  }

  async #removeTask(id: ContainerId): Promise<void> {
    const task = await this.#task(id);
    if (!task) return;
    if (task.status !== Status.STOPPED) {
      await this.kill(id, SIGKILL);
      await this.#untilEnded(id);
    }
    await this.#ending.get(id);
    await this.#deleteTask(id);
  }

  /** Its end may be dealt with while we wait: the shim goes, and the call to it breaks off. */
  async #untilEnded(id: ContainerId): Promise<void> {
    try {
      await this.#api.tasks.wait({ containerId: id }, { timeoutMs: END_TIMEOUT_MS });
    } catch (error) {
      if (await this.#task(id)) throw error;
    }
  }

  /** One deletion at a time: the shim ends with it, and a second one would find it gone in the middle of its work. */
  #deleteTask(id: ContainerId): Promise<void> {
    const running = this.#deleting.get(id);
    if (running) return running;
    const work = (async () => {
      try {
        await unless(
          'not-found',
          this.#api.tasks.delete({ containerId: id }, { timeoutMs: CREATE_TIMEOUT_MS }),
        );
      } catch (error) {
        if (await this.#task(id)) throw error;
      }
    })().finally(() => this.#deleting.delete(id));
    this.#deleting.set(id, work);
    return work;
  }

  #tail(config: ContainerConfig): Promise<Tailer> {
    const { id, spec } = config;
    const { clock, log, logCap = DEFAULT_LOG_CAP } = this.#options;
    const known = this.#tailers.get(id);
    if (known) return known;
    const tailer = new Tailer({
      folder: this.#files.folder(id),
      streams: streamsOf(config),
      interactive: (spec.TTY ?? false) || (spec.OpenStdin ?? false),
      cap: logCap,
      clock,
      log,
      punch: punchHole,
    });
    const started = tailer.start();
    this.#tailers.set(id, started);
    return started;
  }

  async #stopTail(id: ContainerId): Promise<void> {
    const tailer = this.#tailers.get(id);
    this.#tailers.delete(id);
    await (await tailer?.catch(() => undefined))?.stop();
  }

  /** Folders of containers that are no more: their removal was cut short. */
  async #sweep(): Promise<void> {
    const known = new Set((await this.list()).map((info) => info.id));
    for (const id of await this.#files.list()) if (!known.has(id)) await this.remove(id);
  }

  /** Starts a tailer for every container with output to read, and finishes what ended in the meantime. */
  async #adopt(): Promise<void> {
    for (const info of await this.list()) {
      try {
        await this.#adoptOne(info);
      } catch (error) {
        // One damaged container must not keep the node from starting.
        this.#options.log.error('container could not be adopted', { 'container.id': info.id, err: error });
      }
    }
  }

  async #adoptOne(info: ContainerInfo): Promise<void> {
    await this.#files.create(info.id, streamsOf(info.config), []);
    await this.#tail(info.config);
    if (info.status === 'stopped') await this.#end(info.id, info);
    else if (info.status === 'unknown') await this.#finishTail(info.id);
  }

  async #watch(): Promise<void> {
    for await (const event of this.#events.events(this.#stop.signal)) {
      try {
        if (event.type === 'exit')
          void this.#end(event.id, { exitCode: event.exitCode, exitedAt: event.time });
        else if (event.type === 'resync') await this.#settle();
      } catch (error) {
        if (!this.#stop.signal.aborted)
          this.#options.log.warn('event of a container was not dealt with', { err: error });
      }
    }
  }

  /** What ended while nobody listened. */
  async #settle(): Promise<void> {
    for (const info of await this.list()) {
      const tailer = await this.#tailers.get(info.id)?.catch(() => undefined);
      if (!tailer || tailer.finished) continue;
      if (info.status === 'stopped') void this.#end(info.id, info);
      else if (info.status === 'unknown') void this.#finishTail(info.id);
    }
  }

  /** Keeps how it ended, lets its shim go (which first writes out the rest of the output), reads that rest. */
  #end(id: ContainerId, exit: { exitCode: number; exitedAt: string | undefined }): Promise<void> {
    const running = this.#ending.get(id);
    if (running) return running;
    const work = this.#endOnce(id, { exitCode: exit.exitCode, exitedAt: exit.exitedAt ?? '' })
      .catch((error: unknown) => {
        if (!this.#stop.signal.aborted)
          this.#options.log.warn('end of a container was not recorded', { 'container.id': id, err: error });
      })
      .finally(() => this.#ending.delete(id));
    this.#ending.set(id, work);
    return work;
  }

  async #endOnce(id: ContainerId, exit: Exit): Promise<void> {
    if (!this.#tailers.has(id)) return; // being removed, or none of ours
    await this.#files.setExit(id, exit);
    await this.#deleteTask(id);
    await this.#finishTail(id);
  }

  async #finishTail(id: ContainerId): Promise<void> {
    await (await this.#tailers.get(id)?.catch(() => undefined))?.finish();
  }
}

const unique = (): string => randomBytes(8).toString('hex');
