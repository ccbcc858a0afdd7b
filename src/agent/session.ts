/**
 * The agent's one conversation with the leader: says what this node is and what its tasks do, hears what it should
 * run. Dials the managers it knows in turn, goes where a refusal points, and comes back after every break.
 *
 * INVARIANTS
 * - `Assignments` changes by a snapshot, then by the deltas after it, in order. After a break: by a new snapshot.
 * - The last status of each task is said again in every new session, so that none is lost with a connection; the
 *   manager drops what it knows. The applied revision is said again too.
 */
import { type BackoffPolicy, backoff } from '../kit/backoff.ts';
import { type Clock, sleep } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import { SkeinError } from '../model/errors.ts';
import type { Ipv4, TaskId } from '../model/ids.ts';
import type { NodeDescription, TaskStatus } from '../model/objects.ts';
import { isTerminal } from '../model/task-state.ts';
import { RpcClient } from '../rpc/client.ts';
import type { Leg, WalkRequest, WalkStart } from '../rpc/explain.ts';
import { leaderIn } from '../rpc/frame.ts';
import {
  type LogRecord,
  type LogRequest,
  type ManagerAddress,
  PROTOCOL,
  type ToAgent,
  type ToManager,
} from '../rpc/messages.ts';
import { Queue } from '../rpc/queue.ts';
import type { TraceBatch, TraceRequest } from '../rpc/trace-messages.ts';
import { Answers } from './answers.ts';
import type { Assignments } from './assignments.ts';
import type { Identity } from './identity.ts';

/** Captures packets on this node. */
export interface TraceSource {
  /** Ends when the signal aborts or a bound of the request is reached; `leaderClock` asks the leader for its time. */
  read(
    request: TraceRequest,
    leaderClock: () => Promise<{ readonly time: string; readonly boot: string }>,
    signal: AbortSignal,
  ): AsyncIterable<TraceBatch>;
  /** Changes what is captured from now on; false when it does not run. */
  refilter(request: TraceRequest): boolean;
}

export interface SessionOptions {
  /** As it is now: after a renewal the next connection uses the new certificate. */
  identity(): Identity;
  /** Told of each change of the managers, to be kept for the next start. */
  saveManagers(managers: readonly ManagerAddress[]): void;
  readonly assignments: Assignments;
  /** What this node is; asked for at each session. */
  describe(): Promise<{ readonly description: NodeDescription; readonly dataPathAddr: Ipv4 }>;
  /** Output of these tasks' containers on this node; ends when the signal aborts. */
  logs(request: LogRequest, signal: AbortSignal): AsyncIterable<LogRecord>;
  /** This node's part of ways that are walked without traffic. */
  walk(starts: readonly WalkStart[]): Promise<readonly (readonly Leg[])[]>;
  readonly trace: TraceSource;
  readonly clock: Clock;
  readonly log: Log;
  /** In [0, 1): jitter. */
  readonly random: () => number;
  readonly pingMs?: number;
}

const RETRY: BackoffPolicy = { base: 100, cap: 2000 };
const MAX_QUEUED = 10_000;

type Statuses = Extract<ToManager, { type: 'status' }>;

