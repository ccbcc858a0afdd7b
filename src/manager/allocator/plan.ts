/**
 * Gives networks their VNI and subnet, nodes their ingress endpoint, services their ports and virtual IPs, tasks
 * their attachments. Called by the allocate loop of the leader, in the order network, node, service, task; if it
 * lied, two containers would answer to one address.
 *
 * INVARIANT: nothing is given out that the book or this very plan knows as taken.
 * Cost: one look-up an object that asks; a network's creation looks at all networks.
 */
import { isDeepStrictEqual } from 'node:util';
import { interfaceAddress, ipToInt, prefixLength } from '../../kit/cidr.ts';
import { sameJson } from '../../kit/same-json.ts';
import type { InterfaceAddress, Ipv4, Mac, NetworkId, NodeId, ServiceId, TaskId } from '../../model/ids.ts';
import type { Attachment, Node, Service, ServiceEndpoint, Task, VirtualIp } from '../../model/objects.ts';
import type { PortSpec } from '../../model/spec.ts';
import type { View } from '../../store/view.ts';
import type { Plan } from '../step.ts';
import { hasEnded, type Ids, ingressPorts, isAttachment, isWanted, networksOf, olderFirst } from '../task.ts';
import { type Book, portKey } from './book.ts';
import type { Draft } from './draft.ts';
import { allocateNetwork } from './network-plan.ts';

const FIRST_PORT = 30_000;
const LAST_PORT = 32_767;

export interface AllocatePlan extends Plan {
  readonly refused: ReadonlySet<string>;
}

/** Keys are `network/ID`, `node/ID`, `service/ID`, `task/ID`. */
export function planAllocation(
  view: View,
  book: Book,
  keys: Iterable<string>,
  now: number,
  ids: Ids,
): AllocatePlan {
  const draft: Draft = {
    view,
    book,
    now,
    ids,
    addresses: new Map(),
    full: new Set(),
    ports: new Map(),
    services: new Set(),
    macs: new Set(),
    states: new Map(),
    steps: [],
    refused: new Set(),
  };
  const sorted = [...keys].sort();
  const of = (kind: string) =>
    sorted.filter((key) => key.startsWith(`${kind}/`)).map((key) => key.slice(kind.length + 1));
  for (const id of of('network')) allocateNetwork(draft, view.get('network', id as NetworkId));
  for (const id of of('node')) allocateNode(draft, view.get('node', id as NodeId));
  for (const id of of('service')) allocateService(draft, view.get('service', id as ServiceId));
  const tasks = of('task')
    .map((id) => view.get('task', id as TaskId))
    .filter((task) => task !== undefined);
  for (const task of tasks.sort(olderFirst)) allocateTask(draft, task);
  return { steps: draft.steps, wake: [], refused: draft.refused };
}

function address(draft: Draft, networkId: NetworkId): InterfaceAddress | undefined {
  const state = draft.view.get('network', networkId)?.state;
  const pool = draft.book.pool(networkId);
  if (!state || !pool || draft.full.has(networkId)) return undefined;
  const taken = draft.addresses.get(networkId) ?? new Set();
  draft.addresses.set(networkId, taken);
  const ip = pool.next(draft.now, taken);
  if (!ip) draft.full.add(networkId);
  return ip && interfaceAddress(ip, prefixLength(state.subnet));
}

function allocateNode(draft: Draft, node: Node | undefined): void {
  if (!node) return;
  const ingress = draft.view.ingress;
  const has = node.attachments[0];
  if (ingress ? has?.networkId === ingress.id : !has) return;
  if (!ingress) return void draft.steps.push({ kind: 'allocate-node', node, attachments: [] });
  // The endpoint takes the uplink's MAC, so the node must have told it first.
  if (!ingress.state || !node.description) return;
  const at = address(draft, ingress.id);
  if (!at) return void draft.refused.add(`node/${node.id}`);
  const attachment: Attachment = {
    networkId: ingress.id,
    address: at,
    mac: endpointMac(draft, node),
    aliases: [],
  };
  draft.steps.push({ kind: 'allocate-node', node, attachments: [attachment] });
}

