/** Where a manager's etcd listens for its peers: beside the control port, so that nodes sharing an address differ. */
import type { Membership } from './membership-file.ts';

/** 2380 for the usual 2377. */
const PEER_PORT_OFFSET = 3;

export const etcdPeerUrl = ({ advertiseAddr, port }: Pick<Membership, 'advertiseAddr' | 'port'>): string =>
  `https://${advertiseAddr}:${port + PEER_PORT_OFFSET}`;
