/**
 * Answers `manager.join`: a node with a manager's certificate becomes one. Its place among the managers is registered,
 * then what it needs of etcd is added by the daemon's function.
 *
 * INVARIANT: no member is announced to etcd before its node is registered, so that the leader knows whose each one is
 * (manager/roles), and lets go the member of a node that is made a worker half-way.
 */
import { isDeepStrictEqual } from 'node:util';
import { isCode, SkeinError } from '../../model/errors.ts';
import type { NodeId } from '../../model/ids.ts';
import type { ManagerJoinAnswer, ManagerJoinRequest } from '../../rpc/methods.ts';
import type { Call } from '../../rpc/server.ts';
import type { Store } from '../../store/store.ts';
import type { View } from '../../store/view.ts';

export interface ManagerJoinOptions {
  readonly store: Pick<Store, 'get' | 'transact'>;
  readonly view: Pick<View, 'cluster'>;
  secretsKey(): string;
  /** Adds the member to etcd (idempotent by peer URL) and gives all members, the new one included. */
  addMember(
    member: { readonly name: string; readonly peerUrl: string },
    signal: AbortSignal,
  ): Promise<ManagerJoinAnswer['initialCluster']>;
}

export async function joinManager(
  options: ManagerJoinOptions,
  request: ManagerJoinRequest,
  call: Pick<Call, 'peer' | 'signal'>,
): Promise<ManagerJoinAnswer> {
  const { cluster } = options.view;
  if (!cluster || !call.peer) throw new SkeinError('unavailable', 'the cluster is not ready yet');
  const member = { name: request.etcdName, peerUrl: request.etcdPeerUrl };
  await register(options.store, call.peer.nodeId, request);
  const initialCluster = await options.addMember(member, call.signal);
  return {
    initialCluster,
    etcdCa: cluster.ca.etcdCertificate,
    etcdKey: cluster.ca.etcdKey,
    secretsKey: options.secretsKey(),
  };
}

async function register(
  store: ManagerJoinOptions['store'],
  id: NodeId,
  manager: ManagerJoinRequest,
): Promise<void> {
  for (let left = 5; ; left--) {
    const node = await store.get('node', id);
    if (node?.spec.Role !== 'manager')
      throw new SkeinError('permission-denied', 'the node has not the role of a manager');
    if (isDeepStrictEqual(node.manager, manager)) return;
    try {
      await store.transact([
        { op: 'update', kind: 'node', object: { ...node, manager: { ...manager } }, version: node.version },
      ]);
      return;
    } catch (error) {
      if (!isCode(error, 'out-of-sequence') || left === 0) throw error;
    }
  }
}
