/**
 * What a container changed of its image, read from the layers of its overlay: everything in the topmost folder is new
 * or another; a character device 0:0 there stands for something that was removed. A folder that was removed and made
 * anew counts as modified, and what was in it before is not listed.
 */
import type { Stats } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Change } from './archive.ts';

export interface Layers {
  readonly upper: string;
  /** Topmost first. */
  readonly lower: readonly string[];
}

/** In the order of their paths, the folders that lead to a change among them, as Docker lists them. */
export async function layerChanges(layers: Layers, ignored: ReadonlySet<string>): Promise<Change[]> {
  return below(layers, '/', ignored);
}

async function below(layers: Layers, folder: string, ignored: ReadonlySet<string>): Promise<Change[]> {
  const changes: Change[] = [];
  for (const name of (await readdir(join(layers.upper, folder))).sort()) {
    const path = join(folder, name);
    if (!ignored.has(path)) changes.push(...(await changeAt(layers, path, ignored)));
  }
  return changes;
}

async function changeAt(layers: Layers, path: string, ignored: ReadonlySet<string>): Promise<Change[]> {
  const now = await lstat(join(layers.upper, path)).catch(() => undefined);
  if (!now) return [];
  if (isRemoval(now)) return [{ path, kind: 'deleted' }];
  const before = await inImage(layers.lower, path);
  const inside = now.isDirectory() ? await below(layers, path, ignored) : [];
  if (!before) {
    const only = now.isDirectory() && inside.length === 0 && leadsTo(path, ignored);
    return only ? [] : [{ path, kind: 'added' }, ...inside];
  }
  return inside.length === 0 && isSame(now, before) ? [] : [{ path, kind: 'modified' }, ...inside];
}

const isRemoval = (stat: Stats): boolean => stat.isCharacterDevice() && stat.rdev === 0;

/** A folder made on the way to something that is mounted. */
const leadsTo = (path: string, ignored: ReadonlySet<string>): boolean =>
  [...ignored].some((place) => place.startsWith(`${path}/`));

/** A folder is in the topmost layer also because something in it changed. */
const isSame = (now: Stats, before: Stats): boolean =>
  now.isDirectory() &&
  before.isDirectory() &&
  now.mode === before.mode &&
  now.uid === before.uid &&
  now.gid === before.gid;

async function inImage(lower: readonly string[], path: string): Promise<Stats | undefined> {
  for (const layer of lower) {
    const found = await lstat(join(layer, path)).catch(() => undefined);
    if (found) return isRemoval(found) ? undefined : found;
  }
  return undefined;
}
