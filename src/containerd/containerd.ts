/**
 * The real ContainerRuntime: containers by containerd and runc.
 *
 * INVARIANTS
 * - The container's record is the first thing made and the last thing removed: whatever a killed skeind leaves behind
 *   is in `list`, and `remove` clears all of it. Its snapshot is referred to by the record, so it is never collected.
 * - How a task ended is written down before its task is deleted, and it is deleted as soon as it has ended.
 * - Every container with a task has one tailer, from `create` or `open` on until all its output is recorded, and
 *   holds its volumes until its process has ended.
 * A container without a task and without a record of its end is `unknown`: it was being made, or the machine was
 * rebooted under it.
 */
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import type { Clock } from '../kit/clock.ts';
import type { Tell } from '../kit/event-log.ts';
import { KeyedLocks } from '../kit/keyed-locks.ts';
import type { Log } from '../kit/log.ts';
import { type RunProcess, runProcess } from '../kit/process.ts';
import { isCode, SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import { ContainerdApi, SNAPSHOTTER, unless } from './api.ts';
import { Archives } from './archives.ts';
import { removeCgroup } from './cgroup.ts';
import { ContainerFiles } from './container-files.ts';
import { ContainerEnds } from './container-ends.ts';
import { ContainerMaker } from './container-maker.ts';
import { ContainerOutput } from './container-output.ts';
import { ContainerReader } from './container-reader.ts';
import { changedRecord, checkReadable, readRecord, resourcesAny } from './container-record.ts';
import { ContainerRoots } from './container-roots.ts';
import { ContainerTasks, isUp } from './container-tasks.ts';
import { EventHub } from './event-hub.ts';
import { Execs } from './execs.ts';
import { openWriter } from './fifo.ts';
import { folderSize } from './folder-size.ts';
import { readHostLimits } from './host.ts';
import { readRootUsers } from './image-users.ts';
import { Images } from './images.ts';
import { queryLogs } from './log-query.ts';
import { execProcess, type OciProcess } from './oci-process.ts';
import { type HostLimits, resourcesOf } from './oci-spec.ts';
import type { ExecConfig, ExecProcess, TerminalSize } from './process.ts';
import { RegistryClient } from './registry.ts';
import type {
  ContainerChange,
  ContainerConfig,
  ContainerEvent,
  ContainerInfo,
  ContainerRuntime,
  LogLine,
  LogQuery,
  Making,
} from './runtime.ts';
import { signalNumber } from './signal.ts';
import { readUsage, type Usage } from './usage.ts';
import { stdinPipe } from './stdin-pipe.ts';
import { LocalVolumes } from './volumes.ts';

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
  readonly fetch?: typeof fetch;
  readonly host?: HostLimits;
  /** Hears what happens to volumes. */
  readonly tell?: Tell;
}

export class Containerd implements ContainerRuntime {
  readonly images: Images;
  readonly volumes: LocalVolumes;
  readonly archives: Archives;
  readonly #api: ContainerdApi;
  readonly #options: ContainerdOptions;
  readonly #files: ContainerFiles;
  readonly #events: EventHub;
  readonly #execs: Execs;
  readonly #run: RunProcess;
  readonly #host: HostLimits;
  readonly #tasks: ContainerTasks;
  readonly #output: ContainerOutput;
  readonly #reader: ContainerReader;
  readonly #ends: ContainerEnds;
  readonly #roots: ContainerRoots;
  readonly #maker: ContainerMaker;
  /** A record is read and written back: one change after the other. */
  readonly #updates = new KeyedLocks<ContainerId>();
  #runcVersion: string | undefined;

