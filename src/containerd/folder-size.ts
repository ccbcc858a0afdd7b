/** What a folder takes as Docker counts it, for volumes and for what containers wrote: the files, not the folders. */
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Bytes of the files in it, each once however many names it has. Links are not followed. */
export async function folderSize(root: string): Promise<number> {
  const seen = new Set<string>();
  const waiting = [root];
  let size = 0;
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    const found = await lstat(path).catch(() => undefined); // gone in the meantime
    const key = `${found?.dev}:${found?.ino}`;
    if (!found || seen.has(key)) continue;
    seen.add(key);
    if (!found.isDirectory()) size += found.size;
    else for (const name of await readdir(path).catch(() => [] as string[])) waiting.push(join(path, name));
  }
  return size;
}
