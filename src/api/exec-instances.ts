/**
 * Commands in containers as Docker's API has them: made, then started once, asked about, and forgotten. Known in memory
 * only: a restart of skeind ends the streams, the processes run on, and their ids are known no more.
 *
 * INVARIANT: at most MAX_ENDED instances that do not run are kept; the oldest are forgotten first.
 */
import { containerEvent, execAction } from '../containerd/container-event.ts';
import type { ExecConfig, ExecProcess, TerminalSize } from '../containerd/process.ts';
import type { ContainerInfo } from '../containerd/runtime.ts';
import type { Tell } from '../kit/event-log.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import type { EngineBackend } from './backend.ts';
import { notFound } from './http-error.ts';

export interface ExecRequest extends Omit<ExecConfig, 'size'> {
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly detachKeys: string;
}

export interface ExecInstance {
  readonly id: string;
  readonly containerId: ContainerId;
  readonly request: ExecRequest;
  readonly state: 'created' | 'running' | 'ended';
  /** 0 until it was started. */
  readonly pid: number;
  readonly exitCode: number | undefined;
}

interface Entry extends ExecInstance {
  readonly container: ContainerInfo;
  state: ExecInstance['state'];
  pid: number;
  exitCode: number | undefined;
  size: TerminalSize | undefined;
  process: ExecProcess | undefined;
}

const MAX_ENDED = 1000;
const NOT_FOUND = 127;
const NOT_RUNNABLE = 126;

export class ExecInstances {
  readonly #engine: Pick<EngineBackend, 'exec'>;
  readonly #newId: () => string;
  readonly #tell: Tell;
  readonly #entries = new Map<string, Entry>();

  constructor(engine: Pick<EngineBackend, 'exec'>, newId: () => string, tell: Tell) {
    this.#engine = engine;
    this.#tell = tell;
    this.#newId = newId;
  }

  create(container: ContainerInfo, request: ExecRequest, size: TerminalSize | undefined): string {
    const id = this.#newId();
    const fresh = { state: 'created', pid: 0, exitCode: undefined, process: undefined } as const;
    const entry = { id, container, containerId: container.id, request, size, ...fresh };
    this.#entries.set(id, entry);
    this.#say(entry, execAction('exec_create', request.args));
    this.#forget();
    return id;
  }

  get(id: string): ExecInstance {
    return this.#entry(id);
  }

  /** Refuses a second start, before the connection is taken over. */
  checkStart(id: string): void {
    const { state } = this.#entry(id);
    if (state === 'created') return;
    const words = state === 'running' ? 'is already running' : 'has already run';
    throw new SkeinError('failed-precondition', `Error: Exec command ${id} ${words}`);
  }

  async start(
    id: string,
    options: { detach: boolean; size?: TerminalSize | undefined },
  ): Promise<ExecProcess> {
    this.checkStart(id);
    const entry = this.#entry(id);
    entry.state = 'running';
    const { request } = entry;
    this.#say(entry, execAction('exec_start', request.args));
    try {
      const process = await this.#engine.exec(entry.containerId, {
        ...request,
        stdin: request.stdin && !options.detach,
        output: request.output && !options.detach,
        size: options.size ?? entry.size,
      });
      entry.process = process;
      entry.pid = process.pid;
      void process.exit.then((code) => this.#ended(entry, code));
      return process;
    } catch (error) {
      this.#ended(entry, startFailure(error));
      throw error;
    }
  }

  async resize(id: string, size: TerminalSize): Promise<void> {
    const entry = this.#entry(id);
    entry.size = size; // for a start that is yet to come
    await entry.process?.resize(size);
  }

  #entry(id: string): Entry {
    const entry = this.#entries.get(id);
    if (!entry) throw notFound(`No such exec instance: ${id}`);
    return entry;
  }

  #ended(entry: Entry, code: number): void {
    entry.state = 'ended';
    entry.exitCode = code;
    entry.process = undefined;
    // Its age counts from here: whoever waited for it asks for its exit code next.
    this.#entries.delete(entry.id);
    this.#entries.set(entry.id, entry);
    this.#forget();
    this.#say(entry, 'exec_die', { exitCode: String(code) });
  }

  #say({ id, container }: Entry, action: string, more: Readonly<Record<string, string>> = {}): void {
    this.#tell(containerEvent(container, action, { execID: id, ...more }));
  }

  #forget(): void {
    const idle = [...this.#entries.values()].filter((entry) => entry.state !== 'running');
    for (const entry of idle.slice(0, -MAX_ENDED)) this.#entries.delete(entry.id);
  }
}

/** The exit codes of a shell, which the docker CLI passes on. */
const startFailure = (error: unknown): number =>
  /executable file not found|no such file or directory/.test(SkeinError.from(error).message)
    ? NOT_FOUND
    : NOT_RUNNABLE;
