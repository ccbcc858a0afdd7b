/**
 * What a node does next to be what it should be, manager or worker. Pure, and from what lies on its disk and what the
 * managers say alone: a daemon that was killed at any point goes on from there.
 *
 * The certificate stands between the two: it is the first thing to change, so that from then on a restart goes the same
 * way, and what the new role needs or forbids on this node follows it.
 */
import type { NodeRole } from '../model/spec.ts';

export interface RoleState {
  /** In the certificate that this node has. */
  readonly certified: NodeRole;
  /** What the managers say this node is; undefined before they have said anything. */
  readonly told: NodeRole | undefined;
  /** The manager's half serves. */
  readonly serving: boolean;
  /** Data or keys of a manager lie on the disk, or its store runs. */
  readonly traces: boolean;
  /** The store's other members have removed this one, for good. */
  readonly expelled: boolean;
}

export type RoleStep =
  /** Gets a certificate of the role that the managers say. */
  | 'certify'
  /** Serves as a manager: with the data that is there, or let in by the others. */
  | 'serve'
  /** Stops the manager's half and removes all that a worker must not have. */
  | 'clear'
  | 'nothing';

export function nextRoleStep({ certified, told, serving, traces, expelled }: RoleState): RoleStep {
  if (told !== undefined && told !== certified) return 'certify';
  if (certified === 'worker') return serving || traces ? 'clear' : 'nothing';
  // A manager still, or again: its old data is worth nothing, it comes back as a new member.
  if (expelled) return 'clear';
  return serving ? 'nothing' : 'serve';
}
