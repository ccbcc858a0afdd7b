/**
 * TCP connections that were given a backend in its last moment. A SYN that went to a node that is cut off, or to a
 * container that is dead, is sent again after a second, but conntrack would take it to the same place again and again;
 * a moment after a backend left, what it has not answered by then is forgotten, and the next SYN finds another.
 *
 * Not at once: a backend that leaves in good order answers what it was given, within far less than the moment. No SYN
 * is given to it after it left, so what is unanswered then was unanswered for at least so long. A death of skeind in
 * between loses these few connections, as they would be lost without it.
 */
import type { Clock } from '../kit/clock.ts';
import type { Place } from './state.ts';

/** A round trip and a busy machine fit in; a client's first repetition (1 s, RFC 6298) does not come before. */
const MOMENT_MS = 300;

export class Unanswered {
  readonly #clock: Clock;
  readonly #forget: (place: Place, backends: ReadonlySet<string>) => void;
  #timers = new Set<() => void>();

  constructor(clock: Clock, forget: (place: Place, backends: ReadonlySet<string>) => void) {
    this.#clock = clock;
    this.#forget = forget;
  }

  /** `backends` (`address:port` or `address`) are no longer led to from this place. */
  left(place: Place, backends: ReadonlySet<string>): void {
    if (backends.size === 0) return;
    const cancel = this.#clock.after(MOMENT_MS, () => {
      this.#timers.delete(cancel);
      this.#forget(place, backends);
    });
    this.#timers.add(cancel);
  }

  close(): void {
    for (const cancel of this.#timers) cancel();
    this.#timers.clear();
  }
}
