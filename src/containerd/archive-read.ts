/**
 * Files of a container as a tar archive. Folders are walked by descriptors, none of them reached through a link, so
 * that a container which changes its files meanwhile shows something odd of its own and nothing of the node.
 */
import { constants, type Stats } from 'node:fs';
import { type FileHandle, lstat, open, readdir, readlink } from 'node:fs/promises';
import { padding, TAR_END, type TarHeader, tarHeader } from './tar-header.ts';

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, S_IFMT, S_IFBLK } = constants;
const CHUNK = 256 * 1024;

type Bytes = AsyncGenerator<Uint8Array, void, undefined>;

/** `element` of an open folder, called `name` in the archive; `.` is the folder itself. */
export async function* archive(folder: string, element: string, name: string): Bytes {
  yield* element === '.'
    ? folderEntry(`${folder}/.`, name, new Map())
    : entry(folder, element, name, new Map());
  yield TAR_END;
}

/** `seen`: where a file with several names is in the archive. */
async function* entry(folder: string, element: string, name: string, seen: Map<string, string>): Bytes {
  const path = `${folder}/${element}`;
  const stat = await lstat(path).catch(() => undefined);
  if (!stat) return; // gone in the meantime
  if (stat.isDirectory()) return yield* folderEntry(path, name, seen);
  const inode = `${stat.dev}:${stat.ino}`;
  const known = stat.nlink > 1 ? seen.get(inode) : undefined;
  seen.set(inode, name);
  if (known !== undefined) yield tarHeader({ ...header('link', name, stat), link: known });
  else if (stat.isFile()) yield* fileEntry(path, name, stat);
  else if (stat.isSymbolicLink())
    yield tarHeader({ ...header('symlink', name, stat), link: await readlink(path) });
  else if (stat.isFIFO()) yield tarHeader(header('fifo', name, stat));
  else if (stat.isCharacterDevice() || stat.isBlockDevice()) yield tarHeader(deviceHeader(name, stat));
  // A socket is nobody's without its process: Docker leaves them out too.
}

async function* folderEntry(path: string, name: string, seen: Map<string, string>): Bytes {
  const follow = path.endsWith('/.') ? 0 : O_NOFOLLOW;
  const handle = await open(path, O_RDONLY | O_DIRECTORY | follow).catch(() => undefined);
  if (!handle) return;
  try {
    const bare = name.replace(/\/+$/, '');
    yield tarHeader(header('directory', `${bare}/`, await handle.stat()));
    const inside = `/proc/self/fd/${handle.fd}`;
    for (const child of (await readdir(inside)).sort()) yield* entry(inside, child, `${bare}/${child}`, seen);
  } finally {
    await handle.close();
  }
}

/** As long as it was when it was looked at: what is written to it meanwhile is left out, what is cut off is zeros. */
async function* fileEntry(path: string, name: string, { ino }: Stats): Bytes {
  const handle = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).catch(() => undefined);
  if (!handle) return;
  try {
    const stat = await handle.stat();
    if (!stat.isFile() || stat.ino !== ino) return; // another took its place
    yield tarHeader({ ...header('file', name, stat), size: stat.size });
    yield* content(handle, stat.size);
    yield padding(stat.size);
  } finally {
    await handle.close();
  }
}

async function* content(handle: FileHandle, size: number): Bytes {
  for (let left = size; left > 0; ) {
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(Math.min(CHUNK, left)));
    const chunk = bytesRead > 0 ? buffer.subarray(0, bytesRead) : buffer;
    left -= chunk.length;
    yield chunk;
  }
}

const header = (type: TarHeader['type'], name: string, stat: Stats): TarHeader => ({
  ...{ type, name, mode: stat.mode & 0o7777, uid: stat.uid, gid: stat.gid, size: 0 },
  mtime: stat.mtimeMs / 1000,
});

/** Linux's numbers of a device, as its `makedev` packs them. */
function deviceHeader(name: string, stat: Stats): TarHeader {
  const type = (stat.mode & S_IFMT) === S_IFBLK ? 'block-device' : 'character-device';
  const { rdev } = stat;
  const device = { major: (rdev >> 8) & 0xfff, minor: (rdev & 0xff) | ((rdev >> 12) & 0xfff00) };
  return { ...header(type, name, stat), device };
}
