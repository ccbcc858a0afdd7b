/** `docker image prune`: takes away of the images that were chosen those that nothing on this node needs. */
import { fullName, parseReference } from '../containerd/reference.ts';
import type { ImageInfo, ImageStore, RemovedImage } from '../containerd/runtime.ts';
import { isCode, SkeinError } from '../model/errors.ts';
import type { Assignments } from './assignments.ts';
import { neededImages } from './needed-images.ts';

export interface PruneOptions {
  readonly images: Pick<ImageStore, 'inUse' | 'remove'>;
  /** Undefined outside a cluster. */
  readonly assignments: Pick<Assignments, 'revision' | 'tasks'> | undefined;
}

export async function pruneImages(
  { images, assignments }: PruneOptions,
  chosen: readonly ImageInfo[],
): Promise<readonly RemovedImage[]> {
  if (assignments && assignments.revision === undefined)
    throw new SkeinError(
      'unavailable',
      'what the tasks of this node need is not known yet: it has not heard from a manager since it started',
    );
  const removed: RemovedImage[] = [];
  for (const image of chosen) {
    // Looked at anew before each: a task or a container may have come while the others went.
    const needed = neededImages(assignments?.tasks ?? new Map());
    if (isNeeded(image, needed) || (await images.inUse()).has(image.id)) continue;
    for (const name of namesOf(image)) {
      const one = await images.remove(name, {}).catch(ifTaken);
      if (one) removed.push(one);
    }
  }
  return removed;
}

/** The last tag of a repository takes its digest names along, so tags come first. */
const namesOf = ({ id, tags, digests }: ImageInfo): readonly string[] =>
  tags.length + digests.length === 0 ? [id] : [...tags, ...digests];

const isNeeded = ({ id, tags, digests }: ImageInfo, needed: ReadonlySet<string>): boolean =>
  [...needed].some((one) => id.startsWith(`sha256:${one}`)) ||
  [...tags, ...digests].some((name) => needed.has(fullName(parseReference(name))));

/** It is gone already, or somebody uses it now: both leave it alone. */
function ifTaken(error: unknown): undefined {
  if (!isCode(error, 'not-found', 'failed-precondition')) throw error;
}
