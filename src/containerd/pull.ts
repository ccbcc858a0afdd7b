/**
 * Brings an image here: manifest, config and layers into content, under the caller's lease. Layers that are there are
 * taken, those half there are gone on with; what fails in passing is tried again. Three layers at a time, as Docker.
 */
import type { CallOptions } from '../kit/grpc.ts';
import type { KeyedLocks } from '../kit/keyed-locks.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerdApi } from './api.ts';
import { claimBlob, writeBlob, writtenSoFar } from './blobs.ts';
import {
  choosePlatform,
  type Descriptor,
  isIndex,
  type Manifest,
  parseIndex,
  parseManifest,
} from './image-format.ts';
import type { Reference } from './reference.ts';
import type { RegistrySession, RemoteManifest } from './registry.ts';
import type { PullProgress } from './runtime.ts';
import { everySoOften, inParallel, retried, type Transfer } from './transfer.ts';

export interface PullContext extends Transfer {
  readonly api: ContainerdApi;
  readonly session: RegistrySession;
  readonly architecture: string;
  readonly call: CallOptions;
  readonly progress: (p: PullProgress) => void;
  /** Of all pulls: one at a time brings a blob here, as containerd has it; who comes after finds it, or takes it up. */
  readonly blobs: KeyedLocks<string>;
}

const PARALLEL = 3;

export const shortDigest = (digest: string): string => digest.slice('sha256:'.length, 'sha256:'.length + 12);

export async function pullContent(
  context: PullContext,
  reference: Reference,
): Promise<{ target: Descriptor; manifest: Manifest; child: Descriptor | undefined }> {
  const top = await retried(context, () =>
    context.session.manifest(reference.digest ?? reference.tag ?? 'latest', context.signal),
  );
  const target = await keep(context, top);
  let image = top;
  let child: Descriptor | undefined;
  if (isIndex(mediaType(top))) {
    child = choosePlatform(parseIndex(top.bytes), context.architecture);
    if (!child)
      throw new SkeinError(
        'not-found',
        `no matching manifest for linux/${context.architecture} in the manifest list entries`,
      );
    const { digest } = child;
    image = await retried(context, () => context.session.manifest(digest, context.signal));
    await keep(context, image);
  }
  const manifest = parseManifest(image.bytes);
  await fetchBlob(context, manifest.config, () => {});
  await inParallel(uniqueLayers(manifest), PARALLEL, (layer) => fetchLayer(context, layer));
  return { target, manifest, child };
}

/** What a manifest says of itself wins over the header, which some registries get wrong. */
export function mediaType(remote: Pick<RemoteManifest, 'bytes' | 'mediaType'>): string {
  try {
    const own = (JSON.parse(remote.bytes.toString()) as { mediaType?: unknown }).mediaType;
    return typeof own === 'string' && own !== '' ? own : remote.mediaType;
  } catch (cause) {
    throw new SkeinError('invalid-argument', 'invalid image manifest', { cause });
  }
}

async function keep(context: PullContext, remote: RemoteManifest): Promise<Descriptor> {
  const { api, call } = context;
  const { digest, bytes } = remote;
  async function* once(): AsyncIterable<Uint8Array> {
    yield bytes;
  }
  const blob = { ref: `skein-manifest-${digest}`, digest, size: bytes.length };
  await context.blobs.run(digest, async () => {
    if (!(await claimBlob(api, digest, call))) await writeBlob(api, blob, once(), call);
  });
  return { mediaType: mediaType(remote), digest, size: bytes.length };
}

export const uniqueLayers = (manifest: Manifest): Descriptor[] => [
  ...new Map(manifest.layers.map((layer) => [layer.digest, layer])).values(),
];

async function fetchLayer(context: PullContext, layer: Descriptor): Promise<void> {
  const id = shortDigest(layer.digest);
  context.progress({ id, status: 'Pulling fs layer' });
  const show = everySoOften(context.clock, layer.size, (current) =>
    context.progress({ id, status: 'Downloading', current, total: layer.size }),
  );
  await fetchBlob(context, layer, show);
  context.progress({ id, status: 'Download complete' });
}

const fetchBlob = (
  context: PullContext,
  blob: Descriptor,
  onBytes: (current: number) => void,
): Promise<void> =>
  context.blobs.run(blob.digest, () => retried(context, () => fetchOnce(context, blob, onBytes)));

async function fetchOnce(
  context: PullContext,
  blob: Descriptor,
  onBytes: (current: number) => void,
): Promise<void> {
  const { api, call, session, signal } = context;
  const ref = `skein-blob-${blob.digest}`;
  if (await claimBlob(api, blob.digest, call)) return;
  const have = Math.min(await writtenSoFar(api, ref), blob.size);
  const { start, body } = await session.blob(blob.digest, have < blob.size ? have : 0, signal);
  let current = start;
  async function* counted(): AsyncIterable<Uint8Array> {
    for await (const chunk of body) {
      current += chunk.length;
      if (current > blob.size)
        throw new SkeinError(
          'invalid-argument',
          `${blob.digest}: the registry sends more than the ${blob.size} bytes it named`,
        );
      onBytes(current);
      yield chunk;
    }
  }
  await writeBlob(api, { ref, digest: blob.digest, size: blob.size }, counted(), call, start);
}
