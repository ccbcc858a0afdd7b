/**
 * Skein's own containerd: private root, state and socket, none of the plugins that Skein does not call, detached from
 * skeind, so that a restart of either touches no container. Nothing is at a fixed path, as several nodes may share a
 * machine; but one thing containerd decides itself: its shims listen on sockets in /run/containerd/s, named by a hash
 * of the (private) address, so two nodes' never meet.
 */
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type BackoffPolicy, backoff } from '../kit/backoff.ts';
import { type Clock, sleep } from '../kit/clock.ts';
import { cutLog, ensureRunning, isRunning, stopDetached } from '../kit/detached.ts';
import type { Log } from '../kit/log.ts';
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
  /** How long it may take until it answers. */
  readonly startTimeoutMs?: number;
}

const CHECK_MS = 500;
const PROBE_MS = 25;
const RESTART: BackoffPolicy = { base: 100, cap: 10_000 };

export class ContainerdProcess {
  readonly socket: string;
  readonly #options: ContainerdProcessOptions;
  readonly #config: string;
  readonly #pidFile: string;
  readonly #logFile: string;
  readonly #stop = new AbortController();
  #supervisor: Promise<void> = Promise.resolve();

  constructor(options: ContainerdProcessOptions) {
    this.#options = options;
    const run = join(options.runRoot, 'containerd');
    this.socket = join(run, 'containerd.sock');
    this.#config = join(run, 'config.toml');
    this.#pidFile = join(run, 'containerd.pid');
    this.#logFile = join(options.dataRoot, 'containerd', 'containerd.log');
  }

  /** Adopts the one that runs or starts it; resolves when it answers. Then keeps it running until `close`. */
  async start(): Promise<void> {
    await this.#ensure();
    this.#supervisor = this.#supervise();
  }

  get pid(): number | undefined {
    return isRunning(this.#pidFile);
  }

  /** Stops supervising; containerd and the containers stay. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#supervisor;
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
    await this.#answers();
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

  async #answers(): Promise<void> {
    const { clock, startTimeoutMs = 30_000 } = this.#options;
    const deadline = clock.now() + startTimeoutMs;
    const api = new ContainerdApi(this.socket);
    try {
      for (;;) {
        try {
          await api.version.version({}, { timeoutMs: 1000, signal: this.#stop.signal });
          return;
        } catch (cause) {
          if (this.#stop.signal.aborted) throw cause;
          if (clock.now() > deadline)
            throw new SkeinError('unavailable', `containerd does not answer; see ${this.#logFile}`, {
              cause,
            });
        }
        await sleep(clock, PROBE_MS, this.#stop.signal);
      }
    } finally {
      api.close();
    }
  }

  async #supervise(): Promise<void> {
    const { clock, log } = this.#options;
    const { signal } = this.#stop;
    let failures = 0;
    while (!signal.aborted) {
      await sleep(clock, failures > 0 ? backoff(RESTART, failures) : CHECK_MS, signal);
      if (signal.aborted) return;
      cutLog(this.#logFile);
      if (this.pid !== undefined) {
        failures = 0;
        continue;
      }
      log.warn('containerd has ended, starting it again');
      try {
        await this.#ensure();
      } catch (error) {
        failures++;
        if (!signal.aborted) log.error('containerd does not start', { err: error, failures });
      }
    }
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
