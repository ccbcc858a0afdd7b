/**
 * manager/logs: output of tasks on many nodes as one stream. The leader asks the nodes over their sessions, each
 * answers by a `logs.publish` call with the same id. If it forgets a part, a reader waits for ever; so a part
 * ends when its call ends, when its node has no session, or when it does not answer in time.
 *
 * A reader that follows outlives its parts: a node that was away (its skeind restarted, its session broke) is asked
 * again for what came after the last line it gave. One that does not follow is told at the end whom it has not heard.
 *
 * Bounded: while the reader is slow no publisher is read, and HTTP/2 holds them back. One request costs one entry
 * and one call a node asked.
 */
import { type Clock, timestamp } from '../../kit/clock.ts';
import { SkeinError } from '../../model/errors.ts';
import type { NodeId, RandomBytes, TaskId } from '../../model/ids.ts';
import { type Brand, newId } from '../../model/ids.ts';
import type { LogRecord, LogRequest, ToAgent } from '../../rpc/messages.ts';
import { Queue } from '../../rpc/queue.ts';
import type { Call } from '../../rpc/server.ts';
import type { LiveView } from '../../store/view.ts';
import { type Asked, LogReader } from './reader.ts';

export interface BrokerOptions {
  readonly view: Pick<LiveView, 'get' | 'onChange'>;
  readonly clock: Clock;
  readonly random: RandomBytes;
  /** Says it to the node's session; false when it has none. */
  send(node: NodeId, message: ToAgent): boolean;
}

export interface LogSource {
  /** Tasks to read now, asked again at each change while following. */
  tasks(): readonly TaskId[];
}

interface Part {
  readonly nodeId: NodeId;
  readonly queue: Queue<LogRecord>;
  /** Called with each line that went into the queue. */
  readonly passed: (record: LogRecord) => void;
  /** `failure`: why not all of it came. */
  readonly ended: (failure?: string) => void;
  readonly cancelDeadline: () => void;
  opened: boolean;
  wake: (() => void) | undefined;
}

const ANSWER_MS = 5000;
/** Between a broken part of a reader that follows and the next try. */
const RETRY_MS = 1000;
const QUEUED = 1000;

const away = (node: NodeId): string => `node ${node} is not available`;
const broken = (node: NodeId): string => `node ${node} disconnected unexpectedly`;

export class LogBroker {
  readonly #options: BrokerOptions;
  readonly #parts = new Map<string, Part>();

  constructor(options: BrokerOptions) {
    this.#options = options;
  }

  /** Lines as they come. Without `follow` it ends when every node asked has answered or failed to. */
  async *read(request: Asked, source: LogSource, signal: AbortSignal): AsyncGenerator<LogRecord> {
    const { view, clock } = this.#options;
    const queue = new Queue<LogRecord>(Number.POSITIVE_INFINITY);
    const reader = new LogReader(request, (id) => view.get('task', id));
    const parts = new Set<string>();
    let cancelRetry = () => {};
    /** A node without a session has ended its part before the next one is asked. */
    let asking = false;
    const endIfDone = () => {
      if (asking || parts.size > 0 || request.follow) return;
      queue.end(reader.incomplete && new SkeinError('unavailable', reader.incomplete));
    };
    const ask = () => {
      asking = true;
      for (const [nodeId, wanted] of reader.next(source.tasks(), timestamp(clock.now())))
        this.#ask(nodeId, wanted, parts, {
          queue,
          passed: (record) => reader.passed(record),
          finished: (failure) => {
            if (reader.ended(wanted.tasks, failure)) retry();
            endIfDone();
          },
        });
      asking = false;
      endIfDone();
    };
    const retry = () => {
      cancelRetry();
      if (!queue.ended) cancelRetry = clock.after(RETRY_MS, ask);
    };
    const stop = () => queue.end();
    signal.addEventListener('abort', stop, { once: true });
    ask();
    const off = request.follow ? view.onChange(ask) : () => {};
    try {
      for await (const record of queue) {
        if (signal.aborted) return;
        yield record;
        for (const id of parts) this.#parts.get(id)?.wake?.();
      }
    } finally {
      off();
      signal.removeEventListener('abort', stop);
      for (const id of [...parts]) this.#cancel(id);
      cancelRetry();
    }
  }

  /** Handler of `logs.publish`. */
  async publish(params: { readonly id: string }, call: Pick<Call<LogRecord>, 'peer' | 'input' | 'signal'>) {
    const part = this.#parts.get(params.id);
    if (!part || part.opened || part.nodeId !== call.peer?.nodeId)
      throw new SkeinError('not-found', 'nobody asked for these logs');
    part.opened = true;
    part.cancelDeadline();
    const wake = () => part.wake?.();
    call.signal.addEventListener('abort', wake, { once: true });
    let whole = false;
    try {
      for await (const record of call.input) {
        while (!part.queue.ended && !call.signal.aborted && !room(part))
          await new Promise<void>((resolve) => (part.wake = resolve));
        if (!part.queue.push(record)) break;
        part.passed(record);
      }
      whole = !call.signal.aborted;
      return {};
    } finally {
      part.ended(whole ? undefined : broken(part.nodeId));
    }
  }

  #ask(
    nodeId: NodeId,
    request: Omit<LogRequest, 'id'>,
    parts: Set<string>,
    { queue, passed, finished }: Pick<Part, 'queue' | 'passed'> & { finished: (failure?: string) => void },
  ): void {
    const id = newId<Brand<string, 'LogId'>>(this.#options.random);
    const ended = (failure?: string) => {
      this.#parts.get(id)?.cancelDeadline();
      this.#parts.delete(id);
      if (parts.delete(id)) finished(failure);
    };
    const cancelDeadline = this.#options.clock.after(ANSWER_MS, () => ended(away(nodeId)));
    this.#parts.set(id, { nodeId, queue, passed, ended, cancelDeadline, opened: false, wake: undefined });
    parts.add(id);
    if (!this.#options.send(nodeId, { type: 'logs', request: { ...request, id } })) ended(away(nodeId));
  }

  #cancel(id: string): void {
    const part = this.#parts.get(id);
    if (!part) return;
    this.#options.send(part.nodeId, { type: 'logs-cancel', id });
    part.wake?.();
    part.ended();
  }
}

const room = (part: Part): boolean => part.queue.size < QUEUED;
