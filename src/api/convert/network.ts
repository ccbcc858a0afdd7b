/** Network in Docker's JSON: in lists, and inspected with its containers, ingress endpoints and peers. */
import { sha256 } from '../../kit/sha256.ts';
import type { NetworkItem } from '../../model/network-view.ts';
import type { Cidr, ContainerId, Ipv4, NodeId } from '../../model/ids.ts';
import { taskName } from '../../model/names.ts';
import type { Network, Node, Service, Task } from '../../model/objects.ts';
import type { View } from '../../store/view.ts';

const VNI_LIST = 'com.docker.network.driver.overlay.vxlanid_list';

/** In the order of their names, as Go writes a map. */
export function overlayOptions({ spec, state }: Network): Record<string, string> {
  const options = { ...(state && { [VNI_LIST]: String(state.vni) }), ...spec.Options };
  return Object.fromEntries(Object.entries(options).sort(([a], [b]) => (a < b ? -1 : 1)));
}

export function ipamConfigs({ spec, state }: Network): object[] {
  if (!state) return spec.IPAM?.Config ?? [];
  return [ipamConfig({ ...state, auxiliary: spec.IPAM?.Config?.[0]?.AuxiliaryAddresses })];
}

interface Addressing {
  readonly subnet: Cidr;
  readonly gateway: Ipv4;
  readonly ipRange?: Cidr | undefined;
  readonly auxiliary?: Readonly<Record<string, string>> | undefined;
}

const ipamConfig = ({ subnet, gateway, ipRange, auxiliary }: Addressing): object => ({
  Subnet: subnet,
  ...(ipRange && { IPRange: ipRange }),
  Gateway: gateway,
  ...(auxiliary && { AuxiliaryAddresses: auxiliary }),
});

const orNull = (map: Readonly<Record<string, string>> | null | undefined) =>
  map && Object.keys(map).length > 0 ? map : null;

export interface NetworkResource {
  readonly Name: string;
  readonly Id: string;
  readonly Driver: string;
  readonly Scope: string;
  readonly Ingress: boolean;
  readonly Labels: Readonly<Record<string, string>> | null;
}

export function networkJson(network: Network): NetworkResource & Record<string, unknown> {
  const { spec } = network;
  return {
    Name: spec.Name,
    Id: network.id,
    Created: network.createdAt,
    Scope: 'swarm',
    Driver: spec.Driver || 'overlay',
    EnableIPv4: true,
    EnableIPv6: spec.EnableIPv6 ?? false,
    IPAM: {
      Driver: spec.IPAM?.Driver || 'default',
      Options: orNull(spec.IPAM?.Options),
      Config: ipamConfigs(network),
    },
    Internal: spec.Internal ?? false,
    Attachable: spec.Attachable ?? false,
    Ingress: spec.Ingress ?? false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: null,
    Options: overlayOptions(network),
    Labels: orNull(spec.Labels),
  };
}

/** A worker knows its networks from the manager's network view alone. */
export const localNetworkJson = (item: NetworkItem): NetworkResource & Record<string, unknown> => ({
  Name: item.name,
  Id: item.networkId,
  Created: item.shown?.createdAt ?? '0001-01-01T00:00:00Z',
  Scope: 'swarm',
  Driver: 'overlay',
  EnableIPv4: true,
  EnableIPv6: false,
  IPAM: { Driver: 'default', Options: null, Config: [ipamConfig({ ...item, ...item.shown })] },
  Internal: item.internal,
  Attachable: item.shown?.attachable ?? false,
  Ingress: item.ingress,
  ConfigFrom: { Network: '' },
  ConfigOnly: false,
  Containers: null,
  Options: { [VNI_LIST]: String(item.vni), ...item.shown?.options },
  Labels: item.shown?.labels ?? {},
});

export interface LocalEndpoint {
  readonly containerId: ContainerId | undefined;
  readonly taskId: string | undefined;
  readonly name: string;
  readonly mac: string;
  readonly address: string;
}

const endpointJson = (networkId: string, name: string, mac: string, address: string): object => ({
  Name: name,
  EndpointID: sha256(`endpoint ${networkId} ${address}`),
  MacAddress: mac,
  IPv4Address: address,
  IPv6Address: '',
});

/**
 * This node's containers by their id, and for the ingress network the endpoint of every node: this one's under the
 * name Docker gives it, the others' with their node id behind.
 */
export function containersJson(
  networkId: string,
  local: readonly LocalEndpoint[],
  nodes: Iterable<Node>,
  self: NodeId | undefined,
): Record<string, object> {
  const result: Record<string, object> = {};
  for (const node of nodes) {
    const stand = node.attachments.find((attachment) => attachment.networkId === networkId);
    if (!stand) continue;
    const own = node.id === self;
    const hostname = node.description?.hostname || node.id;
    const name = own ? 'ingress-endpoint' : `${hostname}-ingress-endpoint`;
    const key = own ? 'ingress-sbox' : `ingress-sbox-${node.id}`;
    result[key] = endpointJson(networkId, name, stand.mac, stand.address);
  }
  for (const { containerId, name, mac, address } of local) {
    if (containerId) result[containerId] = endpointJson(networkId, name, mac, address);
    else result['ingress-sbox'] ??= endpointJson(networkId, 'ingress-endpoint', mac, address);
  }
  return result;
}

/** Nodes that take part: all live ones in the ingress network, otherwise those with a task on it. */
export function peersJson(network: Network, view: View): object[] {
  const taking = new Set([...view.tasksOfNetwork(network.id)].filter(isLive).map((task) => task.nodeId));
  return [...view.all('node').values()]
    .filter((node) => (network.spec.Ingress ? node.status.state === 'ready' : taking.has(node.id)))
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .map((node) => ({
      Name: `${node.description?.hostname ?? ''}-${node.id.slice(0, 12)}`,
      IP: node.dataPathAddr,
    }));
}

const isLive = (task: Task): boolean => task.status.state === 'running' && task.desiredState === 'running';

/** `network inspect -v`: services with a stand on the network, and where their running tasks are. */
export function servicesJson(network: Network, view: View): Record<string, object> {
  const result: Record<string, object> = {};
  const tasks = Map.groupBy([...view.tasksOfNetwork(network.id)].filter(isLive), (task) => task.serviceId);
  for (const [serviceId, group] of tasks) {
    const service = view.get('service', serviceId);
    if (service) result[service.spec.Name] = verboseService(network, service, group, view);
  }
  return result;
}

function verboseService(network: Network, service: Service, tasks: readonly Task[], view: View): object {
  const vip = service.endpoint?.virtualIps.find((v) => v.networkId === network.id)?.address ?? '';
  return {
    VIP: vip.split('/')[0],
    Ports: (service.endpoint?.ports ?? []).map(
      (p) => `Target: ${p.TargetPort}, Publish: ${p.PublishedPort ?? 0}`,
    ),
    LocalLBIndex: 0,
    Tasks: tasks.map((task) => {
      const stand = task.attachments.find((attachment) => attachment.networkId === network.id)!;
      return {
        Name: taskName(task),
        EndpointID: sha256(`endpoint ${network.id} ${stand.address}`),
        EndpointIP: stand.address.split('/')[0],
        Info: { 'Host IP': (task.nodeId && view.get('node', task.nodeId)?.dataPathAddr) ?? '' },
      };
    }),
  };
}
