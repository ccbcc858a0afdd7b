/**
 * Tasks that a node can hold no more: it came back with less memory, fewer CPUs or without a resource that they were
 * given. The oldest stay, as many as fit; the others go elsewhere. What reserves nothing is never among them.
 *
 * One is made a plan. Cost: the tasks of a node once, and only where one that reserves something is asked for.
 */
import type { NodeId } from '../../model/ids.ts';
import type { Node, Task } from '../../model/objects.ts';
import type { View } from '../../store/view.ts';
import { takenOf } from '../scheduler/generic-claim.ts';
import { reservations } from '../scheduler/ledger.ts';
import { isAssigned, isWanted, occupiesNode, olderFirst } from '../task.ts';

export class Overfull {
  readonly #view: View;
  readonly #tooMany = new Map<NodeId, ReadonlySet<Task>>();

  constructor(view: View) {
    this.#view = view;
  }

  has(task: Task, node: Node): boolean {
    if (!reserves(task)) return false;
    let tasks = this.#tooMany.get(node.id);
    if (!tasks) this.#tooMany.set(node.id, (tasks = tooMany(node, this.#view.tasksOfNode(node.id))));
    return tasks.has(task);
  }
}

const reserves = (task: Task): boolean => {
  const { cpus, memory, generic } = reservations(task);
  return cpus > 0 || memory > 0 || generic.length > 0;
};

function tooMany({ description }: Node, tasks: Iterable<Task>): ReadonlySet<Task> {
  const over = new Set<Task>();
  if (!description) return over;
  const { nanoCpus, memoryBytes, generic = [] } = description.resources;
  const left = new Map([['cpu', nanoCpus], ['memory', memoryBytes], ...takenOf(generic).map(of)]);
  const holding = [...tasks].filter((task) => isWanted(task) && occupiesNode(task) && isAssigned(task));
  for (const task of holding.filter(reserves).sort(olderFirst)) {
    const { cpus, memory } = reservations(task);
    const wants = [
      ['cpu', cpus] as const,
      ['memory', memory] as const,
      ...takenOf(task.genericResources ?? []).map(of),
    ];
    if (wants.some(([key, amount]) => amount > (left.get(key) ?? 0))) over.add(task);
    else for (const [key, amount] of wants) left.set(key, (left.get(key) ?? 0) - amount);
  }
  return over;
}

/** Apart from the two that every node has. */
const of = ([kind, amount]: [string, number]): [string, number] => [`generic/${kind}`, amount];
