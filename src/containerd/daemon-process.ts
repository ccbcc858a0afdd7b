/**
 * Skein's own containerd: private root, state and socket, none of the plugins that Skein does not call, detached from
 * skeind, so that a restart of either touches no container. Nothing is at a fixed path, as several nodes may share a
 * machine; but one thing containerd decides itself: its shims listen on sockets in /run/containerd/s, named by a hash
 * of the (private) address, so two nodes' never meet.
 */
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../kit/clock.ts';
import { ensureRunning, isRunning, stopDetached } from '../kit/detached.ts';
import type { Log } from '../kit/log.ts';
import { Supervisor } from '../kit/supervisor.ts';
import { SkeinError } from '../model/errors.ts';
import { ContainerdApi } from './api.ts';

/** Plugins that cost start-up time or reach outside the two folders. What is not there is no error. */
const DISABLED = [
  'io.containerd.grpc.v1.cri',
  'io.containerd.internal.v1.opt',
  'io.containerd.internal.v1.tracing',
  'io.containerd.tracing.processor.v1.otlp',
  'io.containerd.snapshotter.v1.aufs',
  'io.containerd.snapshotter.v1.btrfs',
  'io.containerd.snapshotter.v1.devmapper',
  'io.containerd.snapshotter.v1.zfs',
  'io.containerd.monitor.v1.cgroups',
];

export interface ContainerdProcessOptions {
  readonly dataRoot: string;
  readonly runRoot: string;
  /** The program; found on PATH unless given. */
  readonly binary?: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly env?: NodeJS.ProcessEnv;
  /** For how long it may be silent until it counts as hung. */
  readonly hungMs?: number;
}

/** No answer to one question is waited for longer; longer than any patience that begins with 30 s. */
const ANSWER_MS = 60_000;

export class ContainerdProcess {
  readonly socket: string;
  readonly #options: ContainerdProcessOptions;
  readonly #config: string;
  readonly #pidFile: string;
  readonly #logFile: string;
  readonly #api: ContainerdApi;
  readonly #supervisor: Supervisor;
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(options: ContainerdProcessOptions) {
    this.#options = options;
    const run = join(options.runRoot, 'containerd');
    this.socket = join(run, 'containerd.sock');
    this.#config = join(run, 'config.toml');
    this.#pidFile = join(run, 'containerd.pid');
    this.#logFile = join(options.dataRoot, 'containerd', 'containerd.log');
    this.#api = new ContainerdApi(this.socket);
    const { clock, log, hungMs } = options;
    this.#supervisor = new Supervisor(
      {
        name: 'containerd',
        logFile: this.#logFile,
        pid: () => this.pid,
        start: () => this.#again(),
        answers: () => this.#answers(),
        kill: () => stopDetached(this.#pidFile, { signal: 'SIGKILL' }),
      },
      { clock, log, hungMs },
    );
  }

  /** Adopts the one that runs or starts it; resolves when it answers. Then keeps it running until `close`. */
  async start(): Promise<void> {
    const adopted = this.pid !== undefined;
    try {
      await this.#ensure().catch((error: unknown) => {
        if (!adopted || this.pid !== undefined) throw error;
        return this.#ensure(); // the one that ran hung or has ended
      });
    } catch (error) {
      this.#api.close();
      throw error;
    }
    this.#running = this.#supervisor.run(this.#stop.signal);
  }

  get pid(): number | undefined {
    return isRunning(this.#pidFile);
  }

  /** Stops supervising; containerd and the containers stay. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    this.#api.close();
  }

  /** Stops containerd itself. Containers go on under their shims. */
  async stop(): Promise<void> {
    await this.close();
    await stopDetached(this.#pidFile);
  }

  async #ensure(): Promise<void> {
    const { runRoot, binary = 'containerd', env, log } = this.#options;
    await this.#writeConfig();
    const { pid, started } = await ensureRunning({
      name: 'containerd',
      argv: [binary, '--config', this.#config],
      cwd: join(runRoot, 'containerd'),
      pidFile: this.#pidFile,
      logFile: this.#logFile,
      ...(env && { env }),
    });
    await this.#ready();
    log.info(started ? 'containerd started' : 'containerd adopted', { pid });
  }

  async #writeConfig(): Promise<void> {
    const root = join(this.#options.dataRoot, 'containerd');
    const state = join(this.#options.runRoot, 'containerd');
    await mkdir(root, { recursive: true, mode: 0o711 });
    await mkdir(state, { recursive: true, mode: 0o711 });
    await writeFile(`${this.#config}.new`, containerdConfig(root, join(state, 'state'), this.socket));
    await rename(`${this.#config}.new`, this.#config);
  }

  async #ready(): Promise<void> {
    try {
      await this.#supervisor.ready(this.#stop.signal);
    } catch (cause) {
      const { message } = SkeinError.from(cause);
      throw new SkeinError('unavailable', `${message}; see ${this.#logFile}`, { cause });
    }
  }

  /** It has ended; the containers run on under their shims. */
  async #again(): Promise<void> {
    this.#options.log.warn('containerd has ended, starting it again');
    await this.#ensure();
  }

  #answers(): Promise<boolean> {
    return this.#api.version.version({}, { timeoutMs: ANSWER_MS, signal: this.#stop.signal }).then(
      () => true,
      () => false,
    );
  }
}

const quoted = (text: string): string => JSON.stringify(text); // a JSON string is a TOML basic string

function containerdConfig(root: string, state: string, socket: string): string {
  return [
    'version = 2',
    `root = ${quoted(root)}`,
    `state = ${quoted(state)}`,
    'oom_score = 0',
    `disabled_plugins = [${DISABLED.map(quoted).join(', ')}]`,
    '[grpc]',
    `  address = ${quoted(socket)}`,
    '[debug]',
    '  level = "warn"',
    '[metrics]',
    '  address = ""',
    '',
  ].join('\n');
}
