/**
 * Runs the health checks of this node's containers: one loop, keyed by container, each key due when its next probe is.
 * The worker says what is to be watched each time it looks at a container, and is told when a status changes.
 *
 * INVARIANTS
 * - A container has one probe at a time; a probe that exceeds its timeout is killed before the next.
 * - What a probe showed is on disk before anybody is told: a restarted agent goes on with the same count and log.
 * - Of what is no longer watched nothing is written, whatever its last probe still brings: its folder may be going.
 * One container more costs its probes.
 */
import type { ExecProcess } from '../containerd/process.ts';
import { execAction } from '../containerd/container-event.ts';
import { collectOutput } from '../containerd/process.ts';
import type { ContainerInfo, ContainerRuntime } from '../containerd/runtime.ts';
import { type Clock, sleep } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import { Loop, type Requeue } from '../kit/loop.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import type { HashText } from '../model/names.ts';
import type { TaskStatus } from '../model/objects.ts';
import {
  afterProbe,
  exceeded,
  type Health,
  type HealthCheck,
  healthCheckOf,
  MAX_OUTPUT,
  newHealth,
  nextProbeAt,
  type Probe,
} from './health-plan.ts';
import type { TaskFiles } from './task-files.ts';

export interface HealthChecksOptions {
  readonly runtime: Pick<ContainerRuntime, 'exec'>;
  readonly files: Pick<TaskFiles, 'readHealth' | 'writeHealth'>;
  readonly clock: Clock;
  readonly log: Log;
  /** The status of the container is another than it was. */
  changed(container: ContainerInfo, status: Health['status']): void;
  /** Hears of each command that is run. */
  probing?(container: ContainerInfo, action: string, attributes: Readonly<Record<string, string>>): void;
  readonly hash: HashText;
}

interface Watched {
  readonly container: ContainerInfo;
  readonly check: HealthCheck;
  health: Health;
}

export class HealthChecks {
  readonly #options: HealthChecksOptions;
  readonly #watched = new Map<ContainerId, Watched>();
  readonly #loop: Loop<ContainerId>;

  constructor(options: HealthChecksOptions) {
    this.#options = options;
    const { clock, log } = options;
    const reconcile = (id: ContainerId, signal: AbortSignal) => this.#reconcile(id, signal);
    this.#loop = new Loop<ContainerId>({ name: 'health', clock, log, reconcile, concurrency: Infinity });
  }

  start(): void {
    this.#loop.start();
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  /** Its health now; probed from here on while it runs. `known`: what the managers were told, should the file be lost. */
  async look(
    container: ContainerInfo | undefined,
    id: ContainerId,
    known: TaskStatus['health'] | undefined,
  ): Promise<TaskStatus['health']> {
    const check = healthCheckOf(container?.config.spec.Healthcheck);
    if (!container || !check || container.status === 'created') {
      this.#watched.delete(id);
      return 'none';
    }
    const watched = this.#watched.get(id);
    if (container.status === 'running' && watched) return watched.health.status;
    const kept = watched?.health ?? (await this.#options.files.readHealth(id));
    const health = kept ?? newHealth(this.#options.clock.now(), known === 'healthy' ? known : 'starting');
    if (container.status !== 'running') this.#watched.delete(id);
    else {
      this.#watched.set(id, { container, check, health });
      this.#loop.mark(id);
    }
    return health.status;
  }

  async #reconcile(id: ContainerId, signal: AbortSignal): Promise<Requeue | void> {
    const { files, changed } = this.#options;
    const watched = this.#watched.get(id);
    if (!watched) return;
    const wait = this.#untilNext(watched);
    if (wait > 0) return { after: wait };
    const probe = await this.#probe(watched, signal);
    if (signal.aborted || this.#watched.get(id) !== watched) return;
    const before = watched.health.status;
    const health = afterProbe(watched.check, watched.health, probe);
    await files.writeHealth(id, health);
    watched.health = health;
    if (health.status !== before) changed(watched.container, health.status);
    return { after: this.#untilNext(watched) };
  }

  #untilNext({ check, health }: Watched): number {
    const now = this.#options.clock.now();
    return Math.max(0, nextProbeAt(check, health, now) - now);
  }

  async #probe({ container, check }: Watched, signal: AbortSignal): Promise<Probe> {
    const { clock, runtime, hash } = this.#options;
    const { id } = container;
    const startedMs = clock.now();
    const execID = hash(`probe ${id} ${startedMs}`);
    const say = (action: string, more = {}) =>
      this.#options.probing?.(container, action, { execID, ...more });
    say(execAction('exec_create', check.argv));
    const ended = (exitCode: number, output: string): Probe => ({
      startedMs,
      endedMs: clock.now(),
      exitCode,
      output: output.length > MAX_OUTPUT ? `${output.slice(0, MAX_OUTPUT - 3)}...` : output,
    });
    try {
      const process = await runtime.exec(id, {
        ...{ args: check.argv, env: [], cwd: '', user: '' },
        ...{ tty: false, privileged: false, stdin: false, output: true },
      });
      say(execAction('exec_start', check.argv));
      void process.exit.then((exitCode) => say('exec_die', { exitCode: String(exitCode) }));
      const result = await this.#outcome(process, check.timeoutMs, signal);
      return result
        ? ended(result.exitCode, result.stdout + result.stderr)
        : ended(-1, exceeded(check.timeoutMs, ''));
    } catch (error) {
      return ended(-1, SkeinError.from(error).message);
    }
  }

  /** Undefined when it did not end in time (it is killed then), or when this agent stops (it runs on). */
  async #outcome(process: ExecProcess, timeoutMs: number, signal: AbortSignal) {
    const { clock, log } = this.#options;
    const over = new AbortController();
    const output = collectOutput(process, MAX_OUTPUT + 1).finally(() => over.abort());
    output.catch(() => undefined); // a broken stream is seen by the race, or by nobody who waits
    const late = sleep(clock, timeoutMs, AbortSignal.any([over.signal, signal])).then(() => undefined);
    const result = await Promise.race([output, late.then(() => (over.signal.aborted ? output : undefined))]);
    if (!result && !signal.aborted)
      await process.kill('SIGKILL').catch((error: unknown) => {
        log.warn('a health check that takes too long could not be killed', { err: error });
      });
    return result;
  }
}
