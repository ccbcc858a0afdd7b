/**
 * What a user asks, in the user's words, as packets that are opened somewhere: who CLIENT is and what NODE:PORT means to
 * it. Pure, but for the asking. What is no such thing is refused in words; what is one and does not work is explained.
 */
import { addressOf, isIpv4 } from '../kit/cidr.ts';
import { isCode, SkeinError } from '../model/errors.ts';
import type { Ipv4 } from '../model/ids.ts';
import { slotName, standName } from '../model/names.ts';
import type { Id, Node, Objects, Service, Task } from '../model/objects.ts';
import type { ExplainQuestion, WalkFrom } from '../rpc/explain.ts';
import { type AskNode, explain, type Explanation, type Journey } from './explain.ts';
import { ANY_ADDRESS } from './explain-walk.ts';

/** The cluster's objects; a manager's `Control` has them. */
export interface ClusterObjects {
  readonly view: {
    all<K extends 'node' | 'task' | 'service' | 'network'>(kind: K): ReadonlyMap<Id<K>, Objects[K]>;
  };
  /** By id, name or prefix of an id; throw `not-found`. */
  node(ref: string): Node;
  task(ref: string): Task;
}

export interface ExplainAnswer extends Explanation {
  /** Whose each address and MAC is. */
  readonly names: {
    readonly addresses: Readonly<Record<string, string>>;
    readonly macs: Readonly<Record<string, string>>;
  };
}

export async function explainConnection(
  question: ExplainQuestion,
  objects: ClusterObjects,
  ask: AskNode,
): Promise<ExplainAnswer> {
  const { paths, passedOver } = await explain(journeyOf(question, objects), ask);
  const hint = hostModeHint(question, objects) + protocolHint(question, objects);
  return {
    paths: paths.map((path) =>
      path.loss?.code === 'not-published'
        ? { ...path, loss: { ...path.loss, text: path.loss.text + hint } }
        : path,
    ),
    passedOver,
    names: namesOf(objects),
  };
}

type Client =
  | { readonly kind: 'outside'; readonly ip: Ipv4 }
  | { readonly kind: 'node'; readonly node: Node }
  | { readonly kind: 'container'; readonly task: Task };

export function journeyOf(question: ExplainQuestion, objects: ClusterObjects): Journey {
  const client = clientOf(question.client, objects);
  const { host, port } = split(question.target);
  const nodes = [...objects.view.all('node').values()];
  const origin = originOf(client, host, objects);
  const starts = destinationsOf(client, host, objects).map((ip) => ({
    nodeId: origin.nodeId,
    start: {
      from: origin.from,
      packet: {
        protocol: question.protocol,
        source: { ip: client.kind === 'outside' ? client.ip : ANY_ADDRESS, port: question.clientPort },
        destination: { ip, port },
        reply: false,
        size: question.size,
      },
      tracked: [],
    },
  }));
  const known = new Map(nodes.map((node) => [node.id, node]));
  return {
    starts,
    nodeAt: (ip) => nodes.find((node) => hasAddress(node, ip))?.id,
    hostname: (id) => nameOf(known.get(id), id),
    vtep: (id) => known.get(id)!.dataPathAddr,
    backend: question.backend === undefined ? undefined : backendOf(question.backend, objects, host),
  };
}

const hasAddress = ({ dataPathAddr, status }: Node, ip: string): boolean =>
  dataPathAddr === ip || status.addr === ip;
const nameOf = (node: Node | undefined, id: string): string => node?.description?.hostname ?? id;

function split(target: string): { readonly host: string; readonly port: number } {
  const at = target.lastIndexOf(':');
  const port = Number(target.slice(at + 1));
  if (at < 1 || !/^\d{1,5}$/.test(target.slice(at + 1)) || port < 1 || port > 65_535)
    throw invalid(`${target} is not NODE:PORT`);
  const host = target.slice(0, at);
  refuseIpv6(host);
  return { host, port };
}

/** No name has two colons. */
function refuseIpv6(text: string): void {
  if (/:.*:/.test(text))
    throw invalid(`${text} is an IPv6 address: networks and published ports are of IPv4 alone`);
}

const invalid = (message: string): SkeinError => new SkeinError('invalid-argument', message);

