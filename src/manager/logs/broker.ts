/**
 * manager/logs: output of tasks on many nodes as one stream. The leader asks the nodes over their sessions, each
 * answers by a `logs.publish` call with the same id. If it forgets a part, a reader waits for ever; so a part
 * ends when its call ends, when its node has no session, or when it does not answer in time.
 *
 * Bounded: while the reader is slow no publisher is read, and HTTP/2 holds them back. One request costs one entry
 * and one call a node asked.
 */
import type { Clock } from '../../kit/clock.ts';
import { SkeinError } from '../../model/errors.ts';
import type { NodeId, RandomBytes, TaskId } from '../../model/ids.ts';
import { type Brand, newId } from '../../model/ids.ts';
import type { LogRecord, LogRequest, ToAgent } from '../../rpc/messages.ts';
import { Queue } from '../../rpc/queue.ts';
import type { Call } from '../../rpc/server.ts';
import type { LiveView } from '../../store/view.ts';

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
  readonly ended: () => void;
  readonly cancelDeadline: () => void;
  opened: boolean;
  wake: (() => void) | undefined;
}

const ANSWER_MS = 5000;
const QUEUED = 1000;

export class LogBroker {
  readonly #options: BrokerOptions;
  readonly #parts = new Map<string, Part>();

  constructor(options: BrokerOptions) {
    this.#options = options;
  }

  /** Lines as they come. Without `follow` it ends when every node asked has answered or failed to. */
  async *read(
    request: Omit<LogRequest, 'id' | 'tasks'>,
    source: LogSource,
    signal: AbortSignal,
  ): AsyncGenerator<LogRecord> {
    const merged = new Queue<LogRecord>(Number.POSITIVE_INFINITY);
    const asked = new Set<TaskId>();
    const parts = new Set<string>();
    const endIfDone = () => {
      if (parts.size === 0 && !request.follow) merged.end();
    };
    const ask = () => {
      for (const [nodeId, tasks] of this.#fresh(source, asked))
        this.#ask(nodeId, { ...request, tasks }, merged, parts, endIfDone);
      endIfDone();
    };
    const stop = () => merged.end();
    signal.addEventListener('abort', stop, { once: true });
    ask();
    const off = request.follow ? this.#options.view.onChange(ask) : () => {};
    try {
      for await (const record of merged) {
        if (signal.aborted) return;
        yield record;
        for (const id of parts) this.#parts.get(id)?.wake?.();
      }
    } finally {
      off();
      signal.removeEventListener('abort', stop);
      for (const id of [...parts]) this.#cancel(id);
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
    try {
      for await (const record of call.input) {
        while (!part.queue.ended && !call.signal.aborted && !room(part))
          await new Promise<void>((resolve) => (part.wake = resolve));
        if (!part.queue.push(record)) break;
      }
      return {};
    } finally {
      part.ended();
    }
  }

  /** Tasks not asked for yet that have a node, by node. */
  #fresh(source: LogSource, asked: Set<TaskId>): Map<NodeId, TaskId[]> {
    const byNode = new Map<NodeId, TaskId[]>();
    for (const id of source.tasks()) {
      const nodeId = asked.has(id) ? undefined : this.#options.view.get('task', id)?.nodeId;
      if (nodeId === undefined) continue;
      asked.add(id);
      byNode.set(nodeId, [...(byNode.get(nodeId) ?? []), id]);
    }
    return byNode;
  }

  #ask(
    nodeId: NodeId,
    request: Omit<LogRequest, 'id'>,
    merged: Queue<LogRecord>,
    parts: Set<string>,
    endIfDone: () => void,
  ): void {
    const id = newId<Brand<string, 'LogId'>>(this.#options.random);
    const ended = () => {
      this.#parts.get(id)?.cancelDeadline();
      this.#parts.delete(id);
      parts.delete(id);
      endIfDone();
    };
    const cancelDeadline = this.#options.clock.after(ANSWER_MS, ended);
    this.#parts.set(id, { nodeId, queue: merged, ended, cancelDeadline, opened: false, wake: undefined });
    parts.add(id);
    if (!this.#options.send(nodeId, { type: 'logs', request: { ...request, id } })) ended();
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
