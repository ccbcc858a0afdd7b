/**
 * manager/logs: output of tasks on many nodes as one stream, through manager/streams. One request costs one stream a
 * node asked.
 *
 * A reader that follows outlives its parts: a node that was away (its skeind restarted, its session broke) is asked
 * again for what came after the last line it gave. One that does not follow is told at the end whom it has not heard.
 */
import { timestamp } from '../../kit/clock.ts';
import { SkeinError } from '../../model/errors.ts';
import type { NodeId, TaskId } from '../../model/ids.ts';
import { keepsNothing } from '../../model/log-driver.ts';
import type { Task } from '../../model/objects.ts';
import type { LogRecord, LogsAsked } from '../../rpc/messages.ts';
import { Queue } from '../../rpc/queue.ts';
import type { Call } from '../../rpc/server.ts';
import type { LiveView } from '../../store/view.ts';
import {
  NodeStreams,
  type NodeStreamsOptions,
  type StreamEnd,
  type Subscription,
} from '../streams/node-streams.ts';
import { LogReader } from './reader.ts';

export interface BrokerOptions extends NodeStreamsOptions {
  readonly view: Pick<LiveView, 'get' | 'onChange' | 'tasksOfService'>;
}

/** Between a broken part of a reader that follows and the next try. */
const RETRY_MS = 1000;
const QUEUED = 1000;

/** Why not all of a part came; undefined: it did, or nobody wants it any more. */
const FAILURES: Readonly<Record<StreamEnd, ((node: NodeId) => string) | undefined>> = {
  complete: undefined,
  closed: undefined,
  lost: (node) => `node ${node} disconnected unexpectedly`,
  'no session': (node) => `node ${node} is not available`,
  'no answer': (node) => `node ${node} is not available`,
};

export class LogBroker {
  readonly #options: BrokerOptions;
  readonly #streams: NodeStreams<LogRecord>;

  constructor(options: BrokerOptions) {
    this.#options = options;
    this.#streams = new NodeStreams(options);
  }

  /** Lines as they come. Without `follow` it ends when every node asked has answered or failed to. */
  async *read(asked: Omit<LogsAsked, 'id'>, signal: AbortSignal): AsyncGenerator<LogRecord> {
    if (signal.aborted) return;
    const { service, tasks, ...request } = asked;
    const { view, clock } = this.#options;
    const queue = new Queue<LogRecord>(Number.POSITIVE_INFINITY);
    const reader = new LogReader(request, (id) => view.get('task', id));
    const wantedNow = () =>
      service !== undefined && request.follow ? readable(view.tasksOfService(service)) : tasks;
    const parts = new Set<Subscription<LogRecord>>();
    let cancelRetry = () => {};
    /** A node without a session has ended its part before the next one is asked. */
    let asking = false;
    const endIfDone = () => {
      if (asking || parts.size > 0 || request.follow) return;
      queue.end(reader.incomplete && new SkeinError('unavailable', reader.incomplete));
    };
    const ask = () => {
      asking = true;
      for (const [nodeId, wanted] of reader.next(wantedNow(), timestamp(clock.now()))) {
        const part: Subscription<LogRecord> = {
          nodeId,
          ask: (id) => ({ type: 'logs', request: { ...wanted, id } }),
          cancel: (id) => ({ type: 'logs-cancel', id }),
          room: () => queue.ended || queue.size < QUEUED,
          take(record) {
            if (!queue.push(record)) return false;
            reader.passed(record);
            return true;
          },
          ended(end) {
            parts.delete(part);
            if (reader.ended(wanted.tasks, FAILURES[end]?.(nodeId))) retry();
            endIfDone();
          },
        };
        parts.add(part);
        this.#streams.open(part);
      }
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
        for (const part of parts) this.#streams.wake(part);
      }
    } finally {
      off();
      signal.removeEventListener('abort', stop);
      for (const part of [...parts]) this.#streams.close(part);
      cancelRetry();
    }
  }

  /** Handler of `logs.publish`. */
  publish(params: { readonly id: string }, call: Pick<Call<LogRecord>, 'peer' | 'input' | 'signal'>) {
    return this.#streams.publish(params, call);
  }
}

/** Of a driver that keeps nothing there is nothing to read. */
const readable = (tasks: Iterable<Task>): readonly TaskId[] =>
  [...tasks].filter(({ spec }) => !keepsNothing(spec.LogDriver)).map(({ id }) => id);
