/**
 * Watches containers of published services from their start until they listen: one loop, keyed by container. The
 * worker asks each time it looks at a container, and is told when a port is open.
 *
 * INVARIANTS
 * - Whoever was in rotation is never taken out of it: what was seen open once, or waited for long enough, stays open.
 * - A container is waited for no longer than BOUND_MS, whatever the kernel says or does not say.
 * One container more costs some fifty look-ups in ten seconds if it never listens, and a few if it does.
 */
import type { Clock } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import { Loop, type Requeue } from '../kit/loop.ts';
import type { ContainerId } from '../model/ids.ts';
import type { TaskStatus } from '../model/objects.ts';
import type { Listeners } from '../net/listeners.ts';
import { type Door, isOver, nextLookMs, waitsSince } from './opening-plan.ts';

export interface OpeningsOptions {
  readonly listeners: Pick<Listeners, 'closed'>;
  readonly clock: Clock;
  readonly log: Log;
  /** Some of the container's ports are closed no more, or waited for no longer; these still are. */
  changed(id: ContainerId, closed: readonly number[]): void;
}

interface Watched {
  readonly door: Door;
  readonly since: number;
  closed: readonly number[];
}

export class Openings {
  readonly #options: OpeningsOptions;
  readonly #watched = new Map<ContainerId, Watched>();
  readonly #loop: Loop<ContainerId>;

  constructor(options: OpeningsOptions) {
    this.#options = options;
    const { clock, log } = options;
    const reconcile = async (id: ContainerId) => this.#reconcile(id);
    this.#loop = new Loop<ContainerId>({ name: 'opening', clock, log, reconcile });
  }

  start(): void {
    this.#loop.start();
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  /** Its ports on which nothing listens yet; watched from here on until there are none. */
  look(id: ContainerId, door: Door | undefined, known: TaskStatus | undefined): readonly number[] {
    const { clock } = this.#options;
    const since = door && known && waitsSince(known, clock.now());
    if (!door || since === undefined) {
      this.#watched.delete(id);
      return [];
    }
    const watched = this.#watched.get(id);
    if (watched) return watched.closed;
    const closed = this.#closed(id, door, since);
    this.#watched.set(id, { door, since, closed });
    if (closed.length > 0) this.#loop.markAfter(id, nextLookMs(since, clock.now()));
    return closed;
  }

  #reconcile(id: ContainerId): Requeue | void {
    const watched = this.#watched.get(id);
    if (!watched) return;
    const { door, since } = watched;
    const now = this.#closed(id, door, since);
    const closed = watched.closed.filter((port) => now.includes(port));
    if (closed.length < watched.closed.length) {
      watched.closed = closed;
      this.#options.changed(id, closed);
    }
    if (closed.length > 0) return { after: nextLookMs(since, this.#options.clock.now()) };
  }

  #closed(id: ContainerId, { netns, address, ports }: Door, since: number): readonly number[] {
    const { listeners, clock, log } = this.#options;
    try {
      const closed = listeners.closed(netns, address, ports);
      if (closed.length === 0 || !isOver(since, clock.now())) return closed;
      log.info('nothing listens on published ports; in rotation all the same', {
        'container.id': id,
        ports: closed,
      });
      return [];
    } catch (error) {
      log.warn('cannot see who listens in a container; it is not waited for', {
        'container.id': id,
        err: error,
      });
      return [];
    }
  }
}
