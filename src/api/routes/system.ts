import type { ClusterBackend } from '../backend.ts';
import { type Answer, json, text } from '../answer.ts';
import { infoJson, versionJson } from '../convert/info.ts';
import { imageSummary } from '../convert/image.ts';
import { containerSummary } from '../convert/container.ts';
import { volumeUsageJson } from '../convert/volume.ts';
import { swarmInfoJson } from '../convert/swarm.ts';
import { eventLines } from '../events.ts';
import { parseFilters } from '../filters.ts';
import { refused } from '../http-error.ts';
import { logTime } from '../log-query.ts';
import type { ApiRequest } from '../request.ts';
import type { Route } from '../router.ts';
import { authConfig } from '../schemas.ts';
import { timestamp } from '../../kit/clock.ts';
import { volumeUsers } from './volumes.ts';

async function info(request: ApiRequest): Promise<Answer> {
  const { engine, swarm } = request.backends;
  const [own, containers, images] = await Promise.all([
    engine.info(),
    engine.containers(),
    engine.images.list(),
  ]);
  const count = (...states: string[]) => containers.filter((c) => states.includes(c.status)).length;
  const counts = {
    running: count('running'),
    paused: count('paused'),
    stopped: count('stopped', 'created', 'unknown'),
    images: images.length,
  };
  const section = swarmInfoJson(swarm.state(), request.backends.cluster()?.view);
  return json(infoJson(own, counts, timestamp(request.clock.now()), section));
}

async function diskUsage(request: ApiRequest): Promise<Answer> {
  const { engine } = request.backends;
  const [containers, images, volumes, volumesOf] = await Promise.all([
    engine.containers(),
    engine.images.list(),
    engine.volumes.list(),
    volumeUsers(engine),
  ]);
  const users = new Map<string, number>();
  for (const { image } of containers) users.set(image, (users.get(image) ?? 0) + 1);
  return json({
    LayersSize: images.reduce((sum, image) => sum + image.size, 0),
    Images: images.map((image) => ({
      ...imageSummary(image),
      SharedSize: 0,
      Containers: [image.id, ...image.tags, ...image.digests].reduce(
        (n, ref) => n + (users.get(ref) ?? 0),
        0,
      ),
    })),
    Containers: containers.map((container) => ({
      ...containerSummary(container, undefined, [], undefined, request.clock.now()),
      SizeRw: 0,
      SizeRootFs: 0,
    })),
    Volumes: await Promise.all(
      volumes.map(async (volume) => {
        const bytes = await engine.volumes.size(volume.name);
        return volumeUsageJson(volume, bytes, volumesOf.get(volume.name) ?? 0);
      }),
    ),
    BuildCache: [],
  });
}

async function login(request: ApiRequest): Promise<Answer> {
  const auth = await request.json(authConfig);
  const { identityToken } = await request.backends.engine.login(auth, request.signal);
  return json({ IdentityToken: identityToken, Status: 'Login Succeeded' });
}

const EVENT_FILTERS = [
  'type',
  'event',
  'scope',
  'label',
  'service',
  'node',
  'network',
  'secret',
  'config',
  'container',
  'daemon',
  'image',
  'volume',
  'plugin',
];

/** Cluster events of a manager. What happened before the request is not kept, so `since` shows nothing older. */
function events(request: ApiRequest): Answer {
  const filters = parseFilters(request.text('filters'), EVENT_FILTERS);
  const since = logTime('since', request.text('since'));
  const until = logTime('until', request.text('until'));
  if (since !== undefined && until !== undefined && since > until)
    return {
      kind: 'stream',
      contentType: 'application/json',
      chunks: none(),
      eager: true,
      failure: () => new Uint8Array(),
    };
  const cluster: ClusterBackend | undefined = request.backends.cluster();
  if (!cluster) throw refused('skein does not serve GET /events yet on a node that is no manager');
  return {
    kind: 'stream',
    contentType: 'application/json',
    chunks: eventLines({ view: cluster.view, filters, until, clock: request.clock, signal: request.signal }),
    eager: true,
    failure: () => new Uint8Array(),
  };
}

async function* none(): AsyncGenerator<Uint8Array> {}

export const systemRoutes: readonly Route[] = [
  { method: 'GET', path: '/_ping', handler: () => text('OK') },
  { method: 'HEAD', path: '/_ping', handler: () => text('') },
  {
    method: 'GET',
    path: '/version',
    handler: async (r) => json(versionJson(await r.backends.engine.info())),
  },
  { method: 'GET', path: '/info', handler: info },
  {
    method: 'GET',
    path: '/system/df',
    handler: diskUsage,
    note: 'Images, containers and volumes; sizes of shared layers count once per image.',
  },
  {
    method: 'GET',
    path: '/events',
    handler: events,
    note: 'Changes of services, nodes, networks, secrets and configs, on managers, from now on.',
  },
  { method: 'POST', path: '/auth', handler: login },
];
