/**
 * What one node must know of the networks it takes part in: the part of the cluster that its kernel shows. The
 * manager's dispatcher computes it as keyed items, the rpc carries them, the agent hands them to net/ as one
 * `NetworkView`, and net/ makes the kernel agree. One revision stamps the whole.
 *
 * Scale: one item an endpoint, so a change of one task costs one item on each node of its networks, whatever else
 * exists.
 */
import type { Cidr, Ipv4, Mac, NetworkId, NodeId, ServiceId, TaskId, Vni } from './ids.ts';
import type { NodeRole, PortSpec } from './spec.ts';

/** This node's own place. */
export interface SelfItem {
  readonly nodeId: NodeId;
  readonly hostname: string;
  /** UDP port of VXLAN, the same on all nodes of a cluster. */
  readonly dataPathPort: number;
  /** This node's ingress endpoint; undefined until the allocator gave one. */
  readonly ingress: { readonly address: Ipv4; readonly mac: Mac } | undefined;
  /** What this node is to be by now; undefined: its manager does not say. */
  readonly role?: NodeRole | undefined;
}

/** Another node, as a tunnel endpoint (VTEP). */
export interface PeerItem {
  readonly nodeId: NodeId;
  readonly hostname: string;
  readonly vtep: Ipv4;
}

export interface NetworkItem {
  readonly networkId: NetworkId;
  readonly name: string;
  readonly vni: Vni;
  readonly subnet: Cidr;
  readonly gateway: Ipv4;
  readonly ingress: boolean;
  readonly internal: boolean;
  /** `com.docker.network.driver.mtu`; undefined: the uplink's less 50. */
  readonly mtu: number | undefined;
  /** What `network inspect` shows on a worker and no kernel needs; absent: an older manager does not say. */
  readonly shown?: {
    readonly createdAt: string;
    readonly attachable: boolean;
    readonly ipRange: Cidr | undefined;
    readonly auxiliary: Readonly<Record<string, string>> | undefined;
    readonly labels: Readonly<Record<string, string>>;
    readonly options: Readonly<Record<string, string>>;
  };
}

/** A task's stand on a network, or a node's ingress endpoint (`taskId` undefined then). */
export interface EndpointItem {
  readonly networkId: NetworkId;
  readonly nodeId: NodeId;
  readonly taskId: TaskId | undefined;
  readonly serviceId: ServiceId | undefined;
  /** Container name, or `<hostname>-ingress-endpoint` style name of a node's endpoint. */
  readonly name: string;
  readonly aliases: readonly string[];
  readonly address: Ipv4;
  readonly mac: Mac;
  /** Running, healthy and not draining: new connections of the service may go here. */
  readonly inRotation: boolean;
  /** Why it is not, where that is why: nothing listens yet on these of its ports. */
  readonly notListening?: readonly number[];
  /** Why it was in rotation and is no more. */
  readonly left?: 'draining' | 'unhealthy';
}

export interface ServiceItem {
  readonly serviceId: ServiceId;
  readonly name: string;
  /** Published in ingress mode, every published port filled in. */
  readonly ingressPorts: readonly PortSpec[];
  /** VIP on each network that this item is sent for. */
  readonly virtualIps: readonly { readonly networkId: NetworkId; readonly address: Ipv4 }[];
  /** Networks of users on which it has its name, and further names it has there. */
  readonly names: readonly { readonly networkId: NetworkId; readonly aliases: readonly string[] }[];
  /** `skein.client-ip=preserve`. */
  readonly preserveClientIp: boolean;
}

export interface NetworkView {
  /** Store revision up to which this view is complete. Acknowledged after it is applied. */
  readonly revision: number;
  readonly self: SelfItem | undefined;
  readonly peers: ReadonlyMap<NodeId, PeerItem>;
  readonly networks: ReadonlyMap<NetworkId, NetworkItem>;
  /** By `endpointKey`. */
  readonly endpoints: ReadonlyMap<string, EndpointItem>;
  readonly services: ReadonlyMap<ServiceId, ServiceItem>;
}

export const endpointKey = (e: Pick<EndpointItem, 'networkId' | 'taskId' | 'nodeId'>): string =>
  `${e.networkId}/${e.taskId ?? `node-${e.nodeId}`}`;

/**
 * The resolver as containers know it, and where it listens there: a translation leads from one port to the other, so
 * that 53 stays free for a container that is a name server. Outside of the kernel's range of ephemeral ports.
 */
export const RESOLVER = { address: '127.0.0.11' as Ipv4, port: 53, listens: 65_053 } as const;
