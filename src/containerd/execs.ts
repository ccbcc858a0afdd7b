/**
 * Processes beside a container's own: started by containerd, spoken to through named pipes in `<runRoot>/exec`.
 *
 * INVARIANTS
 * - A process outlives skeind. What it prints while nobody reads waits in its pipe; the next skeind reads it away, so
 *   that the process never hangs on a reader that is gone (`adopt`).
 * - The record of a process at its shim is deleted only when its output has ended, or when it has ended itself and
 *   nothing came for IDLE_MS: a child left in the background may hold the pipes for ever.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { type Clock, sleep } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import { isCode, SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import { type ContainerdApi, unless } from './api.ts';
import { makeFifo, openReader, openWriter } from './fifo.ts';
import { Status } from './gen/task-types_pb.js';
import type { OciProcess } from './oci-process.ts';
import type { ExecConfig, ExecProcess } from './process.ts';
import { signalNumber } from './signal.ts';
import { stdinPipe } from './stdin-pipe.ts';

const PROCESS_TYPE = 'types.containerd.io/opencontainers/runtime-spec/1/Process';
const START_TIMEOUT_MS = 60_000;
/** One wait; asked again after it. */
const WAIT_MS = 24 * 3600_000;
const RETRY_MS = 200;
const CLEAR_TRIES = 5;
const IDLE_MS = 500;
/** What a process counts as ended with whose end nobody saw: its container went with it. */
const KILLED = 137;

interface Pipes {
  readonly folder: string;
  readonly stdin: Socket | undefined;
  readonly outputs: readonly Socket[];
}

export interface ExecsOptions {
  readonly api: ContainerdApi;
  readonly runRoot: string;
  readonly clock: Clock;
  readonly log: Log;
}

export class Execs {
  readonly #options: ExecsOptions;
  readonly #root: string;
  readonly #stop = new AbortController();
  readonly #open = new Set<Pipes>();

  constructor(options: ExecsOptions) {
    this.#options = options;
    this.#root = join(options.runRoot, 'exec');
  }

  async start(containerId: ContainerId, config: ExecConfig, process: OciProcess): Promise<ExecProcess> {
    const { tasks } = this.#options.api;
    const at = { containerId, execId: randomBytes(16).toString('hex') };
    const pipes = await this.#pipes(at, config);
    const path = (name: string) => join(pipes.folder, name);
    try {
      await tasks.exec({
        ...at,
        terminal: config.tty,
        stdin: config.stdin ? path('stdin') : '',
        stdout: config.output ? path('stdout') : '/dev/null',
        stderr: config.tty ? '' : config.output ? path('stderr') : '/dev/null',
        spec: { typeUrl: PROCESS_TYPE, value: new Uint8Array(Buffer.from(JSON.stringify(process))) },
      });
      const { pid } = await tasks.start(at, { timeoutMs: START_TIMEOUT_MS });
      return this.#process(at, pid, config, pipes);
    } catch (error) {
      await this.#delete(at).catch(() => undefined);
      await this.#close(pipes);
      throw execError(error);
    }
  }

