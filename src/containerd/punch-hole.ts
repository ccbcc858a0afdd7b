/** Gives the space of a file's beginning back to the disk while its length stays: fallocate(2), in process. */
import { loadKoffi } from '../kit/libc.ts';

const KEEP_SIZE = 1;
const PUNCH_HOLE = 2;

export type PunchHole = (fd: number, length: number) => void;

let fallocate: ((fd: number, mode: number, offset: number, length: number) => number) | undefined;

/** Frees the first `length` bytes. A file system that cannot (it is a matter of space alone) leaves them there. */
export const punchHole: PunchHole = (fd, length) => {
  fallocate ??= loadKoffi().load('libc.so.6').func('int fallocate(int, int, int64_t, int64_t)');
  fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 0, length);
};