export class Session {
  readonly #options: SessionOptions;
  /** Last status of each task; a task's is dropped when its assignment is gone. */
  readonly #statuses = new Map<TaskId, TaskStatus>();
  readonly #answers = new Answers();
  #applied: number | undefined;
  #managers: readonly ManagerAddress[];
  #outgoing: Queue<ToManager> | undefined;
  #client: RpcClient | undefined;
  #leader: string | undefined;
  #next = 0;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#managers = options.identity().managers;
  }

  /** A live session has said welcome and not ended. */
  get connected(): boolean {
    return this.#client !== undefined;
  }

  get managers(): readonly ManagerAddress[] {
    return this.#managers;
  }

  /** The connection to the leader, for calls beside the session (renewal, leaving). */
  get client(): RpcClient | undefined {
    return this.#client;
  }

  report(id: TaskId, status: TaskStatus): void {
    this.#statuses.set(id, status);
    this.#outgoing?.push(this.#saying([{ id, status }]));
  }

  #saying(tasks: Statuses['tasks']): Statuses {
    return { type: 'status', sentAt: this.#options.clock.now(), tasks };
  }

  /** The kernel agrees with this revision of the network view. */
  applied(revision: number): void {
    this.#applied = revision;
    this.#outgoing?.push({ type: 'applied', revision });
  }

  /** Ends the present session; a new one is opened at once. After a change of description or certificate. */
  reconnect(): void {
    this.#client?.close();
  }

  /** Keeps a session up until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log, random } = this.#options;
    for (let failures = 0; !signal.aborted; ) {
      const addr = this.#choose();
      if (addr === undefined) throw new SkeinError('failed-precondition', 'no manager is known');
      let lived = false;
      try {
        await this.#converse(addr, signal, () => (lived = true));
      } catch (error) {
        if (signal.aborted) return;
        const leader = leaderIn(error)?.addr;
        if (leader !== undefined && leader !== addr) {
          this.#leader = leader;
          // Two managers that point at each other are no reason to run hot.
          if (failures === 0) {
            failures = 1;
            continue;
          }
        }
        log.info('no session with the manager, will try again', {
          'manager.addr': addr,
          failures,
          err: error,
        });
      }
      failures = lived ? 1 : failures + 1;
      await sleep(clock, backoff(RETRY, failures) * (0.5 + random() / 2), signal);
    }
  }

  /** Where a refusal pointed; else the next manager of the list. */
  #choose(): string | undefined {
    const leader = this.#leader;
    this.#leader = undefined;
    if (leader !== undefined) return leader;
    const { length } = this.#managers;
    return length === 0 ? undefined : this.#managers[this.#next++ % length]!.addr;
  }

  async #converse(addr: string, signal: AbortSignal, welcome: () => void): Promise<void> {
    const { identity, clock, pingMs } = this.#options;
    const { credentials, clusterId } = identity();
    const client = await RpcClient.connect({
      addr,
      trust: { kind: 'member', credentials, clusterId },
      clock,
      pingMs,
      signal,
    });
    const ended = new AbortController();
    const outgoing = new Queue<ToManager>(MAX_QUEUED);
    const live = AbortSignal.any([signal, ended.signal]);
    try {
      outgoing.push({ type: 'hello', protocol: PROTOCOL, ...(await this.#options.describe()) });
      const incoming = client.stream('dispatcher.session', {}, { input: outgoing, signal });
      for await (const message of incoming) {
        if (message.type === 'welcome') {
          welcome();
          this.#begin(client, outgoing, message.heartbeatMs, addr, live);
        }
        this.#take(message, client, live);
      }
    } finally {
      ended.abort();
      outgoing.end();
      client.close();
      this.#outgoing = undefined;
      this.#client = undefined;
      this.#answers.cancelAll();
    }
  }

  #begin(
    client: RpcClient,
    outgoing: Queue<ToManager>,
    heartbeatMs: number,
    addr: string,
    live: AbortSignal,
  ): void {
    this.#client = client;
    this.#outgoing = outgoing;
    // The leader is where the next session is tried first.
    this.#leader = addr;
    const tasks = [...this.#statuses].map(([id, status]) => ({ id, status }));
    if (tasks.length > 0) outgoing.push(this.#saying(tasks));
    void this.#beat(outgoing, heartbeatMs, live);
  }

  async #beat(outgoing: Queue<ToManager>, heartbeatMs: number, live: AbortSignal): Promise<void> {
    while (!live.aborted) {
      await sleep(this.#options.clock, heartbeatMs, live);
      if (!live.aborted) outgoing.push({ type: 'heartbeat' });
    }
  }

  #take(message: ToAgent, client: RpcClient, live: AbortSignal): void {
    const { assignments } = this.#options;
    switch (message.type) {
      case 'welcome':
      case 'managers':
        return this.#setManagers(message.managers);
      case 'snapshot':
        assignments.replace(message.revision, message.items);
        this.#forgetGone();
        // Nothing has changed by it: nobody applies anything, and the manager waits to hear so.
        if (this.#applied === message.revision) this.applied(message.revision);
        return;
      case 'delta':
        assignments.apply(message.revision, message.put, message.delete);
        return this.#forgetGone();
      case 'logs':
        return void this.#publishLogs(message.request, client, live);
      case 'trace':
        if (this.#options.trace.refilter(message.request)) return;
        return void this.#publishTrace(message.request, client, live);
      case 'logs-cancel':
      case 'trace-cancel':
        return this.#answers.cancel(message.id);
      case 'walk':
        return void this.#answerWalk(message.request, client, live);
    }
  }

  #setManagers(managers: readonly ManagerAddress[]): void {
    if (managers.length === 0 || JSON.stringify(managers) === JSON.stringify(this.#managers)) return;
    this.#managers = managers;
    this.#options.saveManagers(managers);
  }

  #forgetGone(): void {
    const { tasks, attachments } = this.#options.assignments;
    for (const [id, { state }] of this.#statuses)
      if (!tasks.has(id) && !attachments.has(id) && isTerminal(state)) this.#statuses.delete(id);
  }

  async #publishLogs(request: LogRequest, client: RpcClient, live: AbortSignal): Promise<void> {
    const { id } = request;
    try {
      await this.#answers.run(id, live, (signal) =>
        client.call('logs.publish', { id }, { input: this.#options.logs(request, signal), signal }),
      );
    } catch (error) {
      this.#options.log.warn('cannot send the logs asked for', { err: error });
    }
  }

  async #publishTrace(request: TraceRequest, client: RpcClient, live: AbortSignal): Promise<void> {
    const { id } = request;
    const leaderClock = () => client.call('trace.clock', {});
    try {
      await this.#answers.run(id, live, (signal) => {
        const input = this.#options.trace.read(request, leaderClock, signal);
        return client.call('trace.publish', { id }, { input, signal });
      });
    } catch (error) {
      this.#options.log.warn('cannot send the packets asked for', { err: error });
    }
  }

  async #answerWalk({ id, starts }: WalkRequest, client: RpcClient, signal: AbortSignal): Promise<void> {
    try {
      const answer = await this.#options.walk(starts).then(
        (legs) => ({ legs }),
        (error: unknown) => ({ error: SkeinError.from(error).message }),
      );
      await client.call('explain.answer', { id, ...answer }, { signal });
    } catch (error) {
      if (!signal.aborted) this.#options.log.warn('cannot send the way that was asked for', { err: error });
    }
  }
}
