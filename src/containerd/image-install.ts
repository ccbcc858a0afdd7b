/** How an image that has come becomes one of this node: unpacked, held together for containerd's collector, then named. */
import type { CallOptions } from '../kit/grpc.ts';
import { isCode } from '../model/errors.ts';
import { type ContainerdApi, SNAPSHOTTER, unless } from './api.ts';
import { labelBlob } from './blobs.ts';
import { chainIds, type Descriptor, diffIds, type Manifest } from './image-format.ts';
import { shortDigest } from './pull.ts';
import type { PullProgress } from './runtime.ts';
import { nameLabels, renamedFields } from './task-images.ts';
import { unpack } from './unpack.ts';

export interface Arrival {
  /** What its names point to: the manifest, or an index with `child` for this platform. */
  readonly target: Descriptor;
  readonly manifest: Manifest;
  readonly child?: Descriptor | undefined;
  /** In full. */
  readonly names: readonly string[];
  readonly forTask: boolean;
}

export interface InstallOptions {
  /** Carries the lease. */
  readonly call: CallOptions;
  readonly unique: () => string;
  readonly progress?: (p: PullProgress) => void;
}

export async function installImage(
  api: ContainerdApi,
  { target, manifest, child, names, forTask }: Arrival,
  { call, unique, progress = () => {} }: InstallOptions,
): Promise<void> {
  const config = await unpack(api, manifest, {
    ...{ call, unique },
    onLayer: (layer, done) =>
      progress({ id: shortDigest(layer.digest), status: done ? 'Pull complete' : 'Extracting' }),
  });
  const labels: Record<string, string> = { 'containerd.io/gc.ref.content.config': manifest.config.digest };
  manifest.layers.forEach((layer, i) => (labels[`containerd.io/gc.ref.content.l.${i}`] = layer.digest));
  await labelBlob(api, child?.digest ?? target.digest, labels);
  if (child) await labelBlob(api, target.digest, { 'containerd.io/gc.ref.content.m.0': child.digest });
  for (const name of new Set(names)) await nameImage(api, name, target, forTask);
  // A layer shared with an image that was removed meanwhile may have gone before the names held it.
  const top = chainIds(diffIds(config)).at(-1);
  if (top && !(await unless('not-found', api.snapshots.stat({ snapshotter: SNAPSHOTTER, key: top }))))
    await unpack(api, manifest, { call, unique });
}

/** Gives a name, or moves it here. */
export async function nameImage(
  api: ContainerdApi,
  name: string,
  { mediaType, digest, size }: { mediaType: string; digest: string; size: number | bigint },
  forTask = false,
): Promise<void> {
  const image = { name, target: { mediaType, digest, size: BigInt(size) }, labels: nameLabels(forTask) };
  try {
    await api.images.create({ image });
  } catch (error) {
    if (!isCode(error, 'already-exists')) throw error;
    await api.images.update({ image, updateMask: { paths: renamedFields(forTask) } });
  }
}
