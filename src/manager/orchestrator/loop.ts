/** Orchestrate: keys are service ids; a change of a task concerns its service, of a node its tasks' services. */
import type { Node, Task } from '../../model/objects.ts';
import type { ServiceMode } from '../../model/spec.ts';
import { atLeast } from '../../model/task-state.ts';
import type { Transition, View } from '../../store/view.ts';
import type { Planner } from '../runner.ts';
import { type Ids, isAttachment, isUp } from '../task.ts';
import { planServices } from './plan.ts';

export function orchestrate(ids: Ids): Planner {
  return {
    name: 'orchestrate',
    reset: (view) => new Set([...view.all('service').keys(), ...orphanServices(view)]),
    changed: keysOf,
    foreseen: () => [], // it is the first
    plan: (view, keys, now) => planServices(view, keys, now, ids),
  };
}

/** Services that are gone but still have tasks. */
function* orphanServices(view: View): Iterable<string> {
  for (const task of view.all('task').values())
    if (!isAttachment(task) && !view.get('service', task.serviceId)) yield task.serviceId;
}

function* keysOf(transition: Transition, view: View): Iterable<string> {
  if (transition.kind === 'service') yield transition.id;
  else if (transition.kind === 'task') {
    const task = (transition.after ?? transition.before)!;
    if (!isAttachment(task) && isTurn(transition.before, transition.after)) yield task.serviceId;
  } else if (transition.kind === 'node' && isRelevant(transition.before, transition.after)) {
    for (const task of view.tasksOfNode(transition.id)) if (!isAttachment(task)) yield task.serviceId;
    for (const service of view.all('service').values()) if (isPerNode(service.spec.Mode)) yield service.id;
  }
}

const isPerNode = (mode: ServiceMode): boolean => mode.Global !== undefined || mode.GlobalJob !== undefined;

const isRelevant = (before: Node | undefined, after: Node | undefined): boolean =>
  before?.status.state !== after?.status.state ||
  before?.spec !== after?.spec ||
  before?.description !== after?.description;

/** The steps of a task between assigned and running concern its agent alone. */
function isTurn(before: Task | undefined, after: Task | undefined): boolean {
  if (!before || !after || before.desiredState !== after.desiredState) return true;
  const { state } = after.status;
  return (state !== before.status.state && atLeast(state, 'running')) || isUp(after) !== isUp(before);
}
