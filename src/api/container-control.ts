/** What a user does to containers of this node. Implemented by agent/; the routes are routes/container-verbs.ts and its kind. */
import type { Writable } from 'node:stream';
import type { TerminalSize } from '../containerd/process.ts';
import type { ContainerInfo, LogLine } from '../containerd/runtime.ts';
import type { Usage } from '../containerd/usage.ts';
import type { ContainerId } from '../model/ids.ts';
import type { ContainerLimits } from '../model/spec.ts';
import type { RestartPolicy, StandaloneSpec, WantedStand } from '../model/standalone.ts';

export interface RemoveOptions {
  /** Though it runs, or is about to. */
  readonly force: boolean;
  /** Its anonymous volumes stay. */
  readonly keepVolumes: boolean;
}

export interface ContainerControl {
  /** `not-found` where the image is not here, `already-exists` where the name is taken. */
  create(spec: StandaloneSpec): Promise<ContainerId>;
  /** False: it runs already. */
  start(container: ContainerInfo): Promise<boolean>;
  /** False: it did not run. */
  stop(container: ContainerInfo, options: { signal?: string; timeoutMs?: number }): Promise<boolean>;
  kill(container: ContainerInfo, signal: string): Promise<void>;
  remove(container: ContainerInfo, options: RemoveOptions): Promise<void>;
  /** Tells `docker events` of it, behind what was done. */
  announce(id: ContainerId, action: string, attributes?: Readonly<Record<string, string>>): void;
  wait(
    id: ContainerId,
    condition: 'not-running' | 'next-exit' | 'removed',
    signal: AbortSignal,
  ): Promise<number>;
  /** Output from now on, or of the next run where it does not run; `past`: what there is already, too. */
  attach(container: ContainerInfo, past: boolean, signal: AbortSignal): AsyncIterable<LogLine>;
  /** Its input once it runs; undefined where it has none, or never runs. */
  stdin(container: ContainerInfo, signal: AbortSignal): Promise<Writable | undefined>;
  /** `already-exists` where the name is taken. */
  rename(container: ContainerInfo, name: string): Promise<void>;
  /** At once where it runs, else at its next start; `permission-denied` for a task's. */
  connect(container: ContainerInfo, wanted: WantedStand): Promise<void>;
  /** Forced, it does not wait for a manager to hear of it. */
  disconnect(container: ContainerInfo, network: string, force: boolean): Promise<void>;
  update(id: ContainerId, limits: ContainerLimits): Promise<void>;
  /** From its next end on; `permission-denied` for a task's. */
  setRestart(container: ContainerInfo, policy: RestartPolicy): Promise<void>;
  resize(id: ContainerId, size: TerminalSize): Promise<void>;
  pause(container: ContainerInfo): Promise<void>;
  resume(container: ContainerInfo): Promise<void>;
  /** Undefined while it does not run. */
  usage(id: ContainerId): Promise<Usage | undefined>;
  top(
    id: ContainerId,
  ): Promise<{ readonly Titles: readonly string[]; readonly Processes: readonly (readonly string[])[] }>;
}
