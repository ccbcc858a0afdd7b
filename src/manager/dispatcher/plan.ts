/**
 * manager/dispatcher: tells every node what it should run and what of the networks it must know, and takes its
 * reports. Runs on the leader; daemon/ gives it the store's view and serves its session method. If it lies, a node
 * stops what should run, or routes to what does not; so all it says follows from the view by this file.
 *
 * What is said are keyed items in TOPICS: `cluster` (who the nodes are), `node:ID` (that node's own place and tasks),
 * `network:ID` (a network with its endpoints and services), `secret:ID` and `config:ID` (taken by the nodes whose tasks
 * refer to it, until those have ended). A changed object changes the few items it alone
 * makes; a topic's delta is encoded once and shared by all nodes that take the topic. One task more costs one item
 * to its node and one to each node of its networks, whatever else exists.
 */
import { addressOf } from '../../kit/cidr.ts';
import type { NetworkId, NodeId } from '../../model/ids.ts';
import { taskName } from '../../model/names.ts';
import { endpointKey, type EndpointItem, type NetworkItem } from '../../model/network-view.ts';
import type { Attachment, Config, Network, Node, Secret, Service, Task } from '../../model/objects.ts';
import { atLeast, isTerminal } from '../../model/task-state.ts';
import type { Item, TaskItem } from '../../rpc/messages.ts';
import type { View } from '../../store/view.ts';
import { roleOf } from '../roles/role.ts';
import { isUp } from '../task.ts';

export type Topic =
  | 'cluster'
  | `node:${string}`
  | `network:${string}`
  | `secret:${string}`
  | `config:${string}`;
const nodeTopic = (id: NodeId): Topic => `node:${id}`;
export const networkTopic = (id: NetworkId): Topic => `network:${id}`;

const secretTopic = (id: string): Topic => `secret:${id}`;
const configTopic = (id: string): Topic => `config:${id}`;

export interface Placement {
  readonly topic: Topic;
  readonly key: string;
  readonly item: Item;
}

/** The little that items depend on besides their own object. Its change rebuilds everything, and is rare. */
export interface Context {
  readonly dataPathPort: number;
  readonly ingress: NetworkId | undefined;
}

export const contextOf = (view: Pick<View, 'cluster' | 'ingress'>): Context => ({
  dataPathPort: view.cluster?.dataPathPort ?? 4789,
  ingress: view.ingress?.id,
});

const UNKNOWN_ADDRESS = '0.0.0.0';

/** Where a node stands: known to its peers once it has said from where it sends. */
export function nodePlacements(node: Node, { dataPathPort }: Context): Placement[] {
  const hostname = node.description?.hostname ?? node.id;
  const ingress = node.attachments[0];
  const self: Placement = {
    topic: nodeTopic(node.id),
    key: 'self',
    item: {
      kind: 'self',
      value: {
        nodeId: node.id,
        hostname,
        dataPathPort,
        ingress: ingress && { address: addressOf(ingress.address), mac: ingress.mac },
        role: roleOf(node),
      },
    },
  };
  if (!node.description || node.dataPathAddr === UNKNOWN_ADDRESS) return [self];
  const peer: Placement = {
    topic: 'cluster',
    key: `peer/${node.id}`,
    item: { kind: 'peer', value: { nodeId: node.id, hostname, vtep: node.dataPathAddr } },
  };
  const endpoints = node.attachments.map((stand) =>
    endpoint(stand, {
      nodeId: node.id,
      taskId: undefined,
      serviceId: undefined,
      name: `${hostname}-ingress-endpoint`,
      aliases: [],
      inRotation: false,
    }),
  );
  return [self, peer, ...endpoints];
}

/** New connections may go to the task: it runs, is healthy or listens, and is to go on running. */
export const inRotation = (task: Pick<Task, 'status' | 'desiredState'>): boolean =>
  isUp(task) && (task.desiredState === 'running' || task.desiredState === 'complete');

/** Why a task left rotation; undefined: it has not, or was never in it. */
function leftRotation(task: Task): EndpointItem['left'] {
  if (isUp(task)) return inRotation(task) ? undefined : 'draining';
  return task.status.health === 'unhealthy' ? 'unhealthy' : undefined;
}

/** The agent may hear of it: it was given to that node, addresses and all. */
const isAssigned = (task: Task): task is Task & { readonly nodeId: NodeId } =>
  task.nodeId !== undefined && atLeast(task.status.state, 'assigned');

/** It stands on its networks, and needs its secrets, until it has ended. */
const isLive = (task: Task): task is Task & { readonly nodeId: NodeId } =>
  isAssigned(task) && !isTerminal(task.status.state);

/** `held`: it is to stop, but some node may still send connections to it; its agent must not know yet. */
export function taskPlacements(task: Task, held: boolean): Placement[] {
  if (!isAssigned(task)) return [];
  const own: Placement = {
    topic: nodeTopic(task.nodeId),
    key: `task/${task.id}`,
    item: { kind: 'task', value: taskItem(task, held) },
  };
  if (!isLive(task)) return [own];
  const left = leftRotation(task);
  const stands = task.attachments.map((stand) =>
    endpoint(stand, {
      nodeId: task.nodeId,
      taskId: task.id,
      serviceId: task.serviceId || undefined, // none: of a container started by hand
      name: task.spec.NetworkAttachmentSpec?.ContainerName ?? taskName(task),
      aliases: stand.aliases,
      inRotation: inRotation(task),
      ...(task.status.notListening && { notListening: task.status.notListening }),
      ...(left && { left }),
    }),
  );
  return [own, ...stands];
}

