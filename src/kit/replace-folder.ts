/**
 * A folder in the place of another. Whoever looks, and whoever is killed at whatever point, finds the old one or the new
 * one at `to`, whole. The old one is at `from` for a moment, and stays there where the end of this is not reached.
 */
import { lstatSync, renameSync, rmSync } from 'node:fs';
import { loadLibc } from './libc.ts';

export function replaceFolder(from: string, to: string): void {
  if (!lstatSync(to, { throwIfNoEntry: false })) return renameSync(from, to);
  loadLibc().exchange(from, to);
  rmSync(from, { recursive: true });
}
