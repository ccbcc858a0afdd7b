/** The calls of a packet socket that kit/libc.ts does not have, through koffi. Synchronous, non-blocking. */
import { SkeinError } from '../model/errors.ts';
import { errnoName, loadKoffi } from '../kit/libc.ts';

export interface PacketSyscalls {
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: Uint8Array): void;
  setOption(fd: number, level: number, name: number, value: Uint8Array): void;
  attachFilter(fd: number, program: Uint8Array): void;
  /** Length of the packet, which may be more than fits; undefined when none waits. */
  receive(fd: number, into: Uint8Array, address: Uint8Array): number | undefined;
  /** When the packet received last was seen, in nanoseconds since the epoch. */
  timestamp(fd: number): bigint;
  /** Name of an interface of the socket's own namespace; undefined when it is gone. */
  linkName(fd: number, index: number): string | undefined;
  close(fd: number): void;
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
const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
/** Bytes of a `struct sock_filter`. */
const INSTRUCTION = 8;

let loaded: PacketSyscalls | undefined;

export function packetSyscalls(): PacketSyscalls {
  loaded ??= bindSyscalls();
  return loaded;
}

function bindSyscalls(): PacketSyscalls {
  const ffi = loadKoffi();
  const lib = ffi.load('libc.so.6');
  const socket = lib.func('int socket(int domain, int type, int protocol)');
  const bind = lib.func('int bind(int fd, void *address, uint length)');
  const setsockopt = lib.func('int setsockopt(int fd, int level, int name, void *value, uint length)');
  const FPROG = ffi.struct({ length: 'uint16', filter: 'void *' });
  const attach = lib.func('setsockopt', 'int', ['int', 'int', 'int', ffi.pointer(FPROG), 'uint']);
  const recvfrom = lib.func(
    'int64_t recvfrom(int fd, void *into, size_t length, int flags, void *address, void *addressLength)',
  );
  const ioctl = lib.func('int ioctl(int fd, ulong request, void *argument)');
  const close = lib.func('int close(int fd)');
  const check = (result: number, what: string): number => {
    if (result >= 0) return result;
    throw new SkeinError('internal', `${what}: ${errnoName(ffi.errno())}`);
  };
  const setOption = (fd: number, level: number, name: number, value: Uint8Array) =>
    void check(setsockopt(fd, level, name, value, value.length) as number, `packet socket option ${name}`);
  const addressLength = new Uint32Array(1);
  const time = new BigInt64Array(2);
  return {
    socket: (domain, type, protocol) => check(socket(domain, type, protocol) as number, 'packet socket'),
    bind: (fd, address) => void check(bind(fd, address, address.length) as number, 'bind of a packet socket'),
    setOption,
    attachFilter(fd, program) {
      const fprog = { length: program.length / INSTRUCTION, filter: program };
      check(
        attach(fd, SOL_SOCKET, SO_ATTACH_FILTER, fprog, ffi.sizeof(FPROG)) as number,
        'packet filter of a capture',
      );
    },
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
    close: (fd) => void close(fd),
  };
}
