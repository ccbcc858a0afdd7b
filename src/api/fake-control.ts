/** What a user does to containers, over FakeRuntime: as the agent does it, less networks and what is kept on disk. */
import type { Writable } from 'node:stream';
import type { FakeRuntime } from '../containerd/fake.ts';
import { ALL_OUTPUT, type ContainerInfo, type LogLine } from '../containerd/runtime.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import type { StandaloneSpec, WantedStand } from '../model/standalone.ts';
import type { RestartReport } from './backend.ts';
import type { ContainerControl, RemoveOptions } from './container-control.ts';

const isUp = (info: ContainerInfo | undefined): boolean =>
  info?.status === 'running' || info?.status === 'paused';

export class FakeControl implements ContainerControl {
  readonly #runtime: FakeRuntime;
  readonly #again: ReadonlyMap<ContainerId, RestartReport>;
  #next = 0;
  /** Specs of the containers made, in order. */
  readonly created: StandaloneSpec[] = [];

  constructor(runtime: FakeRuntime, again: ReadonlyMap<ContainerId, RestartReport>) {
    this.#runtime = runtime;
    this.#again = again;
  }

  async create(spec: StandaloneSpec): Promise<ContainerId> {
    const id = (++this.#next).toString(16).padStart(64, 'a') as ContainerId;
    const name = spec.name || `some_name${this.#next}`;
    await this.#runtime.create({
      ...{
        id,
        name,
        image: spec.container.Image,
        spec: spec.container,
        limits: spec.limits,
        labels: spec.labels,
      },
      ...{ hostname: spec.hostname || id.slice(0, 12), netnsPath: '/n', files: {}, restartable: true },
      notes: { ...spec, name },
    });
    this.created.push(spec);
    return id;
  }

  async start(info: ContainerInfo): Promise<boolean> {
    if (isUp(info)) return false;
    await this.#runtime.start(info.id);
    return true;
  }

  async stop(info: ContainerInfo, options: { signal?: string; timeoutMs?: number }): Promise<boolean> {
    if (!isUp(info)) return false;
    await this.#runtime.kill(info.id, options.signal ?? 'SIGTERM');
    await this.#runtime.kill(info.id, 'SIGKILL');
    return true;
  }

  async kill(info: ContainerInfo, signal: string): Promise<void> {
    if (!isUp(info)) throw new SkeinError('failed-precondition', `container ${info.id} is not running`);
    await this.#runtime.kill(info.id, signal);
  }

  async remove(info: ContainerInfo, { force, keepVolumes }: RemoveOptions): Promise<void> {
    const state = this.#again.get(info.id)?.waiting ? 'restarting' : isUp(info) ? 'running' : undefined;
    if (state && !force)
      throw new SkeinError(
        'failed-precondition',
        `cannot remove container "/${info.name}": container is ${state}: stop the container before removing or force remove`,
      );
    await this.#runtime.remove(info.id, { keepVolumes });
  }

  async wait(id: ContainerId, condition: 'not-running' | 'next-exit' | 'removed', signal: AbortSignal) {
    let code = 0;
    for await (const event of this.#runtime.events(signal)) {
      const info = await this.#runtime.get(id);
      if (event.type === 'exit' && event.id === id) {
        code = event.exitCode;
        const { autoRemove = false } = (info?.config.notes ?? {}) as Partial<StandaloneSpec>;
        if (autoRemove) await this.#runtime.remove(id);
        if (condition !== 'removed') return code;
      } else if (!info || (condition === 'not-running' && !isUp(info))) return info?.exitCode ?? code;
    }
    throw new SkeinError('canceled', 'the wait was given up');
  }

  async *attach(info: ContainerInfo, past: boolean, signal: AbortSignal): AsyncGenerator<LogLine> {
    if (!isUp(info)) await this.#started(info.id, signal);
    const tail = past || !isUp(info) ? undefined : 0;
    yield* this.#runtime.logs(info.id, { ...ALL_OUTPUT, follow: true, tail }, signal);
  }

  async stdin(info: ContainerInfo, signal: AbortSignal): Promise<Writable | undefined> {
    if (!info.config.spec.OpenStdin) return undefined;
    if (!isUp(info)) await this.#started(info.id, signal);
    return this.#runtime.stdin(info.id);
  }

  /** Networks that containers are on, as far as they were connected and not disconnected since. */
  readonly connected: { readonly container: string; readonly wanted: WantedStand }[] = [];

  async connect({ name }: ContainerInfo, wanted: WantedStand): Promise<void> {
    this.connected.push({ container: name, wanted });
  }

  async disconnect({ id, name }: ContainerInfo, network: string): Promise<void> {
    const at = this.connected.findIndex((c) => c.container === name && c.wanted.target === network);
    if (at < 0)
      throw new SkeinError(
        'failed-precondition',
        `container ${id} is not connected to the network ${network}`,
      );
    this.connected.splice(at, 1);
  }

  rename = (info: ContainerInfo, name: string): Promise<void> => this.#runtime.update(info.id, { name });
  setRestart: ContainerControl['setRestart'] = ({ id, config }, restart) =>
    this.#runtime.update(id, { notes: { ...(config.notes as StandaloneSpec), restart } });
  update: ContainerControl['update'] = (id, limits) => this.#runtime.update(id, { limits });
  announce: ContainerControl['announce'] = (id, action, attributes) =>
    this.#runtime.announce(id, action, attributes);
  resize: ContainerControl['resize'] = (id, size) => this.#runtime.resize(id, size);
  usage: ContainerControl['usage'] = (id) => this.#runtime.usage(id);
  pause = (info: ContainerInfo): Promise<void> => this.#runtime.pause(info.id);
  resume = (info: ContainerInfo): Promise<void> => this.#runtime.resume(info.id);

  async top(id: ContainerId) {
    const rows = (await this.#runtime.pids(id)).map((pid) => [
      '0',
      String(pid),
      '1',
      '0',
      '00:00',
      '?',
      '00:00:00',
      'x',
    ]);
    return { Titles: ['UID', 'PID', 'PPID', 'C', 'STIME', 'TTY', 'TIME', 'CMD'], Processes: rows };
  }

  async #started(id: ContainerId, signal: AbortSignal): Promise<void> {
    for await (const event of this.#runtime.events(signal))
      if (event.type === 'start' && event.id === id) return;
  }
}
