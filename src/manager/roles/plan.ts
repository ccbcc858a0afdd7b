/**
 * manager/roles: who is a manager. A user writes the role wanted into the node's spec; the node itself makes a manager
 * of itself (daemon/role-keeper.ts); here, on the leader, is what the store's other members have to do about it: give a
 * joined member its vote, and let go a manager that is to be a worker. If it errs, the store loses its quorum; so at
 * most one member goes at a time, and none while the rest could not do without it.
 *
 * Nothing is remembered: members, nodes and who leads are looked at again every time, so that any leader goes on where
 * another was killed. Cost: one list of members a round, however many nodes there are.
 */
import type { NodeId } from '../../model/ids.ts';
import type { Node } from '../../model/objects.ts';
import type { EtcdPeer } from '../../store/etcd/membership.ts';

export type RoleStep =
  /** It has caught up, perhaps: it gets its vote. */
  | { readonly kind: 'give-vote'; readonly peer: EtcdPeer }
  /** This manager is to be a worker and leads: another one leads first. */
  | { readonly kind: 'resign' }
  | { readonly kind: 'remove-member'; readonly peer: EtcdPeer }
  /** It has no member any more: from now on the node is a worker. */
  | { readonly kind: 'unregister'; readonly node: Node };

/** A manager as its node object tells. */
export type Manager = Node & { readonly manager: NonNullable<Node['manager']> };

const isManager = (node: Node): node is Manager => node.manager !== undefined;
const isToGo = (node: Node): boolean => node.spec.Role === 'worker';

/** Unnamed: announced and not started yet, so that only its address tells whose it is. */
const belongs = (peer: EtcdPeer, { manager }: Manager): boolean =>
  peer.name === '' ? peer.peerUrl === manager.etcdPeerUrl : peer.name === manager.etcdName;

/** Members that no manager's node object knows: announced for a node that was made a worker in the meantime. */
export const strangers = (nodes: Iterable<Node>, peers: readonly EtcdPeer[]): readonly EtcdPeer[] => {
  const managers = [...nodes].filter(isManager);
  return peers.filter((peer) => peer.name === '' && !managers.some((node) => belongs(peer, node)));
};

export function planRoles(nodes: Iterable<Node>, peers: readonly EtcdPeer[], self: NodeId): RoleStep[] {
  const managers = [...nodes].filter(isManager).sort((a, b) => (a.id < b.id ? -1 : 1));
  const going = managers.filter(isToGo);
  const votes = peers
    .filter(({ learner, name }) => learner && name !== '')
    .filter((peer) => !going.some((node) => belongs(peer, node)))
    .map((peer): RoleStep => ({ kind: 'give-vote', peer }));
  if (going.some(({ id }) => id === self) && managers.some((node) => mayLeadAfter(node, self, peers)))
    return [...votes, { kind: 'resign' }];

  const others = going.filter(({ id }) => id !== self);
  const membersOf = (node: Manager) => peers.filter((peer) => isLastClaim(peer, node, managers));
  const removable = [
    ...strangers(managers, peers),
    ...others.flatMap(membersOf).filter((peer) => restHasQuorum(peer, managers, peers, self)),
  ];
  return [
    ...votes,
    ...removable.slice(0, 1).map((peer): RoleStep => ({ kind: 'remove-member', peer })),
    ...others
      .filter((node) => membersOf(node).length === 0)
      .map((node): RoleStep => ({ kind: 'unregister', node })),
  ];
}

/** It votes, lives, and is to stay a manager. */
const mayLeadAfter = (node: Manager, self: NodeId, peers: readonly EtcdPeer[]): boolean =>
  node.id !== self &&
  !isToGo(node) &&
  isAlive(node) &&
  peers.some((peer) => peer.name !== '' && !peer.learner && belongs(peer, node));

/** An unnamed member at an address that a node to stay claims too is the latter's, who is just coming. */
const isLastClaim = (peer: EtcdPeer, node: Manager, managers: readonly Manager[]): boolean =>
  belongs(peer, node) && !managers.some((other) => !isToGo(other) && belongs(peer, other));

const isAlive = (node: Node): boolean => node.status.state === 'ready';

/** The voters that would stay have a quorum of living ones among them. */
function restHasQuorum(
  peer: EtcdPeer,
  managers: readonly Manager[],
  peers: readonly EtcdPeer[],
  self: NodeId,
): boolean {
  if (peer.learner) return true;
  const rest = peers.filter((other) => !other.learner && other !== peer);
  const lives = (node: Manager) => node.id === self || isAlive(node);
  const alive = rest.filter((other) => managers.some((node) => belongs(other, node) && lives(node)));
  return hasQuorum(alive.length, rest.length);
}

export const hasQuorum = (alive: number, members: number): boolean => alive > Math.floor(members / 2);
