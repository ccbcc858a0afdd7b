/** The real ContainerArchives: in the container's root, by descriptors (kit/rooted.ts). */
import { closeSync, constants, type Stats } from 'node:fs';
import { lstat, readlink, stat } from 'node:fs/promises';
import { posix } from 'node:path';
import { inFolder, O_PATH, openIn } from '../kit/rooted.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import type { Change, ContainerArchives, PathStat } from './archive.ts';
import { archive } from './archive-read.ts';
import { type Owner, unpackArchive } from './archive-write.ts';
import type { ContainerRoots, OpenRoot } from './container-roots.ts';
import { readRootUsers } from './image-users.ts';
import { layerChanges } from './layer-changes.ts';
import { DEFAULT_MOUNTS } from './oci-defaults.ts';
import type { ContainerInfo } from './runtime.ts';
import { findUser } from './user.ts';

export interface ArchivesOptions {
  readonly roots: ContainerRoots;
  readonly get: (id: ContainerId) => Promise<ContainerInfo | undefined>;
}

/** As the kernel: more is a loop. */
const MAX_LINKS = 40;

export class Archives implements ContainerArchives {
  readonly #options: ArchivesOptions;

  constructor(options: ArchivesOptions) {
    this.#options = options;
  }

  async stat(id: ContainerId, path: string): Promise<PathStat> {
    const info = await this.#info(id);
    return this.#with(info, ({ root }) => statIn(root, path, info));
  }

  async read(id: ContainerId, path: string) {
    const info = await this.#info(id);
    const stat = await this.#with(info, ({ root }) => statIn(root, path, info));
    const open = () => this.#options.roots.inside(info);
    const isFolder = (stat.mode & constants.S_IFMT) === constants.S_IFDIR;
    const tar = isFolder
      ? readIn(open, path, '.', archiveName(path))
      : readIn(open, folderOf(path), elementOf(path), archiveName(path));
    return { stat, tar };
  }

  async write(
    id: ContainerId,
    path: string,
    tar: AsyncIterable<Uint8Array>,
    { asUser }: { readonly asUser: boolean },
  ): Promise<void> {
    const info = await this.#info(id);
    await this.#with(info, async ({ root }) => {
      const found = (await statFolder(root, path)) ?? (await statIn(root, path, info));
      if ((found.mode & constants.S_IFMT) !== constants.S_IFDIR)
        throw new SkeinError('invalid-argument', 'extraction point is not a directory');
      const owner = asUser ? await userOf(root, info) : undefined;
      await unpackArchive(tar, { root, folder: path, owner });
    });
  }

  async export(id: ContainerId): Promise<AsyncIterable<Uint8Array>> {
    const info = await this.#info(id);
    return readIn(() => this.#options.roots.own(info), '/', '.', '.');
  }

  async changes(id: ContainerId): Promise<readonly Change[]> {
    const info = await this.#info(id);
    return layerChanges(await this.#options.roots.layers(id), placesOf(info));
  }

  async #info(id: ContainerId): Promise<ContainerInfo> {
    const info = await this.#options.get(id);
    if (!info) throw new SkeinError('not-found', `No such container: ${id}`);
    return info;
  }

  async #with<T>(info: ContainerInfo, work: (open: OpenRoot) => Promise<T>): Promise<T> {
    const open = await this.#options.roots.inside(info);
    try {
      return await work(open);
    } finally {
      await open.close();
    }
  }
}

/** Opened by the first reader, so that one who never reads leaves nothing open. */
async function* readIn(
  open: () => Promise<OpenRoot>,
  folder: string,
  element: string,
  name: string,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { root, close } = await open();
  try {
    const fd = openIn(root, folder, O_PATH | constants.O_DIRECTORY);
    if (fd === undefined) return; // gone in the meantime
    try {
      yield* archive(`/proc/self/fd/${fd}`, element, name);
    } finally {
      closeSync(fd);
    }
  } finally {
    await close();
  }
}

/** As Go's `filepath.Base`, which names the entries in Docker: the root has no name, a trailing dot is one. */
function archiveName(path: string): string {
  if (path.endsWith('/.')) return '.';
  return posix.basename(posix.join('/', path));
}

const folderOf = (path: string): string => posix.dirname(posix.join('/', path));
const elementOf = (path: string): string => posix.basename(posix.join('/', path));

async function statIn(root: number, path: string, { name }: ContainerInfo): Promise<PathStat> {
  const found = /(^|\/)\.?$/.test(path) ? await statFolder(root, path) : await statElement(root, path);
  if (!found) {
    const named = path.replace(/(.)\/$/, '$1');
    throw new SkeinError('not-found', `Could not find the file ${named} in container ${name}`);
  }
  return {
    name: archiveName(path) || '/',
    size: found.size,
    mode: found.mode,
    mtime: found.mtime.toISOString(),
    linkTarget: found.isSymbolicLink() ? await linkTarget(root, path) : '',
  };
}

async function statFolder(root: number, path: string): Promise<Stats | undefined> {
  const fd = openIn(root, posix.join('/', path), O_PATH);
  if (fd === undefined) return undefined;
  try {
    return await stat(`/proc/self/fd/${fd}`);
  } finally {
    closeSync(fd);
  }
}

const statElement = (root: number, path: string): Promise<Stats | undefined> =>
  inFolder(root, folderOf(path), (folder) =>
    lstat(`${folder}/${elementOf(path)}`).catch(() => undefined),
  ).then((found) => found ?? undefined);

async function linkTarget(root: number, path: string): Promise<string> {
  let at = posix.join('/', path);
  for (let i = 0; i < MAX_LINKS; i++) {
    const here = at;
    const link = await inFolder(root, folderOf(here), (folder) =>
      readlink(`${folder}/${elementOf(here)}`).catch(() => undefined),
    );
    if (link === undefined) break;
    at = link.startsWith('/') ? posix.join('/', link) : posix.join(folderOf(here), link);
  }
  return at;
}

/** Undefined: the container runs as root, and files come as they are. */
async function userOf(root: number, { config }: ContainerInfo): Promise<Owner | undefined> {
  const { User } = config.spec;
  return User ? findUser(User, [], await readRootUsers(`/proc/self/fd/${root}`)) : undefined;
}

/** Where something is mounted: the empty files and folders made for it are no change of the container's. */
const placesOf = ({ config, mounts }: ContainerInfo): ReadonlySet<string> =>
  new Set([
    ...DEFAULT_MOUNTS.map(({ destination }) => destination),
    ...Object.keys(config.files),
    ...mounts.map(({ target }) => target),
  ]);
