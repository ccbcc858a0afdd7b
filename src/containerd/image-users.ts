/**
 * The passwd and group files of an image, read from its layers without mounting it: a view of its snapshot names
 * the folders. A link or anything else that is no plain file in a layer counts as absent, so nothing outside is read.
 */
import { lstat, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CallOptions } from '../kit/grpc.ts';
import { type ContainerdApi, SNAPSHOTTER, unless } from './api.ts';
import type { Mount } from './gen/types_pb.js';
import type { UserDatabase } from './user.ts';

const MAX_BYTES = 1024 * 1024;

export async function readUsers(
  api: ContainerdApi,
  snapshot: string,
  key: string,
  call: CallOptions,
): Promise<UserDatabase> {
  const at = { snapshotter: SNAPSHOTTER, key };
  const { mounts } = await api.snapshots.view({ ...at, parent: snapshot }, call);
  try {
    const layers = foldersOf(mounts);
    return { passwd: await topmost(layers, 'passwd'), group: await topmost(layers, 'group') };
  } finally {
    await unless('not-found', api.snapshots.remove(at));
  }
}

/** Those of a running container, which may have changed them, by its root. */
export const readRootUsers = async (root: string): Promise<UserDatabase> => ({
  passwd: await topmost([root], 'passwd'),
  group: await topmost([root], 'group'),
});

/** Folders of the layers, topmost first: one layer comes as a bind mount, several as an overlay. */
function foldersOf(mounts: readonly Mount[]): string[] {
  return mounts.flatMap((mount) => {
    const lower = mount.options.find((option) => option.startsWith('lowerdir='));
    if (lower) return lower.slice('lowerdir='.length).split(':');
    return mount.type === 'bind' ? [mount.source] : [];
  });
}

async function topmost(layers: readonly string[], name: string): Promise<string> {
  for (const layer of layers) {
    const etc = await lstat(join(layer, 'etc')).catch(() => undefined);
    if (!etc) continue;
    if (!etc.isDirectory()) return '';
    const path = join(layer, 'etc', name);
    const file = await lstat(path).catch(() => undefined);
    if (!file) continue;
    return file.isFile() && file.size <= MAX_BYTES ? await readFile(path, 'utf8') : '';
  }
  return '';
}
