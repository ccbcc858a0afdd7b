/**
 * manager/streams: what the leader asks of nodes that they answer with a stream: output of tasks, captured packets. It
 * asks over the node's session; the node answers by a call of its own that bears the same id. If this forgets a
 * stream, its reader waits for ever; so one ends when its call ends, when its node has no session, or when it does not
 * answer in time, and its reader is told once, and why.
 *
 * Bounded: while the reader has no room the publisher is not read, and HTTP/2 holds it back. One stream costs one entry
 * here and one call of the node.
 */
import type { Clock } from '../../kit/clock.ts';
import { SkeinError } from '../../model/errors.ts';
import type { NodeId, RandomBytes } from '../../model/ids.ts';
import { type Brand, newId } from '../../model/ids.ts';
import type { ToAgent } from '../../rpc/messages.ts';
import type { Call } from '../../rpc/server.ts';

export interface NodeStreamsOptions {
  readonly clock: Clock;
  readonly random: RandomBytes;
  /** Says it to the node's session; false when it has none. */
  send(node: NodeId, message: ToAgent): boolean;
}

export type StreamEnd = 'complete' | 'lost' | 'no session' | 'no answer' | 'closed';

/** One node's stream as its reader wants it. */
export interface Subscription<T> {
  readonly nodeId: NodeId;
  ask(id: string): ToAgent;
  cancel(id: string): ToAgent;
  /** Whether another value may be taken now; asked again after each `wake`. */
  room(): boolean;
  /** False when nothing more is wanted. */
  take(value: T): boolean;
  ended(end: StreamEnd): void;
}

interface Open<T> {
  readonly subscription: Subscription<T>;
  readonly cancelDeadline: () => void;
  answered: boolean;
  wake: (() => void) | undefined;
}

const ANSWER_MS = 5000;

export class NodeStreams<T> {
  readonly #options: NodeStreamsOptions;
  readonly #open = new Map<string, Open<T>>();
  readonly #ids = new Map<Subscription<T>, string>();

  constructor(options: NodeStreamsOptions) {
    this.#options = options;
  }

  open(subscription: Subscription<T>): void {
    const id = newId<Brand<string, 'StreamId'>>(this.#options.random);
    const cancelDeadline = this.#options.clock.after(ANSWER_MS, () => this.#end(id, 'no answer'));
    this.#open.set(id, { subscription, cancelDeadline, answered: false, wake: undefined });
    this.#ids.set(subscription, id);
    if (!this.#options.send(subscription.nodeId, subscription.ask(id))) this.#end(id, 'no session');
  }

  /** Asks again, for what the subscription wants now. */
  askAgain(subscription: Subscription<T>): void {
    const id = this.#ids.get(subscription);
    if (id !== undefined) this.#options.send(subscription.nodeId, subscription.ask(id));
  }

  /** The reader has room again. */
  wake(subscription: Subscription<T>): void {
    const id = this.#ids.get(subscription);
    if (id !== undefined) this.#open.get(id)?.wake?.();
  }

  close(subscription: Subscription<T>): void {
    const id = this.#ids.get(subscription);
    if (id === undefined) return;
    this.#options.send(subscription.nodeId, subscription.cancel(id));
    this.#open.get(id)?.wake?.();
    this.#end(id, 'closed');
  }

  /** Handler of the node's call. */
  async publish(params: { readonly id: string }, call: Pick<Call<T>, 'peer' | 'input' | 'signal'>) {
    const open = this.#open.get(params.id);
    if (!open || open.answered || open.subscription.nodeId !== call.peer?.nodeId)
      throw new SkeinError('not-found', 'nobody asked for this stream');
    open.answered = true;
    open.cancelDeadline();
    const { subscription } = open;
    const wake = () => open.wake?.();
    call.signal.addEventListener('abort', wake, { once: true });
    let end: StreamEnd = 'lost';
    try {
      for await (const value of call.input) {
        while (this.#open.has(params.id) && !call.signal.aborted && !subscription.room())
          await new Promise<void>((resolve) => (open.wake = resolve));
        if (!this.#open.has(params.id) || !subscription.take(value)) break;
      }
      if (!call.signal.aborted) end = 'complete';
      return {};
    } finally {
      this.#end(params.id, end);
    }
  }

  #end(id: string, end: StreamEnd): void {
    const open = this.#open.get(id);
    if (!open) return;
    open.cancelDeadline();
    this.#open.delete(id);
    this.#ids.delete(open.subscription);
    open.subscription.ended(end);
  }
}
