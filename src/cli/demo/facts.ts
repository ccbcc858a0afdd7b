/** What the demo asks of the cluster's API and of its containers, and what they answer. */
import { z } from 'zod';
import type { EngineClient } from '../../lab/client.ts';

const nodesSchema = z.array(
  z.object({
    ID: z.string(),
    Description: z.object({ Hostname: z.string() }),
    Status: z.object({ State: z.string() }),
  }),
);

const tasksSchema = z.array(
  z.object({
    ID: z.string(),
    Slot: z.number().optional(),
    NodeID: z.string().optional(),
    DesiredState: z.string(),
    Status: z.object({
      State: z.string(),
      Err: z.string().optional(),
      ContainerStatus: z.object({ ContainerID: z.string().optional() }).optional(),
    }),
    NetworksAttachments: z
      .array(
        z.object({
          Network: z.object({ Spec: z.object({ Name: z.string() }) }),
          Addresses: z.array(z.string()).nullish(),
        }),
      )
      .nullish(),
  }),
);

const containerSchema = z.object({ State: z.object({ Pid: z.number() }) });

const networkSchema = z.object({
  IPAM: z.object({ Config: z.array(z.object({ Subnet: z.string() })).nullable() }),
  Peers: z.array(z.object({ Name: z.string(), IP: z.string() })).nullish(),
  Containers: z.record(
    z.string(),
    z.object({ Name: z.string(), MacAddress: z.string(), IPv4Address: z.string() }),
  ),
});

/** One running replica, as the task list and its node's engine say. */
export interface Replica {
  readonly name: string;
  readonly node: string;
  readonly address: string;
  readonly containerId: string;
  /** First process: the way into its namespace. */
  readonly pid: number;
}

export interface TaskFact {
  readonly state: string;
  readonly error: string;
}

export interface IngressFact {
  readonly node: string;
  readonly subnet: string;
  readonly peers: readonly string[];
  readonly endpoint: { readonly address: string; readonly mac: string } | undefined;
  readonly containers: readonly { readonly name: string; readonly address: string; readonly mac: string }[];
}

const plain = (address: string): string => address.split('/')[0]!;

export async function nodeStates(engine: EngineClient): Promise<ReadonlyMap<string, string>> {
  const nodes = nodesSchema.parse(await engine.get('/nodes'));
  return new Map(nodes.map((node) => [node.Description.Hostname, node.Status.State]));
}

const serviceTasks = async (engine: EngineClient, service: string) =>
  tasksSchema
    .parse(await engine.get('/tasks', { query: { filters: JSON.stringify({ service: [service] }) } }))
    .filter((task) => task.DesiredState === 'running');

export const taskFacts = async (engine: EngineClient, service: string): Promise<readonly TaskFact[]> =>
  (await serviceTasks(engine, service)).map(({ Status }) => ({
    state: Status.State,
    error: Status.Err ?? '',
  }));

/** The running replicas in the order of their slots. `engineOf` speaks to the node that runs one. */
export async function replicasOf(
  manager: EngineClient,
  service: string,
  engineOf: (node: string) => EngineClient,
): Promise<readonly Replica[]> {
  const nodes = nodesSchema.parse(await manager.get('/nodes'));
  const tasks = (await serviceTasks(manager, service)).filter((task) => task.Status.State === 'running');
  const replicas = await Promise.all(
    tasks.map(async (task): Promise<Replica> => {
      const node = nodes.find(({ ID }) => ID === task.NodeID)?.Description.Hostname ?? '';
      const containerId = task.Status.ContainerStatus?.ContainerID ?? '';
      const { State } = containerSchema.parse(await engineOf(node).get(`/containers/${containerId}/json`));
      const ingress = task.NetworksAttachments?.find((a) => a.Network.Spec.Name === 'ingress');
      return {
        name: `${service}.${task.Slot ?? 0}`,
        node,
        address: plain(ingress?.Addresses?.[0] ?? ''),
        containerId,
        pid: State.Pid,
      };
    }),
  );
  return replicas.sort((a, b) => (a.name < b.name ? -1 : 1));
}

const OWN_ENDPOINT = 'ingress-sbox';

/** `docker network inspect ingress` on one node. Its own endpoint has Docker's name, the other nodes' their ids too. */
export async function ingressFact(engine: EngineClient, node: string): Promise<IngressFact> {
  const network = networkSchema.parse(await engine.get('/networks/ingress'));
  const entries = Object.entries(network.Containers).map(([key, c]) => ({
    key,
    name: c.Name,
    address: plain(c.IPv4Address),
    mac: c.MacAddress,
  }));
  const endpoint = entries.find(({ key }) => key === OWN_ENDPOINT);
  return {
    node,
    subnet: network.IPAM.Config?.[0]?.Subnet ?? '',
    peers: (network.Peers ?? []).map(({ IP }) => IP),
    endpoint: endpoint && { address: endpoint.address, mac: endpoint.mac },
    containers: entries.filter(({ key }) => !key.startsWith(OWN_ENDPOINT)),
  };
}

/** What the demo image answers: see lab/image-server.ts. */
export interface Answer {
  readonly container: string;
  readonly addresses: readonly string[];
  readonly client: string;
}

export function parseAnswer(text: string): Answer | undefined {
  const field = (name: string) => new RegExp(`^${name} (.*)$`, 'm').exec(text)?.[1];
  const [container, addresses, client] = [field('container'), field('addresses'), field('client')];
  if (container === undefined || addresses === undefined || client === undefined) return undefined;
  return { container, addresses: addresses.split(' '), client };
}

/** Replica that an answer came from: the one whose address it has. */
export const replicaOf = (answer: Answer, replicas: readonly Replica[]): Replica | undefined =>
  replicas.find(({ address }) => answer.addresses.includes(address));
