/**
 * The system calls that Node.js does not offer, through koffi, loaded at the first call: a process that never touches
 * the kernel's network (the CLI, a unit test) never loads the native module.
 *
 * Every call is synchronous and runs on the calling thread, which is what makes `setns` safe here: the switch is per
 * thread, libuv's own threads stay where they were, and no other JavaScript runs until it is switched back.
 */
import { createRequire } from 'node:module';
import { getSystemErrorName } from 'node:util';
import type * as KoffiModule from 'koffi';
import { type ErrorCode, SkeinError } from '../model/errors.ts';

export type Koffi = typeof KoffiModule;

export const CLONE_NEWNET = 0x40000000;
export const MS_RDONLY = 1;
export const MS_REMOUNT = 32;
export const MS_BIND = 4096;
export const MNT_DETACH = 2;

export const AF_INET = 2;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_SEQPACKET = 5;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
export const SOL_SOCKET = 1;
export const SO_REUSEADDR = 2;
export const SO_RCVBUFFORCE = 33;
export const MSG_DONTWAIT = 0x40;

export interface Libc {
  setns(fd: number, kind: number): void;
  unshare(flags: number): void;
  mount(source: string, target: string, flags: number): void;
  /** A file system of a type, with the options that are its own. */
  mountType(type: string, source: string, target: string, options: string): void;
  /** False when nothing was mounted there. */
  umount(target: string, flags: number): boolean;
  /** Puts each of the two in the other's place, at once: there is no moment at which either path is empty. */
  exchange(one: string, other: string): void;
  /** `mode` with the kind of file. */
  mknod(path: string, mode: number, major: number, minor: number): void;
  socket(domain: number, type: number, protocol: number): number;
  setsockopt(fd: number, level: number, name: number, value: number): void;
  bind(fd: number, address: Uint8Array): void;
  /** The same file under the lowest free descriptor from `least` on; `fd` is closed. */
  moveUp(fd: number, least: number): number;
  /** `program`: classic BPF, instructions of 8 bytes; `option`: what it is to decide for the socket. */
  attachProgram(fd: number, level: number, option: number, program: Uint8Array): void;
  send(fd: number, data: Uint8Array): void;
  /** Bytes received into `into` (a longer datagram is cut); -EAGAIN when told not to wait and there is nothing. */
  recv(fd: number, into: Uint8Array, flags: number): number;
  /** Nanoseconds since the epoch, by the clock that time servers set. */
  realtime(): bigint;
  close(fd: number): void;
}

let koffi: Koffi | undefined;

export function loadKoffi(): Koffi {
  koffi ??= createRequire(import.meta.url)('koffi') as Koffi;
  return koffi;
}

const AT_FDCWD = -100;
const RENAME_EXCHANGE = 2;
const F_DUPFD_CLOEXEC = 1030;
const CLOCK_REALTIME = 0;
const EINVAL = 22;
const ENOENT = 2;
const EAGAIN = 11;

/** Linux's packing of a device's two numbers. */
const makedev = (major: number, minor: number): number =>
  ((minor & 0xff) | (major << 8) | ((minor & 0xfff00) << 12)) >>> 0;

let libc: Libc | undefined;

export function loadLibc(): Libc {
  libc ??= bindLibc(loadKoffi());
  return libc;
}

function bindLibc(ffi: Koffi): Libc {
  const lib = ffi.load('libc.so.6');
  const setns = lib.func('int setns(int fd, int kind)');
  const unshare = lib.func('int unshare(int flags)');
  const mount = lib.func('int mount(str source, str target, str type, ulong flags, void *data)');
  const renameat2 = lib.func('int renameat2(int from, str one, int to, str other, uint flags)');
  const mknod = lib.func('int mknod(str path, uint mode, uint64_t dev)');
  const umount2 = lib.func('int umount2(str target, int flags)');
  const socket = lib.func('int socket(int domain, int type, int protocol)');
  const setsockopt = lib.func('int setsockopt(int fd, int level, int name, void *value, uint length)');
  const FPROG = ffi.struct({ length: 'uint16', instructions: 'void *' });
  const attach = lib.func('setsockopt', 'int', ['int', 'int', 'int', ffi.pointer(FPROG), 'uint']);
  const bind = lib.func('int bind(int fd, void *address, uint length)');
  const fcntl = lib.func('int fcntl(int fd, int command, int argument)');
  const send = lib.func('int64_t send(int fd, void *data, size_t length, int flags)');
  const recv = lib.func('int64_t recv(int fd, void *into, size_t length, int flags)');
  const clockGettime = lib.func('int clock_gettime(int clock, void *time)');
  const close = lib.func('int close(int fd)');
  const check = (result: number | bigint, what: string): number => {
    if (Number(result) >= 0) return Number(result);
    const name = errnoName(ffi.errno());
    throw new SkeinError(CODES[name] ?? 'internal', `${what}: ${name}`);
  };
  return {
    setns: (fd, kind) => void check(setns(fd, kind), 'setns'),
    unshare: (flags) => void check(unshare(flags), 'unshare'),
    mount: (source, target, flags) =>
      void check(mount(source, target, 'none', flags, null), `mount ${source} on ${target}`),
    mountType: (type, source, target, options) =>
      void check(mount(source, target, type, 0, Buffer.from(`${options}\0`)), `mount ${type} on ${target}`),
    exchange: (one, other) =>
      void check(renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE), `exchange ${one} and ${other}`),
    mknod: (path, mode, major, minor) =>
      void check(mknod(path, mode, makedev(major, minor)), `make the device ${path}`),
    umount(target, flags) {
      const result = umount2(target, flags);
      if (result < 0 && [EINVAL, ENOENT].includes(ffi.errno())) return false;
      return check(result, `unmount ${target}`) === 0;
    },
    socket: (domain, type, protocol) => check(socket(domain, type, protocol), 'socket'),
    setsockopt: (fd, level, name, value) =>
      void check(setsockopt(fd, level, name, new Int32Array([value]), 4), `setsockopt ${level}.${name}`),
    bind: (fd, address) => void check(bind(fd, address, address.length), 'bind'),
    moveUp(fd, least) {
      const moved = check(fcntl(fd, F_DUPFD_CLOEXEC, least), 'fcntl');
      close(fd);
      return moved;
    },
    attachProgram(fd, level, option, program) {
      const fprog = { length: program.length / 8, instructions: program };
      check(
        attach(fd, level, option, fprog, ffi.sizeof(FPROG)),
        `program of socket option ${level}.${option}`,
      );
    },
    send: (fd, data) => void check(send(fd, data, data.length, 0), 'send'),
    recv(fd, into, flags) {
      const length = Number(recv(fd, into, into.length, flags));
      return length < 0 && ffi.errno() === EAGAIN ? -EAGAIN : check(length, 'recv');
    },
    realtime() {
      const time = new BigInt64Array(2);
      check(clockGettime(CLOCK_REALTIME, time), 'clock_gettime');
      return time[0]! * 1_000_000_000n + time[1]!;
    },
    close: (fd) => void close(fd),
  };
}

/** Refusals that callers tell apart. */
const CODES: Readonly<Record<string, ErrorCode>> = {
  EADDRINUSE: 'already-exists',
  EADDRNOTAVAIL: 'not-found',
  EPROTONOSUPPORT: 'unimplemented',
};

/** `EEXIST` for 17. */
export function errnoName(errno: number): string {
  try {
    return getSystemErrorName(-errno);
  } catch {
    return `errno ${errno}`;
  }
}
