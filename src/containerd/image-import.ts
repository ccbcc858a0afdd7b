/** `docker import`: a root file system in an archive becomes the one layer of an image, with a configuration of its own. */
import type { CallOptions } from '../kit/grpc.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerdApi } from './api.ts';
import { writeBlob } from './blobs.ts';
import { type Descriptor, type Manifest, MEDIA } from './image-format.ts';
import { inflate } from './image-load.ts';
import type { ImportOptions } from './runtime.ts';

export interface ImportContext {
  readonly api: ContainerdApi;
  readonly call: CallOptions;
  readonly unique: () => string;
  readonly architecture: string;
  readonly created: string;
}

export async function importLayer(
  context: ImportContext,
  archive: AsyncIterable<Uint8Array>,
  { message, config }: Pick<ImportOptions, 'message' | 'config'>,
): Promise<{ readonly target: Descriptor; readonly manifest: Manifest }> {
  const { architecture, created } = context;
  const store = async (mediaType: string, content: AsyncIterable<Uint8Array>): Promise<Descriptor> => {
    const ref = `skein-import-${context.unique()}`;
    return { mediaType, ...(await writeBlob(context.api, { ref }, content, context.call)) };
  };
  const layer = await store(MEDIA.ociLayer, await inflate(archive));
  const image = {
    ...{ architecture, os: 'linux', created, config },
    rootfs: { type: 'layers', diff_ids: [layer.digest] },
    history: [{ created, comment: message }],
  };
  const manifest = {
    schemaVersion: 2,
    mediaType: MEDIA.ociManifest,
    config: await store(MEDIA.ociConfig, document(image)),
    layers: [layer],
  };
  return { target: await store(MEDIA.ociManifest, document(manifest)), manifest };
}

/** containerd's words for what it cannot unpack, without the paths that it worked in. */
export async function importing<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const { message } = SkeinError.from(error);
    const why = /^containerd: Diff\.Apply: .*: ([^:]+)$/s.exec(message)?.[1];
    if (why === undefined) throw error;
    throw new SkeinError('invalid-argument', `invalid archive: ${why}`, { cause: error });
  }
}

async function* document(content: object): AsyncIterable<Uint8Array> {
  yield Buffer.from(JSON.stringify(content));
}
