/** Volumes of this node: `docker volume create`, ls, inspect, rm, prune. */
import { randomBytes } from 'node:crypto';
import { type Answer, empty, json } from '../answer.ts';
import type { EngineBackend } from '../backend.ts';
import { volumeJson } from '../convert/volume.ts';
import { pruneEvent } from '../events.ts';
import { type Filters, matches, parseFilters } from '../filters.ts';
import { notFound, refused } from '../http-error.ts';
import type { ApiRequest } from '../request.ts';
import { compareVersions, type Route } from '../router.ts';
import { volumeCreateBody } from '../schemas/host.ts';
import type { VolumeInfo } from '../../containerd/runtime.ts';
import { ANONYMOUS_LABEL } from '../../containerd/volume-plan.ts';
import { isCode } from '../../model/errors.ts';

/** How many containers refer to each volume, those that do not run included. */
export async function volumeUsers(engine: EngineBackend): Promise<ReadonlyMap<string, number>> {
  const users = new Map<string, number>();
  for (const { mounts } of await engine.containers())
    for (const name of new Set(mounts.map((mount) => mount.name)))
      if (name !== undefined) users.set(name, (users.get(name) ?? 0) + 1);
  return users;
}

async function list(request: ApiRequest): Promise<Answer> {
  const { engine } = request.backends;
  const filters = parseFilters(request.text('filters'), ['dangling', 'driver', 'label', 'name']);
  const dangling = filters.flag('dangling');
  const users = await volumeUsers(engine);
  const volumes = (await engine.volumes.list()).filter(
    ({ name, labels }) =>
      filters.any('name', (wanted) => matches(wanted, name)) &&
      filters.any('driver', (driver) => driver === 'local') &&
      filters.labels('label', labels) &&
      (dangling === undefined || dangling !== users.has(name)),
  );
  return json({ Volumes: volumes.map(volumeJson), Warnings: null });
}

async function create(request: ApiRequest): Promise<Answer> {
  const body = await request.json(volumeCreateBody);
  if (body.ClusterVolumeSpec) throw refused('skein has no cluster volumes: volumes are local to a node');
  const driver = body.Driver || 'local';
  const name = body.Name || randomBytes(32).toString('hex');
  if (driver !== 'local')
    throw notFound(`create ${name}: error looking up volume plugin ${driver}: plugin "${driver}" not found`);
  const labels = body.Name ? body.Labels : { ...body.Labels, [ANONYMOUS_LABEL]: '' };
  const options = Object.keys(body.DriverOpts ?? {}).length > 0 ? body.DriverOpts : null;
  const spec = { name, labels: labels ?? null, options: options ?? null };
  return json(volumeJson(await request.backends.engine.volumes.create(spec)), 201);
}

async function inspect(request: ApiRequest): Promise<Answer> {
  const name = request.param('name');
  const volume = await request.backends.engine.volumes.get(name);
  if (!volume) throw notFound(`get ${name}: no such volume`);
  return json(volumeJson(volume));
}

async function remove(request: ApiRequest): Promise<Answer> {
  try {
    await request.backends.engine.volumes.remove(request.param('name'));
  } catch (error) {
    if (!(request.flag('force') && isCode(error, 'not-found'))) throw error;
  }
  return empty(204);
}

/**
 * From API 1.42 on only those that nobody named, unless all are asked for; never one with options, which may be of
 * another disk or machine.
 */
function prunable({ labels, options }: VolumeInfo, filters: Filters, version: string): boolean {
  const all = compareVersions(version, '1.42') < 0 || filters.flag('all') === true;
  return (
    options === null &&
    (all || ANONYMOUS_LABEL in (labels ?? {})) &&
    filters.labels('label', labels) &&
    !(filters.has('label!') && filters.labels('label!', labels))
  );
}

async function prune(request: ApiRequest): Promise<Answer> {
  const { engine, events } = request.backends;
  const filters = parseFilters(request.text('filters'), ['all', 'label', 'label!']);
  const users = await volumeUsers(engine);
  const gone: string[] = [];
  let bytes = 0;
  for (const volume of await engine.volumes.list()) {
    if (users.has(volume.name) || !prunable(volume, filters, request.version)) continue;
    const size = await engine.volumes.size(volume.name);
    try {
      await engine.volumes.remove(volume.name);
    } catch (error) {
      if (isCode(error, 'not-found', 'failed-precondition')) continue; // gone, or in use by now
      throw error;
    }
    gone.push(volume.name);
    bytes += size;
  }
  events.tell(pruneEvent('volume', bytes));
  return json({ VolumesDeleted: gone.length > 0 ? gone : null, SpaceReclaimed: bytes });
}

export const volumeRoutes: readonly Route[] = [
  { method: 'GET', path: '/volumes', handler: list },
  {
    method: 'POST',
    path: '/volumes/create',
    handler: create,
    note: 'The local driver, with `type`, `device` and `o`.',
  },
  { method: 'POST', path: '/volumes/prune', handler: prune },
  { method: 'GET', path: '/volumes/{name}', handler: inspect },
  { method: 'DELETE', path: '/volumes/{name}', handler: remove },
  {
    method: 'PUT',
    path: '/volumes/{name}',
    handler: 'only cluster volumes can be updated, and there are none',
  },
];
