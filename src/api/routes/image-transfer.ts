/** How images come to this node and go from it: pull, push, load, save, and what a registry says of one. */
import type { Answer } from '../answer.ts';
import { json } from '../answer.ts';
import { changedConfig } from '../convert/changes.ts';
import { familiarTag } from '../convert/image.ts';
import { isValidReference, parseReference, pullReference } from '../convert/reference.ts';
import { invalid, notFound, refused } from '../http-error.ts';
import { progressAnswer, progressLine, pullLines, pushLines } from '../progress.ts';
import type { ImageInfo, ImportOptions } from '../../containerd/runtime.ts';
import { isCode, SkeinError } from '../../model/errors.ts';
import { imageEvent, transferEvent } from '../../containerd/container-event.ts';
import type { ApiRequest } from '../request.ts';
import type { Route } from '../router.ts';

export async function findImage(request: ApiRequest, name = request.param('name')): Promise<ImageInfo> {
  const image = await request.backends.engine.images.get(name);
  if (!image)
    throw notFound(
      `No such image: ${name.includes(':') || /^[0-9a-f]{12,64}$/.test(name) ? name : `${name}:latest`}`,
    );
  return image;
}

async function pull(request: ApiRequest): Promise<Answer> {
  if (request.text('fromSrc') !== '') return importArchive(request);
  const image = request.text('fromImage');
  if (image === '') throw invalid('invalid reference format');
  const { images } = request.backends.engine;
  checkPlatform(request.text('platform'), images.architecture);
  const given = parseReference(image);
  const tag = request.text('tag');
  if (!isValidReference(given)) throw invalid('invalid reference format');
  if (tag !== '' || given.tag !== undefined || given.digest !== undefined)
    return progressAnswer(pulled(request, image, [tag]));
  const tags = await images.remoteTags(given.familiar, request.registryAuth().auth).catch(hidden);
  return progressAnswer(pulled(request, image, tags));
}

async function importArchive(request: ApiRequest): Promise<Answer> {
  if (request.text('fromSrc') !== '-')
    throw refused('skein imports what the client sends: fetch the archive, and give it to docker import');
  const { images } = request.backends.engine;
  checkPlatform(request.text('platform'), images.architecture);
  const repository = request.text('repo');
  const name = repository === '' ? undefined : pullReference(repository, request.text('tag'));
  if (name && (name.digest !== undefined || !isValidReference(name)))
    throw invalid('invalid reference format');
  const config = changedConfig(request.texts('changes').flatMap((change) => change.split('\n')));
  const message = request.text('message') || 'Imported from -';
  const options = { ...(name && { name: name.full }), message, config, signal: request.signal };
  return progressAnswer(imported(request, options));
}

async function* imported(
  { backends, stream }: ApiRequest,
  options: ImportOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const id = await backends.engine.images.import(stream, options);
  const image = { id, config: options.config };
  if (options.name !== undefined) backends.events.tell(imageEvent('tag', image, familiarTag(options.name)));
  backends.events.tell(imageEvent('import', image));
  yield progressLine({ status: id });
}

/** One after the other, as `docker pull --all-tags` shows them. */
async function* pulled(
  request: ApiRequest,
  image: string,
  tags: readonly string[],
): AsyncGenerator<Uint8Array, void, undefined> {
  const { images } = request.backends.engine;
  const { auth } = request.registryAuth();
  for (const tag of tags) {
    const reference = pullReference(image, tag);
    if (!isValidReference(reference)) throw invalid('invalid reference format');
    yield* pullLines({
      reference,
      before: await images.get(reference.full),
      pull: async (onProgress) => {
        const options = { ...(auth && { auth }), onProgress, signal: request.signal };
        const found = await images.pull(reference.full, options).catch(hidden);
        request.backends.events.tell(transferEvent('pull', reference.full, found.config));
        return found;
      },
    });
  }
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
    await tellOf(request, 'load', name);
    const label = name.startsWith('sha256:')
      ? `Loaded image ID: ${name}`
      : `Loaded image: ${familiarTag(name)}`;
    yield progressLine({ stream: `${label}\n` });
  }
}

/** Without a tag, all of the repository's that are here. */
async function push(request: ApiRequest): Promise<Answer> {
  const name = parseReference(request.param('name'));
  if (name.digest !== undefined) throw invalid('cannot push a digest reference');
  const asked = request.text('tag') || name.tag;
  if (!isValidReference({ ...name, tag: asked })) throw invalid('invalid reference format');
  const { images } = request.backends.engine;
  checkPlatform(request.text('platform'), images.architecture);
  const tags = asked === undefined ? tagsOf(name.familiar, await images.list()) : [asked];
  return progressAnswer(pushed(request, name.familiar, tags.length > 0 ? tags : ['latest']));
}

const tagsOf = (familiar: string, images: readonly ImageInfo[]): readonly string[] =>
  images
    .flatMap((image) => image.tags.map(parseReference))
    .filter((reference) => reference.familiar === familiar)
    .map((reference) => reference.tag!);

async function* pushed(
  request: ApiRequest,
  familiar: string,
  tags: readonly string[],
): AsyncGenerator<Uint8Array, void, undefined> {
  const { auth } = request.registryAuth();
  for (const tag of tags) {
    const reference = pullReference(familiar, tag);
    yield* pushLines(reference, (onProgress) =>
      request.backends.engine.images.push(reference.full, {
        ...{ onProgress, signal: request.signal },
        ...(auth && { auth }),
      }),
    );
    const image = await request.backends.engine.images.get(reference.full);
    request.backends.events.tell(transferEvent('push', reference.full, image?.config ?? {}));
  }
}

async function save(request: ApiRequest, names: readonly string[]): Promise<Answer> {
  if (names.length === 0) throw invalid('no image was named');
  const { images } = request.backends.engine;
  checkPlatform(request.text('platform'), images.architecture);
  const chunks = await images.save(names);
  for (const name of names) await tellOf(request, 'save', name);
  return {
    kind: 'stream',
    contentType: 'application/x-tar',
    chunks,
    eager: false,
    failure: () => new Uint8Array(), // an archive that ends early is seen to be broken
  };
}

async function tellOf({ backends }: ApiRequest, action: 'load' | 'save', name: string): Promise<void> {
  const image = await backends.engine.images.get(name);
  if (image) backends.events.tell(imageEvent(action, image));
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

export const imageTransferRoutes: readonly Route[] = [
  {
    method: 'POST',
    path: '/images/create',
    handler: pull,
    note: 'Pull, without a tag of all tags; import of an archive, not of a URL.',
  },
  {
    method: 'POST',
    path: '/images/load',
    handler: load,
    note: 'Archives of `docker save` and OCI layouts, of any size.',
  },
  {
    method: 'GET',
    path: '/images/get',
    handler: (r) =>
      save(
        r,
        r.texts('names').flatMap((names) => names.split(',')),
      ),
    note: 'An OCI layout with a `manifest.json`.',
  },
  { method: 'GET', path: '/images/{name*}/get', handler: (r) => save(r, [r.param('name')]) },
  {
    method: 'POST',
    path: '/images/{name*}/push',
    handler: push,
    note: 'Layers as they are here; the registry keeps those it has.',
  },
  { method: 'GET', path: '/distribution/{name*}/json', handler: distribution },
];
