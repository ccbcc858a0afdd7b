import { type Answer, json, text } from '../answer.ts';
import { infoJson, versionJson } from '../convert/info.ts';
import { imageSummary } from '../convert/image.ts';
import { containerSummary } from '../convert/container.ts';
import { volumeUsageJson } from '../convert/volume.ts';
import { swarmInfoJson } from '../convert/swarm.ts';
import { EVENT_FILTERS, eventLines } from '../events.ts';
import { parseFilters } from '../filters.ts';
import { invalid } from '../http-error.ts';
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

const NOTHING_MORE = { image: undefined, networks: [], health: undefined, ports: [] };

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
      ...containerSummary(container, NOTHING_MORE, request.clock.now()),
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

/** Of this node, and on managers of the cluster; what was before the request, as far as it is remembered. */
function events(request: ApiRequest): Answer {
  const filters = parseFilters(request.text('filters'), EVENT_FILTERS);
  const [since, until] = [timeOf(request, 'since'), timeOf(request, 'until')];
  if (since !== undefined && until !== undefined && since > until)
    throw invalid('`since` time cannot be after `until` time');
  const { backends, clock, signal } = request;
  return {
    kind: 'stream',
    contentType: 'application/json',
    chunks: eventLines({ log: backends.events, filters, since, until, clock, signal }),
    eager: true,
    failure: () => new Uint8Array(),
  };
}

function timeOf(request: ApiRequest, name: string): number | undefined {
  const time = logTime(name, request.text(name));
  return time === undefined ? undefined : Date.parse(time);
}

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
    note: 'Of this node; on managers also of services, nodes, networks, secrets and configs. The last 1024 are remembered.',
  },
  { method: 'POST', path: '/auth', handler: login },
];
