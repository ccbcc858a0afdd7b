/** Names of Skein's links: fixed on a node, at most 15 characters. Links of other names are never touched. */
import type { ContainerId, Vni } from '../model/ids.ts';

/** Root namespace: this node's ingress endpoint, and its end of the containers' way out. */
export const INGRESS_LINK = 'sk-ingress';
export const GATEWAY_LINK = 'sk-gw';
/** Fabric: the other ends of these veths, and the bridge of the way out. */
export const INGRESS_PORT = 'sk-ingress-p';
export const GATEWAY_PORT = 'sk-gw-p';
export const GATEWAY_BRIDGE = 'sk-gateway';

export const bridgeName = (vni: Vni): string => `sk-${vni}`;
export const vxlanName = (vni: Vni): string => `vx-${vni}`;

/** Host side of a container's link: 40 bits of its id tell containers of one node apart. */
export const portName = (id: ContainerId, index: number): string =>
  `sk${id.slice(0, 10)}-${index.toString(36)}`;
/** A container's link, seen from inside. */
export const innerName = (index: number): string => `eth${index}`;
export const gatewayPortName = (id: ContainerId): string => `sk${id.slice(0, 10)}-g`;

/** In the root namespace, where links of others stand too. In the fabric everything is Skein's. */
export const isOurs = (name: string): boolean => name === INGRESS_LINK || name === GATEWAY_LINK;

/** The host side of one of the container's links. */
export const isPortOf = (id: ContainerId, name: string): boolean => name.startsWith(`sk${id.slice(0, 10)}-`);
