/** A cluster of planned nodes for tests of explanations: from the view of one node, every node that it knows. */
import type { z } from 'zod';
import { interfaceAddress, parseIpv4 } from '../kit/cidr.ts';
import { SkeinError } from '../model/errors.ts';
import type { Ipv4, NodeId } from '../model/ids.ts';
import { type EndpointItem, endpointKey, type NetworkView } from '../model/network-view.ts';
import type { Protocol } from '../model/spec.ts';
import { containerId, endpoint, macFor } from '../net/builders.ts';
import { type Case, CASES, facts } from '../net/cases.ts';
import type { SandboxSpec } from '../net/network.ts';
import { planNode, type SandboxRecord } from '../net/plan.ts';
import { OPENING_SIZE, walkAnswer, walkStarts, type WalkStart } from '../rpc/explain.ts';
import { type AskNode, explain, type Explanation, type Journey } from './explain.ts';
import { NodeMap, type WalkedNode } from './explain-node.ts';
import { ANY_ADDRESS, walk } from './explain-walk.ts';
import { linkNumbers, underView } from '../net/sandbox-plan.ts';

export type Change = (node: WalkedNode) => WalkedNode;

export class FakeExplained {
  readonly nodes = new Map<NodeId, WalkedNode>();
  readonly #silent: ReadonlySet<string>;

  /** `change` makes of a planned node what a test is about; a node that is not in `answering` says nothing. */
  constructor(
    { view, sandboxes }: Case,
    change: Readonly<Record<string, Change>> = {},
    silent: ReadonlySet<string> = new Set(),
  ) {
    this.#silent = silent;
    const own = view.self!.nodeId;
    view = withOwnEntrance(view);
    for (const id of [own, ...view.peers.keys()]) {
      const seen = id === own ? view : seenFrom(view, id);
      const made = [...(id === own ? sandboxes : []), ...missing(seen, id === own ? sandboxes : [])];
      const vtep = id === own ? facts.vtep : view.peers.get(id)!.vtep;
      const node: WalkedNode = {
        plan: planNode(seen, made, { ...facts, vtep }),
        view: seen,
        managersView: seen,
        away: new Map(),
        uplink: { name: 'eth0', mac: macFor(vtep), mtu: facts.uplinkMtu },
        vtep,
        addresses: new Set([vtep]),
        chains: [],
      };
      this.nodes.set(id, change[id]?.(node) ?? node);
    }
  }

  /** As between nodes: what is asked and answered passes the schemas. */
  readonly ask: AskNode = async (nodeId, starts) => {
    if (this.#silent.has(nodeId)) throw new SkeinError('unavailable', 'no session with the managers');
    const map = new NodeMap(this.nodes.get(nodeId)!);
    return overTheWire(
      walkAnswer,
      overTheWire(walkStarts, starts).map((start) => walk(map, start)),
    );
  };

  journey(starts: Journey['starts'], backend?: Ipv4): Journey {
    return {
      starts,
      backend,
      nodeAt: (ip) => [...this.nodes].find(([, node]) => node.vtep === ip)?.[0],
      hostname: (id) => id,
      vtep: (id) => this.nodes.get(id)!.vtep,
    };
  }
}

const overTheWire = <T>(schema: z.ZodType<T>, value: T): T => schema.parse(JSON.parse(JSON.stringify(value)));

/** Managers tell a node of its own ingress endpoint, too; not every case says so. */
function withOwnEntrance(view: NetworkView): NetworkView {
  const { nodeId, ingress } = view.self!;
  if (!ingress) return view;
  const own = endpoint(nodeId, undefined, ingress.address, { mac: ingress.mac });
  return { ...view, endpoints: new Map(view.endpoints).set(endpointKey(own), own) };
}

/** What the managers tell the peer, where they tell this node `view`. */
function seenFrom(view: NetworkView, id: NodeId): NetworkView {
  const self = view.self!;
  const peers = new Map(view.peers);
  peers.delete(id);
  peers.set(self.nodeId, { nodeId: self.nodeId, hostname: self.hostname, vtep: facts.vtep });
  const ingress = [...view.endpoints.values()].find((e) => e.nodeId === id && e.taskId === undefined);
  return {
    ...view,
    self: {
      ...self,
      nodeId: id,
      hostname: view.peers.get(id)!.hostname,
      ingress: ingress && { address: ingress.address, mac: ingress.mac },
    },
    peers,
  };
}

/** Containers of the tasks that the view has on this node, beside those that a case names. */
function missing(view: NetworkView, sandboxes: readonly SandboxRecord[]): readonly SandboxRecord[] {
  const known = new Set(
    sandboxes.flatMap(({ spec }) => spec.attachments.map(({ address }) => address.split('/')[0])),
  );
  const here = [...view.endpoints.values()].filter(
    (e) => e.taskId !== undefined && e.nodeId === view.self!.nodeId && !known.has(e.address),
  );
  return [...Map.groupBy(here, ({ taskId }) => taskId).values()].map((stands, n) =>
    record(stands, n + 16, view),
  );
}

function record(stands: readonly EndpointItem[], n: number, view: NetworkView): SandboxRecord {
  const spec: SandboxSpec = {
    id: containerId(n),
    serviceId: stands.find(({ serviceId }) => serviceId)?.serviceId,
    dnsServers: [],
    attachments: stands.map(({ networkId, address, mac }) => ({
      networkId,
      address: interfaceAddress(address, Number(view.networks.get(networkId)!.subnet.split('/')[1])),
      mac,
    })),
    hostPorts: [],
    internal: false,
  };
  const gateway = interfaceAddress(parseIpv4(`172.18.0.${n + 1}`), 16);
  const links = linkNumbers(spec, undefined);
  return underView({ spec, gateway, hostPorts: [], links, keepsClients: false }, view);
}

// ---- what tests ask of it

export const CLIENT = parseIpv4('192.0.2.100');
export const A = 'a' as NodeId;
export const B = 'b' as NodeId;

export interface Call {
  readonly protocol?: Protocol;
  readonly from?: WalkStart['from'];
  readonly source?: Ipv4;
  readonly size?: number;
}

export const start = (to: string, port: number, call: Call = {}): WalkStart => ({
  from: call.from ?? { at: 'uplink' },
  packet: {
    protocol: call.protocol ?? 'tcp',
    source: { ip: call.source ?? CLIENT, port: 50_000 },
    destination: { ip: parseIpv4(to), port },
    reply: false,
    size: call.size ?? OPENING_SIZE,
  },
  tracked: [],
});

export const fromContainer = (address: string) =>
  ({ from: { at: 'container', mac: macFor(address) }, source: ANY_ADDRESS }) as const;

export const go = (
  cluster: FakeExplained,
  nodeId: NodeId,
  begun: WalkStart,
  backend?: Ipv4,
): Promise<Explanation> => explain(cluster.journey([{ nodeId, start: begun }], backend), cluster.ask);

export const lossOf = async (cluster: FakeExplained, nodeId: NodeId, begun: WalkStart): Promise<string> => {
  const { paths } = await go(cluster, nodeId, begun);
  return paths.map(({ loss }) => `${loss?.code}: ${loss?.text}`).join('\n');
};

export const THREE = CASES['three replicas on two nodes']!;
export const three = (change: Record<string, Change> = {}, silent: string[] = []) =>
  new FakeExplained(THREE, change, new Set(silent));
export const WEB = start('192.0.2.4', 80);
