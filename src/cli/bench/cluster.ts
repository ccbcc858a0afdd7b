/** Services of a benchmark, made through the API as a user's client would make them. */
import { SkeinError } from '../../model/errors.ts';
import { EngineClient } from '../../lab/client.ts';
import { until } from '../../lab/cluster.ts';
import type { Lab } from '../../lab/lab.ts';
import { type Replica, replicasOf } from '../demo/facts.ts';
import type { BuiltImage } from '../../lab/image-archive.ts';

export interface ServiceWish {
  readonly name: string;
  readonly image: string;
  readonly replicas: number;
  readonly node?: string;
  readonly publish?: { readonly port: number; readonly target: number };
  readonly outfit?: Outfit;
}

/** What a service of an application has besides its image: a network, files, a health check. */
export interface Outfit {
  readonly network: string;
  readonly secret: string;
  readonly config: string;
}

export async function loadEverywhere(lab: Lab, image: BuiltImage, signal: AbortSignal): Promise<void> {
  await Promise.all(lab.plan.nodes.map((node) => lab.engine(node.name).load(image.tar, signal)));
}

/** Networks, secrets and configs that services of the benchmark share. */
export async function makeOutfit(engine: EngineClient): Promise<Outfit> {
  const Data = Buffer.from('plover\n').toString('base64');
  const overlay = { Name: 'bench', Driver: 'overlay' };
  const { Id: network } = await engine.post<{ Id: string }>('/networks/create', overlay);
  const { ID: secret } = await engine.post<{ ID: string }>('/secrets/create', { Name: 'bench', Data });
  const { ID: config } = await engine.post<{ ID: string }>('/configs/create', { Name: 'bench', Data });
  return { network, secret, config };
}

const HEALTH_EVERY_NS = 500_000_000;

const file = (name: string) => ({ File: { Name: name, UID: '0', GID: '0', Mode: 0o444 } });

const containerParts = ({ secret, config }: Outfit) => ({
  Secrets: [{ ...file('bench'), SecretID: secret, SecretName: 'bench' }],
  Configs: [{ ...file('/bench'), ConfigID: config, ConfigName: 'bench' }],
  Healthcheck: { Test: ['CMD', 'true'], Interval: HEALTH_EVERY_NS },
});

export async function createService(engine: EngineClient, wish: ServiceWish): Promise<string> {
  const { name, image, replicas, node, publish, outfit } = wish;
  const spec = {
    Name: name,
    TaskTemplate: {
      ContainerSpec: {
        ...{ Image: image, StopGracePeriod: 1_000_000_000 },
        ...(outfit && containerParts(outfit)),
      },
      ...(outfit && { Networks: [{ Target: outfit.network }] }),
      ...(node && { Placement: { Constraints: [`node.hostname==${node}`] } }),
    },
    Mode: { Replicated: { Replicas: replicas } },
    ...(publish && {
      EndpointSpec: {
        Ports: [
          {
            Protocol: 'tcp',
            TargetPort: publish.target,
            PublishedPort: publish.port,
            PublishMode: 'ingress',
          },
        ],
      },
    }),
  };
  return (await engine.post<{ ID: string }>('/services/create', spec)).ID;
}

interface TaskAnswer {
  readonly DesiredState: string;
  readonly Status: { readonly State: string; readonly Err?: string };
}

interface EventAnswer {
  readonly Action: string;
}

/**
 * Until so many of its containers are told to have started, or to be healthy, from `since` (seconds of the epoch) on. To
 * be told costs next to nothing, where to ask all the time would be a good part of what is measured.
 */
export async function awaitTold(
  engine: EngineClient,
  service: string,
  told: {
    readonly action: 'start' | 'health_status: healthy';
    readonly times: number;
    readonly since: number;
  },
  signal: AbortSignal,
): Promise<void> {
  const filters = JSON.stringify({
    type: ['container'],
    label: [`com.docker.swarm.service.name=${service}`],
  });
  const query = { since: told.since.toFixed(3), filters };
  let times = 0;
  for await (const { Action } of engine.lines<EventAnswer>('GET', '/events', { query, signal }))
    if (Action === told.action && ++times === told.times) return;
}

/** Until all its tasks run. */
export async function awaitRunning(
  engine: EngineClient,
  service: string,
  replicas: number,
  signal: AbortSignal,
  everyMs = 50,
): Promise<void> {
  const filters = JSON.stringify({ service: [service], 'desired-state': ['running'] });
  const asking = new EngineClient(engine.socket, { keepAlive: true });
  await until(
    `${service} to run ${replicas} tasks`,
    async () => {
      const tasks = await asking.get<TaskAnswer[]>('/tasks', { query: { filters } });
      const up = tasks.filter((t) => t.Status.State === 'running').length;
      return up === replicas || `${up} run; ${tasks.map((t) => t.Status.Err).find(Boolean) ?? ''}`;
    },
    { timeoutMs: 120_000, everyMs, signal },
  );
}

/** The one replica of a service. */
export async function onlyReplica(lab: Lab, service: string): Promise<Replica> {
  const [replica] = await replicasOf(lab.engine('node1'), service, (node) => lab.engine(node));
  if (!replica) throw new SkeinError('internal', `service ${service} has no running replica`);
  return replica;
}
