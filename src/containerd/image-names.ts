/**
 * How images lose names. One without a name is kept under its id (`<none>`), until somebody prunes it or removes it by that
 * id: where its last name was taken away by force while a container runs from it, and where the name was given to another.
 */
import { SkeinError } from '../model/errors.ts';
import { type ContainerdApi, unless } from './api.ts';
import type { Image } from './gen/images_pb.js';
import { chainIds, diffIds } from './image-format.ts';
import { nameImage } from './image-install.ts';
import { type ImageUser, isHeld, removalConflict } from './image-removal.ts';
import { isNameless, type LocalImages } from './local-images.ts';
import { familiarName, fullName, parseReference, type Reference, repositoryOf } from './reference.ts';
import type { RemovedImage } from './runtime.ts';
import { isOfTasks } from './task-images.ts';

export interface ImageNamesOptions {
  readonly api: ContainerdApi;
  readonly local: LocalImages;
  /** Containers and the ids of their images. */
  readonly users: () => Promise<readonly ImageUser[]>;
}

export class ImageNames {
  readonly #options: ImageNamesOptions;

  constructor(options: ImageNamesOptions) {
    this.#options = options;
  }

  async remove(reference: string, force: boolean): Promise<RemovedImage> {
    const { api, local } = this.#options;
    const found = await local.find(reference);
    if (!found) throw new SkeinError('not-found', `No such image: ${reference}`);
    const records = await local.recordsOf(found.id);
    const named = records.filter(({ name }) => !isNameless(name));
    const one = await local.named(reference);
    const users = (await this.#options.users()).filter((user) => user.imageId === found.id);
    const names = named.map(({ name }) => name);
    const asked = { reference, imageId: found.id, byName: one !== undefined, names, users, force };
    const conflict = removalConflict(asked);
    if (conflict !== undefined) throw new SkeinError('failed-precondition', conflict);
    const doomed = one ? withDigests(one.name, named) : named;
    const last = doomed.length === named.length;
    const held = last && isHeld(asked);
    if (held) await this.#keep(found.id, doomed);
    for (const { name } of last && !held ? records : doomed)
      await unless('not-found', api.images.delete({ name, sync: true }));
    return {
      id: found.id,
      untagged: doomed.map(({ name }) => familiarName(parseReference(name))),
      deleted: last && !held ? [found.id, ...chainIds(diffIds(found.document)).reverse()] : [],
    };
  }

  /** These names are about to be given to what has this digest: an image that has no other goes on without one. */
  async leave(references: readonly Reference[], digest: string): Promise<void> {
    const { local } = this.#options;
    for (const name of references.map(fullName)) {
      const record = await local.named(name);
      if (!record || record.target?.digest === digest) continue;
      const image = await local.find(name);
      const all = image && (await local.recordsOf(image.id));
      if (all?.every((other) => other.name === name)) await this.#keep(image!.id, all);
    }
  }

  /** What tasks alone brought stays theirs: it is given up when none needs it. */
  async #keep(id: string, records: readonly Image[]): Promise<void> {
    await nameImage(this.#options.api, id, records[0]!.target!, records.every(isOfTasks));
  }
}

/** A tag, and the digest names of its repository when it is the repository's last tag of this image. */
function withDigests(name: string, records: readonly Image[]): readonly Image[] {
  const repository = repositoryOf(parseReference(name));
  const siblings = records.filter(
    (record) => record.name !== name && repositoryOf(parseReference(record.name)) === repository,
  );
  const self = records.filter((record) => record.name === name);
  return siblings.every((record) => record.name.includes('@')) ? [...self, ...siblings] : self;
}
