/**
 * The event stream: what happened on this node and, on managers, to cluster objects, in Docker's words. A client that
 * does not read is cut off when more than MAX_WAITING events wait for it; a slow watcher must not cost memory.
 */
import type { Clock } from '../kit/clock.ts';
import type { EngineEvent, EventLog, LoggedEvent, Tell } from '../kit/event-log.ts';
import { SkeinError } from '../model/errors.ts';
import type { Node, Service } from '../model/objects.ts';
import type { LiveView, Transition } from '../store/view.ts';
import type { Filters } from './filters.ts';

export const MAX_WAITING = 1000;

/** Docker has no events of tasks, nor of the cluster object. */
function toEvent(transition: Transition): EngineEvent | undefined {
  const { kind, id, before, after } = transition;
  if (kind === 'task' || kind === 'cluster') return undefined;
  return {
    type: kind,
    action: before === undefined ? 'create' : after === undefined ? 'remove' : 'update',
    id,
    attributes: { name: nameOf(transition), ...changesOf(transition) },
    scope: 'swarm',
  };
}

/** From now on the changes of the cluster that a manager sees are told too. */
export function followCluster(view: LiveView, tell: Tell): () => void {
  return view.onChange((transitions) => {
    for (const event of transitions.map(toEvent)) if (event) tell(event);
  });
}

function nameOf(transition: Transition): string {
  if (transition.kind === 'node')
    return (transition.after ?? transition.before)?.description?.hostname ?? transition.id;
  if (transition.kind === 'task' || transition.kind === 'cluster') return '';
  return (transition.after ?? transition.before)?.spec.Name ?? '';
}

/** What an update of a node or service changed, as Docker tells it: `role.old`, `role.new`. */
function changesOf({ kind, before, after }: Transition): Readonly<Record<string, string>> {
  if (!before || !after) return {};
  const facts = kind === 'node' ? nodeFacts : kind === 'service' ? serviceFacts : undefined;
  if (!facts) return {};
  const [old, now] = [facts(before as Node & Service), facts(after as Node & Service)];
  const changed = Object.keys(now).filter((key) => old[key] !== now[key]);
  const both = changed.flatMap((key) => [
    [`${key}.old`, old[key]],
    [`${key}.new`, now[key]],
  ]);
  return Object.fromEntries(both.filter((pair): pair is [string, string] => pair[1] !== undefined));
}

type Facts = Readonly<Record<string, string | undefined>>;

const nodeFacts = ({ spec, status }: Node): Facts => ({
  availability: spec.Availability,
  role: spec.Role,
  state: status.state,
});

const serviceFacts = ({ spec, updateStatus }: Service): Facts => ({
  image: spec.TaskTemplate.ContainerSpec.Image,
  replicas: spec.Mode.Replicated?.Replicas?.toString(),
  updatestate: updateStatus?.state,
});

/** Once a `prune`, whatever it took away. */
export const pruneEvent = (type: EngineEvent['type'], bytes: number): EngineEvent => ({
  ...{ type, action: 'prune', id: '', attributes: { reclaimed: String(bytes) }, scope: 'local' },
});

/**
 * Filters by the beginning of a name or an id. As in Docker they ask nothing of the type: `service=web` tells also of the
 * containers `web.1...` that the service's tasks are.
 */
const BY_NAME = ['service', 'node', 'network', 'secret', 'config', 'container', 'volume'] as const;
/** Actions that carry something behind a colon, which a filter may leave out. */
const WITH_DETAIL = ['health_status', 'exec_create', 'exec_start'];

export const EVENT_FILTERS = ['type', 'event', 'scope', 'label', 'image', 'daemon', 'plugin', ...BY_NAME];

export function wanted({ type, action, id, attributes, scope }: EngineEvent, filters: Filters): boolean {
  const isAction = (word: string) =>
    word === action || (WITH_DETAIL.includes(word) && action.startsWith(`${word}:`));
  return (
    filters.any('type', (word) => word === type) &&
    filters.any('event', isAction) &&
    filters.any('scope', (word) => word === scope) &&
    filters.labels('label', attributes) &&
    filters.any('image', (ref) => isImage(ref, type, id, attributes)) &&
    filters.any('daemon', () => false) &&
    filters.any('plugin', () => false) &&
    BY_NAME.every((kind) =>
      filters.any(kind, (ref) => id.startsWith(ref) || (attributes['name'] ?? '').startsWith(ref)),
    )
  );
}

/** An image's own events, and those of its containers; with or without the tag. */
function isImage(ref: string, type: string, id: string, attributes: EngineEvent['attributes']): boolean {
  const name = attributes[type === 'image' ? 'name' : 'image'] ?? '';
  const bare = (full: string) => full.split('@')[0]!.replace(/:[^:/]*$/, '');
  return [id, name, bare(id), bare(name), name.split('@')[0]!].includes(ref);
}

export interface EventOptions {
  readonly log: EventLog;
  readonly filters: Filters;
  /** ms; what is remembered from here on comes first. Without: nothing that is past, or all where an end is given. */
  readonly since: number | undefined;
  readonly until: number | undefined;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

export async function* eventLines(options: EventOptions): AsyncGenerator<Uint8Array, void, undefined> {
  const { log, filters, clock, signal, until = Infinity } = options;
  const { since = options.until === undefined ? Infinity : 0 } = options;
  const waiting = log.past.filter((e) => e.time >= since && e.time <= until && wanted(e, filters)).map(line);
  let wake = () => {};
  let ended = signal.aborted || until <= clock.now();
  const end = () => {
    ended = true;
    wake();
  };
  const past = waiting.length;
  const unsubscribe = log.onEvent((event) => {
    if (ended || !wanted(event, filters) || waiting.length > MAX_WAITING + past) return;
    waiting.push(line(event));
    wake();
  });
  const cancelTimer = until === Infinity ? () => {} : clock.after(Math.max(0, until - clock.now()), end);
  signal.addEventListener('abort', end, { once: true });
  try {
    for (;;) {
      if (waiting.length > MAX_WAITING + past)
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

/** Older clients read `status`, `id` and `from`, which Docker still sends of containers and images. */
function line({ type, action, id, attributes, scope, time }: LoggedEvent): Uint8Array {
  const old = {
    status: action,
    id,
    ...(type === 'container' && { from: attributes['image'] }),
  };
  const event = {
    ...((type === 'container' || type === 'image') && old),
    Type: type,
    Action: action,
    Actor: { ID: id, Attributes: attributes },
    scope,
    time: Math.floor(time / 1000),
    timeNano: time * 1_000_000,
  };
  return Buffer.from(`${JSON.stringify(event)}\n`);
}
