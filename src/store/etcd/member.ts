/**
 * The etcd member of this manager. It runs detached: skeind may restart or be upgraded while etcd, and with it the
 * quorum, goes on; `start` adopts it then.
 *
 *     DIR/            0700, working directory of etcd
 *       client:0      the only listener for clients: nothing outside this host, and nobody but root, reaches the store
 *       data/         etcd's own
 *       timing        "alone" or "peers": the election timers it last ran with
 *       etcd.pid, etcd.log
 *
 * INVARIANT: a member that has data is only ever started from its data. Bootstrapping it again would make a second
 * cluster that believes it is the first.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type Clock, sleep } from '../../kit/clock.ts';
import { ensureRunning, isRunning, stopDetached, writePidFile } from '../../kit/detached.ts';
import type { Log } from '../../kit/log.ts';
import { Supervisor } from '../../kit/supervisor.ts';
import { SkeinError } from '../../model/errors.ts';
import { EtcdClient } from './client.ts';
import { findOwner, isListening, tailOf } from './member-process.ts';
import {
  memberArgv,
  memberEnv,
  type PeerAddress,
  type PeerTls,
  type StartMode,
  type Timing,
} from './member-plan.ts';

export interface EtcdMemberOptions {
  /** Created with mode 0700. */
  readonly dir: string;
  readonly name: string;
  /** `https://ADVERTISE:2380`. */
  readonly peerUrl: string;
  /** Needed for `https`; only a test of one member alone does without. */
  readonly tls?: PeerTls;
  readonly clock: Clock;
  readonly log: Log;
  /** Path of etcd; found in PATH unless given. */
  readonly binary?: string;
  /** For how long it may be silent until it counts as hung. */
  readonly hungMs?: number;
  readonly quotaBytes?: number;
}

const SOCKET = 'client:0';
const START_MS = 30_000;
/** No answer to one question is waited for longer; longer than any patience that begins with 30 s. */
const ANSWER_MS = 60_000;
const REMOVED = /permanently removed|member has been removed|removed from the cluster/;

export class EtcdMember {
  readonly #options: EtcdMemberOptions;
  readonly #dir: string;
  readonly #client: EtcdClient;
  readonly #log: Log;
  readonly #supervisor: Supervisor;
  /** Aborted when nobody waits for its start any more. */
  #unwanted = new AbortController();
  /** Aborted when `supervise` finds that the other members have removed this one. */
  #expelled = new AbortController();
  /** Held while the process is being changed by intent, so that `supervise` does not take that for a crash. */
  #busy: Promise<unknown> = Promise.resolve();

  constructor(options: EtcdMemberOptions) {
    this.#options = options;
    this.#dir = resolve(options.dir);
    this.#client = new EtcdClient(this.target);
    this.#log = options.log.with({ 'etcd.name': options.name });
    this.#supervisor = new Supervisor(
      {
        name: 'etcd',
        logFile: this.#file('etcd.log'),
        pid: () => this.pid,
        start: () => this.#exclusive(() => this.#again()),
        answers: () => this.#answers(),
        kill: (pid) => this.#kill(pid),
      },
      { clock: options.clock, log: this.#log, hungMs: options.hungMs },
    );
  }

  /** For EtcdClient: the unix socket of this member. */
  get target(): string {
    return `unix:${join(this.#dir, SOCKET)}`;
  }

  get peerUrl(): string {
    return this.#options.peerUrl;
  }

