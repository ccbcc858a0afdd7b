/**
 * What a user does to containers of this node, be they tasks' or his own: stop, kill, remove, wait, attach. For a
 * task's container nothing is told to the manager: the worker sees what happened, and the orchestrator replaces it.
 */
import type { Writable } from 'node:stream';
import type { TerminalSize } from '../containerd/process.ts';
import {
  ALL_OUTPUT,
  type ContainerInfo,
  type ContainerRuntime,
  type LogLine,
} from '../containerd/runtime.ts';
import { signalNumber } from '../containerd/signal.ts';
import type { Usage } from '../containerd/usage.ts';
import { type Clock, timestamp } from '../kit/clock.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import type { ContainerLimits } from '../model/spec.ts';
import type { RestartPolicy, StandaloneSpec, WantedStand } from '../model/standalone.ts';
import { type ProcessTable, processTable } from './process-table.ts';
import { checkRemovable } from './removable.ts';
import type { RemoveOptions, Standalone } from './standalone.ts';
import { graceMs } from './task-plan.ts';

export interface ContainerControlOptions {
  readonly runtime: ContainerRuntime;
  readonly standalone: Standalone;
  readonly clock: Clock;
}

export type WaitCondition = 'not-running' | 'next-exit' | 'removed';

/** After SIGKILL: what takes longer hangs in the kernel. */
const KILL_MS = 10_000;

const isUp = (info: ContainerInfo | undefined): boolean =>
  info?.status === 'running' || info?.status === 'paused';

export class ContainerControl {
  readonly #runtime: ContainerRuntime;
  readonly #standalone: Standalone;

  readonly #clock: Clock;

  constructor({ runtime, standalone, clock }: ContainerControlOptions) {
    this.#clock = clock;
    this.#runtime = runtime;
    this.#standalone = standalone;
  }

  create(spec: StandaloneSpec): Promise<ContainerId> {
    return this.#standalone.create(spec);
  }

