/**
 * `docker save`: an archive that is an OCI layout and has the manifest.json of Docker's older ones beside it, as Docker
 * writes since 25. Blobs go in as they are here, each once, streamed: a chunk of memory, whatever the size.
 */
import { SkeinError } from '../model/errors.ts';
import type { ContainerdApi } from './api.ts';
import { blobContent } from './blobs.ts';
import { type Descriptor, MEDIA } from './image-format.ts';
import { isNameless, type LocalImages, type Resolved } from './local-images.ts';
import { uniqueLayers } from './pull.ts';
import { familiarName, fullName, isNameOnly, parseReference, repositoryOf } from './reference.ts';
import { padding, TAR_END, tarHeader } from './tar-header.ts';

export interface SavedImage {
  readonly image: Resolved;
  /** In full, with tags; none for one that was named by its id. */
  readonly names: readonly string[];
}

/** A name without a tag means all tags of it; an id, the image without names. */
export async function chosenToSave(
  local: LocalImages,
  references: readonly string[],
): Promise<readonly SavedImage[]> {
  const all = await local.all();
  const chosen = new Map<string, { readonly image: Resolved; readonly names: Set<string> }>();
  const choose = (image: Resolved, names: readonly string[]) => {
    const one = chosen.get(image.id) ?? { image, names: new Set<string>() };
    for (const name of names) one.names.add(name);
    chosen.set(image.id, one);
  };
  for (const reference of references) {
    const tags = all.filter(({ record }) => isTagOf(record.name, reference));
    for (const { record, image } of tags) choose(image, [record.name]);
    if (tags.length > 0) continue;
    const image = await local.find(reference);
    if (!image) throw new SkeinError('not-found', `No such image: ${reference}`);
    choose(image, []);
  }
  return [...chosen.values()].map(({ image, names }) => ({ image, names: [...names] }));
}

function isTagOf(name: string, reference: string): boolean {
  if (isNameless(name) || name.includes('@')) return false;
  try {
    const wanted = parseReference(reference);
    const given = parseReference(name);
    return isNameOnly(reference)
      ? repositoryOf(given) === repositoryOf(wanted)
      : fullName(given) === fullName(wanted);
  } catch {
    return false; // an id
  }
}

const pathOf = (digest: string): string => `blobs/${digest.replace(':', '/')}`;

const entry = (name: string, size: number, type: 'file' | 'directory' = 'file'): Uint8Array =>
  tarHeader({
    ...{ type, name, size, mode: type === 'file' ? 0o644 : 0o755 },
    ...{ uid: 0, gid: 0, mtime: 0 },
  });

export async function* saveArchive(
  api: ContainerdApi,
  images: readonly SavedImage[],
): AsyncIterable<Uint8Array> {
  yield* document('oci-layout', { imageLayoutVersion: '1.0.0' });
  for (const folder of ['blobs/', 'blobs/sha256/']) yield entry(folder, 0, 'directory');
  for (const { digest, size } of blobsOf(images)) {
    yield entry(pathOf(digest), size);
    yield* blobContent(api, digest);
    yield padding(size);
  }
  yield* document('index.json', indexOf(images));
  yield* document('manifest.json', images.map(dockerManifest));
  yield TAR_END;
}

function* document(name: string, content: object): Iterable<Uint8Array> {
  const bytes = Buffer.from(JSON.stringify(content));
  yield entry(name, bytes.length);
  yield bytes;
  yield padding(bytes.length);
}

function blobsOf(images: readonly SavedImage[]): Iterable<Descriptor> {
  const all = images.flatMap(({ image }) => [
    image.manifest.config,
    ...uniqueLayers(image.manifest),
    image.target,
  ]);
  return new Map(all.map((blob) => [blob.digest, blob])).values();
}

function indexOf(images: readonly SavedImage[]): object {
  const named = (image: Resolved, annotations?: object) => ({
    mediaType: image.target.mediaType,
    digest: image.target.digest,
    size: image.target.size,
    ...(annotations && { annotations }),
    platform: { architecture: image.document.architecture, os: image.document.os },
  });
  const manifests = images.flatMap(({ image, names }) =>
    names.length === 0
      ? [named(image)]
      : names.map((name) =>
          named(image, {
            'io.containerd.image.name': name,
            'org.opencontainers.image.ref.name': parseReference(name).tag,
          }),
        ),
  );
  return { schemaVersion: 2, mediaType: MEDIA.ociIndex, manifests };
}

const dockerManifest = ({ image, names }: SavedImage): object => ({
  Config: pathOf(image.manifest.config.digest),
  RepoTags: names.length === 0 ? null : names.map((name) => familiarName(parseReference(name))),
  Layers: image.manifest.layers.map(({ digest }) => pathOf(digest)),
});
