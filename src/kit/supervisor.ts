/**
 * Keeps a daemon that outlives us (detached.ts) up: one that has ended is started again, one that hangs is killed first.
 *
 * Hanging is told from slow by patience. The question is one that the daemon answers from memory; any answer counts,
 * however late, a refusal too. Only when nothing at all has come for `hungMs` is it killed, and each one after it, until
 * one answers, is given twice as long: what is slow rather than hung (a large store read back from a slow disk)
 * gets the time that it needs in the end.
 *
 * INVARIANT: a process is killed only after it has been asked all the while. Where the machine or this process stood still
 * meanwhile, that time is not held against the daemon.
 */
import { SkeinError } from '../model/errors.ts';
import { backoff } from './backoff.ts';
import { type Clock, sleep } from './clock.ts';
import { cutLog } from './detached.ts';
import type { Log } from './log.ts';

export interface Daemon {
  /** For messages: "containerd". */
  readonly name: string;
  /** What it writes; bounded here. */
  readonly logFile: string;
  /** The process, while it runs. */
  pid(): number | undefined;
  /** Starts it unless it runs or is not meant to; resolves when it is ready. */
  start(): Promise<void>;
  /** Whether it answers, be it with a refusal; may take as long as it takes. */
  answers(): Promise<boolean>;
  /** Kills this process, if it is still the one. */
  kill(pid: number): Promise<void>;
}

export interface SupervisorOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** The patience with the first one that is silent; 30 s unless given. */
  readonly hungMs?: number | undefined;
}

const CHECK_MS = 500;
const PROBE_MS = 25;
/** One that answers is asked so often. */
const ASK_MS = 5000;
/** From so much silence on, it is said. */
const SAID_MS = 5000;
const HUNG_MS = 30_000;
const MAX_HUNG_MS = 16 * 60_000;
const RESTART = { base: 250, cap: 10_000 };

export class Supervisor {
  readonly #daemon: Daemon;
  readonly #options: SupervisorOptions;
  readonly #hungMs: number;
  /** The one that has no answer yet. */
  #question: object | undefined;
  /** When it is to be asked again; in the past while it owes an answer. */
  #due = 0;
  #silentMs = 0;
  #lookedAt: number | undefined;
  #said = false;
  /** How many in a row were killed without having answered. */
  #killed = 0;

  constructor(daemon: Daemon, options: SupervisorOptions) {
    this.#daemon = daemon;
    this.#options = options;
    this.#hungMs = options.hungMs ?? HUNG_MS;
  }

  /** Runs until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    const { name } = this.#daemon;
    for (let failures = 0; !signal.aborted; ) {
      await sleep(clock, Math.max(CHECK_MS, backoff(RESTART, failures)), signal);
      if (signal.aborted) return;
      try {
        await this.#check();
        failures = 0;
      } catch (error) {
        failures += 1;
        if (!signal.aborted) log.error(`${name} does not come up, will try again`, { failures, err: error });
      }
    }
  }

  /** Resolves when the process that was just started or adopted answers. One that hangs is killed, for the next try. */
  async ready(signal?: AbortSignal): Promise<void> {
    const { name } = this.#daemon;
    this.#forget();
    while (!this.#answered()) {
      const pid = this.#daemon.pid();
      if (signal?.aborted) throw new SkeinError('canceled', `${name} is not waited for any more`);
      if (pid === undefined) throw new SkeinError('unavailable', `${name} ended while starting`);
      const silence = this.#silence();
      if (silence === 'hung') {
        const text = `${name} did not answer for ${this.#patience() / 1000} s and was killed`;
        await this.#kill(pid);
        throw new SkeinError('unavailable', text);
      }
      await sleep(this.#options.clock, PROBE_MS, signal);
    }
  }

  /** One look at the process. */
  async #check(): Promise<void> {
    cutLog(this.#daemon.logFile);
    const pid = this.#daemon.pid();
    if (pid === undefined) {
      this.#forget();
      return this.#daemon.start();
    }
    if (!this.#answered() && this.#silence() === 'hung') await this.#kill(pid);
  }

  /** Asks when it is time; whether the last question has its answer. */
  #answered(): boolean {
    if (this.#options.clock.monotonic() < this.#due) return true;
    if (!this.#question) void this.#ask((this.#question = {}));
    return false;
  }

  async #ask(question: object): Promise<void> {
    const answers = await this.#daemon.answers();
    if (this.#question !== question) return; // asked of a process that is gone
    this.#question = undefined;
    if (!answers) return;
    const { clock, log } = this.#options;
    if (this.#said) log.info(`${this.#daemon.name} answers again`, { 'silent.ms': this.#silentMs });
    this.#forget();
    this.#killed = 0;
    this.#due = clock.monotonic() + ASK_MS;
  }

  /** Counts on: it was asked and has not answered. */
  #silence(): 'short' | 'hung' {
    const { clock, log } = this.#options;
    const now = clock.monotonic();
    // A look that comes late says how long we stood still, not how long the other was silent.
    this.#silentMs += Math.min(now - (this.#lookedAt ?? now), 2 * CHECK_MS);
    this.#lookedAt = now;
    const patience = this.#patience();
    if (!this.#said && this.#silentMs >= Math.min(SAID_MS, patience)) {
      this.#said = true;
      log.warn(`${this.#daemon.name} does not answer; it is restarted when it goes on like this`, {
        pid: this.#daemon.pid(),
        'silent.ms': this.#silentMs,
        'hung.ms': patience,
      });
    }
    return this.#silentMs >= patience ? 'hung' : 'short';
  }

  async #kill(pid: number): Promise<void> {
    this.#options.log.error(`${this.#daemon.name} hangs, killing it to start it again`, {
      pid,
      'silent.ms': this.#silentMs,
    });
    this.#killed += 1;
    this.#forget();
    await this.#daemon.kill(pid);
  }

  /** Whatever is known is of a process that is there no more, or of before its last answer. */
  #forget(): void {
    this.#question = undefined;
    this.#due = -Infinity;
    this.#silentMs = 0;
    this.#lookedAt = undefined;
    this.#said = false;
  }

  #patience(): number {
    return backoff({ base: this.#hungMs, cap: MAX_HUNG_MS }, this.#killed + 1);
  }
}
