/** Where a manager is reached: its control listener, and its etcd for its peers. */
import type { NodeId } from '../model/ids.ts';
import type { ManagerJoinRequest } from '../rpc/methods.ts';
import type { Membership } from './membership-file.ts';

/** 2380 for the usual 2377: beside the control port, so that nodes sharing an address differ. */
const PEER_PORT_OFFSET = 3;

/** What this manager tells an existing one when it joins, and what its node object says of it afterwards. */
export const managerPlace = (
  nodeId: NodeId,
  { advertiseAddr, port }: Pick<Membership, 'advertiseAddr' | 'port'>,
): ManagerJoinRequest => ({
  addr: `${advertiseAddr}:${port}`,
  etcdName: nodeId,
  etcdPeerUrl: `https://${advertiseAddr}:${port + PEER_PORT_OFFSET}`,
});
