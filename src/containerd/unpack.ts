/** Layers to snapshots: each layer applied on the one below, named by its chain id, so that images share them. */
import type { CallOptions } from '../kit/grpc.ts';
import { SkeinError } from '../model/errors.ts';
import { type ContainerdApi, SNAPSHOTTER, unless } from './api.ts';
import { labelBlob, readBlob } from './blobs.ts';
import {
  chainIds,
  type Descriptor,
  diffIds,
  type ImageConfig,
  type Manifest,
  parseConfig,
} from './image-format.ts';

const APPLY_TIMEOUT_MS = 600_000;

export interface UnpackOptions {
  /** Carries the lease. */
  readonly call: CallOptions;
  /** Makes names of extractions that no other has. */
  readonly unique: () => string;
  readonly onLayer?: (layer: Descriptor, done: boolean) => void;
}

/** Makes sure that every layer of the image is there as a snapshot, and that the config keeps the topmost alive. */
export async function unpack(
  api: ContainerdApi,
  manifest: Manifest,
  options: UnpackOptions,
): Promise<ImageConfig> {
  const config = parseConfig(await readBlob(api, manifest.config.digest));
  const ids = diffIds(config);
  if (ids.length !== manifest.layers.length)
    throw new SkeinError(
      'invalid-argument',
      `invalid image: ${manifest.layers.length} layers, and its configuration names ${ids.length}`,
    );
  const chain = chainIds(ids);
  for (const [i, layer] of manifest.layers.entries()) {
    options.onLayer?.(layer, false);
    await applyLayer(api, layer, ids[i]!, chain[i]!, chain[i - 1] ?? '', options);
    options.onLayer?.(layer, true);
  }
  const top = chain.at(-1);
  if (top !== undefined)
    await labelBlob(api, manifest.config.digest, { [`containerd.io/gc.ref.snapshot.${SNAPSHOTTER}`]: top });
  return config;
}

async function applyLayer(
  api: ContainerdApi,
  layer: Descriptor,
  diffId: string,
  name: string,
  parent: string,
  { call, unique }: UnpackOptions,
): Promise<void> {
  const at = { snapshotter: SNAPSHOTTER };
  if (await unless('not-found', api.snapshots.stat({ ...at, key: name }, call))) {
    return;
  }
  const key = `extract-${unique()} ${name}`;
  const { mounts } = await api.snapshots.prepare({ ...at, key, parent }, call);
  try {
    const { applied } = await api.diff.apply(
      { diff: { mediaType: layer.mediaType, digest: layer.digest, size: BigInt(layer.size) }, mounts },
      { ...call, timeoutMs: APPLY_TIMEOUT_MS },
    );
    if (applied?.digest !== diffId)
      throw new SkeinError('invalid-argument', `wrong diff id calculated on extraction ${applied?.digest}`);
    await unless('already-exists', api.snapshots.commit({ ...at, name, key }, call));
  } finally {
    await unless('not-found', api.snapshots.remove({ ...at, key }));
  }
}
