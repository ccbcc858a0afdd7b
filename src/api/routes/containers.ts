import { type Answer, json } from '../answer.ts';
import {
  type ContainerNetwork,
  type ContainerState,
  containerJson,
  containerSummary,
  exposedPorts,
  networksToCome,
  stateOf,
} from '../convert/container.ts';
import { familiarTag } from '../convert/image.ts';
import { type Filters, matches, parseFilters } from '../filters.ts';
import { type FormattedLine, renderDetails } from '../frames.ts';
import { invalid } from '../http-error.ts';
import { logQuery } from '../log-query.ts';
import { logAnswer } from '../log-stream.ts';
import type { ContainerInfo, ImageInfo, LogLine } from '../../containerd/runtime.ts';
import { SkeinError } from '../../model/errors.ts';
import type { TaskId } from '../../model/ids.ts';
import { logAttributes, logPolicy, UNREADABLE } from '../../model/log-driver.ts';
import type { ApiRequest } from '../request.ts';
import type { Route } from '../router.ts';
import { oneOf } from './nodes.ts';

const FILTERS = [
  'id',
  'name',
  'label',
  'status',
  'ancestor',
  'is-task',
  'network',
  'exited',
  'before',
  'since',
  'health',
  'volume',
  'publish',
  'expose',
  'isolation',
];
const STATES = ['created', 'running', 'paused', 'restarting', 'removing', 'exited', 'dead'];
const HEALTHS = ['none', 'starting', 'healthy', 'unhealthy'];
const TASK_LABEL = 'com.docker.swarm.task.id';

/** One look at the images for a whole list. */
function imageIndex(images: readonly ImageInfo[]): (reference: string) => ImageInfo | undefined {
  const byName = new Map<string, ImageInfo>();
  for (const image of images)
    for (const name of [image.id, ...image.tags, ...image.tags.map(familiarTag), ...image.digests])
      byName.set(name, image);
  return (reference) => {
    const digest = reference.split('@')[1];
    const bare = reference.split('@')[0]!;
    return (
      byName.get(reference) ??
      byName.get(bare) ??
      byName.get(familiarTag(bare)) ??
      (digest ? images.find((image) => image.digests.some((d) => d.endsWith(digest))) : undefined)
    );
  };
}

const isUp = ({ status }: ContainerInfo): boolean => status === 'running' || status === 'paused';

async function networksOf(
  request: ApiRequest,
  container: ContainerInfo,
): Promise<readonly ContainerNetwork[]> {
  if (!isUp(container) && container.config.restartable) return networksToCome(container);
  const own = await request.backends.engine.containerNetworks?.(container.id);
  if (own) return own;
  const view = request.backends.cluster()?.view;
  const task = view?.get('task', (container.labels[TASK_LABEL] ?? '') as TaskId);
  if (!view || !task) return [];
  return task.attachments.map(({ networkId, address, mac, aliases }) => {
    const network = view.get('network', networkId);
    return {
      networkId,
      address,
      mac,
      aliases,
      name: network?.spec.Name ?? networkId,
      gateway: network?.state?.gateway ?? '',
    };
  });
}

function accepts(
  filters: Filters,
  container: ContainerInfo,
  { image, networks, health, ports }: ContainerState,
): boolean {
  const state = stateOf(container);
  const isTask = filters.flag('is-task');
  return (
    filters.any('id', (id) => container.id.startsWith(id)) &&
    filters.any('name', (name) => matches(name, container.name, `/${container.name}`)) &&
    filters.labels('label', container.labels) &&
    filters.any('status', (status) => oneOf('status', status, STATES) && status === state) &&
    filters.any('exited', (code) => state === 'exited' && container.exitCode === exitCode(code)) &&
    filters.any('ancestor', (ref) => isImage(ref, container, image)) &&
    filters.any(
      'health',
      (wanted) => oneOf('health', wanted, HEALTHS) && wanted === (health?.Status ?? 'none'),
    ) &&
    filters.any('network', (ref) => networks.some((n) => n.name === ref || n.networkId.startsWith(ref))) &&
    filters.any('volume', (ref) => container.mounts.some((m) => m.name === ref || m.target === ref)) &&
    filters.any('publish', (wanted) =>
      ports.some((p) => isPort('publish', wanted, p.PublishedPort ?? 0, p.Protocol)),
    ) &&
    filters.any('expose', (wanted) =>
      exposedPorts(image, ports).some((port) => {
        const [number, protocol = 'tcp'] = port.split('/');
        return isPort('expose', wanted, Number(number), protocol);
      }),
    ) &&
    filters.any('isolation', (kind) => kind === 'default') &&
    (isTask === undefined || isTask === TASK_LABEL in container.labels)
  );
}