function clientOf(text: string, objects: ClusterObjects): Client {
  refuseIpv6(text);
  const nodes = [...objects.view.all('node').values()];
  const node = nodes.find((n) => hasAddress(n, text) || n.description?.hostname === text || n.id === text);
  if (node) return { kind: 'node', node };
  if (isIpv4(text)) {
    const tasks = tasksAt(text, objects);
    if (tasks.length > 1)
      throw invalid(`${text} is ${tasks.map(standName).join(' and ')} on different networks: name the task`);
    return tasks[0] ? { kind: 'container', task: tasks[0] } : { kind: 'outside', ip: text };
  }
  return {
    kind: 'container',
    task: findTask(text, objects, `no such client: ${text} is no address, node, task or container`),
  };
}

/** Tasks, and containers that stand on networks by hand. */
function findTask(text: string, objects: ClusterObjects, otherwise: string): Task {
  const live = [...objects.view.all('task').values()].filter(isLive);
  const found = live.find(
    (task) =>
      slotName(task) === text ||
      task.spec.NetworkAttachmentSpec?.ContainerName === text ||
      isContainer(task, text),
  );
  if (found) return found;
  try {
    return objects.task(text);
  } catch (error) {
    throw isCode(error, 'not-found') ? new SkeinError('not-found', otherwise, { cause: error }) : error;
  }
}

const isLive = ({ desiredState, status }: Task): boolean =>
  desiredState === 'running' && status.state === 'running';
/** By the id that a shell in the container shows as its host's name, or more of it. */
const isContainer = ({ spec, status }: Task, text: string): boolean =>
  /^[0-9a-f]{12,64}$/.test(text) &&
  ((status.container?.containerId ?? spec.NetworkAttachmentSpec?.ContainerID)?.startsWith(text) ?? false);

const tasksAt = (ip: Ipv4, { view }: ClusterObjects): readonly Task[] =>
  [...view.all('task').values()].filter(
    (task) => isLive(task) && task.attachments.some(({ address }) => addressOf(address) === ip),
  );

function originOf(client: Client, host: string, objects: ClusterObjects) {
  switch (client.kind) {
    case 'outside':
      return { nodeId: entranceOf(host, objects).id, from: { at: 'uplink' } as WalkFrom };
    case 'node':
      return { nodeId: client.node.id, from: { at: 'node' } as WalkFrom };
    case 'container': {
      const { nodeId, status, attachments } = client.task;
      if (nodeId === undefined) throw invalid(`${standName(client.task)} is on no node yet`);
      const id = status.container?.containerId;
      const from: WalkFrom = { at: 'container', ...(id ? { id } : { mac: attachments[0]?.mac }) };
      return { nodeId, from };
    }
  }
}

/** From outside only nodes can be called. */
function entranceOf(host: string, objects: ClusterObjects): Node {
  const node = nodeAt(host, objects);
  if (node) return node;
  if (isServiceOrInside(host, objects))
    throw invalid(
      `${host} is inside an overlay network: only containers on it reach it, so CLIENT must be a task or an address there`,
    );
  throw new SkeinError('not-found', `no such node: ${host}`);
}

function nodeAt(host: string, objects: ClusterObjects): Node | undefined {
  const byAddress = [...objects.view.all('node').values()].find((node) => hasAddress(node, host));
  if (byAddress || isIpv4(host)) return byAddress;
  try {
    return objects.node(host);
  } catch (error) {
    if (isCode(error, 'not-found')) return undefined;
    throw error;
  }
}

const isServiceOrInside = (host: string, objects: ClusterObjects): boolean =>
  [...objects.view.all('service').values()].some(
    (service) =>
      service.spec.Name === host || service.endpoint?.virtualIps.some((v) => addressOf(v.address) === host),
  ) ||
  (isIpv4(host) && tasksAt(host, objects).length > 0);

/** What the client's resolver would say, or what the client says itself. */
function destinationsOf(client: Client, host: string, objects: ClusterObjects): readonly Ipv4[] {
  const service = [...objects.view.all('service').values()].find(({ spec }) => spec.Name === host);
  if (client.kind === 'container' && service) return namedOn(client.task, service, objects);
  const node = nodeAt(host, objects);
  if (node) return [isIpv4(host) ? host : node.dataPathAddr];
  if (isIpv4(host)) return [host];
  throw new SkeinError(
    'not-found',
    `no such node${client.kind === 'container' ? ' or service' : ''}: ${host}`,
  );
}

