/**
 * The path that the API is about to listen on: a socket that a process left behind, which is no more, is taken away.
 * Only "connection refused" by a socket proves it such. Whatever else is in the way stays, and is told: a daemon that
 * is too busy to answer, a socket of another kind, a file.
 */
import { lstat, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { SkeinError } from '../model/errors.ts';

export async function removeStaleSocket(path: string): Promise<void> {
  const refusal = await refusalOf(path);
  // EAGAIN: its queue is full.
  if (!refusal || refusal.code === 'EAGAIN')
    throw new SkeinError('already-exists', `another process serves ${path}`);
  if (refusal.code === 'ENOENT') return;
  // The kernel refuses a connection to what is no socket in the same way.
  if (refusal.code !== 'ECONNREFUSED' || !(await lstat(path)).isSocket())
    throw new SkeinError(
      'failed-precondition',
      `${path} is in the way of the API's socket and is no socket left behind (${refusal.message}): ` +
        'take it away, or choose another path',
      { cause: refusal },
    );
  await rm(path, { force: true });
}

const refusalOf = (path: string): Promise<NodeJS.ErrnoException | undefined> =>
  new Promise((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(undefined);
    });
    probe.on('error', resolve);
  });
