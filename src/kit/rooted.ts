/**
 * Paths below a folder that others may change while we look: a container's root. Links in them mean what they mean
 * inside, also absolute ones and `..`, and nothing leads out: the kernel resolves them (openat2, RESOLVE_IN_ROOT).
 *
 * INVARIANT: who changes or reads what is in such a folder names it by an open folder and one last element
 * (`/proc/self/fd/N/NAME`), and never follows a link there by a path of his own.
 */
import { closeSync, constants } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { posix } from 'node:path';
import { SkeinError } from '../model/errors.ts';
import { errnoName, loadKoffi } from './libc.ts';

/** Not among Node's constants. */
export const O_PATH = 0o10000000;

const SYS_OPENAT2 = 437;
const RESOLVE_IN_ROOT = 0x10;
const O_CLOEXEC = 0o2000000;
const ENOENT = 2;
const EAGAIN = 11;
const ENOTDIR = 20;
/** Something was renamed while the kernel looked; it gives no wrong answer, but asks to be asked again. */
const TRIES = 100;

type OpenAt2 = (
  nr: number,
  dirfd: number,
  path: string,
  how: BigUint64Array,
  size: number,
) => bigint | number;
let openat2: OpenAt2 | undefined;

/** A descriptor, or undefined where there is no such thing. Symbolic links are followed, the last one too. */
export function openIn(root: number, path: string, flags: number): number | undefined {
  openat2 ??= loadKoffi()
    .load('libc.so.6')
    .func('int64_t syscall(int64_t nr, int dirfd, str path, void *how, size_t size)') as OpenAt2;
  const how = new BigUint64Array([BigInt(flags | O_CLOEXEC), 0n, BigInt(RESOLVE_IN_ROOT)]);
  for (let i = 0; ; i++) {
    const fd = Number(openat2(SYS_OPENAT2, root, path, how, how.byteLength));
    if (fd >= 0) return fd;
    const errno = loadKoffi().errno();
    if (errno === ENOENT || errno === ENOTDIR) return undefined;
    if (errno !== EAGAIN || i >= TRIES)
      throw new SkeinError('failed-precondition', `${path}: ${errnoName(errno)}`);
  }
}

/** The folder at the path, while `use` runs; undefined where there is no such folder. */
export async function inFolder<T>(
  root: number,
  path: string,
  use: (folder: string) => Promise<T>,
): Promise<T | undefined> {
  const fd = openIn(root, path, O_PATH | constants.O_DIRECTORY);
  if (fd === undefined) return undefined;
  try {
    return await use(`/proc/self/fd/${fd}`);
  } finally {
    closeSync(fd);
  }
}

/** The folder at the path and those that lead there, as far as they are missing. */
export async function makeFolders(root: number, path: string): Promise<void> {
  if (path === '/' || (await inFolder(root, path, async () => true))) return;
  await makeFolders(root, posix.dirname(path));
  await inFolder(root, posix.dirname(path), (folder) => mkdir(`${folder}/${posix.basename(path)}`, 0o755));
}