/** The service's virtual IP on a network that the two share; without one (dnsrr) its tasks there. */
function namedOn({ attachments, ...task }: Task, service: Service, objects: ClusterObjects): readonly Ipv4[] {
  const networks = objects.view.all('network');
  const shared = new Set(
    attachments.map(({ networkId }) => networkId).filter((id) => !networks.get(id)?.spec.Ingress),
  );
  const vip = service.endpoint?.virtualIps.find(({ networkId }) => shared.has(networkId));
  if (vip) return [addressOf(vip.address)];
  const addresses = [...objects.view.all('task').values()]
    .filter((other) => other.serviceId === service.id && isLive(other))
    .flatMap((other) => other.attachments.filter(({ networkId }) => shared.has(networkId)))
    .map(({ address }) => addressOf(address));
  if (addresses.length > 0) return addresses;
  throw new SkeinError(
    'not-found',
    `${standName(task)} has no name ${service.spec.Name}: they share no network`,
  );
}

function backendOf(text: string, objects: ClusterObjects, host: string): Ipv4 {
  if (isIpv4(text)) return text;
  const task = findTask(text, objects, `no such task: ${text}`);
  const networks = objects.view.all('network');
  const inside = isServiceOrInside(host, objects);
  const stand = task.attachments.find(
    ({ networkId }) => (networks.get(networkId)?.spec.Ingress ?? false) !== inside,
  );
  if (!stand) throw invalid(`${standName(task)} has no address that ${host} could lead to`);
  return addressOf(stand.address);
}

/** Where a port that a node does not publish is published in host mode. */
function hostModeHint({ target, protocol }: ExplainQuestion, { view }: ClusterObjects): string {
  const { port } = split(target);
  const nodes = view.all('node');
  const holders = [...view.all('task').values()].filter(
    (task) =>
      isLive(task) &&
      task.status.ports.some(
        (p) => p.PublishMode === 'host' && p.Protocol === protocol && p.PublishedPort === port,
      ),
  );
  if (holders.length === 0) return '';
  const where = holders.map(
    (task) => `${standName(task)} on ${nameOf(nodes.get(task.nodeId!), task.nodeId!)}`,
  );
  return `; in host mode it is published by ${where.join(', ')} alone`;
}

/** Where the port that is not published for this protocol is for another. */
function protocolHint({ target, protocol }: ExplainQuestion, { view }: ClusterObjects): string {
  const { port } = split(target);
  const others = [...view.all('service').values()].flatMap(({ spec, endpoint }) =>
    (endpoint?.ports ?? [])
      .filter((p) => p.PublishMode !== 'host' && p.PublishedPort === port && p.Protocol !== protocol)
      .map((p) => `; it is published for ${p.Protocol} by ${spec.Name}`),
  );
  return others.join('');
}

function namesOf({ view }: ClusterObjects): ExplainAnswer['names'] {
  const addresses: Record<string, string> = {};
  const macs: Record<string, string> = {};
  const nodes = view.all('node');
  for (const task of view.all('task').values()) {
    if (!isLive(task)) continue;
    const name = standName(task);
    for (const { address, mac } of task.attachments) {
      addresses[addressOf(address)] = `${name} on ${nameOf(nodes.get(task.nodeId!), task.nodeId!)}`;
      macs[mac] = name;
    }
  }
  for (const { endpoint, spec } of view.all('service').values())
    for (const { address } of endpoint?.virtualIps ?? [])
      addresses[addressOf(address)] = `virtual IP of ${spec.Name}`;
  for (const node of nodes.values()) {
    const name = nameOf(node, node.id);
    addresses[node.dataPathAddr] = name;
    for (const { address, mac } of node.attachments) {
      addresses[addressOf(address)] = `ingress endpoint of ${name}`;
      macs[mac] = `ingress endpoint of ${name}`;
    }
    if (node.description) macs[node.description.uplinkMac] = `${name} uplink`;
  }
  return { addresses, macs };
}
