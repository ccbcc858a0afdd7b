/**
 * What a trace of one service needs now: which nodes capture, which packets, and what the addresses in them are. Pure;
 * planned again at each change of the cluster. Cost: the service's tasks, the tasks on its networks, and the nodes.
 */
import { addressOf } from '../../kit/cidr.ts';
import type { NodeId } from '../../model/ids.ts';
import { standName } from '../../model/names.ts';
import type { Node, Service, Task } from '../../model/objects.ts';
import type { PortSpec } from '../../model/spec.ts';
import { isTerminal } from '../../model/task-state.ts';
import type { TraceFilter, TraceQuery, TraceScene } from '../../rpc/trace-messages.ts';
import type { View } from '../../store/view.ts';

export interface TracedNode {
  readonly id: NodeId;
  readonly hostname: string;
  /** Why it cannot be asked; undefined: it can. */
  readonly absent: string | undefined;
}

export interface TracePlan {
  readonly scene: TraceScene;
  readonly filter: TraceFilter;
  readonly nodes: readonly TracedNode[];
}

/** A filter takes so many addresses one by one; beyond, whole networks. The kernel's programs are bounded. */
const MAX_HOSTS = 200;
/** Beside the service's own tasks, so many of its networks' are told by name; the others by their address. */
const MAX_NEIGHBOURS = 1_000;

/** Undefined when the service is gone. */
export function planTrace(view: View, query: TraceQuery): TracePlan | undefined {
  const service = view.get('service', query.service);
  if (!service) return undefined;
  const tasks = [...view.tasksOfService(service.id)].filter(isPlaced);
  const neighbours = tasksOnNetworks(view, service);
  const ports = (service.endpoint?.ports ?? []).filter(isTraceable);
  const nodes = involved(view, ports, [...tasks, ...neighbours]);
  const backends = tasks.flatMap(({ attachments }) => attachments.map(({ address }) => addressOf(address)));
  return {
    scene: {
      service: service.spec.Name,
      entrances: entranceAddresses(nodes).flatMap((address) =>
        ports.map(({ Protocol, PublishedPort }) => ({
          address,
          port: PublishedPort!,
          protocol: Protocol as 'tcp' | 'udp',
        })),
      ),
      backends,
      vxlanPort: view.cluster?.dataPathPort ?? 4789,
      names: namesOf(view, service, [...neighbours.slice(0, MAX_NEIGHBOURS), ...tasks]),
    },
    filter: {
      hosts: backends.length <= MAX_HOSTS ? backends : subnetsOf(view, tasks),
      ports: [
        ...new Set(
          ports.flatMap(({ PublishMode, PublishedPort, TargetPort }) =>
            // Behind a port of host mode stands an address that only its node knows.
            PublishMode === 'host' ? [PublishedPort!, TargetPort] : [PublishedPort!],
          ),
        ),
      ],
      clients: query.clients,
    },
    nodes: nodes.map((node) => ({ id: node.id, hostname: hostnameOf(node), absent: absence(node) })),
  };
}

/** A node's own programs come in by loopback too; on a wire they are seen behind it alone. */
const entranceAddresses = (nodes: readonly Node[]): readonly string[] => [
  ...new Set([...nodes.flatMap((node) => [node.status.addr, node.dataPathAddr]), '127.0.0.1']),
];

const isPlaced = (task: Task): boolean => task.nodeId !== undefined && !isTerminal(task.status.state);

const isTraceable = ({ Protocol, PublishedPort }: PortSpec): boolean =>
  (Protocol === 'tcp' || Protocol === 'udp') && PublishedPort !== undefined && PublishedPort !== 0;

const hostnameOf = (node: Node): string => node.description?.hostname ?? node.id;

function absence({ status }: Node): string | undefined {
  if (status.state === 'ready') return undefined;
  return `it is ${status.state}${status.message ? `: ${status.message}` : ''}`;
}

/** Tasks that may call the service: those on its virtual IPs' networks. */
const tasksOnNetworks = (view: View, service: Service): readonly Task[] =>
  [...new Set(callersNetworks(service))].flatMap((id) => [...view.tasksOfNetwork(id)].filter(isPlaced));

const callersNetworks = (service: Service) =>
  (service.endpoint?.virtualIps ?? []).map(({ networkId }) => networkId);

/** A port published over the mesh is open on every node; else only where containers stand that take part. */
function involved(view: View, ports: readonly PortSpec[], tasks: readonly Task[]): readonly Node[] {
  const all = [...view.all('node').values()];
  if (ports.some(({ PublishMode }) => PublishMode === 'ingress')) return all;
  const here = new Set(tasks.map(({ nodeId }) => nodeId));
  return all.filter(({ id }) => here.has(id));
}

const subnetsOf = (view: View, tasks: readonly Task[]): readonly string[] => [
  ...new Set(
    tasks.flatMap(({ attachments }) =>
      attachments.flatMap(({ networkId }) => view.get('network', networkId)?.state?.subnet ?? []),
    ),
  ),
];

function namesOf(view: View, service: Service, tasks: readonly Task[]): TraceScene['names'] {
  const addresses: Record<string, string> = {};
  const macs: Record<string, string> = {};
  for (const node of view.all('node').values()) {
    const name = hostnameOf(node);
    addresses[node.status.addr] = addresses[node.dataPathAddr] = name;
    for (const { address, mac } of node.attachments) {
      addresses[addressOf(address)] = `ingress endpoint of ${name}`;
      macs[mac] = `ingress endpoint of ${name}`;
    }
    // An ingress endpoint bears its node's uplink MAC where it can.
    if (node.description) macs[node.description.uplinkMac] = `${name} uplink`;
  }
  for (const { address } of service.endpoint?.virtualIps ?? [])
    addresses[addressOf(address)] = `virtual IP of ${service.spec.Name}`;
  for (const task of tasks) {
    const node = view.get('node', task.nodeId!);
    for (const { address, mac } of task.attachments) {
      addresses[addressOf(address)] = node ? `${standName(task)} on ${hostnameOf(node)}` : standName(task);
      macs[mac] = standName(task);
    }
  }
  return { addresses, macs };
}
