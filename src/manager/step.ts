/**
 * What the manager's planners may decide, as values, and what each means as operations of the store. A step carries
 * the objects it was planned from, so that a transaction fails when one of them has changed since.
 *
 * All operations of one step go into one transaction: a slot is never seen with its old task gone and no new one.
 */
import { timestamp } from '../kit/clock.ts';
import { SkeinError } from '../model/errors.ts';
import type { NodeId } from '../model/ids.ts';
import type {
  Attachment,
  Kind,
  Network,
  NetworkState,
  Node,
  Objects,
  Service,
  ServiceEndpoint,
  Task,
  TaskStatus,
  UpdateStatus,
} from '../model/objects.ts';
import type { GenericResource } from '../model/spec.ts';
import { goalOf } from './task.ts';
import type { Draft, Op } from '../store/store.ts';

export type Step =
  /** Orchestrators: some tasks of one slot (or service) end, and at most one takes their place. */
  | {
      readonly kind: 'change-slot';
      readonly stop: readonly Task[];
      readonly desired: 'shutdown' | 'remove';
      readonly start: Draft<'task'> | undefined;
    }
  /** A task that was made 'ready' may run now. */
  | { readonly kind: 'release-task'; readonly task: Task }
  | { readonly kind: 'orphan-task'; readonly task: Task }
  | { readonly kind: 'delete-task'; readonly task: Task }
  | { readonly kind: 'set-update-status'; readonly service: Service; readonly status: UpdateStatus }
  | { readonly kind: 'rollback-service'; readonly service: Service; readonly status: UpdateStatus }
  | { readonly kind: 'allocate-network'; readonly network: Network; readonly state: NetworkState }
  | { readonly kind: 'allocate-node'; readonly node: Node; readonly attachments: readonly Attachment[] }
  | { readonly kind: 'allocate-service'; readonly service: Service; readonly endpoint: ServiceEndpoint }
  | { readonly kind: 'allocate-task'; readonly task: Task; readonly attachments: readonly Attachment[] }
  | {
      readonly kind: 'assign-task';
      readonly task: Task;
      readonly nodeId: NodeId;
      readonly genericResources: readonly GenericResource[];
    }
  /** Why a task does not get on, shown in `service ps`. */
  | { readonly kind: 'explain-task'; readonly task: Task; readonly err: string };

/** What a planner gives: what to do now, and which keys to look at again at which time (ms). */
export interface Plan {
  readonly steps: readonly Step[];
  readonly wake: readonly { readonly key: string; readonly at: number }[];
}

/** The object as a writer gives it: without what the store keeps. */
export function draftOf<K extends Kind>(object: Objects[K]): Draft<K> {
  const { version: _v, createRevision: _r, createdAt: _c, updatedAt: _u, ...draft } = object;
  return draft as unknown as Draft<K>;
}

function change<K extends Kind>(kind: K, object: Objects[K], patch: Partial<Objects[K]>): Op {
  return {
    op: 'update',
    kind,
    object: { ...draftOf<K>(object), ...patch },
    version: object.version,
  } as unknown as Op;
}

const status = (task: Task, patch: Partial<TaskStatus>, now: number): Pick<Task, 'status'> => ({
  status: { ...task.status, timestamp: timestamp(now), err: '', ...patch },
});

type Executors = {
  readonly [K in Step['kind']]: (step: Extract<Step, { kind: K }>, now: number) => readonly Op[];
};

const EXECUTORS: Executors = {
  'change-slot': ({ stop, desired, start }) => [
    ...stop.map((task) => change('task', task, { desiredState: desired })),
    ...(start ? [{ op: 'create', kind: 'task', object: start } as const] : []),
  ],
  'release-task': ({ task }) => [change('task', task, { desiredState: goalOf(task) })],
  'orphan-task': ({ task }, now) => [
    change('task', task, {
      desiredState: task.desiredState === 'remove' ? 'remove' : 'shutdown',
      ...status(task, { state: 'orphaned', message: 'orphaned', err: task.status.err }, now),
    }),
  ],
  'delete-task': ({ task }) => [{ op: 'delete', kind: 'task', id: task.id, version: task.version }],
  'set-update-status': ({ service, status: updateStatus }) => [change('service', service, { updateStatus })],
  'rollback-service': ({ service, status: updateStatus }) => [
    change('service', service, { ...rolledBack(service), updateStatus }),
  ],
  'allocate-network': ({ network, state }) => [change('network', network, { state })],
  'allocate-node': ({ node, attachments }) => [change('node', node, { attachments })],
  'allocate-service': ({ service, endpoint }) => [change('service', service, { endpoint })],
  'allocate-task': ({ task, attachments }, now) => [
    change('task', task, {
      attachments,
      ...status(task, { state: 'pending', message: 'pending task scheduling' }, now),
    }),
  ],
  'assign-task': ({ task, nodeId, genericResources }, now) => [
    change('task', task, {
      nodeId,
      ...(genericResources.length > 0 && { genericResources }),
      ...status(task, { state: 'assigned', message: 'scheduler assigned task to node' }, now),
    }),
  ],
  'explain-task': ({ task, err }, now) => [
    change('task', task, status(task, { message: task.status.message, err }, now)),
  ],
};

/** The parts of a service that change when it goes back to its previous spec. */
export function rolledBack(service: Service): Partial<Service> {
  if (!service.previousSpec)
    throw new SkeinError('failed-precondition', `service ${service.id} does not have a previous spec`);
  return {
    spec: service.previousSpec,
    specVersion: service.specVersion + 1,
    previousSpec: undefined,
    previousSpecVersion: undefined,
    registryAuth: service.previousRegistryAuth,
    previousRegistryAuth: undefined,
  };
}

export function opsOf(step: Step, now: number): readonly Op[] {
  return (EXECUTORS[step.kind] as (step: Step, now: number) => readonly Op[])(step, now);
}
