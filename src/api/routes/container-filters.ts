/** The filters of `docker ps`, and which containers satisfy them. */
import type { EngineBackend } from '../backend.ts';
import { type ContainerState, exposedBy, isUp, stateOf, TASK_LABEL } from '../convert/container.ts';
import { exposedPorts } from '../convert/container-ports.ts';
import { familiarTag } from '../convert/image.ts';
import { type Filters, matches, parseFilters } from '../filters.ts';
import { invalid } from '../http-error.ts';
import type { ContainerInfo, ImageInfo } from '../../containerd/runtime.ts';
import type { PortSpec } from '../../model/spec.ts';

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
const WORDS = {
  status: {
    known: ['created', 'running', 'paused', 'restarting', 'removing', 'exited', 'dead'],
    refusal: (given: string) => `invalid filter 'status=${given}'`,
  },
  health: {
    known: ['none', 'starting', 'healthy', 'unhealthy'],
    refusal: (given: string) => `unrecognized filter value for health: ${given}`,
  },
};

/** What is no value of its filter is refused, whether or not there are containers. */
export function containerFilters(query: string): Filters {
  const filters = parseFilters(query, FILTERS, WORDS);
  filters.get('exited').forEach(exitCode);
  for (const key of ['publish', 'expose']) for (const ports of filters.get(key)) portRange(key, ports);
  return filters;
}

export function accepts(
  filters: Filters,
  container: ContainerInfo,
  { image, networks, health, ports, restarts }: ContainerState,
): boolean {
  const state = stateOf(container, restarts);
  const isTask = filters.flag('is-task');
  return (
    filters.any('id', (id) => matches(id, container.id)) &&
    filters.any('name', (name) => matches(name, container.name, `/${container.name}`)) &&
    filters.labels('label', container.labels) &&
    filters.any('status', (status) => status === state) &&
    filters.any('exited', (code) => state === 'exited' && container.exitCode === exitCode(code)) &&
    filters.any('ancestor', (ref) => isImage(ref, container, image)) &&
    filters.any('health', (wanted) => wanted === (health?.Status ?? 'none')) &&
    filters.any('network', (ref) => networks.some((n) => n.name === ref || n.networkId.startsWith(ref))) &&
    filters.any('volume', (ref) => container.mounts.some((m) => m.name === ref || m.target === ref)) &&
    filters.any('publish', (wanted) =>
      ports.some((p) => isPort('publish', wanted, p.PublishedPort ?? 0, p.Protocol)),
    ) &&
    filters.any(
      'expose',
      (wanted) => isUp(container) && exposes(wanted, exposedBy(container, image), ports),
    ) &&
    filters.any('isolation', (kind) => kind === 'default') &&
    (isTask === undefined || isTask === TASK_LABEL in container.labels)
  );
}

/** `80`, `80/udp`, `8000-8080/tcp`; without a protocol it is TCP. */
function portRange(filter: string, wanted: string) {
  const [, first, last = first, protocol = 'tcp'] =
    /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/.exec(wanted) ?? [];
  if (first === undefined) throw invalid(`invalid filter '${filter}=[${wanted}]'`);
  return { first: Number(first), last: Number(last), protocol };
}

function isPort(filter: string, wanted: string, port: number, of: string): boolean {
  const { first, last, protocol } = portRange(filter, wanted);
  return protocol === of && first <= port && port <= last;
}

const exposes = (wanted: string, exposed: readonly string[], ports: readonly PortSpec[]): boolean =>
  exposedPorts(exposed, ports).some((port) => {
    const [number, protocol = 'tcp'] = port.split('/');
    return isPort('expose', wanted, Number(number), protocol);
  });

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
export async function bounds(
  engine: Pick<EngineBackend, 'container'>,
  filters: Filters,
): Promise<{ before?: string; since?: string }> {
  const at = async (key: string) => {
    const ref = filters.get(key)[0];
    return ref === undefined ? undefined : (await engine.container(ref)).createdAt;
  };
  const [before, since] = [await at('before'), await at('since')];
  return { ...(before && { before }), ...(since && { since }) };
}
