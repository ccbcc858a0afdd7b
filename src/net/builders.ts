/** Views and sandboxes for tests, said in a few words. */
import { parseCidr, parseIpv4, interfaceAddress, intToIp, ipToInt } from '../kit/cidr.ts';
import type { ContainerId, Ipv4, Mac, NetworkId, NodeId, ServiceId, TaskId, Vni } from '../model/ids.ts';
import {
  type EndpointItem,
  endpointKey,
  type NetworkItem,
  type NetworkView,
  type PeerItem,
  type ServiceItem,
} from '../model/network-view.ts';
import type { HostPort, PortSpec } from '../model/spec.ts';
import type { SandboxSpec } from './network.ts';

export const INGRESS = 'ingress' as NetworkId;

export const network = (id: string, over: Partial<NetworkItem> = {}): NetworkItem => ({
  networkId: id as NetworkId,
  name: id,
  vni: (id === 'ingress' ? 4096 : 4097) as Vni,
  subnet: parseCidr(id === 'ingress' ? '10.255.0.0/16' : '10.0.1.0/24'),
  gateway: parseIpv4(id === 'ingress' ? '10.255.0.1' : '10.0.1.1'),
  ingress: id === 'ingress',
  internal: false,
  mtu: undefined,
  ...over,
});

/** A MAC that goes with an address, for readability of golden files only. */
export const macFor = (address: string): Mac =>
  `02:42:${address
    .split('.')
    .map((part) => Number(part).toString(16).padStart(2, '0'))
    .join(':')}` as Mac;

export const containerId = (n: number): ContainerId =>
  (n.toString(16).padStart(10, '0') + 'c'.repeat(54)) as ContainerId;

export const peer = (node: string, vtep: string): PeerItem => ({
  nodeId: node as NodeId,
  hostname: node,
  vtep: parseIpv4(vtep),
});

export function endpoint(
  node: string,
  task: string | undefined,
  address: string,
  over: Partial<EndpointItem> = {},
): EndpointItem {
  return {
    networkId: INGRESS,
    nodeId: node as NodeId,
    taskId: task as TaskId | undefined,
    serviceId: undefined,
    name: task ?? `${node}-ingress-endpoint`,
    aliases: [],
    address: parseIpv4(address),
    mac: macFor(address),
    inRotation: true,
    ...over,
  };
}

export const port = (published: number, target: number, over: Partial<PortSpec> = {}): PortSpec => ({
  Protocol: 'tcp',
  PublishedPort: published,
  TargetPort: target,
  PublishMode: 'ingress',
  ...over,
});

/** Of one address of the node. */
export const hostPort = (
  published: number,
  target: number,
  address: string,
  over: Partial<HostPort> = {},
): HostPort => ({
  ...port(published, target, { PublishMode: 'host' }),
  HostIp: parseIpv4(address),
  ...over,
});

export const service = (id: string, ...ingressPorts: PortSpec[]): ServiceItem => ({
  serviceId: id as ServiceId,
  name: id,
  ingressPorts,
  virtualIps: [],
  names: [],
  preserveClientIp: false,
});

export interface ViewParts {
  readonly node?: string;
  /** Address of this node's ingress endpoint, '' for none. */
  readonly ingress?: string;
  readonly ingressMac?: Mac;
  readonly dataPathPort?: number;
  readonly peers?: readonly PeerItem[];
  readonly networks?: readonly NetworkItem[];
  readonly endpoints?: readonly EndpointItem[];
  readonly services?: readonly ServiceItem[];
}

export function view(parts: ViewParts = {}): NetworkView {
  const { node = 'a', ingress = '10.255.0.2' } = parts;
  const networks = parts.networks ?? [network('ingress')];
  return {
    revision: 1,
    self: {
      nodeId: node as NodeId,
      hostname: node,
      dataPathPort: parts.dataPathPort ?? 4789,
      ingress: ingress
        ? { address: parseIpv4(ingress), mac: parts.ingressMac ?? macFor(ingress) }
        : undefined,
    },
    peers: new Map((parts.peers ?? []).map((p) => [p.nodeId, p])),
    networks: new Map(networks.map((n) => [n.networkId, n])),
    endpoints: new Map((parts.endpoints ?? []).map((e) => [endpointKey(e), e])),
    services: new Map((parts.services ?? []).map((s) => [s.serviceId, s])),
  };
}

export function sandbox(n: number, address: string, over: Partial<SandboxSpec> = {}): SandboxSpec {
  return {
    id: containerId(n),
    serviceId: undefined,
    dnsServers: [],
    attachments: [
      { networkId: INGRESS, address: interfaceAddress(address as Ipv4, 16), mac: macFor(address) },
    ],
    hostPorts: [],
    internal: false,
    ...over,
  };
}

/** The n-th address after `first`. */
export const addressAfter = (first: string, n: number): string => intToIp(ipToInt(parseIpv4(first)) + n);
