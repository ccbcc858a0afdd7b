import { type Answer, empty, json } from '../answer.ts';
import { familiarTag, historyJson, imageJson, imageSummary, runConfig } from '../convert/image.ts';
import { isValidReference, parseReference, pullReference } from '../convert/reference.ts';
import { type Filters, parseFilters } from '../filters.ts';
import { invalid, notFound, refused } from '../http-error.ts';
import { progressAnswer, progressLine, pullLines } from '../progress.ts';
import type { ImageInfo } from '../../containerd/runtime.ts';
import { isCode, SkeinError } from '../../model/errors.ts';
import { imageEvent } from '../../containerd/container-event.ts';
import type { ApiRequest } from '../request.ts';
import type { Route } from '../router.ts';

const FILTERS = ['reference', 'dangling', 'label', 'before', 'since', 'until'];

async function find(request: ApiRequest, name = request.param('name')): Promise<ImageInfo> {
  const image = await request.backends.engine.images.get(name);
  if (!image)
    throw notFound(
      `No such image: ${name.includes(':') || /^[0-9a-f]{12,64}$/.test(name) ? name : `${name}:latest`}`,
    );
  return image;
}

/** Shell-like patterns as in Docker's reference filter; `*` stays within a path element. */
function globMatches(pattern: string, text: string): boolean {
  const source = pattern
    .split('')
    .map((char) =>
      char === '*' ? '[^/]*' : char === '?' ? '[^/]' : char.replace(/[.+^${}()|[\]\\]/, '\\$&'),
    )
    .join('');
  return new RegExp(`^${source}$`).test(text);
}

const referenced = (pattern: string, image: ImageInfo): boolean =>
  pattern.length <= 255 &&
  (pattern.match(/\*/g) ?? []).length <= 8 &&
  image.tags
    .map(familiarTag)
    .some((tag) => globMatches(pattern, tag) || globMatches(pattern, tag.slice(0, tag.lastIndexOf(':'))));

async function accepted(
  request: ApiRequest,
  filters: Filters,
  images: readonly ImageInfo[],
): Promise<readonly ImageInfo[]> {
  if (filters.has('until')) throw invalid("skein does not serve the image filter 'until' yet");
  const dangling = filters.flag('dangling');
  const created = async (key: string) => {
    const ref = filters.get(key)[0];
    return ref === undefined ? undefined : ((await find(request, ref)).created ?? '');
  };
  const [before, since] = [await created('before'), await created('since')];
  return images.filter(
    (image) =>
      filters.any('reference', (pattern) => referenced(pattern, image)) &&
      (dangling === undefined || (image.tags.length === 0) === dangling) &&
      filters.labels('label', runConfig(image).Labels) &&
      (before === undefined || (image.created ?? '') < before) &&
      (since === undefined || (image.created ?? '') > since),
  );
}

async function list(request: ApiRequest): Promise<Answer> {
  const filters = parseFilters(request.text('filters'), FILTERS);
  const images = await accepted(request, filters, await request.backends.engine.images.list());
  return json([...images].sort((a, b) => ((a.created ?? '') > (b.created ?? '') ? -1 : 1)).map(imageSummary));
}

async function pull(request: ApiRequest): Promise<Answer> {
  if (request.text('fromSrc') !== '')
    throw refused(
      'skein does not serve POST /images/create?fromSrc yet: load an archive with docker load instead',
    );
  const image = request.text('fromImage');
  if (image === '') throw invalid('invalid reference format');
  const reference = pullReference(image, request.text('tag'));
  if (!isValidReference(reference)) throw invalid('invalid reference format');
  const { images } = request.backends.engine;
  checkPlatform(request.text('platform'), images.architecture);
  const { auth } = request.registryAuth();
  const before = await images.get(reference.full);
  return progressAnswer(
    pullLines({
      reference,
      before,
      pull: (onProgress) =>
        images
          .pull(reference.full, { ...(auth && { auth }), onProgress, signal: request.signal })
          .then((pulled) => {
            request.backends.events.tell(imageEvent('pull', familiarTag(reference.full)));
            return pulled;
          }, hidden),
    }),
  );
}

