/** Objects as users refer to them: by id, by name, or by the beginning of an id that fits only one. */
import { SkeinError } from '../../model/errors.ts';
import type { NodeId, NetworkId, ServiceId, TaskId } from '../../model/ids.ts';
import { slotName, taskName } from '../../model/names.ts';
import type { Id, Network, Node, Objects, Service, Task } from '../../model/objects.ts';
import type { View } from '../../store/view.ts';
import { notFound } from './refusal.ts';

function byPrefix<T extends { readonly id: string }>(kind: string, ref: string, all: Iterable<T>): T {
  const found = ref === '' ? [] : [...all].filter(({ id }) => id.startsWith(ref));
  if (found.length > 1)
    throw new SkeinError('invalid-argument', `${kind} ${ref} is ambiguous (${found.length} matches found)`);
  if (!found[0]) throw notFound(kind, ref);
  return found[0];
}

export const findService = (view: View, ref: string): Service =>
  view.get('service', ref as ServiceId) ??
  view.byName('service', ref) ??
  byPrefix('service', ref, view.all('service').values());

export const findNetwork = (view: View, ref: string): Network =>
  view.get('network', ref as NetworkId) ??
  view.byName('network', ref) ??
  byPrefix('network', ref, view.all('network').values());

export const findPayload = <K extends 'secret' | 'config'>(view: View, kind: K, ref: string): Objects[K] =>
  view.get(kind, ref as Id<K>) ??
  view.byName(kind, ref) ??
  byPrefix(kind, ref, view.all(kind).values() as Iterable<Objects[K] & { readonly id: string }>);

export function findNode(view: View, ref: string): Node {
  const direct = view.get('node', ref as NodeId);
  if (direct) return direct;
  const named = [...view.all('node').values()].filter(
    (node) => node.description?.hostname === ref || node.spec.Name === ref,
  );
  if (named.length > 1)
    throw new SkeinError('invalid-argument', `node ${ref} is ambiguous (${named.length} matches found)`);
  return named[0] ?? byPrefix('node', ref, view.all('node').values());
}

export function findTask(view: View, ref: string): Task {
  const direct = view.get('task', ref as TaskId);
  if (direct) return direct;
  const named = [...view.all('task').values()].find(
    (task) => slotName(task) === ref || taskName(task) === ref,
  );
  return named ?? byPrefix('task', ref, view.all('task').values());
}
