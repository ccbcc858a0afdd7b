/**
 * Named pipes between a shim and us. Opened without blocking and read by libuv's poll: a blocking open or read would
 * hold one of the few threads of Node's pool for as long as the pipe is idle.
 */
import { constants, open as openCallback } from 'node:fs';
import { Socket } from 'node:net';
import { promisify } from 'node:util';
import { errnoName, loadKoffi } from '../kit/libc.ts';
import { SkeinError } from '../model/errors.ts';

const open = promisify(openCallback);
let mkfifo: ((path: string, mode: number) => number) | undefined;

export function makeFifo(path: string): void {
  mkfifo ??= loadKoffi().load('libc.so.6').func('int mkfifo(const char *, int)');
  if (mkfifo(path, 0o600) !== 0)
    throw new SkeinError('internal', `cannot make the named pipe ${path}: ${errnoName(loadKoffi().errno())}`);
}

/** To be opened before the shim opens its side, which waits for a reader. */
export async function openReader(path: string): Promise<Socket> {
  const fd = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  return new Socket({ fd, readable: true, writable: false });
}

/** For both directions, though only written: without a reader yet, a pipe cannot be opened for writing alone. */
export async function openWriter(path: string): Promise<Socket> {
  const fd = await open(path, constants.O_RDWR | constants.O_NONBLOCK);
  return new Socket({ fd, readable: false, writable: true });
}