  get pid(): number | undefined {
    return isRunning(this.#file('etcd.pid'));
  }

  /** It was started before: `start` is the way to start it again, after a reboot too. */
  get hasData(): boolean {
    return existsSync(join(this.#dir, 'data', 'member', 'wal'));
  }

  /** It has ended because the other members removed it, for good: its data is worth nothing any more. */
  get removed(): boolean {
    return this.hasData && this.pid === undefined && REMOVED.test(tailOf(this.#file('etcd.log')));
  }

  /** The timers it runs with. */
  get timing(): Timing {
    try {
      return readFileSync(this.#file('timing'), 'utf8') === 'peers' ? 'peers' : 'alone';
    } catch {
      return 'alone';
    }
  }

  /** A new cluster of one; with data: starts or adopts what is there. Resolves when it serves. */
  async startSingle(): Promise<void> {
    if (this.hasData) return this.start();
    await this.#exclusive(() => this.#run({ kind: 'bootstrap' }, 'alone', 'serving'));
  }

  /** From the data, or adopts the running process. Resolves when it answers, with or without a quorum. */
  async start(): Promise<void> {
    if (!this.hasData && this.pid === undefined)
      throw new SkeinError('failed-precondition', `no data of etcd in ${this.#dir}`);
    await this.#exclusive(() => this.#run({ kind: 'existing' }, this.timing, 'answering'));
  }

  /** A new member of a cluster that has announced it (`EtcdMembership.addLearner`). It then waits to be promoted. */
  async join(others: readonly PeerAddress[]): Promise<void> {
    if (this.hasData) return this.start();
    await this.#exclusive(() => this.#run({ kind: 'join', others }, 'peers', 'answering'));
  }

  /** Quorum is lost for good: makes a cluster of one out of this member's data. Ends the running process first. */
  async forceNewCluster(): Promise<void> {
    if (!this.hasData) throw new SkeinError('failed-precondition', `no data of etcd in ${this.#dir}`);
    await this.#giveUp(async () => {
      await this.#stop();
      await this.#run({ kind: 'force-new-cluster' }, 'alone', 'serving');
      // Left running like this, the argument would do it again at each restart by others than us.
      await this.#stop();
      await this.#run({ kind: 'existing' }, 'alone', 'serving');
    });
  }

  /**
   * Changes the election timers, by a restart if needed (0.4-2 s without the store). To be called with 'peers' before
   * the second member is announced: quick timers among several would depose leaders on every slow disk.
   */
  async setTiming(timing: Timing): Promise<void> {
    if (this.timing === timing) return;
    await this.#exclusive(async () => {
      await this.#stop();
      await this.#run({ kind: 'existing' }, timing, 'answering');
    });
  }

  async stop(): Promise<void> {
    await this.#giveUp(() => this.#stop());
  }

  /**
   * After it left its cluster: stops it and removes all data. At one stroke first, so that whoever is killed in between
   * finds all of it or none.
   */
  async wipe(): Promise<void> {
    await this.#giveUp(async () => {
      const data = join(this.#dir, 'data');
      if (this.pid === undefined) await this.#clearWay(data);
      await this.#stop();
      rmSync(this.#file('gone'), { recursive: true, force: true });
      if (existsSync(data)) renameSync(data, this.#file('gone'));
      for (const name of ['gone', 'timing', 'etcd.log'])
        rmSync(this.#file(name), { recursive: true, force: true });
    });
  }

  /** Closes the own connection; the process runs on. */
  close(): void {
    this.#client.close();
  }

  /**
   * Restarts the process when it died or hangs, until the signal aborts or the cluster has removed this member.
   * Abort it before `stop` or `wipe`: what it finds stopped it starts again.
   */
  async supervise(signal: AbortSignal): Promise<'stopped' | 'removed'> {
    const expelled = (this.#expelled = new AbortController());
    await this.#supervisor.run(AbortSignal.any([signal, expelled.signal]));
    return expelled.signal.aborted ? 'removed' : 'stopped';
  }

  /** It has ended without anybody's intent. */
  async #again(): Promise<void> {
    if (this.pid !== undefined || !this.hasData) return; // stopped and wiped, or not started yet
    if (this.removed) return this.#expelled.abort();
    this.#log.warn('etcd has ended, starting it again');
    try {
      await this.#run({ kind: 'existing' }, this.timing, 'answering');
    } catch (error) {
      if (!this.removed) throw error;
      this.#expelled.abort();
    }
  }

  /** Nothing that was acknowledged is lost by it. */
  async #kill(pid: number): Promise<void> {
    if (this.pid === pid) await stopDetached(this.#file('etcd.pid'), { signal: 'SIGKILL', timeoutMs: 5000 });
  }

  async #run(mode: StartMode, timing: Timing, until: 'serving' | 'answering'): Promise<void> {
    mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
    mkdirSync(join(this.#dir, 'data'), { recursive: true, mode: 0o700 });
    const { name, peerUrl, tls, binary = 'etcd', quotaBytes } = this.#options;
    const dataDir = join(this.#dir, 'data');
    if (this.pid === undefined) await this.#clearWay(dataDir);
    if (this.pid === undefined) writeFileSync(this.#file('timing'), timing);
    const { pid, started } = await ensureRunning({
      name: 'etcd',
      argv: memberArgv({ binary, dataDir, socket: SOCKET, name, peerUrl, tls, timing, mode, quotaBytes }),
      cwd: this.#dir,
      env: memberEnv(process.env['PATH']),
      pidFile: this.#file('etcd.pid'),
      logFile: this.#file('etcd.log'),
    });
    this.#log.info(started ? 'etcd started' : 'etcd adopted', { pid, mode: mode.kind, timing });
    try {
      await (until === 'serving' ? this.#serving() : this.#supervisor.ready(this.#unwanted.signal));
    } catch (cause) {
      if (this.pid !== undefined) throw cause;
      const { message } = SkeinError.from(cause);
      throw new SkeinError('unavailable', `${message}: ${tailOf(this.#file('etcd.log')).slice(-600)}`, {
        cause,
      });
    }
  }

  /**
   * No pid file: a member started by a skeind that did not live to write one is found by its data directory, in
   * whatever mode it was started; a socket that nobody listens on would keep a new one from starting.
   */
  async #clearWay(dataDir: string): Promise<void> {
    const socket = this.#file(SOCKET);
    if (!existsSync(socket)) return;
    const pid = (await isListening(socket)) ? findOwner(dataDir) : undefined;
    if (pid === undefined) rmSync(socket, { force: true });
    else writePidFile(this.#file('etcd.pid'), pid);
  }

  async #serving(): Promise<void> {
    const end = this.#options.clock.monotonic() + START_MS;
    while (!(await this.serves())) {
      if (this.pid === undefined) throw new SkeinError('unavailable', 'etcd ended while starting');
      if (this.#options.clock.monotonic() > end)
        throw new SkeinError('unavailable', `etcd did not serve within ${START_MS / 1000} s`);
      await sleep(this.#options.clock, 25);
    }
  }

  /** It has a quorum: a linearizable read succeeds. */
  async serves(): Promise<boolean> {
    return this.#client.kv.range({ key: Buffer.from('/'), countOnly: true }, { timeoutMs: 2000 }).then(
      () => true,
      () => false,
    );
  }

  /** The process answers, as a learner or without a leader too: with a refusal of its own, then. */
  async #answers(): Promise<boolean> {
    return this.#client.maintenance.status({}, { timeoutMs: ANSWER_MS }).then(
      () => true,
      (error: unknown) => /etcdserver: /.test(String(error)),
    );
  }

  async #stop(): Promise<void> {
    await stopDetached(this.#file('etcd.pid'), { signal: 'SIGTERM', timeoutMs: 10_000 });
  }

  /** A start that still waits for an answer is waited for no more. */
  async #giveUp(act: () => Promise<void>): Promise<void> {
    this.#unwanted.abort();
    await this.#exclusive(() => {
      this.#unwanted = new AbortController();
      return act();
    });
  }

  #exclusive<T>(act: () => Promise<T>): Promise<T> {
    const result = this.#busy.then(act);
    this.#busy = result.catch(() => {});
    return result;
  }

  #file(name: string): string {
    return join(this.#dir, name);
  }
}
