import { type Answer, json, text } from '../answer.ts';
import { infoJson, versionJson } from '../convert/info.ts';
import { imageUsage } from '../convert/disk-usage.ts';
import { containerSummary, sizeJson } from '../convert/container.ts';
import type { EngineBackend } from '../backend.ts';
import type { ContainerInfo, ImageInfo } from '../../containerd/runtime.ts';
import { volumeUsageJson } from '../convert/volume.ts';
import { swarmInfoJson } from '../convert/swarm.ts';
import { EVENT_FILTERS, eventLines } from '../events.ts';
import { parseFilters } from '../filters.ts';
import { invalid } from '../http-error.ts';
import { logTime } from '../log-query.ts';
import type { ApiRequest } from '../request.ts';
import type { Route } from '../router.ts';
import { authConfig } from '../schemas/host.ts';
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
const KINDS = ['container', 'image', 'volume', 'build-cache'];

/** All kinds, or those that are asked for; of the others nothing is said, and nothing is measured. */
async function diskUsage(request: ApiRequest): Promise<Answer> {
  const { engine } = request.backends;
  const asked = request.texts('type');
  const unknown = asked.find((kind) => !KINDS.includes(kind));
  if (unknown !== undefined) throw invalid(`unknown object type: ${unknown}`);
  const is = (kind: string) => asked.length === 0 || asked.includes(kind);
  const containers = await engine.containers();
  const images = await engine.images.list();
  const usage = is('image') ? imageUsage(images, containers) : { LayersSize: 0, Images: null };
  return json({
    ...usage,
    Containers: is('container') ? await containerUsage(request, containers, images) : null,
    Volumes: is('volume') ? await volumeUsage(engine) : null,
    BuildCache: is('build-cache') ? [] : null,
  });
}

const containerUsage = (
  { backends, clock }: ApiRequest,
  containers: readonly ContainerInfo[],
  images: readonly ImageInfo[],
): Promise<readonly object[]> =>
  Promise.all(
    containers.map(async (container) => {
      const image = images.find(({ id }) => id === container.imageId);
      const size = sizeJson(await backends.engine.written(container.id), image);
      const state = { ...NOTHING_MORE, image, restarts: await backends.engine.restarts(container) };
      return { ...containerSummary(container, state, clock.now()), ...size };
    }),
  );

async function volumeUsage(engine: EngineBackend): Promise<readonly object[]> {
  const users = await volumeUsers(engine);
  return Promise.all(
    (await engine.volumes.list()).map(async (volume) =>
      volumeUsageJson(volume, await engine.volumes.size(volume.name), users.get(volume.name) ?? 0),
    ),
  );
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
    throw invalid(
      `\`since\` time (${request.text('since')}) cannot be after \`until\` time (${request.text('until')})`,
    );
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
    note: 'With `type`: these kinds alone. A layer that several images have counts once.',
  },
  {
    method: 'GET',
    path: '/events',
    handler: events,
    note: 'Of this node; on managers also of services, nodes, networks, secrets and configs. The last 1024 are remembered.',
  },
  { method: 'POST', path: '/auth', handler: login },
];
