/**
 * Sends an image to a registry: what it lacks of the layers and the configuration, five at a time as Docker, then the
 * manifest. Blobs go as they are here, so the image has the same digest there. A layer that another repository of the
 * registry is known to have is offered from there (a mount), and is sent only where that is declined.
 */
import { SkeinError } from '../model/errors.ts';
import type { ContainerdApi } from './api.ts';
import { blobContent, readBlob } from './blobs.ts';
import type { Descriptor, Manifest } from './image-format.ts';
import type { Resolved } from './local-images.ts';
import { shortDigest, uniqueLayers } from './pull.ts';
import { familiarName, type Reference } from './reference.ts';
import type { RegistryUpload } from './registry-upload.ts';
import type { PullProgress } from './runtime.ts';
import { everySoOften, inParallel, retried, type Transfer } from './transfer.ts';

export interface PushContext extends Transfer {
  readonly api: ContainerdApi;
  readonly upload: RegistryUpload;
  readonly progress: (p: PullProgress) => void;
  /** Repositories of the same registry that layers came from or went to, by digest. */
  readonly elsewhere: ReadonlyMap<string, string>;
}

const PARALLEL = 5;

export async function pushContent(
  context: PushContext,
  { target, manifest }: Pick<Resolved, 'target' | 'manifest'>,
  tag: string,
): Promise<void> {
  const { api, upload, signal, progress } = context;
  const layers = uniqueLayers(manifest);
  for (const { digest } of layers) progress({ id: shortDigest(digest), status: 'Preparing' });
  await inParallel(layers, PARALLEL, (layer) => pushBlob(context, layer, progress));
  await pushBlob(context, manifest.config, () => {});
  const bytes = await readBlob(api, target.digest);
  await retried(context, () => upload.manifest(tag, target, bytes, signal));
}

function pushBlob(
  context: PushContext,
  blob: Descriptor,
  progress: (p: PullProgress) => void,
): Promise<void> {
  const { upload, signal, clock } = context;
  const { digest, size } = blob;
  const id = shortDigest(digest);
  return retried(context, async () => {
    if (await upload.has(digest, signal)) return progress({ id, status: 'Layer already exists' });
    const from = context.elsewhere.get(digest);
    const place = await upload.begin(digest, from, signal);
    if (place === undefined) return progress({ id, status: `Mounted from ${from}` });
    const show = everySoOften(clock, size, (current) =>
      progress({ id, status: 'Pushing', current, total: size }),
    );
    await upload.send(place, digest, counted(context, digest, show), signal);
    progress({ id, status: 'Pushed' });
  });
}

async function* counted(
  { api, signal }: PushContext,
  digest: string,
  show: (current: number) => void,
): AsyncIterable<Uint8Array> {
  let current = 0;
  for await (const data of blobContent(api, digest, signal)) {
    current += data.length;
    show(current);
    yield data;
  }
}

/** Where else in this registry the layers are, by the digest names of the images that are here. Pure. */
export function knownElsewhere(
  { domain, path }: Reference,
  images: readonly { readonly reference: Reference; readonly manifest: Manifest }[],
): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const { reference, manifest } of images) {
    if (reference.digest === undefined || reference.domain !== domain || reference.path === path) continue;
    for (const { digest } of manifest.layers) found.set(digest, reference.path);
  }
  return found;
}

/** Why there is nothing to push, in Docker's words. */
export function nothingToPush(reference: Reference, tagsHere: boolean): SkeinError {
  const name = familiarName(reference);
  return new SkeinError(
    'not-found',
    tagsHere
      ? `tag does not exist: ${name}`
      : `An image does not exist locally with the tag: ${name.slice(0, name.lastIndexOf(':'))}`,
  );
}
