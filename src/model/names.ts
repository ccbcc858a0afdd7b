/** Names that Docker derives from objects and that users see. */
import type { ContainerId, TaskId } from './ids.ts';
import type { Task } from './objects.ts';

/** `web.1` or `web.<node id>`: the task's name without its id. */
export function slotName(task: Pick<Task, 'serviceName' | 'slot' | 'nodeId'>): string {
  return `${task.serviceName}.${task.slot === 0 ? (task.nodeId ?? '') : task.slot}`;
}

/** `web.1.<task id>`: the task's name, which is its container's. */
export const taskName = (task: Pick<Task, 'id' | 'serviceName' | 'slot' | 'nodeId'>): string =>
  `${slotName(task)}.${task.id}`;

/** What people call it where its node is told beside: a container by hand by its own name, a global task by its service. */
export const standName = (task: Pick<Task, 'serviceName' | 'slot' | 'nodeId' | 'spec'>): string =>
  task.spec.NetworkAttachmentSpec?.ContainerName ?? (task.slot === 0 ? task.serviceName : slotName(task));

/** Key of the place a task fills: a slot of a replicated service, or a node of a global one. */
export function slotKey(task: Pick<Task, 'serviceId' | 'slot' | 'nodeId'>): string {
  return `${task.serviceId}/${task.slot === 0 ? (task.nodeId ?? '') : task.slot}`;
}

export type HashText = (text: string) => string;

/**
 * The container id of a task: a pure function of the task's id, so that an agent killed between creating the
 * container and writing that down finds it again. `sha256` gives 64 hexadecimal digits.
 */
export const containerIdOf = (taskId: TaskId, sha256: HashText): ContainerId =>
  sha256(`skein task ${taskId}`) as ContainerId;
