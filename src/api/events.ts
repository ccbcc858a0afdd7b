/**
 * The event stream: changes of cluster objects in Docker's words. A client that does not read is cut off when more
 * than MAX_WAITING events wait for it; a slow watcher must not cost the manager memory.
 */
import type { Clock } from '../kit/clock.ts';
import { SkeinError } from '../model/errors.ts';
import type { LiveView, Transition } from '../store/view.ts';
import type { Filters } from './filters.ts';

export const MAX_WAITING = 1000;

export interface DockerEvent {
  readonly Type: string;
  readonly Action: 'create' | 'update' | 'remove';
  readonly Actor: { readonly ID: string; readonly Attributes: Readonly<Record<string, string>> };
}

/** Docker has no events of tasks, nor of the cluster object. */
export function toEvent(transition: Transition): DockerEvent | undefined {
  const { kind, id, before, after } = transition;
  if (kind === 'task' || kind === 'cluster') return undefined;
  return {
    Type: kind,
    Action: before === undefined ? 'create' : after === undefined ? 'remove' : 'update',
    Actor: { ID: id, Attributes: { name: nameOf(transition) } },
  };
}

function nameOf(transition: Transition): string {
  if (transition.kind === 'node')
    return (transition.after ?? transition.before)?.description?.hostname ?? transition.id;
  if (transition.kind === 'task' || transition.kind === 'cluster') return '';
  return (transition.after ?? transition.before)?.spec.Name ?? '';
}

export function wanted(event: DockerEvent, filters: Filters): boolean {
  const { ID, Attributes } = event.Actor;
  const kinds = [
    'service',
    'node',
    'network',
    'secret',
    'config',
    'container',
    'image',
    'volume',
    'daemon',
    'plugin',
  ];
  return (
    filters.any('type', (type) => type === event.Type) &&
    filters.any('event', (action) => action === event.Action) &&
    filters.any('scope', (scope) => scope === 'swarm') &&
    filters.get('label').length === 0 &&
    kinds.every((kind) =>
      filters.any(kind, (ref) => kind === event.Type && (ref === Attributes['name'] || ID.startsWith(ref))),
    )
  );
}

export interface EventOptions {
  readonly view: LiveView;
  readonly filters: Filters;
  readonly until: string | undefined;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

export async function* eventLines(options: EventOptions): AsyncGenerator<Uint8Array, void, undefined> {
  const { view, filters, clock, signal, until } = options;
  const waiting: Uint8Array[] = [];
  let wake = () => {};
  let ended = signal.aborted;
  const end = () => {
    ended = true;
    wake();
  };
  const unsubscribe = view.onChange((transitions) => {
    const now = clock.now();
    for (const event of transitions.map(toEvent))
      if (event && wanted(event, filters) && waiting.length <= MAX_WAITING) waiting.push(line(event, now));
    wake();
  });
  const cancelTimer =
    until === undefined ? () => {} : clock.after(Math.max(0, Date.parse(until) - clock.now()), end);
  signal.addEventListener('abort', end, { once: true });
  try {
    for (;;) {
      if (waiting.length > MAX_WAITING)
        throw new SkeinError('resource-exhausted', 'the client reads events too slowly');
      const next = waiting.shift();
      if (next) yield next;
      else if (ended) return;
      else await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    unsubscribe();
    cancelTimer();
    signal.removeEventListener('abort', end);
  }
}

const line = (event: DockerEvent, now: number): Uint8Array =>
  Buffer.from(
    `${JSON.stringify({ ...event, scope: 'swarm', time: Math.floor(now / 1000), timeNano: now * 1_000_000 })}\n`,
  );
