/**
 * What each node carries: reserved resources, tasks, host ports, and recent failures. Follows the view task by task,
 * so that a decision never counts all tasks again; rebuilt from the view at the start.
 */
import { overAt } from '../../kit/clock.ts';
import type { NodeId, ServiceId } from '../../model/ids.ts';
import type { Task } from '../../model/objects.ts';
import type { Transition, View } from '../../store/view.ts';
import type { GenericResource } from '../../model/spec.ts';
import { hostPorts, occupiesNode, timeOf } from '../task.ts';
import { takenOf } from './generic-claim.ts';

export interface Load {
  cpus: number;
  memory: number;
  /** Tasks that are to run. Those that stop hold resources, but do not count for spreading. */
  tasks: number;
  readonly byService: Map<ServiceId, number>;
  readonly ports: Map<string, number>;
  /** Of the node's generic resources, by the keys of generic-claim.ts. */
  readonly generic: Map<string, number>;
}

const FAILURE_WINDOW_MS = 300_000;
const MANY_FAILURES = 5;

const emptyLoad = (): Load => ({
  cpus: 0,
  memory: 0,
  tasks: 0,
  byService: new Map(),
  ports: new Map(),
  generic: new Map(),
});

/** Host ports that the task asks for by number. */
export const wantedPorts = (task: Pick<Task, 'endpointSpec'>): string[] =>
  hostPorts(task.endpointSpec.Ports)
    .filter((port) => port.PublishedPort)
    .map((port) => `${port.PublishedPort}/${port.Protocol}`);

export const reservations = (task: Pick<Task, 'spec'>) => ({
  cpus: task.spec.Resources?.Reservations?.NanoCPUs ?? 0,
  memory: task.spec.Resources?.Reservations?.MemoryBytes ?? 0,
  generic: task.spec.Resources?.Reservations?.GenericResources ?? [],
});

/** Adds (sign 1) or takes away (-1) what the task costs its node. */
export function count(load: Load, task: Task, sign: 1 | -1): void {
  const { cpus, memory } = reservations(task);
  load.cpus += sign * cpus;
  load.memory += sign * memory;
  for (const port of wantedPorts(task)) bump(load.ports, port, sign);
  countGeneric(load, task.genericResources ?? [], sign);
  if (task.desiredState === 'shutdown' || task.desiredState === 'remove') return;
  load.tasks += sign;
  bump(load.byService, task.serviceId, sign);
}

/** Counted apart for a task that is on its node already when it is given them. */
export function countGeneric(load: Load, given: readonly GenericResource[], sign: 1 | -1): void {
  for (const [key, amount] of takenOf(given)) bump(load.generic, key, sign * amount);
}

function bump<K>(map: Map<K, number>, key: K, by: number): void {
  const value = (map.get(key) ?? 0) + by;
  if (value === 0) map.delete(key);
  else map.set(key, value);
}

export class Ledger {
  readonly #loads = new Map<NodeId, Load>();
  readonly #failures = new Map<string, number[]>();

  rebuild(view: View): void {
    this.#loads.clear();
    this.#failures.clear();
    for (const task of view.all('task').values()) this.#enter(undefined, task);
  }

  follow(transition: Transition): void {
    if (transition.kind === 'task') this.#enter(transition.before, transition.after);
    if (transition.kind === 'node' && !transition.after) this.#loads.delete(transition.id);
  }

  load(node: NodeId): Load {
    const load = this.#loads.get(node) ?? emptyLoad();
    this.#loads.set(node, load);
    return load;
  }

  /** Fails this service's tasks again and again: chosen last for it. */
  isFailing(node: NodeId, task: Pick<Task, 'serviceId' | 'specVersion'>, now: number): boolean {
    const times = this.#failures.get(failureKey(node, task)) ?? [];
    return times.filter((at) => overAt(at, FAILURE_WINDOW_MS, now) > now).length >= MANY_FAILURES;
  }

  #enter(before: Task | undefined, after: Task | undefined): void {
    const left = before && occupiesNode(before) && this.#loads.get(before.nodeId!);
    if (left) count(left, before, -1);
    if (after && occupiesNode(after)) count(this.load(after.nodeId!), after, 1);
    if (after?.nodeId && hasFailed(after) && !(before && hasFailed(before)))
      this.#failed(after.nodeId, after);
  }

  #failed(node: NodeId, task: Task): void {
    const key = failureKey(node, task);
    this.#failures.set(
      key,
      [...(this.#failures.get(key) ?? []), timeOf(task.status.timestamp)].slice(-MANY_FAILURES),
    );
  }
}

const hasFailed = (task: Task): boolean => task.status.state === 'failed' || task.status.state === 'rejected';
const failureKey = (node: NodeId, task: Pick<Task, 'serviceId' | 'specVersion'>): string =>
  `${node}/${task.serviceId}/${task.specVersion}`;
