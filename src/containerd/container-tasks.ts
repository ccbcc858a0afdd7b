/**
 * The processes of containers: containerd's tasks, each with its shim. Made, found, and taken away; what a container
 * is and keeps is containerd.ts's business.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { create as message, toBinary } from '@bufbuild/protobuf';
import { isCode, SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import { type ContainerdApi, NAMESPACE, unless } from './api.ts';
import { makeFifo } from './fifo.ts';
import { OptionsSchema } from './gen/runc-options_pb.js';
import type { Mount } from './gen/types_pb.js';
import { type Process, Status } from './gen/task-types_pb.js';
import { ociError, streamsOf } from './container-record.ts';
import type { StreamName } from './log-record.ts';
import type { ContainerConfig } from './runtime.ts';

/** An image's first container on a cold disk. */
const CREATE_TIMEOUT_MS = 60_000;
const END_TIMEOUT_MS = 10_000;
const SIGKILL = 9;
/** In the words of runc and the shim: its process has ended, though its task does not say so yet. */
const ENDED = /\b(?:stopped|deleted) (?:container|state)\b|container does not exist/;
/** What they quote is a user's. */
const QUOTED = /"(?:[^"\\]|\\.)*"/g;
/** Where there is no process, or it is not known which. */
const NONE = 0;

export class ContainerTasks {
  readonly #api: ContainerdApi;
  readonly #runRoot: string;
  readonly #deleting = new Map<ContainerId, Promise<void>>();
  /** Of the task that this skeind made last, NONE where that has gone. */
  readonly #pids = new Map<ContainerId, number>();

  constructor(api: ContainerdApi, runRoot: string) {
    this.#api = api;
    this.#runRoot = runRoot;
  }

  async prepare(): Promise<void> {
    await mkdir(join(this.#runRoot, 'runc'), { recursive: true, mode: 0o711 });
    await mkdir(join(this.#runRoot, 'stdin'), { recursive: true, mode: 0o700 });
  }

  async get(id: ContainerId): Promise<Process | undefined> {
    return (await unless('not-found', this.#api.tasks.get({ containerId: id })))?.process;
  }

  /** Something that is done to what is running or paused; anything else is refused, also what has ended meanwhile. */
  async inRunning<T>(id: ContainerId, act: (task: Process) => Promise<T>): Promise<T> {
    const task = await this.#running(id);
    try {
      return await act(task);
    } catch (error) {
      if (ENDED.test(SkeinError.from(error).message.replace(QUOTED, ''))) throw notRunning(id);
      await this.#running(id);
      throw error;
    }
  }

  async #running(id: ContainerId): Promise<Process> {
    const task = await this.get(id);
    if (isUp(task)) return task;
    throw notRunning(id);
  }

  /** Where the root file system of a container with a task is mounted. */
  rootfs(id: ContainerId): string {
    const state = join(this.#runRoot, 'containerd', 'state', 'io.containerd.runtime.v2.task');
    return join(state, NAMESPACE, id, 'rootfs');
  }

  /** runc's own state is private too; its default is one folder for the whole machine. */
  runcOptions() {
    const root = join(this.#runRoot, 'runc');
    return {
      typeUrl: 'containerd.runc.v1.Options',
      value: toBinary(OptionsSchema, message(OptionsSchema, { root })),
    };
  }

  /** On this root file system; its output goes to the files of these names in the folder, or nowhere, where none is kept. */
  async create(config: ContainerConfig, rootfs: Mount[], outputs: string): Promise<void> {
    const { id, spec } = config;
    const kept = streamsOf(config);
    const output = (stream: StreamName) => (kept.includes(stream) ? join(outputs, stream) : '/dev/null');
    const stdin = spec.OpenStdin ? await this.#makeStdin(id) : '';
    try {
      const { pid } = await this.#api.tasks.create(
        {
          containerId: id,
          rootfs,
          terminal: spec.TTY ?? false,
          stdin,
          stdout: output('stdout'),
          stderr: spec.TTY ? '' : output('stderr'),
          options: this.runcOptions(),
        },
        { timeoutMs: CREATE_TIMEOUT_MS },
      );
      this.#pids.set(id, pid);
    } catch (error) {
      this.#pids.delete(id); // it may have been made all the same
      throw error;
    }
  }

  /** A process whose end was dealt with, though it is told of only now: its task is gone, and there may be a next. */
  isPast(id: ContainerId, pid: number): boolean {
    const known = this.#pids.get(id);
    return known !== undefined && pid !== NONE && known !== pid;
  }

  /** Its process runs, with this pid; `not-found` where it was not created, or has ended and gone. */
  async start(id: ContainerId): Promise<number> {
    try {
      return (await this.#api.tasks.start({ containerId: id }, { timeoutMs: CREATE_TIMEOUT_MS })).pid;
    } catch (error) {
      throw ociError(error, 'failed to start container');
    }
  }

  /** False where it has ended already: containerd says not found, or runc's own words for a process that is gone. */
  async kill(id: ContainerId, signal: number): Promise<boolean> {
    try {
      await this.#api.tasks.kill({ containerId: id, signal });
      return true;
    } catch (error) {
      if (isCode(error, 'not-found')) return false;
      const task = await this.get(id);
      if (task && task.status !== Status.STOPPED) throw error;
      return false;
    }
  }

  /** What runs is killed; its end may be dealt with by others at the same time (`settled` waits for them). */
  async remove(id: ContainerId, settled: () => Promise<unknown>): Promise<void> {
    const task = await this.get(id);
    if (task) {
      if (task.status !== Status.STOPPED) {
        await this.kill(id, SIGKILL);
        await this.#untilEnded(id);
      }
      await settled();
      await this.delete(id);
    }
    await rm(this.#stdinPath(id), { force: true });
    this.#pids.delete(id);
  }

  /** One deletion at a time: the shim ends with it, and a second one would find it gone in the middle of its work. */
  delete(id: ContainerId): Promise<void> {
    const running = this.#deleting.get(id);
    if (running) return running;
    const work = this.#delete(id)
      .then(() => void this.#pids.set(id, NONE))
      .finally(() => this.#deleting.delete(id));
    this.#deleting.set(id, work);
    return work;
  }

  async #delete(id: ContainerId): Promise<void> {
    try {
      await unless(
        'not-found',
        this.#api.tasks.delete({ containerId: id }, { timeoutMs: CREATE_TIMEOUT_MS }),
      );
    } catch (error) {
      if (await this.get(id)) throw error;
    }
  }

  /** Its end may be dealt with while we wait: the shim goes, and the call to it breaks off. */
  async #untilEnded(id: ContainerId): Promise<void> {
    try {
      await this.#api.tasks.wait({ containerId: id }, { timeoutMs: END_TIMEOUT_MS });
    } catch (error) {
      if (await this.get(id)) throw error;
    }
  }

  #stdinPath(id: ContainerId): string {
    return join(this.#runRoot, 'stdin', id);
  }

  async #makeStdin(id: ContainerId): Promise<string> {
    const path = this.#stdinPath(id);
    await rm(path, { force: true });
    makeFifo(path);
    return path;
  }
}

export const isUp = (task: Process | undefined): task is Process =>
  task?.status === Status.RUNNING || task?.status === Status.PAUSED;

const notRunning = (id: ContainerId): SkeinError =>
  new SkeinError('failed-precondition', `container ${id} is not running`);