function endpointMac(draft: Draft, node: Node) {
  const { uplinkMac } = node.description!;
  const owner = draft.book.macOwner(uplinkMac);
  const free = uplinkMac && (owner === undefined || owner === node.id) && !draft.macs.has(uplinkMac);
  const mac = free ? uplinkMac : draft.ids.mac();
  draft.macs.add(mac);
  return mac;
}

function allocateService(draft: Draft, service: Service | undefined): void {
  if (!service || isAllocated(draft.view, service)) return;
  const ports = allocatePorts(draft, service);
  const virtualIps = ports && allocateVirtualIps(draft, service);
  if (!ports || !virtualIps) return void draft.refused.add(`service/${service.id}`);
  const endpoint: ServiceEndpoint = { spec: service.spec.EndpointSpec ?? {}, ports, virtualIps };
  draft.services.add(service.id);
  draft.steps.push({ kind: 'allocate-service', service, endpoint });
}

/** Networks on which a service has a virtual IP; undefined while one of them is not there. */
function virtualIpNetworks(view: View, service: Service): NetworkId[] | undefined {
  const spec = service.spec.EndpointSpec;
  if (spec?.Mode === 'dnsrr') return [];
  const published = ingressPorts(spec?.Ports).length > 0;
  if (published && !view.ingress) return undefined;
  const ids = networksOf(service.spec).map(({ Target }) => Target as NetworkId);
  return [...new Set([...(published ? [view.ingress!.id] : []), ...ids])];
}

function isAllocated(view: View, service: Service): boolean {
  const { endpoint, spec } = service;
  if (!endpoint || !sameJson(endpoint.spec, spec.EndpointSpec ?? {})) return false;
  const networks = virtualIpNetworks(view, service);
  return isDeepStrictEqual(
    networks,
    endpoint.virtualIps.map(({ networkId }) => networkId),
  );
}

function allocatePorts(draft: Draft, service: Service): PortSpec[] | undefined {
  const before = service.endpoint?.ports ?? [];
  const ports: PortSpec[] = [];
  for (const port of service.spec.EndpointSpec?.Ports ?? []) {
    if (port.PublishMode === 'host') ports.push(port);
    else {
      const published = port.PublishedPort || samePort(before, port) || dynamicPort(draft, service, port);
      if (!published || !isFree(draft, service, portKey(port, published))) return undefined;
      draft.ports.set(portKey(port, published), service.id);
      ports.push({ ...port, PublishedPort: published });
    }
  }
  return ports;
}

/** The dynamic port given before to the same target. */
const samePort = (before: readonly PortSpec[], port: PortSpec): number | undefined =>
  before.find(
    (other) =>
      other.PublishMode !== 'host' &&
      other.TargetPort === port.TargetPort &&
      other.Protocol === port.Protocol,
  )?.PublishedPort;

const isFree = (draft: Draft, service: Service, key: string): boolean => {
  const owner = draft.book.portOwner(key) ?? draft.ports.get(key);
  return owner === undefined || owner === service.id;
};

function dynamicPort(draft: Draft, service: Service, port: PortSpec): number | undefined {
  for (let published = FIRST_PORT; published <= LAST_PORT; published++) {
    const key = portKey(port, published);
    if (draft.book.portOwner(key) === undefined && !draft.ports.has(key)) return published;
  }
  return undefined;
}

function allocateVirtualIps(draft: Draft, service: Service): VirtualIp[] | undefined {
  const before = new Map(service.endpoint?.virtualIps.map((vip) => [vip.networkId, vip]));
  const virtualIps: VirtualIp[] = [];
  const networks = virtualIpNetworks(draft.view, service);
  if (!networks) return undefined;
  for (const networkId of networks) {
    const known = before.get(networkId);
    const at = known?.address ?? address(draft, networkId);
    if (!at) return undefined;
    virtualIps.push({ networkId, address: at });
  }
  return virtualIps;
}

function allocateTask(draft: Draft, task: Task): void {
  if (task.status.state !== 'new' || !isWanted(task) || hasEnded(task)) return;
  const why = taskObstacle(draft, task);
  if (why) return refuse(draft, task, why);
  const attachments: Attachment[] = [];
  for (const { networkId, aliases, wanted } of taskNetworks(draft.view, task)) {
    const taken = wanted && obstacleTo(draft, networkId, wanted);
    if (taken) return refuse(draft, task, taken);
    const at = wanted ? named(draft, networkId, wanted) : address(draft, networkId);
    if (!at) return refuse(draft, task, exhausted(draft.view, networkId));
    attachments.push({ networkId, address: at, mac: wanted ? macOf(wanted) : draft.ids.mac(), aliases });
  }
  draft.steps.push({ kind: 'allocate-task', task, attachments });
}

