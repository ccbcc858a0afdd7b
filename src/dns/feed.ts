/**
 * skeind's side of the resolver: keeps the process running and its records at what is wanted. Level-triggered: what
 * was sent is remembered for one connection only, and every new connection begins with the whole.
 *
 * INVARIANTS
 * - The resolver is told nothing before somebody wanted something: a skeind that starts leaves the last one's records
 *   in force until it knows better.
 * - `set` resolves when what it wanted is in force; if the resolver is away it waits, and the caller decides how long. It
 *   rejects when the feed is closed: nobody would answer any more.
 */
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { basename, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BackoffPolicy, backoff } from '../kit/backoff.ts';
import { type Clock, sleep } from '../kit/clock.ts';
import { ensureRunning, isRunning, stopDetached } from '../kit/detached.ts';
import type { Log } from '../kit/log.ts';
import { Supervisor } from '../kit/supervisor.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import { linesOf } from './lines.ts';
import type { DnsRecord, FromResolver, ToResolver } from './records.ts';

export interface ResolverFeedOptions {
  readonly runRoot: string;
  readonly logFile: string;
  /** A resolver of another version is replaced, without a moment in which nobody listens. */
  readonly version: string;
  /** For how long it may be silent until it counts as hung. */
  readonly hungMs?: number;
  readonly clock: Clock;
  readonly log: Log;
}

export interface RecordChanges {
  readonly put: ReadonlyMap<string, DnsRecord>;
  readonly delete: Iterable<string>;
}

const RETRY: BackoffPolicy = { base: 50, cap: 2_000 };
const MAIN = fileURLToPath(new URL(`./main${extname(import.meta.url)}`, import.meta.url));

interface Waiter {
  readonly seq: number;
  readonly resolve: (failed: FromResolver['failed']) => void;
  readonly reject: (error: SkeinError) => void;
}

const letGo = () => new SkeinError('canceled', "this node's resolver was let go of");

export class ResolverFeed {
  readonly #options: ResolverFeedOptions;
  readonly #folder: string;
  readonly #wanted = new Map<string, DnsRecord>();
  readonly #stop = new AbortController();
  #started = false;
  #socket: Socket | undefined;
  #seq = 0;
  #waiters: Waiter[] = [];
  readonly #supervisor: Supervisor;
  #running: Promise<unknown> = Promise.resolve();

  constructor(options: ResolverFeedOptions) {
    this.#options = options;
    this.#folder = join(options.runRoot, 'resolver');
    const { clock, log, hungMs } = options;
    this.#supervisor = new Supervisor(
      {
        name: 'the resolver',
        logFile: options.logFile,
        pid: () => this.pid,
        start: () => Promise.resolve(), // `run` does, when the connection ends
        answers: () =>
          this.set({ put: new Map(), delete: [] }).then(
            () => true,
            () => false,
          ),
        kill: () => stopDetached(this.#pidFile, { signal: 'SIGKILL' }),
      },
      { clock, log, hungMs },
    );
  }

