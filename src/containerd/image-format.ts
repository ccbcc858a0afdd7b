/** The JSON documents of an image (OCI and Docker schema 2), checked where their bytes enter, and chain ids. Pure. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { SkeinError } from '../model/errors.ts';

export const MEDIA = {
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  ociLayer: 'application/vnd.oci.image.layer.v1.tar',
  ociLayerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  dockerList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
} as const;

export const isIndex = (mediaType: string): boolean =>
  mediaType === MEDIA.ociIndex || mediaType === MEDIA.dockerList;

const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);
const size = z.number().int().nonnegative();

const descriptor = z.object({
  mediaType: z.string().default(''),
  digest,
  size,
  platform: z.object({ architecture: z.string(), os: z.string(), variant: z.string().optional() }).optional(),
  annotations: z.record(z.string(), z.string()).nullish(),
});
export type Descriptor = z.infer<typeof descriptor>;

const index = z.object({ mediaType: z.string().optional(), manifests: z.array(descriptor).max(1000) });
export type Index = z.infer<typeof index>;

const manifest = z.object({
  mediaType: z.string().optional(),
  config: descriptor,
  layers: z.array(descriptor).max(500),
});
export type Manifest = z.infer<typeof manifest>;

const config = z.looseObject({
  architecture: z.string().default(''),
  os: z.string().default(''),
  created: z.string().nullish(),
  config: z.record(z.string(), z.unknown()).nullish(),
  history: z.array(z.record(z.string(), z.unknown())).nullish(),
  rootfs: z.object({ diff_ids: z.array(digest).nullish() }),
});
export type ImageConfig = z.infer<typeof config>;

/** `manifest.json` of `docker save`. */
const archive = z
  .array(
    z.object({ Config: z.string(), RepoTags: z.array(z.string()).nullish(), Layers: z.array(z.string()) }),
  )
  .min(1);

const parse = <T>(schema: z.ZodType<T>, what: string) => {
  return (bytes: Uint8Array): T => {
    try {
      return schema.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
    } catch (cause) {
      throw new SkeinError('invalid-argument', `invalid ${what}`, { cause });
    }
  };
};

export const parseIndex = parse(index, 'image index');
export const parseManifest = parse(manifest, 'image manifest');
export const parseConfig = parse(config, 'image configuration');
export const parseArchiveManifest = parse(archive, 'archive: manifest.json');

export const diffIds = (image: ImageConfig): readonly string[] => image.rootfs.diff_ids ?? [];

export const sha256 = (bytes: Uint8Array | string): string =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** Names of the snapshots of a stack of layers, from the bottom: each is the digest of the one below and its own. */
export function chainIds(layers: readonly string[]): string[] {
  const chain: string[] = [];
  for (const layer of layers) chain.push(chain.length === 0 ? layer : sha256(`${chain.at(-1)} ${layer}`));
  return chain;
}

const ARCHITECTURE: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386' };

/** OCI's name of this machine's architecture. */
export const ociArchitecture = (node: string): string => ARCHITECTURE[node] ?? node;

/** The manifest of an index that runs here: Linux, this architecture; undefined when there is none. */
export function choosePlatform(list: Index, architecture: string): Descriptor | undefined {
  const candidates = list.manifests.filter((m) => !m.platform || m.platform.os !== 'unknown');
  return (
    candidates.find((m) => m.platform?.os === 'linux' && m.platform.architecture === architecture) ??
    candidates.find((m) => m.platform === undefined)
  );
}
