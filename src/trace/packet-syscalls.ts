/** What a packet socket needs beside kit/libc.ts, through koffi. Synchronous, non-blocking. */
import { SkeinError } from '../model/errors.ts';
import { errnoName, loadKoffi } from '../kit/libc.ts';

export interface PacketSyscalls {
  /** Length of the packet, which may be more than fits; undefined when none waits. */
  receive(fd: number, into: Uint8Array, address: Uint8Array): number | undefined;
  /** When the packet received last was seen, in nanoseconds since the epoch. */
  timestamp(fd: number): bigint;
  /** Name of an interface of the socket's own namespace; undefined when it is gone. */
  linkName(fd: number, index: number): string | undefined;
}

const EAGAIN = 11;
const EINTR = 4;
const ENETDOWN = 100;
const MSG_TRUNC = 0x20;
const SIOCGSTAMPNS = 0x8907;
const SIOCGIFNAME = 0x8910;
/** Bytes of a `struct ifreq`, and of the name in it. */
const IFREQ = 40;
const IFNAMSIZ = 16;

let loaded: PacketSyscalls | undefined;

export function packetSyscalls(): PacketSyscalls {
  loaded ??= bindSyscalls();
  return loaded;
}

function bindSyscalls(): PacketSyscalls {
  const ffi = loadKoffi();
  const lib = ffi.load('libc.so.6');
  const recvfrom = lib.func(
    'int64_t recvfrom(int fd, void *into, size_t length, int flags, void *address, void *addressLength)',
  );
  const ioctl = lib.func('int ioctl(int fd, ulong request, void *argument)');
  const addressLength = new Uint32Array(1);
  const time = new BigInt64Array(2);
  return {
    receive(fd, into, address) {
      addressLength[0] = address.length;
      const length = Number(recvfrom(fd, into, into.length, MSG_TRUNC, address, addressLength));
      if (length >= 0) return length;
      // ENETDOWN: an interface that the socket is bound to went away; what was captured stays.
      if ([EAGAIN, EINTR, ENETDOWN].includes(ffi.errno())) return undefined;
      throw new SkeinError('internal', `receive from a packet socket: ${errnoName(ffi.errno())}`);
    },
    timestamp(fd) {
      if ((ioctl(fd, SIOCGSTAMPNS, time) as number) < 0) return BigInt(Date.now()) * 1_000_000n;
      return time[0]! * 1_000_000_000n + time[1]!;
    },
    linkName(fd, index) {
      const request = Buffer.alloc(IFREQ);
      request.writeInt32LE(index, IFNAMSIZ);
      if ((ioctl(fd, SIOCGIFNAME, request) as number) < 0) return undefined;
      return request.toString('latin1', 0, request.indexOf(0));
    },
  };
}
