/**
 * What happened on this node, for `docker events`: the last LIMIT things, and everybody who wants to hear of the next.
 * In memory only, as Docker's; one thing more costs the oldest one its place.
 */
import type { Clock } from './clock.ts';

export interface EngineEvent {
  readonly type:
    | 'container'
    | 'image'
    | 'volume'
    | 'network'
    | 'service'
    | 'node'
    | 'secret'
    | 'config'
    | 'builder';
  readonly action: string;
  /** Of what it happened to. */
  readonly id: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly scope: 'local' | 'swarm';
  /** Told to who listens and not remembered: it comes so often that nothing else would be. */
  readonly fleeting?: boolean;
}

export interface LoggedEvent extends EngineEvent {
  /** ms */
  readonly time: number;
}

export type Tell = (event: EngineEvent) => void;

const LIMIT = 1024;

export class EventLog {
  readonly #clock: Clock;
  readonly #past: LoggedEvent[] = [];
  readonly #listeners = new Set<(event: LoggedEvent) => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  readonly tell: Tell = (event) => {
    const logged = { ...event, time: this.#clock.now() };
    if (!event.fleeting && this.#past.push(logged) > LIMIT) this.#past.shift();
    for (const listener of this.#listeners) listener(logged);
  };

  /** What is remembered, oldest first. */
  get past(): readonly LoggedEvent[] {
    return this.#past;
  }

  onEvent(listener: (event: LoggedEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
