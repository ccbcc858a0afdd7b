/** The cgroup of a container whose shim died with the machine's other processes: nobody else takes it away. */
import { readdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';

const ROOT = '/sys/fs/cgroup';

/** Removes it in every hierarchy (v1), or in the one there is (v2); one that is in use stays. */
export async function removeCgroup(parent: string, id: string): Promise<void> {
  const hierarchies = ['', ...(await readdir(ROOT).catch(() => [] as string[]))];
  await Promise.all(hierarchies.map((name) => rmdir(join(ROOT, name, parent, id)).catch(() => undefined)));
}
