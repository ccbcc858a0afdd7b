/**
 * What managers and agents say to each other on the session stream, one JSON value a line (see adr/0003). Managers
 * listen, agents dial; a worker never needs an open port. Each side checks the other's `protocol` first.
 *
 *   agent -> manager   hello, then: status, applied, heartbeat
 *   manager -> agent   welcome, snapshot, then: delta, managers, logs and trace (ask / cancel), walk,
 *                      and errors that end it
 *
 * Assignments are keyed items. A snapshot replaces all of them, a delta puts and deletes some; both carry the store
 * revision up to which they are complete. The agent answers `applied` with that revision when its kernel agrees.
 */
import type { ConfigId, Ipv4, NodeId, SecretId, ServiceId, TaskId } from '../model/ids.ts';
import type { EndpointItem, NetworkItem, PeerItem, SelfItem, ServiceItem } from '../model/network-view.ts';
import type { NodeDescription, Task, TaskStatus } from '../model/objects.ts';
import type { WalkRequest } from './explain.ts';
import type { TraceRequest } from './trace-messages.ts';

/** Grows when a message changes its meaning. A node of another version is told so in words. */
export const PROTOCOL = 1;

/** A task as its agent sees it. `desiredState` stays `running` until the drain of a stopping task is acknowledged. */
export type TaskItem = Pick<
  Task,
  | 'id'
  | 'serviceId'
  | 'serviceName'
  | 'serviceLabels'
  | 'slot'
  | 'nodeId'
  | 'spec'
  | 'desiredState'
  | 'attachments'
  | 'endpointSpec'
  | 'registryAuth'
  | 'genericResources'
> & {
  /** State the manager knows; an agent that lost its data goes on from here. */
  readonly status: TaskStatus;
};

/** A secret or config with its data, as the container is to see it but for its templates. */
export interface PayloadItem<I extends string> {
  readonly id: I;
  readonly name: string;
  /** Base64. */
  readonly data: string;
  readonly isTemplate: boolean;
}

/**
 * Item keys: `self`, `task/ID`, `peer/NODE` (all nodes, the own one too), `network/ID`,
 * `endpoint/NETWORK/TASK|node-NODE`, `service/ID/NETWORK` (what the service is on that network: its VIP there, and
 * on the ingress network its published ports), `secret/ID` and `config/ID` of those that the node's tasks refer to.
 * `Assignments` joins the parts.
 */
export type Item =
  | { readonly kind: 'self'; readonly value: SelfItem }
  | { readonly kind: 'task'; readonly value: TaskItem }
  | { readonly kind: 'peer'; readonly value: PeerItem }
  | { readonly kind: 'network'; readonly value: NetworkItem }
  | { readonly kind: 'endpoint'; readonly value: EndpointItem }
  | { readonly kind: 'service'; readonly value: ServiceItem }
  | { readonly kind: 'secret'; readonly value: PayloadItem<SecretId> }
  | { readonly kind: 'config'; readonly value: PayloadItem<ConfigId> };

export type ToManager =
  | {
      readonly type: 'hello';
      readonly protocol: number;
      readonly description: NodeDescription;
      readonly dataPathAddr: Ipv4;
    }
  | {
      readonly type: 'status';
      /** By the clock of the node, ms since the epoch. */
      readonly sentAt?: number | undefined;
      readonly tasks: readonly { readonly id: TaskId; readonly status: TaskStatus }[];
    }
  | { readonly type: 'applied'; readonly revision: number }
  | { readonly type: 'heartbeat' };

export interface ManagerAddress {
  readonly nodeId: NodeId;
  /** `ip:port` of the control listener. */
  readonly addr: string;
}

export interface LogRequest {
  readonly id: string;
  readonly tasks: readonly TaskId[];
  readonly follow: boolean;
  /** Lines from the end; undefined: all. */
  readonly tail: number | undefined;
  /** ISO 8601. */
  readonly since: string | undefined;
  readonly until: string | undefined;
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** Of tasks that were read before: time of the last line that came. Only later ones are wanted, and all of them. */
  readonly after?: Readonly<Record<TaskId, string>>;
}

/** What a manager asks of the leader; the leader asks the nodes. */
export interface LogsAsked extends LogRequest {
  /** Who follows wants those of its tasks too that are made meanwhile. */
  readonly service?: ServiceId;
}

export type ToAgent =
  | { readonly type: 'welcome'; readonly heartbeatMs: number; readonly managers: readonly ManagerAddress[] }
  | { readonly type: 'snapshot'; readonly revision: number; readonly items: Readonly<Record<string, Item>> }
  | {
      readonly type: 'delta';
      readonly revision: number;
      readonly put: Readonly<Record<string, Item>>;
      readonly delete: readonly string[];
    }
  | { readonly type: 'managers'; readonly managers: readonly ManagerAddress[] }
  /** The agent answers by opening a `logs.publish` call with the same id; `cancel` ends it. */
  | { readonly type: 'logs'; readonly request: LogRequest }
  | { readonly type: 'logs-cancel'; readonly id: string }
  /** The agent answers by a call of `explain.answer` with the same id. */
  | { readonly type: 'walk'; readonly request: WalkRequest }
  /** Likewise with `trace.publish`; said again with another filter while it runs. */
  | { readonly type: 'trace'; readonly request: TraceRequest }
  | { readonly type: 'trace-cancel'; readonly id: string };

/** One line (or part of one over 16 KiB) of a container's output. */
export interface LogRecord {
  readonly taskId: TaskId;
  readonly stream: 'stdout' | 'stderr';
  /** ISO 8601 with nanoseconds. */
  readonly time: string;
  /** Base64: output is bytes, not text. Includes the line's newline where there was one. */
  readonly data: string;
}