  async start(info: ContainerInfo): Promise<boolean> {
    if (isUp(info) && info.status === 'running') return false;
    if (!this.#standalone.owns(info.id))
      throw new SkeinError(
        'failed-precondition',
        `container ${info.id} belongs to a task, which is replaced and not started again; use docker service update --force`,
      );
    return this.#standalone.start(info);
  }

  /** The stop signal, the grace, the kill. False: it did not run. */
  async stop(info: ContainerInfo, options: { signal?: string; timeoutMs?: number }): Promise<boolean> {
    await this.#standalone.endWanted(info.id);
    // As it is now: it may have been on its way to its next run.
    const now = (await this.#runtime.get(info.id)) ?? info;
    if (!isUp(now)) return false;
    const { spec } = info.config;
    const signal = options.signal || (await stopSignal(this.#runtime, info));
    const grace = options.timeoutMs ?? graceMs(spec);
    if (now.status === 'paused') await this.#runtime.resume(info.id);
    await this.#runtime.kill(info.id, signal);
    if (await this.#endsWithin(info.id, grace)) return true;
    await this.#runtime.kill(info.id, 'SIGKILL');
    if (!(await this.#endsWithin(info.id, KILL_MS)))
      throw new SkeinError('deadline-exceeded', `container ${info.id} does not end, not even when killed`);
    return true;
  }

  async kill(info: ContainerInfo, signal: string): Promise<void> {
    if (!isUp(info)) throw new SkeinError('failed-precondition', `container ${info.id} is not running`);
    const ends = ['SIGKILL', await stopSignal(this.#runtime, info)].map(signalNumber);
    if (ends.includes(signalNumber(signal))) await this.#standalone.endWanted(info.id);
    await this.#runtime.kill(info.id, signal);
  }

  async remove(info: ContainerInfo, options: RemoveOptions): Promise<void> {
    if (this.#standalone.owns(info.id)) return this.#standalone.remove(info.id, options);
    if (!options.force) checkRemovable(info, false);
    if (info.status === 'running') await this.#runtime.kill(info.id, 'SIGKILL');
    await this.#runtime.remove(info.id, options);
  }

  /** Its exit code, once the condition holds. */
  async wait(id: ContainerId, condition: WaitCondition, signal: AbortSignal): Promise<number> {
    let code = 0;
    let first: ContainerInfo | undefined;
    for await (const event of this.#runtime.events(signal)) {
      if (event.type === 'resync') {
        const info = await this.#runtime.get(id);
        if (info?.status === 'stopped') code = info.exitCode;
        if (!info || (condition === 'not-running' && !isUp(info))) return code;
        first ??= info;
        // What ended while the stream of events was broken.
        const missed = info.status === 'stopped' && (isUp(first) || info.startedAt !== first.startedAt);
        if (missed && condition === 'next-exit') return code;
      } else if (event.id === id && event.type === 'exit') {
        code = event.exitCode;
        if (condition !== 'removed') return code;
      } else if (event.id === id && event.type === 'delete') return code;
    }
    throw new SkeinError('canceled', 'the wait was given up');
  }

  /** Output from now on (of the next run, where it does not run), or with `past` all there is. */
  async *attach(info: ContainerInfo, past: boolean, signal: AbortSignal): AsyncGenerator<LogLine> {
    const release = this.#standalone.hold(info.id);
    try {
      yield* this.#output(info, past, signal);
    } finally {
      release();
    }
  }

  async *#output(info: ContainerInfo, past: boolean, signal: AbortSignal): AsyncGenerator<LogLine> {
    const all = { ...ALL_OUTPUT, follow: true };
    const from = (since: string | undefined) => ({ ...all, attached: true, since });
    // By the time, not by what is recorded: an answer to the first input may be recorded before the reading begins.
    const now = timestamp(this.#clock.now());
    if (isUp(info)) return yield* this.#runtime.logs(info.id, past ? all : from(now), signal);
    if (past || !info.config.restartable) yield* this.#runtime.logs(info.id, ALL_OUTPUT, signal);
    const started = await this.#started(info, signal);
    if (started) yield* this.#runtime.logs(info.id, from(started.startedAt), signal);
  }

  /** Its input, once it runs; undefined where it never does. */
  async stdin(info: ContainerInfo, signal: AbortSignal): Promise<Writable | undefined> {
    if (!info.config.spec.OpenStdin) return undefined;
    const running = isUp(info) || (await this.#started(info, signal));
    return running ? this.#runtime.stdin(info.id) : undefined;
  }

  async rename(info: ContainerInfo, name: string): Promise<void> {
    await this.#standalone.rename(info.id, name);
    this.announce(info.id, 'rename', { oldName: `/${info.name}` });
  }

  async connect(info: ContainerInfo, wanted: WantedStand): Promise<void> {
    this.#checkOwn(info, 'network-add');
    await this.#standalone.connect(info.id, wanted);
  }

  async disconnect(info: ContainerInfo, network: string, force: boolean): Promise<void> {
    this.#checkOwn(info, 'network-rm');
    await this.#standalone.disconnect(info.id, network, force);
  }

  #checkOwn({ id }: ContainerInfo, flag: string): void {
    if (!this.#standalone.owns(id))
      throw new SkeinError(
        'permission-denied',
        `container ${id} belongs to a task, which is as its service has it; use docker service update --${flag}`,
      );
  }

  async update(id: ContainerId, limits: ContainerLimits): Promise<void> {
    await this.#runtime.update(id, { limits });
    this.announce(id, 'update');
  }

  async setRestart(info: ContainerInfo, policy: RestartPolicy): Promise<void> {
    this.#checkOwn(info, 'restart-condition');
    await this.#standalone.setRestart(info.id, policy);
    this.announce(info.id, 'update');
  }

  announce(id: ContainerId, action: string, attributes: Readonly<Record<string, string>> = {}): void {
    this.#runtime.announce(id, action, attributes);
  }

  resize(id: ContainerId, size: TerminalSize): Promise<void> {
    return this.#runtime.resize(id, size);
  }

  async pause(info: ContainerInfo): Promise<void> {
    if (info.status === 'paused')
      throw new SkeinError('failed-precondition', `container ${info.id} is already paused`);
    await this.#runtime.pause(info.id);
  }

  async resume(info: ContainerInfo): Promise<void> {
    if (info.status !== 'paused')
      throw new SkeinError('failed-precondition', `Container ${info.id} is not paused`);
    await this.#runtime.resume(info.id);
  }

  usage(id: ContainerId): Promise<Usage | undefined> {
    return this.#runtime.usage(id);
  }

  async top(id: ContainerId): Promise<ProcessTable> {
    return processTable(await this.#runtime.pids(id), this.#clock.now());
  }

  /** The next run of a container that does not run yet; undefined when it is removed or the signal aborts first. */
  async #started(info: ContainerInfo, signal: AbortSignal): Promise<ContainerInfo | undefined> {
    if (!info.config.restartable) return undefined;
    for await (const event of this.#runtime.events(signal)) {
      if (event.type !== 'resync' && event.id !== info.id) continue;
      const now = await this.#runtime.get(info.id);
      if (!now) return undefined;
      if (now.startedAt !== undefined && now.startedAt !== info.startedAt && now.status !== 'created')
        return now;
    }
    return undefined;
  }

  async #endsWithin(id: ContainerId, ms: number): Promise<boolean> {
    const over = AbortSignal.timeout(Math.min(ms, 0x7fffffff));
    try {
      await this.wait(id, 'not-running', over);
      return true;
    } catch (error) {
      if (over.aborted) return false;
      throw error;
    }
  }
}

/** What asks it to end: as its spec says, or its image, or SIGTERM. */
export async function stopSignal(runtime: ContainerRuntime, info: ContainerInfo): Promise<string> {
  const own = info.config.spec.StopSignal;
  const image = own ? undefined : (await runtime.images.local(info.imageId))?.config['StopSignal'];
  return own || (typeof image === 'string' && image) || 'SIGTERM';
}