/** `os[/architecture[/variant]]`; any other than the node's own is nothing that could run here. */
function checkPlatform(platform: string, own: string): void {
  const [os, architecture = own] = platform.toLowerCase().split('/');
  if (platform !== '' && (os !== 'linux' || architecture !== own))
    throw refused(`skein pulls what runs on this node: linux/${own} (${platform} was asked for)`);
}

/** As in Docker, what may not be seen is not there: at a 401 the CLI would ask for a name and a password, for ever. */
function hidden(error: unknown): never {
  if (isCode(error, 'unauthenticated')) throw notFound(SkeinError.from(error).message);
  throw error;
}

function load(request: ApiRequest): Answer {
  return progressAnswer(loadLines(request));
}

async function* loadLines(request: ApiRequest): AsyncGenerator<Uint8Array, void, undefined> {
  const loaded = await request.backends.engine.images.load(request.stream, request.signal);
  for (const name of loaded) {
    request.backends.events.tell(imageEvent('load', familiarTag(name)));
    const label = name.startsWith('sha256:')
      ? `Loaded image ID: ${name}`
      : `Loaded image: ${familiarTag(name)}`;
    yield progressLine({ stream: `${label}\n` });
  }
}

async function remove(request: ApiRequest): Promise<Answer> {
  const image = request.param('name');
  await find(request, image);
  const { untagged, deleted } = await request.backends.engine.images.remove(image, {
    force: request.flag('force'),
  });
  for (const name of untagged) request.backends.events.tell(imageEvent('untag', familiarTag(name)));
  for (const id of deleted) request.backends.events.tell(imageEvent('delete', id));
  return json([
    ...untagged.map((name) => ({ Untagged: name.includes('@') ? name : familiarTag(name) })),
    ...deleted.map((id) => ({ Deleted: id })),
  ]);
}

async function tag(request: ApiRequest): Promise<Answer> {
  const target = pullReference(request.text('repo'), request.text('tag'));
  if (target.digest || !isValidReference(target)) throw invalid('invalid reference format');
  const { id } = await find(request);
  await request.backends.engine.images.tag(request.param('name'), target.full);
  request.backends.events.tell(imageEvent('tag', familiarTag(target.full), id));
  return empty(201);
}

async function distribution(request: ApiRequest): Promise<Answer> {
  const name = request.param('name');
  if (!isValidReference(parseReference(name))) throw invalid('invalid reference format');
  const { auth } = request.registryAuth();
  const found = await request.backends.engine.images.resolve(name, auth);
  return json({
    Descriptor: { mediaType: found.mediaType, digest: found.digest, size: found.size },
    Platforms: found.platforms.map(({ architecture, os }) => ({ architecture, os })),
  });
}

export const imageRoutes: readonly Route[] = [
  { method: 'GET', path: '/images/json', handler: list },
  { method: 'POST', path: '/images/create', handler: pull, note: 'Pull; `fromSrc` is refused.' },
  {
    method: 'POST',
    path: '/images/load',
    handler: load,
    note: 'Archives of `docker save` and OCI layouts, of any size.',
  },
  { method: 'GET', path: '/images/search', handler: 'there is no search service behind it' },
  { method: 'GET', path: '/images/get', handler: 'images are not exported' },
  { method: 'POST', path: '/images/prune', handler: 'remove images by name' },
  { method: 'GET', path: '/images/{name*}/json', handler: async (r) => json(imageJson(await find(r))) },
  { method: 'GET', path: '/images/{name*}/history', handler: async (r) => json(historyJson(await find(r))) },
  { method: 'GET', path: '/images/{name*}/get', handler: 'images are not exported' },
  { method: 'POST', path: '/images/{name*}/tag', handler: tag },
  { method: 'POST', path: '/images/{name*}/push', handler: 'images are not pushed' },
  { method: 'DELETE', path: '/images/{name*}', handler: remove },
  { method: 'GET', path: '/distribution/{name*}/json', handler: distribution },
];
