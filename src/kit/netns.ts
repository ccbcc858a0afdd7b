/**
 * Network namespaces as files: `createNetns` binds a new one to a path, so that it lives until `removeNetns`, whoever
 * made it, and containerd, `nsenter --net=` and we all name it the same way.
 *
 * INVARIANT: whatever `fn` does, `inNetns` leaves the thread in the namespace it found it in; a thread that can not
 * get back ends the process, because anything it did from there on would change the wrong host.
 */
import { closeSync, existsSync, mkdirSync, openSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { SkeinError } from '../model/errors.ts';
import { CLONE_NEWNET, loadLibc, MNT_DETACH, MS_BIND } from './libc.ts';

const CURRENT = '/proc/thread-self/ns/net';
/** Magic number of nsfs: what statfs says of a file that a namespace is bound to. */
const NSFS_MAGIC = 0x6e736673;

/** The namespace that this thread is in, as an open file. Nothing but this module moves the thread. */
let here: number | undefined;

/** Runs `fn`, which must be synchronous, inside the namespace at `path`. Sockets opened inside stay there. */
export function inNetns<T>(path: string, fn: () => T): T {
  const target = openNetns(path);
  try {
    return backAfter(() => {
      loadLibc().setns(target, CLONE_NEWNET);
      here = target;
      const result = fn();
      if (result instanceof Promise)
        throw new SkeinError('internal', 'inNetns: the function must be synchronous');
      return result;
    });
  } finally {
    closeSync(target);
  }
}

/** Makes a namespace bound to `path`; false if there is one already. */
export function createNetns(path: string): boolean {
  if (isNetns(path)) return false;
  mkdirSync(dirname(path), { recursive: true });
  // A plain file here is what a creator left that was killed before the mount.
  writeFileSync(path, '', { mode: 0o444 });
  backAfter(() => {
    loadLibc().unshare(CLONE_NEWNET);
    loadLibc().mount(CURRENT, path, MS_BIND);
  });
  return true;
}

/** Unbinds the namespace and removes the file; its links go with it once no process is inside. Repeatable. */
export function removeNetns(path: string): void {
  if (!existsSync(path)) return;
  while (loadLibc().umount(path, MNT_DETACH));
  rmSync(path, { force: true });
}

/** A namespace is bound to `path`: not merely a file, which a killed creator leaves. */
export function isNetns(path: string): boolean {
  try {
    return statfsSync(path).type === NSFS_MAGIC;
  } catch {
    return false;
  }
}

function openNetns(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (cause) {
    throw new SkeinError('not-found', `network namespace ${path} does not exist`, { cause });
  }
}

function backAfter<T>(fn: () => T): T {
  const home = (here ??= openSync(CURRENT, 'r'));
  try {
    return fn();
  } finally {
    returnTo(home);
  }
}

function returnTo(home: number): void {
  try {
    loadLibc().setns(home, CLONE_NEWNET);
    here = home;
  } catch (error) {
    process.stderr.write(`skein: cannot return from a network namespace: ${String(error)}\n`);
    process.abort();
  }
}
