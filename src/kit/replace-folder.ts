/**
 * A folder in the place of another. Whoever looks, and whoever is killed at whatever point, finds the old one or the new
 * one at `to`, whole. The old one is at `from` for a moment, and stays there where the end of this is not reached.
 */
import { lstatSync, renameSync, rmSync } from 'node:fs';
import { SkeinError } from '../model/errors.ts';
import { loadLibc } from './libc.ts';

export function replaceFolder(from: string, to: string): void {
  if (!lstatSync(to, { throwIfNoEntry: false })) return renameSync(from, to);
  try {
    loadLibc().exchange(from, to);
  } catch (error) {
    // ZFS before 2.2 and some network file systems cannot.
    const { message } = SkeinError.from(error);
    throw new SkeinError(
      'failed-precondition',
      `${to} can not be replaced at one stroke on its file system, and was not (${message}): remove it, then do this again`,
    );
  }
  rmSync(from, { recursive: true });
}