/** Why nobody can have this address now. One that is being given back (a container that is started again) is near. */
function obstacleTo(draft: Draft, networkId: NetworkId, ip: Ipv4): string | undefined {
  const holders = [...(draft.book.pool(networkId)?.holders(ip) ?? [])];
  const given = draft.addresses.get(networkId)?.has(ipToInt(ip)) ?? false;
  if (holders.length === 0 && !given) return undefined;
  const leaving = (id: string) => draft.view.get('task', id as TaskId)?.desiredState === 'remove';
  return !given && holders.every(leaving) ? WAITING : `Address already in use (${ip})`;
}

/**
 * An address that was asked for may come back at once, past its quarantine, and its neighbours remember whose MAC it
 * had: it has the same one each time.
 */
const macOf = (ip: Ipv4): Mac =>
  ['02', '42', ...ip.split('.').map((octet) => Number(octet).toString(16).padStart(2, '0'))].join(':') as Mac;

function named(draft: Draft, networkId: NetworkId, ip: Ipv4): InterfaceAddress {
  const taken = draft.addresses.get(networkId) ?? new Set();
  draft.addresses.set(networkId, taken.add(ipToInt(ip)));
  return interfaceAddress(ip, prefixLength(draft.view.get('network', networkId)!.state!.subnet));
}

function refuse(draft: Draft, task: Task, err: string): void {
  draft.refused.add(`task/${task.id}`);
  if (err !== WAITING && err !== task.status.err) draft.steps.push({ kind: 'explain-task', task, err });
}

const WAITING = 'waiting';

function exhausted(view: View, id: NetworkId): string {
  const network = view.get('network', id);
  return `no available IP addresses on network ${network?.spec.Name} (${network?.state?.subnet})`;
}

/** Why a task cannot have its attachments yet, `WAITING` where that is only a matter of order. */
function taskObstacle(draft: Draft, task: Task): string | undefined {
  const { view } = draft;
  for (const { networkId } of taskNetworks(view, task)) {
    const network = view.get('network', networkId);
    if (!network) return `network ${networkId} not found`;
    if (!network.state) return WAITING;
  }
  if (ingressPorts(task.endpointSpec.Ports).length > 0 && !view.ingress)
    return 'no ingress network is present';
  if (isAttachment(task)) return undefined;
  const service = view.get('service', task.serviceId);
  if (!service) return WAITING;
  const allocated = draft.services.has(service.id) || isAllocated(view, service);
  return allocated ? undefined : serviceObstacle(draft, service);
}

function serviceObstacle(draft: Draft, service: Service): string {
  for (const port of ingressPorts(service.spec.EndpointSpec?.Ports)) {
    const owner = port.PublishedPort ? draft.book.portOwner(portKey(port, port.PublishedPort)) : undefined;
    if (owner !== undefined && owner !== service.id)
      return `port '${port.PublishedPort}' is already in use by service '${draft.view.get('service', owner)?.spec.Name}' (${owner})`;
  }
  const full = draft.refused.has(`service/${service.id}`)
    ? virtualIpNetworks(draft.view, service)?.at(-1)
    : undefined;
  return full ? exhausted(draft.view, full) : WAITING;
}

interface WantedNetwork {
  readonly networkId: NetworkId;
  readonly aliases: readonly string[];
  readonly wanted?: Ipv4 | undefined;
}

function taskNetworks(view: View, task: Task): WantedNetwork[] {
  const published = ingressPorts(task.endpointSpec.Ports).length > 0 && view.ingress;
  const own = (task.spec.Networks ?? []).map(({ Target, Aliases, Addresses }) => ({
    networkId: Target as NetworkId,
    aliases: Aliases ?? [],
    wanted: Addresses?.[0],
  }));
  return [...(published ? [{ networkId: view.ingress!.id, aliases: [] }] : []), ...own];
}
