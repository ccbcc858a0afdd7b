/**
 * A ContainerRuntime in memory, for everything above it. Containers run until killed unless a program is set for
 * them; tests end them, write their output, make calls fail or take time, and take the machine down.
 */
import { PassThrough, type Writable } from 'node:stream';
import { type Clock, sleep, timestamp } from '../kit/clock.ts';
import { isCode, SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import { checkReadable } from './container-record.ts';
import { FakeArchives } from './fake-archives.ts';
import { type FakeExec, fakeExec } from './fake-exec.ts';
import { FakeImages } from './fake-images.ts';
import { FakeVolumes } from './fake-volumes.ts';
import { parseTime } from './log-record.ts';
import { Mailboxes } from './mailboxes.ts';
import { planMounts } from './mounts.ts';
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
import type { ExecConfig, ExecProcess, TerminalSize } from './process.ts';
import { signalNumber } from './signal.ts';
import type { Usage } from './usage.ts';

/** A running container, as its program sees it. */
export interface FakeProcess {
  readonly config: ContainerConfig;
  print(stream: 'stdout' | 'stderr', text: string): void;
  exit(code: number): void;
  /** What is written to its input. */
  readonly stdin: PassThrough;
}

export type FakeCall =
  | 'version'
  | 'list'
  | 'get'
  | 'create'
  | 'start'
  | 'kill'
  | 'remove'
  | 'logs'
  | 'exec'
  | 'pause'
  | 'resume'
  | 'pull'
  | 'load';

interface Entry {
  info: ContainerInfo;
  stdin: PassThrough;
  readonly lines: LogLine[];
}

const SIGTERM = 15;
const SIGKILL = 9;

export class FakeRuntime implements ContainerRuntime {
  readonly images: FakeImages;
  readonly volumes: FakeVolumes;
  readonly archives = new FakeArchives();
  /** What was called, in order: `create <id>`, `kill <id> SIGTERM`. */
  readonly calls: string[] = [];
  /** What containers do when started; nothing: they run until killed. */
  program: (process: FakeProcess) => void = () => {};
  /** What processes started beside them do; nothing: they end at once, with 0. */
  execProgram: (exec: FakeExec) => void = ({ exit }) => exit(0);
  /** Containers end at SIGTERM, with 143; set to false for programs that do not listen. */
  endsOnTerm = true;
  /** How long a call takes, ms. */
  readonly delays: Partial<Record<FakeCall, number>> = {};
  readonly #clock: Clock;
  readonly #entries = new Map<ContainerId, Entry>();
  readonly #failures = new Map<FakeCall, SkeinError[]>();
  readonly #mailboxes = new Mailboxes();
  readonly #waiting = new Set<() => void>();
  #nextPid = 1000;
  #down: SkeinError | undefined;

  constructor(options: { clock: Clock }) {
    this.#clock = options.clock;
    this.images = new FakeImages((call, what) => this.#enter(call, what));
    this.volumes = new FakeVolumes(options.clock, () => [...this.#entries.values()].map(({ info }) => info));
  }

  /** The next calls of this kind fail, one error each. */
  fail(call: FakeCall, ...errors: SkeinError[]): void {
    this.#failures.set(call, [...(this.#failures.get(call) ?? []), ...errors]);
  }

  /** containerd is not there: every call is `unavailable` until `up`. */
  down(): void {
    this.#down = new SkeinError('unavailable', 'containerd: no connection');
  }

  up(): void {
    this.#down = undefined;
    this.#mailboxes.send({ type: 'resync' });
  }

  /** The process of a container ends. */
  exit(id: ContainerId, code: number): void {
    const entry = this.#entries.get(id);
    if (!entry || !isAlive(entry.info)) return;
    const time = timestamp(this.#clock.now());
    const { pid } = entry.info;
    entry.info = { ...entry.info, status: 'stopped', pid: 0, exitCode: code, exitedAt: time };
    this.#mailboxes.send({ type: 'exit', id, pid, exitCode: code, time });
    this.#wake();
  }

  /** The kernel kills a process of it, for its memory is used up. */
  starve(id: ContainerId): void {
    const entry = this.#entries.get(id);
    if (!entry) return;
    entry.info = { ...entry.info, oomKilled: true };
    this.#mailboxes.send({ type: 'oom', id });
  }

  print(id: ContainerId, stream: 'stdout' | 'stderr', text: string): void {
    const entry = this.#entries.get(id);
    for (const line of text.match(/[^\n]*\n|[^\n]+$/g) ?? [])
      entry?.lines.push({ stream, time: timestamp(this.#clock.now()), data: Buffer.from(line) });
    this.#wake();
  }

  /** The machine was switched off and on: containers are known, none runs, how they ended is not known. */
  reboot(): void {
    for (const entry of this.#entries.values()) {
      if (!isAlive(entry.info)) continue;
      const { restartable } = entry.info.config;
      if (!restartable) entry.info = { ...entry.info, status: 'unknown', pid: 0 };
      else if (entry.info.status !== 'created')
        entry.info = { ...entry.info, status: 'stopped', pid: 0, exitCode: 255 };
    }
    this.#mailboxes.send({ type: 'resync' });
    this.#wake();
  }

  /** The event stream broke and was opened again. */
  resync(): void {
    this.#mailboxes.send({ type: 'resync' });
  }

  async version(): Promise<{ containerd: string; revision: string; runc: string }> {
    await this.#enter('version', '');
    return { containerd: '1.6.20', revision: 'fake', runc: '1.1.5' };
  }

  async list(): Promise<readonly ContainerInfo[]> {
    await this.#enter('list', '');
    return [...this.#entries.values()].map((entry) => entry.info);
  }

  async get(id: ContainerId): Promise<ContainerInfo | undefined> {
    await this.#enter('get', id);
    return this.#entries.get(id)?.info;
  }

  async create(config: ContainerConfig, making: Making = {}): Promise<ContainerInfo> {
    await this.#enter('create', config.id);
    const found = making.image ?? (await this.images.local(config.image));
    if (!found) throw new SkeinError('not-found', `No such image: ${config.image}`);
    if (this.#entries.has(config.id))
      throw new SkeinError('already-exists', `container ${config.id} exists already`);
    const { id, name, image, labels } = config;
    const createdAt = timestamp(this.#clock.now());
    const plan = planMounts(id, config.spec.Mounts ?? [], [], (volume) => this.volumes.path(volume));
    for (const mount of plan) this.volumes.ready(mount);
    const mounts = plan.map(({ point }) => point);
    const info: ContainerInfo = {
      ...{ id, name, image, imageId: found.id, labels, createdAt, config, mounts },
      ...{ status: 'created', pid: 0, exitCode: 0, startError: '', exitedAt: undefined, oomKilled: false },
    };
    await this.#surrounded(info, making);
    this.images.use(id, image, () => isAlive(this.#entries.get(id)?.info));
    this.#mailboxes.send({ type: 'create', id, info });
    return info;
  }

  /** Half made meanwhile; whoever was canceled is dead, and cleans nothing up. */
  async #surrounded(info: ContainerInfo, { namespace, surroundings }: Making): Promise<void> {
    const entry: Entry = { info: { ...info, status: 'unknown' }, stdin: new PassThrough(), lines: [] };
    this.#entries.set(info.id, entry);
    try {
      await namespace?.();
      await surroundings?.();
    } catch (error) {
      if (!isCode(error, 'canceled')) this.#entries.delete(info.id);
      throw error;
    }
    entry.info = info;
  }

  async start(id: ContainerId): Promise<number> {
    await this.#enter('start', id);
    const entry = this.#entries.get(id);
    if (!entry || entry.info.status === 'unknown')
      throw new SkeinError('not-found', `No such container: ${id}`);
    if (entry.info.status === 'running') return entry.info.pid;
    if (entry.info.config.restartable) this.#again(entry);
    else if (entry.info.status !== 'created')
      throw new SkeinError('failed-precondition', `failed to start container: it has ended`);
    const pid = this.#nextPid++;
    entry.info = { ...entry.info, status: 'running', pid };
    this.#mailboxes.send({ type: 'start', id });
    this.program({
      config: entry.info.config,
      print: (stream, text) => this.print(id, stream, text),
      exit: (code) => this.exit(id, code),
      stdin: entry.stdin,
    });
    return pid;
  }

  async kill(id: ContainerId, signal: string | number): Promise<void> {
    const number = signalNumber(signal);
    await this.#enter('kill', `${id} ${signal}`);
    if (isAlive(this.#entries.get(id)?.info)) this.#mailboxes.send({ type: 'kill', id, signal: number });
    if (number === SIGKILL || (number === SIGTERM && this.endsOnTerm)) this.exit(id, 128 + number);
  }

  async remove(id: ContainerId, { keepVolumes = false }: { keepVolumes?: boolean } = {}): Promise<void> {
    await this.#enter('remove', id);
    const entry = this.#entries.get(id);
    if (!entry) return;
    this.exit(id, 137);
    this.#entries.delete(id);
    if (!keepVolumes)
      for (const { name, anonymous } of entry.info.mounts) if (anonymous) await this.volumes.remove(name!);
    this.images.free(id);
    this.#mailboxes.send({ type: 'delete', id });
    this.#wake();
  }

  events(signal: AbortSignal): AsyncGenerator<ContainerEvent> {
    return this.#mailboxes.read(signal);
  }

  announce(id: ContainerId, action: string, attributes: Readonly<Record<string, string>> = {}): void {
    this.#mailboxes.send({ type: 'announced', id, action, attributes });
  }

  async *logs(id: ContainerId, query: LogQuery, signal: AbortSignal): AsyncGenerator<LogLine> {
    await this.#enter('logs', id);
    const entry = this.#entries.get(id);
    if (!entry) throw new SkeinError('not-found', `No such container: ${id}`);
    checkReadable(entry.info.config, query);
    const since = query.since ? (parseTime(query.since) ?? 0n) : 0n;
    const until = query.until ? parseTime(query.until) : undefined;
    const matches = (line: LogLine): boolean =>
      query[line.stream] &&
      parseTime(line.time)! >= since &&
      (until === undefined || parseTime(line.time)! <= until);
    let at = entry.lines.length;
    const past = entry.lines.filter(matches);
    yield* query.tail === undefined ? past : past.slice(Math.max(0, past.length - query.tail));
    while (query.follow && !signal.aborted) {
      const line = entry.lines[at];
      if (line) {
        at++;
        if (matches(line)) yield line;
      } else if (!this.#entries.has(id) || !isAlive(entry.info)) return;
      else await this.#change(signal);
    }
  }

  async stdin(id: ContainerId): Promise<Writable> {
    const entry = this.#running(id);
    if (!entry.info.config.spec.OpenStdin)
      throw new SkeinError('failed-precondition', `container ${id} has no open input`);
    return entry.stdin;
  }

  /** Sizes that containers' terminals were given, in order. */
  readonly sizes: TerminalSize[] = [];

  async resize(_id: ContainerId, size: TerminalSize): Promise<void> {
    this.sizes.push(size);
  }

  async pause(id: ContainerId): Promise<void> {
    await this.#enter('pause', id);
    const entry = this.#running(id);
    entry.info = { ...entry.info, status: 'paused' };
    this.#mailboxes.send({ type: 'pause', id });
  }

  async resume(id: ContainerId): Promise<void> {
    await this.#enter('resume', id);
    const entry = this.#running(id);
    entry.info = { ...entry.info, status: 'running' };
    this.#mailboxes.send({ type: 'resume', id });
  }

  /** What every container uses. */
  used: Usage = {
    cpu: { total: 0, user: 0, kernel: 0 },
    system: 0,
    memory: { usage: 0, limit: 0, inactiveFile: 0 },
    pids: 1,
    networks: {},
  };

  async usage(id: ContainerId): Promise<Usage | undefined> {
    const { status } = this.#entries.get(id)?.info ?? {};
    return status === 'running' || status === 'paused' ? this.used : undefined;
  }

  async pids(id: ContainerId): Promise<readonly number[]> {
    return [this.#running(id).info.pid];
  }

  #again(entry: Entry): void {
    const startedAt = timestamp(this.#clock.now());
    entry.info = { ...entry.info, status: 'created', exitCode: 0, exitedAt: undefined, startedAt };
    entry.stdin = new PassThrough();
  }

  #running(id: ContainerId): Entry {
    const entry = this.#entries.get(id);
    if (entry?.info.status === 'running' || entry?.info.status === 'paused') return entry;
    throw new SkeinError('failed-precondition', `container ${id} is not running`);
  }

  /** What `written` says, where a test says so. */
  readonly writes = new Map<ContainerId, number>();

  async written(id: ContainerId): Promise<number> {
    return this.writes.get(id) ?? 0;
  }

  async update(id: ContainerId, { name, limits, notes }: ContainerChange): Promise<void> {
    const entry = this.#entries.get(id);
    if (!entry) throw new SkeinError('not-found', `No such container: ${id}`);
    const { config } = entry.info;
    const changed = {
      ...config,
      name: name ?? config.name,
      limits: { ...config.limits, ...limits },
      notes: notes ?? config.notes,
    };
    entry.info = { ...entry.info, name: changed.name, config: changed };
  }

  async exec(id: ContainerId, config: ExecConfig): Promise<ExecProcess> {
    await this.#enter('exec', `${id} ${config.args.join(' ')}`);
    const info = this.#entries.get(id)?.info;
    if (!info) throw new SkeinError('not-found', `No such container: ${id}`);
    if (info.status !== 'running')
      throw new SkeinError('failed-precondition', `container ${id} is not running`);
    return fakeExec(info.config, config, this.#nextPid++, (exec) => this.execProgram(exec));
  }

  async #enter(call: FakeCall, what: string): Promise<void> {
    this.calls.push(what === '' ? call : `${call} ${what}`);
    const delay = this.delays[call];
    if (delay) await sleep(this.#clock, delay);
    if (this.#down) throw this.#down;
    const failure = this.#failures.get(call)?.shift();
    if (failure) throw failure;
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.add(resolve);
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }
}

const isAlive = (info: ContainerInfo | undefined): boolean =>
  info?.status === 'created' || info?.status === 'running' || info?.status === 'paused';
