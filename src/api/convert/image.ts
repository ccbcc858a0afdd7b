/** Image in Docker's JSON. */
import { chainIds } from '../../containerd/image-format.ts';
import type { ImageInfo } from '../../containerd/runtime.ts';
import { parseReference } from './reference.ts';

interface RunConfig {
  readonly Entrypoint?: readonly string[] | null;
  readonly Cmd?: readonly string[] | null;
  readonly Env?: readonly string[] | null;
  readonly Labels?: Readonly<Record<string, string>> | null;
  readonly ExposedPorts?: Readonly<Record<string, unknown>> | null;
  readonly WorkingDir?: string;
  readonly User?: string;
}

/** The part of the OCI config that says how to run it. */
export function runConfig(image: ImageInfo | undefined): RunConfig {
  const inner = image?.config['config'];
  return (typeof inner === 'object' && inner !== null ? inner : (image?.config ?? {})) as RunConfig;
}

export const unixSeconds = (time: string | undefined): number =>
  time === undefined ? 0 : Math.floor(Date.parse(time) / 1000) || 0;

export const familiarTag = (tag: string): string => {
  const { familiar, tag: name } = parseReference(tag);
  return `${familiar}:${name ?? 'latest'}`;
};

/** Whether the image has this name, or is called so by its id or the beginning of it. */
export function isNamed({ id, tags, digests }: ImageInfo, name: string): boolean {
  const [tag = '', digest] = name.split('@');
  return (
    name === id ||
    (/^[0-9a-f]+$/.test(name) && id.startsWith(`sha256:${name}`)) ||
    tags.map(familiarTag).includes(familiarTag(tag)) ||
    (digest !== undefined && digests.some((one) => one.endsWith(`@${digest}`)))
  );
}

export const createdAt = (image: ImageInfo): number => unixSeconds(image.created) * 1000;

const familiarDigest = (reference: string): string => {
  const { familiar, digest } = parseReference(reference);
  return `${familiar}@${digest ?? ''}`;
};

export const imageSummary = (image: ImageInfo): Record<string, unknown> => ({
  Containers: -1,
  Created: unixSeconds(image.created),
  Id: image.id,
  Labels: runConfig(image).Labels ?? null,
  ParentId: '',
  RepoDigests: image.digests.map(familiarDigest),
  RepoTags: image.tags.map(familiarTag),
  SharedSize: -1,
  Size: image.size,
  VirtualSize: image.size,
});

export const imageJson = (image: ImageInfo): object => ({
  Id: image.id,
  RepoTags: image.tags.map(familiarTag),
  RepoDigests: image.digests.map(familiarDigest),
  Parent: '',
  Comment: String(image.history.at(-1)?.['comment'] ?? ''),
  Created: image.created ?? '',
  DockerVersion: '',
  Author: typeof image.config['author'] === 'string' ? image.config['author'] : '',
  Config: runConfig(image),
  Architecture: image.architecture,
  Os: image.os,
  Size: image.size,
  VirtualSize: image.size,
  GraphDriver: { Data: null, Name: 'overlayfs' },
  RootFS: { Type: 'layers', Layers: image.layers },
  Metadata: { LastTagTime: '0001-01-01T00:00:00Z' },
});

/** Newest first. The steps that made a layer are in the order of the layers; the others have no size. */
export function historyJson(image: ImageInfo): object[] {
  const sizes = [...image.layerSizes];
  const steps = (image.history.length > 0 ? image.history : [{}]).map((step) => ({
    step,
    size: step['empty_layer'] === true ? 0 : (sizes.shift() ?? 0),
  }));
  return steps.reverse().map(({ step, size }, index) => ({
    Comment: step['comment'] ?? '',
    Created: unixSeconds(typeof step['created'] === 'string' ? step['created'] : image.created),
    CreatedBy: step['created_by'] ?? '',
    Id: index === 0 ? image.id : '<missing>',
    Size: size,
    Tags: index === 0 && image.tags.length > 0 ? image.tags.map(familiarTag) : null,
  }));
}

/** Bytes of the layers that only these images had, each once. */
export function reclaimed(before: readonly ImageInfo[], removed: ReadonlySet<string>): number {
  const layersOf = (image: ImageInfo) =>
    chainIds(image.layers).map((chain, i) => [chain, image.layerSizes[i] ?? 0] as const);
  const kept = new Set(
    before.filter(({ id }) => !removed.has(id)).flatMap((image) => layersOf(image).map(([chain]) => chain)),
  );
  const gone = new Map(before.filter(({ id }) => removed.has(id)).flatMap(layersOf));
  return [...gone].reduce((sum, [chain, size]) => sum + (kept.has(chain) ? 0 : size), 0);
}