  get pid(): number | undefined {
    return isRunning(this.#pidFile);
  }

  get #pidFile(): string {
    return join(this.#folder, `${this.#options.version}.pid`);
  }

  get socket(): string {
    return join(this.#folder, `${this.#options.version}.sock`);
  }

  /** Brings the resolver to hold these changes too; resolves to what it could not do of them, when it does. */
  set(changes: RecordChanges): Promise<FromResolver['failed']> {
    if (this.#stop.signal.aborted) return Promise.reject(letGo());
    const lines: ToResolver[] = [];
    for (const key of changes.delete) {
      this.#wanted.delete(key);
      lines.push({ type: 'delete', key });
    }
    for (const [key, record] of changes.put) {
      this.#wanted.set(key, record);
      lines.push({ type: 'put', key, record });
    }
    const seq = ++this.#seq;
    const acknowledged = new Promise<FromResolver['failed']>((resolve, reject) =>
      this.#waiters.push({ seq, resolve, reject }),
    );
    if (this.#socket) this.#send(this.#socket, [...lines, { type: 'commit', seq }]);
    else if (!this.#started) {
      this.#started = true;
      this.#running = Promise.all([this.#run(), this.#supervisor.run(this.#stop.signal)]);
    }
    return acknowledged;
  }

  /** Lets go; the resolver runs on. */
  async close(): Promise<void> {
    this.#stop.abort();
    for (const { reject } of this.#waiters.splice(0)) reject(letGo());
    await this.#running;
  }

  /** Ends the resolver itself, for a node that leaves its cluster. */
  async remove(): Promise<void> {
    await this.close();
    for (const pidFile of this.#pidFiles()) await stopDetached(pidFile);
  }

  /** A process, a connection, the whole; again after each break. */
  async #run(): Promise<void> {
    const { clock, log } = this.#options;
    const { signal } = this.#stop;
    for (let failures = 0; !signal.aborted; ) {
      try {
        await this.#ensure();
        await this.#converse(() => (failures = 0));
        if (!signal.aborted) log.warn('the resolver has ended or hung up, starting it again');
      } catch (error) {
        if (!signal.aborted && failures > 3) log.warn('the resolver can not be reached', { err: error });
      }
      failures++;
      await sleep(clock, backoff(RETRY, failures), signal);
    }
  }

  async #ensure(): Promise<void> {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const { started, pid } = await ensureRunning({
      name: 'the resolver',
      argv: [process.execPath, '--disable-warning=ExperimentalWarning', MAIN, this.socket],
      cwd: '/',
      pidFile: this.#pidFile,
      logFile: this.#options.logFile,
    });
    if (started) this.#options.log.info('resolver started', { pid });
  }

  async #converse(inForce: () => void): Promise<void> {
    const { signal } = this.#stop;
    if (signal.aborted) return;
    const socket = connect(this.socket);
    const hangUp = () => socket.destroy();
    signal.addEventListener('abort', hangUp, { once: true });
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve);
        socket.once('error', reject);
        socket.once('close', () => resolve()); // hung up meanwhile
      });
      if (signal.aborted) return;
      socket.on('error', () => {}); // its end is the end of the lines
      this.#sendWhole(socket);
      this.#socket = socket;
      let others = true;
      for await (const line of linesOf(socket)) {
        const { seq, failed } = JSON.parse(line) as FromResolver;
        inForce();
        if (others) await this.#retireOthers();
        others = false;
        const done = this.#waiters.filter((waiter) => waiter.seq <= seq);
        this.#waiters = this.#waiters.filter((waiter) => waiter.seq > seq);
        for (const { resolve } of done) resolve(failed);
      }
    } finally {
      signal.removeEventListener('abort', hangUp);
      this.#socket = undefined;
      socket.destroy();
    }
  }

  #sendWhole(socket: Socket): void {
    const puts = [...this.#wanted].map(([key, record]): ToResolver => ({ type: 'put', key, record }));
    this.#send(socket, [{ type: 'begin' }, ...puts, { type: 'commit', seq: this.#seq }]);
  }

  #send(socket: Socket, messages: readonly ToResolver[]): void {
    socket.write(messages.map((message) => `${JSON.stringify(message)}\n`).join(''));
  }

  /** Resolvers of other versions go only when this one answers in their place. */
  async #retireOthers(): Promise<void> {
    for (const pidFile of this.#pidFiles()) if (pidFile !== this.#pidFile) await stopDetached(pidFile);
  }

  #pidFiles(): string[] {
    if (!existsSync(this.#folder)) return [];
    return readdirSync(this.#folder, { withFileTypes: true })
      .filter((entry) => entry.isFile() && extname(entry.name) === '.pid')
      .map((entry) => join(this.#folder, basename(entry.name)));
  }
}

/** Throws when one of these sandboxes could not be listened in. */
export function checkListening(failed: FromResolver['failed'], id: ContainerId): void {
  const mine = failed.find((failure) => failure.id === id);
  if (mine) throw new SkeinError('unavailable', `the resolver cannot listen in the container: ${mine.why}`);
}
