/** When Docker refuses to remove an image, and in which words. Pure. */
export interface ImageUser {
  readonly containerId: string;
  readonly imageId: string;
  readonly running: boolean;
}

export interface RemovalRequest {
  readonly reference: string;
  readonly imageId: string;
  /** The reference is a name of the image, not (part of) its id. */
  readonly byName: boolean;
  /** All names of the image that persons know, digest names too. */
  readonly names: readonly string[];
  readonly users: readonly ImageUser[];
  readonly force: boolean;
}

const short = (id: string): string => id.replace(/^sha256:/, '').slice(0, 12);

const repository = (name: string): string => name.split('@')[0]!.replace(/:[^/:]*$/, '');

/** One tag and the digests of its own repository count as one reference. */
function isSingleReference(names: readonly string[]): boolean {
  const tags = names.filter((name) => !name.includes('@'));
  return tags.length <= 1 && new Set(names.map(repository)).size <= 1;
}

/** By its last name, with force: the name goes, and what runs keeps the image, without a name. */
export const isHeld = ({ byName, users }: Pick<RemovalRequest, 'byName' | 'users'>): boolean =>
  byName && users.some(({ running }) => running);

export function removalConflict(request: RemovalRequest): string | undefined {
  const { reference, imageId, byName, names, users, force } = request;
  const id = short(imageId);
  if (byName) {
    const user = users[0];
    if (force || !user || !isSingleReference(names)) return undefined;
    return `conflict: unable to remove repository reference "${reference}" (must force) - container ${short(user.containerId)} is using its referenced image ${id}`;
  }
  const running = users.find((user) => user.running);
  if (running)
    return `conflict: unable to delete ${id} (cannot be forced) - image is being used by running container ${short(running.containerId)}`;
  if (force) return undefined;
  if (!isSingleReference(names))
    return `conflict: unable to delete ${id} (must be forced) - image is referenced in multiple repositories`;
  const stopped = users[0];
  if (stopped)
    return `conflict: unable to delete ${id} (must be forced) - image is being used by stopped container ${short(stopped.containerId)}`;
  return undefined;
}
