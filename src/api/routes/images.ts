/** Images of this node: lists, what they are, names, removal. How they come and go is in image-transfer.ts. */
import { type Answer, empty, json } from '../answer.ts';
import {
  createdAt,
  familiarTag,
  historyJson,
  imageJson,
  imageSummary,
  reclaimed,
  runConfig,
} from '../convert/image.ts';
import { isValidReference, pullReference } from '../convert/reference.ts';
import { type Filters, globMatches, parseFilters } from '../filters.ts';
import { invalid } from '../http-error.ts';
import type { ImageInfo, RemovedImage } from '../../containerd/runtime.ts';
import type { EventLog } from '../../kit/event-log.ts';
import { imageEvent } from '../../containerd/container-event.ts';
import { pruneEvent } from '../events.ts';
import { PRUNE_FILTERS, pruneFilter, timeBefore } from '../prune-filter.ts';
import type { ApiRequest } from '../request.ts';
import type { Route } from '../router.ts';
import { findImage, imageTransferRoutes } from './image-transfer.ts';

const FILTERS = ['reference', 'dangling', 'label', 'before', 'since', 'until'];

const referenced = (pattern: string, image: ImageInfo): boolean =>
  image.tags
    .map(familiarTag)
    .some((tag) => globMatches(pattern, tag) || globMatches(pattern, tag.slice(0, tag.lastIndexOf(':'))));

async function accepted(
  request: ApiRequest,
  filters: Filters,
  images: readonly ImageInfo[],
): Promise<readonly ImageInfo[]> {
  const limits = filters.get('until').map((text) => timeBefore(text, request.clock.now()));
  const dangling = filters.flag('dangling');
  const created = async (key: string) => {
    const ref = filters.get(key)[0];
    return ref === undefined ? undefined : ((await findImage(request, ref)).created ?? '');
  };
  const [before, since] = [await created('before'), await created('since')];
  return images.filter(
    (image) =>
      filters.any('reference', (pattern) => referenced(pattern, image)) &&
      (dangling === undefined || (image.tags.length === 0) === dangling) &&
      filters.labels('label', runConfig(image).Labels) &&
      (before === undefined || (image.created ?? '') < before) &&
      (since === undefined || (image.created ?? '') > since) &&
      limits.every((limit) => createdAt(image) <= limit),
  );
}

async function list(request: ApiRequest): Promise<Answer> {
  const filters = parseFilters(request.text('filters'), FILTERS);
  const images = await accepted(request, filters, await request.backends.engine.images.list());
  return json([...images].sort((a, b) => ((a.created ?? '') > (b.created ?? '') ? -1 : 1)).map(imageSummary));
}

/** Images that no container and no task of this node needs: those without a tag, or with `dangling=false` all. */
async function prune(request: ApiRequest): Promise<Answer> {
  const filters = parseFilters(request.text('filters'), [...PRUNE_FILTERS, 'dangling']);
  const accepted = pruneFilter(filters, request.clock.now());
  const { engine, events } = request.backends;
  const before = await engine.images.list();
  const doomed = before.filter(
    (image) =>
      (filters.flag('dangling') === false || image.tags.length === 0) &&
      accepted(runConfig(image).Labels, createdAt(image)),
  );
  const removed = await engine.pruneImages(doomed);
  const gone = removed.flatMap((one) => tellRemoved(events, one, before));
  const ids = new Set(removed.flatMap(({ deleted }) => deleted));
  const space = reclaimed(before, ids);
  events.tell(pruneEvent('image', space));
  return json({ ImagesDeleted: gone.length > 0 ? gone : null, SpaceReclaimed: space });
}

async function remove(request: ApiRequest): Promise<Answer> {
  const image = request.param('name');
  const found = await findImage(request, image);
  const { engine, events } = request.backends;
  const removed = await engine.images.remove(image, { force: request.flag('force') });
  return json(tellRemoved(events, removed, [found]));
}

/** To who listens to events, and as Docker's answer. */
function tellRemoved(
  events: Pick<EventLog, 'tell'>,
  { id, untagged, deleted }: RemovedImage,
  known: readonly ImageInfo[],
): object[] {
  const image = known.find((one) => one.id === id) ?? { id, config: {} };
  for (const _ of untagged) events.tell(imageEvent('untag', image));
  if (deleted.length > 0) events.tell(imageEvent('delete', { id, config: {} }));
  return [
    ...untagged.map((name) => ({ Untagged: name.includes('@') ? name : familiarTag(name) })),
    ...deleted.map((id) => ({ Deleted: id })),
  ];
}

async function tag(request: ApiRequest): Promise<Answer> {
  const target = pullReference(request.text('repo'), request.text('tag'));
  if (target.digest || !isValidReference(target)) throw invalid('invalid reference format');
  const image = await findImage(request);
  await request.backends.engine.images.tag(request.param('name'), target.full);
  request.backends.events.tell(imageEvent('tag', image, familiarTag(target.full)));
  return empty(201);
}

export const imageRoutes: readonly Route[] = [
  { method: 'GET', path: '/images/json', handler: list },
  ...imageTransferRoutes,
  { method: 'GET', path: '/images/search', handler: 'there is no search service behind it' },
  {
    method: 'POST',
    path: '/images/prune',
    handler: prune,
    note: 'Never what a container or a task of this node needs.',
  },
  { method: 'GET', path: '/images/{name*}/json', handler: async (r) => json(imageJson(await findImage(r))) },
  {
    method: 'GET',
    path: '/images/{name*}/history',
    handler: async (r) => json(historyJson(await findImage(r))),
  },
  { method: 'POST', path: '/images/{name*}/tag', handler: tag },
  { method: 'DELETE', path: '/images/{name*}', handler: remove },
];