  /** Reads on, to nowhere, in the output of what an earlier skeind started. */
  async adopt(): Promise<void> {
    for (const name of await readdir(this.#root).catch(() => [] as string[])) {
      const [containerId = '', execId = ''] = name.split('.');
      const at = { containerId: containerId as ContainerId, execId };
      const folder = join(this.#root, name);
      const found = await unless('not-found', this.#options.api.tasks.get(at));
      const running = found?.process && found.process.status !== Status.STOPPED;
      const files = running ? await readdir(folder) : [];
      const outputs = await Promise.all(
        files.filter((file) => file !== 'stdin').map((file) => openReader(join(folder, file))),
      );
      for (const output of outputs) discard(output);
      void this.#finish(at, { folder, stdin: undefined, outputs });
    }
  }

  /** Lets go; the processes run on, and their pipes wait for the next skeind. */
  close(): void {
    this.#stop.abort();
    for (const pipes of this.#open) release(pipes);
    this.#open.clear();
  }

  #process(at: ExecAt, pid: number, config: ExecConfig, pipes: Pipes): ExecProcess {
    const { tasks } = this.#options.api;
    const [stdout, stderr] = pipes.outputs;
    const close = () => tasks.closeIO({ ...at, stdin: true });
    const stdin = pipes.stdin && stdinPipe(pipes.stdin, close, this.#options.log);
    const exit = this.#finish(at, pipes, stdin);
    return {
      ...{ pid, stdin, stdout, stderr, exit },
      resize: async (size) => {
        if (config.tty) await unless('not-found', tasks.resizePty({ ...at, ...size }));
      },
      kill: async (signal) => {
        const number = signalNumber(signal);
        await unless('not-found', tasks.kill({ ...at, signal: number }));
      },
    };
  }

  /** Resolves with the exit code; what is left is cleared away behind it. */
  #finish(at: ExecAt, pipes: Pipes, stdin?: Writable): Promise<number> {
    const exit = this.#exit(at);
    this.#open.add(pipes);
    exit
      .then(async () => {
        stdin?.destroy();
        await this.#drained(pipes.outputs);
        if (this.#stop.signal.aborted) return;
        await this.#clear(at);
        if (this.#stop.signal.aborted) return;
        await Promise.all(pipes.outputs.map(ended));
        await this.#close(pipes);
      })
      .catch((error: unknown) => {
        if (this.#stop.signal.aborted) return;
        const { containerId, execId } = at;
        const fields = { 'container.id': containerId, 'exec.id': execId, err: error };
        this.#options.log.warn('what an exec left could not be cleared', fields);
      });
    return exit;
  }

  /** Waits however long it runs, over restarts of containerd. */
  async #exit(at: ExecAt): Promise<number> {
    const { api, clock } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        return (await api.tasks.wait(at, { timeoutMs: WAIT_MS, signal })).exitStatus;
      } catch (error) {
        if (isCode(error, 'not-found')) return KILLED;
        await sleep(clock, RETRY_MS, signal);
      }
    }
    return KILLED;
  }

  /** All output has come, or it has ended and nothing comes although the reader would take it. */
  async #drained(outputs: readonly Socket[]): Promise<void> {
    const { clock } = this.#options;
    let before = -1;
    while (!this.#stop.signal.aborted && outputs.some((o) => !o.readableEnded && !o.destroyed)) {
      const read = outputs.reduce((sum, output) => sum + output.bytesRead, 0);
      if (read === before && outputs.every((output) => output.readableLength === 0)) return;
      before = read;
      const gone = new AbortController();
      void Promise.all(outputs.map(ended)).then(() => gone.abort());
      await sleep(clock, IDLE_MS, AbortSignal.any([gone.signal, this.#stop.signal]));
    }
  }

  async #pipes({ containerId, execId }: ExecAt, config: ExecConfig): Promise<Pipes> {
    const folder = join(this.#root, `${containerId}.${execId}`);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const fifo = (name: string) => {
      makeFifo(join(folder, name));
      return join(folder, name);
    };
    const names = config.output ? (config.tty ? ['stdout'] : ['stdout', 'stderr']) : [];
    return {
      folder,
      outputs: await Promise.all(names.map((name) => openReader(fifo(name)))),
      stdin: config.stdin ? await openWriter(fifo('stdin')) : undefined,
    };
  }

  /** Where its container ends too, the shim goes in the middle of it: the next try finds neither. */
  async #clear(at: ExecAt): Promise<void> {
    const { signal } = this.#stop;
    for (let left = CLEAR_TRIES; !signal.aborted; left--)
      try {
        return await this.#delete(at);
      } catch (error) {
        if (left === 1) throw error;
        await sleep(this.#options.clock, RETRY_MS, signal);
      }
  }

  async #delete(at: ExecAt): Promise<void> {
    await unless('not-found', this.#options.api.tasks.deleteProcess(at, { timeoutMs: START_TIMEOUT_MS }));
  }

  async #close(pipes: Pipes): Promise<void> {
    release(pipes);
    this.#open.delete(pipes);
    await rm(pipes.folder, { recursive: true, force: true });
  }
}

interface ExecAt {
  readonly containerId: ContainerId;
  readonly execId: string;
}

function release({ stdin, outputs }: Pipes): void {
  for (const socket of [stdin, ...outputs]) socket?.destroy();
}

const ended = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    if (socket.readableEnded || socket.destroyed) resolve();
    else socket.once('close', () => resolve());
  });

function discard(socket: Socket): void {
  socket.on('error', () => socket.destroy());
  socket.resume();
}

/** Docker shows runc's own words, from "OCI runtime exec failed" on. */
function execError(thrown: unknown): SkeinError {
  const error = SkeinError.from(thrown);
  const detail = /OCI runtime exec failed: .*$/s.exec(error.message)?.[0];
  return detail === undefined ? error : new SkeinError('invalid-argument', detail, { cause: thrown });
}