/** `80`, `80/udp`, `8000-8080/tcp`; without a protocol it is TCP. */
function isPort(filter: string, wanted: string, port: number, protocol: string): boolean {
  const [, first, last = first, kind = 'tcp'] =
    /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/.exec(wanted) ?? [];
  if (first === undefined) throw invalid(`invalid filter '${filter}=[${wanted}]'`);
  return kind === protocol && Number(first) <= port && port <= Number(last);
}

function exitCode(text: string): number {
  if (!/^\d{1,3}$/.test(text)) throw invalid(`invalid filter 'exited=[${text}]'`);
  return Number(text);
}

const isImage = (ref: string, container: ContainerInfo, image: ImageInfo | undefined): boolean =>
  container.image === ref ||
  container.image.split('@')[0] === familiarTag(ref) ||
  (image !== undefined &&
    (image.id.startsWith(ref) ||
      image.id.startsWith(`sha256:${ref}`) ||
      image.tags.map(familiarTag).includes(familiarTag(ref))));

/** Docker's `before` and `since`: containers made before or after the named one. */
async function bounds(request: ApiRequest, filters: Filters): Promise<{ before?: string; since?: string }> {
  const { engine } = request.backends;
  const at = async (key: string) => {
    const ref = filters.get(key)[0];
    return ref === undefined ? undefined : (await engine.container(ref)).createdAt;
  };
  const [before, since] = [await at('before'), await at('since')];
  return { ...(before && { before }), ...(since && { since }) };
}

async function list(request: ApiRequest): Promise<Answer> {
  const { engine } = request.backends;
  const filters = parseFilters(request.text('filters'), FILTERS);
  const { before, since } = await bounds(request, filters);
  const image = imageIndex(await engine.images.list());
  const limit = Number(request.text('limit')) || 0;
  const all =
    request.flag('all') || limit > 0 || filters.has('status') || filters.has('exited') || since || before;
  const chosen = [...(await engine.containers())]
    .filter((c) => all || isUp(c))
    .filter((c) => (!before || c.createdAt < before) && (!since || c.createdAt > since))
    .sort((a, b) => (a.createdAt > b.createdAt ? -1 : 1));
  const portsOf = await engine.ports?.();
  const lines = [];
  for (const container of chosen) {
    if (limit > 0 && lines.length === limit) break;
    const state = {
      image: image(container.image),
      health: await engine.health(container),
      networks: await networksOf(request, container),
      ports: portsOf?.get(container.id) ?? [],
    };
    if (accepts(filters, container, state))
      lines.push(containerSummary(container, state, request.clock.now()));
  }
  return json(lines);
}

async function inspect(request: ApiRequest): Promise<Answer> {
  const { engine } = request.backends;
  const container = await engine.container(request.param('id'));
  const image = await engine.images.get(container.image);
  const networks = await networksOf(request, container);
  const health = await engine.health(container);
  const ports = (await engine.ports?.())?.get(container.id) ?? [];
  return json(containerJson(container, { image, networks, health, ports }));
}

async function logs(request: ApiRequest): Promise<Answer> {
  const { engine } = request.backends;
  const container = await engine.container(request.param('id'));
  const query = logQuery(request);
  const { logging, labels, spec } = container.config;
  const details = request.flag('details')
    ? renderDetails(logAttributes(logging, labels, spec.Env ?? []))
    : '';
  if (logPolicy(logging).kind === 'none') throw new SkeinError('unimplemented', UNREADABLE);
  const tty = spec.TTY ?? false;
  const lines = plain(engine.logs(container.id, query, request.signal), details);
  return logAnswer(lines, { tty, timestamps: request.flag('timestamps') });
}

async function* plain(
  lines: AsyncIterable<LogLine>,
  details: string,
): AsyncGenerator<FormattedLine, void, undefined> {
  for await (const line of lines) yield { ...line, details };
}

export const containerRoutes: readonly Route[] = [
  { method: 'GET', path: '/containers/json', handler: list, note: 'Sizes are not computed.' },
  { method: 'GET', path: '/containers/{id}/json', handler: inspect },
  { method: 'GET', path: '/containers/{id}/logs', handler: logs },
];
