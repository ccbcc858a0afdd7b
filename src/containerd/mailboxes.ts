/** What happens to containers, for all who want to hear it, each at his own speed. */
import type { ContainerEvent } from './runtime.ts';

/** A consumer that is further behind than this is told to list again instead. */
const MAX_QUEUE = 10_000;

/** Events for one consumer, bounded. */
class Mailbox {
  #queue: ContainerEvent[] = [{ type: 'resync' }];
  #wake: (() => void) | undefined;

  push(event: ContainerEvent): void {
    if (event.type === 'resync' || this.#queue.length >= MAX_QUEUE) this.#queue = [{ type: 'resync' }];
    else this.#queue.push(event);
    this.#wake?.();
  }

  async *read(signal: AbortSignal): AsyncGenerator<ContainerEvent> {
    const wake = () => this.#wake?.();
    signal.addEventListener('abort', wake);
    try {
      while (!signal.aborted) {
        const event = this.#queue.shift();
        if (event) yield event;
        else await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      signal.removeEventListener('abort', wake);
    }
  }
}

export class Mailboxes {
  readonly #all = new Set<Mailbox>();

  send(event: ContainerEvent): void {
    for (const mailbox of this.#all) mailbox.push(event);
  }

  /** Everything from its first step on. */
  async *read(signal: AbortSignal): AsyncGenerator<ContainerEvent> {
    const mailbox = new Mailbox();
    this.#all.add(mailbox);
    try {
      yield* mailbox.read(signal);
    } finally {
      this.#all.delete(mailbox);
    }
  }
}
