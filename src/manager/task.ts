/** What the planners ask of a task, and how a new one is made from its service. */
import { isDeepStrictEqual } from 'node:util';
import { timestamp } from '../kit/clock.ts';
import { sameJson } from '../kit/same-json.ts';
import type { Mac, NodeId, TaskId } from '../model/ids.ts';
import type { Node, Service, Task, TaskStatus } from '../model/objects.ts';
import type { PortSpec, ServiceSpec, TaskSpec } from '../model/spec.ts';
import { atLeast, isAfter, isTerminal, type TaskState } from '../model/task-state.ts';
import type { Draft } from '../store/store.ts';
import type { View } from '../store/view.ts';
import { parseConstraints, satisfies } from './constraint.ts';

/** Where planners get new ids from; a counter in tests. */
export interface Ids {
  task(): TaskId;
  mac(): Mac;
}

/** `spec.Runtime` of a task that only stands on networks, for a container started by hand. It has no service. */
export const ATTACHMENT = 'attachment';
export const isAttachment = (task: Task): boolean => task.spec.Runtime === ATTACHMENT;

/** Should exist and run, now or soon; a job's task, to its end. */
export const isWanted = (task: Task): boolean => !isAfter(task.desiredState, 'complete');
export const hasEnded = (task: Task): boolean => isTerminal(task.status.state);
/** Ended although nobody told it to: by itself, or refused by its node. */
export const endedByItself = (task: Task): boolean =>
  task.status.state === 'complete' || task.status.state === 'failed' || task.status.state === 'rejected';
/** Running and, with a health check, healthy; without one, listening where it is published. */
export const isUp = ({ status }: Pick<Task, 'status'>): boolean =>
  status.state === 'running' &&
  (status.health === 'none' || status.health === 'healthy') &&
  status.notListening === undefined;
export const isAssigned = (task: Task): boolean => atLeast(task.status.state, 'assigned');
/** Holds its place on its node: address, resources, ports. */
export const occupiesNode = (task: Task): boolean => task.nodeId !== undefined && !hasEnded(task);

export const timeOf = (iso: string): number => Date.parse(iso);
/** Of one transaction those of the lower slot first. */
export const olderFirst = (a: Task, b: Task): number =>
  a.createRevision - b.createRevision || a.slot - b.slot || (a.id < b.id ? -1 : 1);

/** May be given tasks: not drained, not paused. */
export const isActive = (view: View, id: NodeId): boolean =>
  view.get('node', id)?.spec.Availability === 'active';

const isDown = (node: Node | undefined): boolean => !node || node.status.state === 'down';
export const isDrained = (node: Node): boolean => node.spec.Availability === 'drain';

export const nodeOf = (view: View, task: Task): Node | undefined =>
  task.nodeId === undefined ? undefined : view.get('node', task.nodeId);

/** On a node that is gone or declared down; a task without a node is not lost. */
export const isLost = (view: View, task: Task): boolean =>
  task.nodeId !== undefined && isDown(view.get('node', task.nodeId));

const DEFAULT_RESTART_DELAY_NS = 5_000_000_000;
export const ms = (nanoseconds: number): number => nanoseconds / 1e6;
export const restartDelay = (spec: TaskSpec): number =>
  ms(spec.RestartPolicy?.Delay ?? DEFAULT_RESTART_DELAY_NS);

export const networksOf = (spec: ServiceSpec) => spec.TaskTemplate.Networks ?? spec.Networks ?? [];
export const ingressPorts = (ports: readonly PortSpec[] | undefined): PortSpec[] =>
  (ports ?? []).filter((port) => port.PublishMode !== 'host');
export const hostPorts = (ports: readonly PortSpec[] | undefined): PortSpec[] =>
  (ports ?? []).filter((port) => port.PublishMode === 'host');

/**
 * What of a service's spec its tasks depend on. Labels, replicas, update policy and the ports that the mesh
 * publishes are not in it: the mesh translates those on each node, so changing them replaces no task.
 */
function taskRelevant(spec: TaskSpec, ports: readonly PortSpec[] | undefined, networks: unknown): unknown {
  const { Networks: _networks, ...rest } = spec;
  return { spec: rest, networks, hostPorts: hostPorts(ports), needsIngress: ingressPorts(ports).length > 0 };
}

const relevantOfSpec = (spec: ServiceSpec) =>
  taskRelevant(spec.TaskTemplate, spec.EndpointSpec?.Ports, networksOf(spec));

/** Whether tasks must be replaced to go from one spec to the other. */
export const replacesTasks = (from: ServiceSpec, to: ServiceSpec): boolean =>
  !sameJson(relevantOfSpec(from), relevantOfSpec(to));

/**
 * A task of another version of its service's spec that also differs in what matters to a task. A change of placement
 * alone does not, where the task's `node` satisfies the new constraints.
 */
export function isOutdated(task: Task, service: Service, node: Node | undefined): boolean {
  if (task.specVersion === service.specVersion) return false;
  const { Placement } = service.spec.TaskTemplate;
  const isPlaced =
    !isDeepStrictEqual(task.spec.Placement, Placement) &&
    node !== undefined &&
    satisfies(node, parseConstraints(Placement?.Constraints));
  const spec = isPlaced ? { ...task.spec, Placement } : task.spec;
  return !sameJson(
    taskRelevant(spec, task.endpointSpec.Ports, task.spec.Networks ?? []),
    relevantOfSpec(service.spec),
  );
}

/** What a task is released to: a job's is to complete, any other to run until it is told to stop. */
export const goalOf = ({ jobIteration }: Pick<Task, 'jobIteration'>): TaskState =>
  jobIteration === undefined ? 'running' : 'complete';

const NEW_STATUS: Omit<TaskStatus, 'timestamp'> = {
  state: 'new',
  message: 'created',
  err: '',
  container: undefined,
  ports: [],
  health: 'none',
};

export interface NewTask {
  readonly service: Service;
  readonly slot: number;
  readonly nodeId: NodeId | undefined;
  /** 'ready': prepared at once, but run only when released. */
  readonly desiredState: 'ready' | 'running';
  readonly ids: Ids;
  readonly now: number;
}

export function newTask({ service, slot, nodeId, desiredState, ids, now }: NewTask): Draft<'task'> {
  const { spec, jobStatus } = service;
  return {
    id: ids.task(),
    serviceId: service.id,
    slot,
    nodeId,
    spec: { ...spec.TaskTemplate, Networks: networksOf(spec) },
    specVersion: service.specVersion,
    serviceName: spec.Name,
    serviceLabels: spec.Labels ?? {},
    endpointSpec: spec.EndpointSpec ?? {},
    desiredState: desiredState === 'ready' ? 'ready' : goalOf({ jobIteration: jobStatus?.jobIteration }),
    status: { ...NEW_STATUS, timestamp: timestamp(now) },
    attachments: [],
    registryAuth: service.registryAuth,
    jobIteration: jobStatus?.jobIteration,
  };
}
