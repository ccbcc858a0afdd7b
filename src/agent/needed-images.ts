/** Which images the tasks of this node need, whether they have a container already or not. Pure. */
import { fullName, parseReference } from '../containerd/reference.ts';
import { isAfter, isTerminal } from '../model/task-state.ts';
import type { Assignments } from './assignments.ts';

/** Full names, and as it stands what may be (the beginning of) an id. */
export function neededImages(tasks: Assignments['tasks']): ReadonlySet<string> {
  const needed = new Set<string>();
  for (const { spec, desiredState, status } of tasks.values()) {
    // What is to end, or has, needs no more than the container that it may have.
    if (isAfter(desiredState, 'complete') || isTerminal(status.state)) continue;
    for (const one of meanings(spec.ContainerSpec.Image)) needed.add(one);
  }
  return needed;
}

const ID = /^(?:sha256:)?[0-9a-f]+$/;

function meanings(reference: string): readonly string[] {
  const id = ID.test(reference) ? [reference.replace(/^sha256:/, '')] : [];
  try {
    return [...id, fullName(parseReference(reference))];
  } catch {
    return id;
  }
}