  private constructor(api: ContainerdApi, options: ContainerdOptions) {
    this.#api = api;
    this.#options = options;
    this.#files = new ContainerFiles(join(options.dataRoot, 'containers'));
    this.#events = new EventHub(api, options.clock, options.log);
    this.#execs = new Execs({ api, runRoot: options.runRoot, clock: options.clock, log: options.log });
    this.#run = options.run ?? runProcess;
    this.#host = options.host ?? readHostLimits();
    this.#tasks = new ContainerTasks(api, options.runRoot);
    const { clock, log } = options;
    this.#output = new ContainerOutput({ files: this.#files, clock, log });
    this.#reader = new ContainerReader(api, this.#files);
    const list = () => this.list();
    const root = join(options.dataRoot, 'volumes');
    const tell = options.tell ?? (() => {});
    this.volumes = new LocalVolumes({ root, containers: list, run: this.#run, tell, clock, log });
    this.#roots = new ContainerRoots({
      ...{ api, tasks: this.#tasks, volumes: this.volumes, folder: join(options.runRoot, 'roots') },
    });
    this.archives = new Archives({ roots: this.#roots, get: (id) => this.get(id) });
    this.#ends = new ContainerEnds({
      ...{ list, events: (signal) => this.events(signal), files: this.#files, tasks: this.#tasks },
      ...{ output: this.#output, volumes: this.volumes, log },
    });
    this.images = new Images({
      api,
      clock: options.clock,
      unique,
      registry: new RegistryClient({
        insecure: options.insecureRegistries,
        fetch: options.fetch ?? fetch,
        clock: options.clock,
      }),
      users: () => this.#reader.imageUsers(),
    });
    this.#maker = new ContainerMaker({
      ...{ api, clock, log, unique, cgroupParent: options.cgroupParent, host: this.#host, run: this.#run },
      ...{ images: this.images, volumes: this.volumes, files: this.#files, reader: this.#reader },
      ...{ tasks: this.#tasks, output: this.#output, ends: this.#ends, roots: this.#roots },
      made: (info) => this.#events.tell({ type: 'create', id: info.id, info }),
      remove: (id) => this.remove(id),
    });
  }

  /** Connects, clears what belongs to no container, and reads on in the output of those that run. */
  static async open(options: ContainerdOptions): Promise<Containerd> {
    await mkdir(join(options.dataRoot, 'containers'), { recursive: true, mode: 0o711 });
    const runtime = new Containerd(new ContainerdApi(options.socket), options);
    try {
      await runtime.#tasks.prepare();
      runtime.#roots.sweep();
      await runtime.#api.ensureNamespace();
      await runtime.#sweep();
      await runtime.#ends.adopt();
      await runtime.#execs.adopt();
    } catch (error) {
      runtime.#api.close();
      throw error;
    }
    runtime.#events.start();
    runtime.#ends.watch();
    return runtime;
  }

  /** Lets go of everything; containers run on, their output waits in its files. */
  async close(): Promise<void> {
    this.#execs.close();
    await this.#events.stop();
    await this.#ends.close();
    await this.#output.close();
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

  list(): Promise<readonly ContainerInfo[]> {
    return this.#reader.list();
  }

  get(id: ContainerId): Promise<ContainerInfo | undefined> {
    return this.#reader.get(id);
  }

  create(config: ContainerConfig, making: Making = {}): Promise<ContainerInfo> {
    return this.#maker.create(config, making);
  }

  async start(id: ContainerId): Promise<number> {
    try {
      return await this.#tasks.start(id);
    } catch (error) {
      await this.#ends.settled(id);
      const task = await this.#tasks.get(id);
      if (isUp(task)) return task.pid; // it was started before
      const again = (task === undefined && isCode(error, 'not-found')) || (await this.#hasJustEnded(id));
      if (!again) throw error;
    }
    await this.#maker.createProcess(id);
    return this.#tasks.start(id);
  }

  /** Its process of before was on its way out, which containerd has many words for. It is out when this resolves. */
  async #hasJustEnded(id: ContainerId): Promise<boolean> {
    const info = await this.get(id);
    if (info?.status !== 'stopped' || !info.config.restartable) return false;
    await this.#ends.end(id, info);
    return true;
  }

  async kill(id: ContainerId, signal: string | number): Promise<void> {
    const number = signalNumber(signal);
    if (await this.#tasks.kill(id, number)) this.#events.tell({ type: 'kill', id, signal: number });
  }

  async remove(id: ContainerId, { keepVolumes = false }: { keepVolumes?: boolean } = {}): Promise<void> {
    const container = await this.#reader.record(id);
    await Promise.all([this.#ends.settled(id), this.#roots.alone(id, async () => {})]);
    await this.#tasks.remove(id, () => this.#ends.settled(id));
    await this.#output.stop(id); // an end that is heard of from here on changes nothing
    await this.#ends.settled(id);
    await unless('not-found', this.#api.snapshots.remove({ snapshotter: SNAPSHOTTER, key: id }));
    await removeCgroup(this.#options.cgroupParent, id);
    await this.#files.remove(id);
    await this.volumes.release(id);
    await unless('not-found', this.#api.containers.delete({ id }));
    if (!container || keepVolumes) return;
    for (const { name, anonymous } of readRecord(container)?.mounts ?? [])
      if (anonymous) await this.#removeAnonymous(name!);
  }

  /** Another may use it by its name by now: then it stays. */
  async #removeAnonymous(name: string): Promise<void> {
    await unless('not-found', unless('failed-precondition', this.volumes.remove(name)));
  }

  events(signal: AbortSignal): AsyncIterable<ContainerEvent> {
    return this.#events.events(signal);
  }

  announce(id: ContainerId, action: string, attributes: Readonly<Record<string, string>> = {}): void {
    this.#events.tell({ type: 'announced', id, action, attributes });
  }

  async *logs(id: ContainerId, query: LogQuery, signal: AbortSignal): AsyncIterable<LogLine> {
    const found = await this.#reader.record(id);
    if (!found) throw new SkeinError('not-found', `No such container: ${id}`);
    checkReadable(readRecord(found)?.config, query);
    const tailer = await this.#output.of(id);
    yield* queryLogs(this.#files.folder(id), query, () => tailer, signal);
  }

  async stdin(id: ContainerId): Promise<Writable> {
    const { tasks } = this.#api;
    const task = await this.#tasks.get(id);
    if (!task?.stdin) throw new SkeinError('failed-precondition', `container ${id} has no open input`);
    const close = () => tasks.closeIO({ containerId: id, stdin: true });
    return stdinPipe(await openWriter(task.stdin), close, this.#options.log);
  }

  async resize(id: ContainerId, size: TerminalSize): Promise<void> {
    await unless('not-found', this.#api.tasks.resizePty({ containerId: id, ...size }));
  }

  async pause(id: ContainerId): Promise<void> {
    await this.#tasks.inRunning(id, () => this.#api.tasks.pause({ containerId: id }));
    this.#events.tell({ type: 'pause', id });
  }

  async resume(id: ContainerId): Promise<void> {
    await this.#tasks.inRunning(id, () => this.#api.tasks.resume({ containerId: id }));
    this.#events.tell({ type: 'resume', id });
  }

  async usage(id: ContainerId): Promise<Usage | undefined> {
    const task = await this.#tasks.get(id);
    if (!isUp(task)) return undefined;
    const cgroup = join(this.#options.cgroupParent, id);
    return readUsage(cgroup, this.#host.cgroupVersion, task.pid, totalmem());
  }

  async pids(id: ContainerId): Promise<readonly number[]> {
    const { processes } = await this.#tasks.inRunning(id, () =>
      this.#api.tasks.listPids({ containerId: id }),
    );
    return processes.map(({ pid }) => pid);
  }

  async written(id: ContainerId): Promise<number> {
    const layers = await unless('not-found', this.#roots.layers(id));
    return layers ? folderSize(layers.upper) : 0;
  }

  update(id: ContainerId, change: ContainerChange): Promise<void> {
    return this.#updates.run(id, () => this.#update(id, change));
  }

  async #update(id: ContainerId, { name, limits, notes }: ContainerChange): Promise<void> {
    const container = await this.#reader.record(id);
    const config = container && readRecord(container)?.config;
    if (!config) throw new SkeinError('not-found', `No such container: ${id}`);
    const changed = {
      ...config,
      ...(name !== undefined && { name }),
      ...(notes !== undefined && { notes }),
      ...(limits && { limits: { ...config.limits, ...limits } }),
    };
    const resources = resourcesOf(changed, this.#host);
    if (limits && isUp(await this.#tasks.get(id)))
      await this.#api.tasks.update({ containerId: id, resources: resourcesAny(resources) });
    await this.#api.containers.update({
      container: changedRecord(container, changed, resources),
      updateMask: { paths: ['spec', 'extensions'] },
    });
  }

  async exec(id: ContainerId, config: ExecConfig): Promise<ExecProcess> {
    const container = await this.#reader.record(id);
    if (!container) throw new SkeinError('not-found', `No such container: ${id}`);
    const own = JSON.parse(Buffer.from(container.spec?.value ?? []).toString()) as {
      readonly process: OciProcess;
    };
    return this.#tasks.inRunning(id, async ({ pid }) => {
      const users = config.user === '' ? undefined : await readRootUsers(`/proc/${pid}/root`);
      return this.#execs.start(id, config, execProcess(own.process, config, users, this.#host));
    });
  }

  /** Folders of containers that are no more: their removal was cut short. */
  async #sweep(): Promise<void> {
    const known = new Set((await this.list()).map((info) => info.id));
    for (const id of await this.#files.list()) if (!known.has(id)) await this.remove(id);
  }
}

const unique = (): string => randomBytes(8).toString('hex');
