/**
 * A tar archive unpacked into a folder of a container. Each entry's folder is looked up anew inside the container's
 * root (`openIn`), links followed as the container would, and the entry made by one name in it that is not followed:
 * whatever archive and container conspire to, nothing is written outside. A folder is never removed for a file.
 */
import { constants } from 'node:fs';
import { lchown, link, lstat, mkdir, open, rmdir, symlink, unlink } from 'node:fs/promises';
import { posix } from 'node:path';
import { Readable } from 'node:stream';
import { extract, type Header } from 'tar-stream';
import { loadLibc } from '../kit/libc.ts';
import { inFolder, makeFolders } from '../kit/rooted.ts';
import { SkeinError } from '../model/errors.ts';

/** An entry as tar-stream gives it: its header, and its content as a stream. */
interface Entry extends AsyncIterable<Uint8Array> {
  readonly header: Header;
}

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

export interface UnpackOptions {
  /** Descriptor of the container's root. */
  readonly root: number;
  /** Inside it. */
  readonly folder: string;
  /** Everything is his; otherwise as the archive says. */
  readonly owner: Owner | undefined;
}

const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW, O_RDONLY, O_DIRECTORY, S_IFIFO, S_IFCHR, S_IFBLK } = constants;

export async function unpackArchive(
  source: AsyncIterable<Uint8Array>,
  options: UnpackOptions,
): Promise<void> {
  const tar = extract();
  const input = Readable.from(source, { objectMode: false });
  input.on('error', (error) => tar.destroy(error));
  input.pipe(tar);
  try {
    for await (const entry of tar) {
      await unpackEntry(entry as unknown as Entry, options);
      entry.resume();
    }
  } catch (thrown) {
    throw refusal(thrown);
  } finally {
    input.destroy();
  }
}

const READ_ONLY = 'EROFS';

function refusal(thrown: unknown): SkeinError {
  if (thrown instanceof SkeinError) return thrown;
  const { code, message } = thrown as NodeJS.ErrnoException;
  if (code === READ_ONLY)
    return new SkeinError('permission-denied', 'container rootfs or volume is marked read-only', {
      cause: thrown,
    });
  return new SkeinError('invalid-argument', `the archive cannot be unpacked: ${message}`, { cause: thrown });
}

async function unpackEntry(entry: Entry, options: UnpackOptions): Promise<void> {
  const path = posix.join('/', options.folder, posix.join('/', entry.header.name));
  const name = posix.basename(path);
  if (name === '' || path === posix.join('/', options.folder, '/')) return; // the folder itself stays as it is
  await makeFolders(options.root, posix.dirname(path)); // those on the way that the archive does not name
  const made = await inFolder(options.root, posix.dirname(path), async (folder) => {
    await unpackInto(`${folder}/${name}`, entry, options);
    return true;
  });
  if (!made) throw new SkeinError('invalid-argument', `${posix.dirname(path)} is not a directory`);
}

async function unpackInto(at: string, entry: Entry, options: UnpackOptions): Promise<void> {
  const { header } = entry;
  const owner = options.owner ?? { uid: header.uid, gid: header.gid };
  if (header.type === 'directory') return unpackFolder(at, header, owner);
  await makeWay(at, header.name);
  switch (header.type) {
    case 'file':
    case 'contiguous-file':
      return unpackFile(at, entry, owner);
    case 'symlink':
      await symlink(header.linkname, at);
      return lchown(at, owner.uid, owner.gid);
    case 'link':
      return unpackLink(at, header, options);
    case 'fifo':
    case 'character-device':
    case 'block-device':
      return unpackNode(at, header, owner);
    default: // what describes other entries has been read with them
  }
}

/** Removes what is there, if it is no folder with something in it. */
async function makeWay(at: string, name: string): Promise<void> {
  const found = await lstat(at).catch(() => undefined);
  if (!found) return;
  if (!found.isDirectory()) return unlink(at);
  await rmdir(at).catch((cause: unknown) => {
    throw new SkeinError('invalid-argument', `cannot overwrite directory "${name}" with non-directory`, {
      cause,
    });
  });
}

async function unpackFolder(at: string, header: Header, { uid, gid }: Owner): Promise<void> {
  const found = await lstat(at).catch(() => undefined);
  if (found && !found.isDirectory()) await unlink(at);
  if (!found?.isDirectory()) await mkdir(at, 0o700);
  const handle = await open(at, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    await handle.chown(uid, gid);
    await handle.chmod(header.mode & 0o7777);
  } finally {
    await handle.close();
  }
}

async function unpackFile(at: string, entry: Entry, { uid, gid }: Owner): Promise<void> {
  const { mode, mtime } = entry.header;
  const handle = await open(at, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    for await (const chunk of entry) await handle.writeFile(chunk);
    await handle.chown(uid, gid);
    await handle.chmod(mode & 0o7777); // behind the owner, whose change takes set-uid away
    await handle.utimes(mtime, mtime);
  } finally {
    await handle.close();
  }
}

/** A hard link names another entry of the same archive. */
async function unpackLink(at: string, { name, linkname }: Header, options: UnpackOptions): Promise<void> {
  const path = posix.join('/', options.folder, posix.join('/', linkname));
  const made = await inFolder(options.root, posix.dirname(path), async (folder) => {
    await link(`${folder}/${posix.basename(path)}`, at);
    return true;
  });
  if (!made) throw new SkeinError('invalid-argument', `hard link ${name}: there is no ${linkname}`);
}

async function unpackNode(at: string, header: Header, { uid, gid }: Owner): Promise<void> {
  const kind = header.type === 'fifo' ? S_IFIFO : header.type === 'block-device' ? S_IFBLK : S_IFCHR;
  const mode = kind | (header.mode & 0o7777);
  loadLibc().mknod(at, mode, header.devmajor, header.devminor);
  await lchown(at, uid, gid);
}
