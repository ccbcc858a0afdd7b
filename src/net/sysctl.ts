/**
 * The kernel's settings, of the namespace of the calling thread. A kernel may lack what a switch is for: br_netfilter is
 * a module that stock hosts do not load, IPv6 can be off from boot. Such a switch stands where the absence leaves it.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const FOLDER = '/proc/sys';

/** What holds while the kernel has no such file. */
const ABSENT: readonly (readonly [key: RegExp, value: string])[] = [
  [/^net\/bridge\/bridge-nf-call-\w+$/, '0'],
  [/^net\/ipv6\/conf\/[^/]+\/disable_ipv6$/, '1'],
];

const absentValue = (key: string): string | undefined => ABSENT.find(([pattern]) => pattern.test(key))?.[1];

/** Undefined: there is no such setting, as of a link that is gone. */
export function readSysctl(key: string, folder = FOLDER): string | undefined {
  try {
    return readFileSync(join(folder, key), 'utf8').trim();
  } catch {
    return absentValue(key);
  }
}

export function writeSysctl(key: string, value: string, folder = FOLDER): void {
  try {
    writeFileSync(join(folder, key), value, { flag: 'r+' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || absentValue(key) !== value) throw error;
  }
}