const taskItem = (task: Task, held: boolean): TaskItem => ({
  id: task.id,
  serviceId: task.serviceId,
  serviceName: task.serviceName,
  serviceLabels: task.serviceLabels,
  slot: task.slot,
  nodeId: task.nodeId,
  spec: task.spec,
  desiredState: held ? 'running' : task.desiredState,
  attachments: task.attachments,
  endpointSpec: task.endpointSpec,
  registryAuth: task.registryAuth,
  genericResources: task.genericResources,
  status: task.status,
});

function endpoint(stand: Attachment, rest: Omit<EndpointItem, 'networkId' | 'address' | 'mac'>): Placement {
  const value: EndpointItem = {
    networkId: stand.networkId,
    address: addressOf(stand.address),
    mac: stand.mac,
    ...rest,
  };
  return {
    topic: networkTopic(stand.networkId),
    key: `endpoint/${endpointKey(value)}`,
    item: { kind: 'endpoint', value },
  };
}

export function networkPlacements(network: Network): Placement[] {
  const { state, spec, id } = network;
  if (!state) return [];
  const mtu = Number(spec.Options?.['com.docker.network.driver.mtu']);
  const value: NetworkItem = {
    networkId: id,
    name: spec.Name,
    vni: state.vni,
    subnet: state.subnet,
    gateway: state.gateway,
    ingress: spec.Ingress === true,
    internal: spec.Internal === true,
    mtu: mtu > 0 ? mtu : undefined,
    shown: {
      createdAt: network.createdAt,
      attachable: spec.Attachable === true,
      ipRange: state.ipRange,
      auxiliary: spec.IPAM?.Config?.[0]?.AuxiliaryAddresses,
      labels: spec.Labels ?? {},
      options: spec.Options ?? {},
    },
  };
  return [{ topic: networkTopic(id), key: `network/${id}`, item: { kind: 'network', value } }];
}

/** On each network where its name or its ports mean something, with what they mean there. */
export function servicePlacements(service: Service, { ingress }: Context): Placement[] {
  const { spec, endpoint } = service;
  const vips = endpoint?.virtualIps ?? [];
  const ingressPorts = (endpoint?.ports ?? []).filter((port) => port.PublishMode === 'ingress');
  const wanted = spec.TaskTemplate.Networks ?? spec.Networks ?? [];
  const networks = new Set<NetworkId>([
    ...vips.map((vip) => vip.networkId),
    ...wanted.map((network) => network.Target as NetworkId),
    ...(ingress && ingressPorts.length > 0 ? [ingress] : []),
  ]);
  return [...networks].map((networkId) => ({
    topic: networkTopic(networkId),
    key: `service/${service.id}/${networkId}`,
    item: {
      kind: 'service',
      value: {
        serviceId: service.id,
        name: spec.Name,
        ingressPorts: networkId === ingress ? ingressPorts : [],
        virtualIps: vips
          .filter((vip) => vip.networkId === networkId)
          .map((vip) => ({ networkId, address: addressOf(vip.address) })),
        names: wanted
          .filter(({ Target }) => Target === networkId)
          .map(({ Aliases }) => ({ networkId, aliases: Aliases ?? [] })),
        preserveClientIp: spec.Labels?.['skein.client-ip'] === 'preserve',
      },
    },
  }));
}

/** `data` is base64; a secret's was opened for this. */
export function payloadPlacements(
  kind: 'secret' | 'config',
  { id, spec }: Pick<Secret | Config, 'id' | 'spec'>,
  data: string,
): Placement[] {
  const value = { id, name: spec.Name, data, isTemplate: spec.Templating?.Name === 'golang' };
  const topic = kind === 'secret' ? secretTopic(id) : configTopic(id);
  return [{ topic, key: `${kind}/${id}`, item: { kind, value } as Item }];
}

/** Topics that a node takes: of networks, only those that it or one of its tasks stands on; what its tasks refer to. */
export function subscriptions(view: Pick<View, 'get' | 'tasksOfNode'>, id: NodeId): Set<Topic> {
  const topics = new Set<Topic>(['cluster', nodeTopic(id)]);
  for (const { networkId } of view.get('node', id)?.attachments ?? []) topics.add(networkTopic(networkId));
  for (const task of view.tasksOfNode(id)) {
    if (!isLive(task)) continue;
    for (const { networkId } of task.attachments) topics.add(networkTopic(networkId));
    const { Secrets = [], Configs = [] } = task.spec.ContainerSpec;
    for (const { SecretID } of Secrets) topics.add(secretTopic(SecretID));
    for (const { ConfigID } of Configs) topics.add(configTopic(ConfigID));
  }
  return topics;
}

/** It runs, perhaps still in somebody's rotation, and is to stop: its end must be acknowledged first. */
export const mustDrain = (task: Task): boolean =>
  task.status.state === 'running' && atLeast(task.desiredState, 'shutdown') && task.attachments.length > 0;
