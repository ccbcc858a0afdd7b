/**
 * Netlink: messages of typed attributes to the kernel and back, over one socket, synchronously. The kernel handles
 * what is sent before `send` returns, so requests are sent without asking for acknowledgements and only refusals come
 * back: a thousand entries cost a few system calls.
 */
import { SkeinError } from '../model/errors.ts';
import {
  errnoName,
  type Libc,
  loadLibc,
  MSG_DONTWAIT,
  SO_RCVBUFFORCE,
  SOCK_CLOEXEC,
  SOCK_RAW,
  SOL_SOCKET,
} from '../kit/libc.ts';

export const NETLINK_ROUTE = 0;
export const NETLINK_SOCK_DIAG = 4;
export const NETLINK_NETFILTER = 12;

export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;

/** Errors that repeating a step may meet: what it makes is there, what it removes is gone. */
export const ENOENT = 2;
export const ESRCH = 3;
export const EEXIST = 17;
export const ENODEV = 19;
export const EINVAL = 22;
export const EADDRNOTAVAIL = 99;

const AF_NETLINK = 16;
const SO_SNDBUFFORCE = 32;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLM_F_DUMP_INTR = 0x10;
const NLM_F_ACK_TLVS = 0x200;
const NLMSGERR_ATTR_MSG = 1;
const EAGAIN = 11;
const HEADER = 16;
const BUFFER = 8 << 20;

export interface Message {
  readonly type: number;
  /** Beside NLM_F_REQUEST. */
  readonly flags: number;
  readonly body: Buffer;
  /** What is asked, for the error a person reads. */
  readonly what: string;
  /** Refusals that mean that there was nothing to do. */
  readonly ignore?: readonly number[];
}

const pad = (length: number): number => (length + 3) & ~3;

export type AttributeValue = Buffer | readonly Buffer[];

/** One attribute; a list of attributes makes a nested one. */
export function attr(type: number, value: AttributeValue): Buffer {
  const nested = Array.isArray(value);
  const payload = nested ? Buffer.concat(value) : (value as Buffer);
  const out = Buffer.alloc(pad(4 + payload.length));
  out.writeUInt16LE(4 + payload.length, 0);
  out.writeUInt16LE(nested ? type | 0x8000 : type, 2);
  payload.copy(out, 4);
  return out;
}

export const u8 = (value: number): Buffer => Buffer.from([value]);
export const u16be = (value: number): Buffer => Buffer.from([value >> 8, value & 255]);
export function u32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32LE(value >>> 0);
  return out;
}
export function u32be(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(value >>> 0);
  return out;
}
export const text = (value: string): Buffer => Buffer.from(`${value}\0`);
export const ipBytes = (ip: string): Buffer => Buffer.from(ip.split('.').map(Number));
export const macBytes = (mac: string): Buffer =>
  Buffer.from(mac.split(':').map((part) => Number.parseInt(part, 16)));

export const readText = (value: Buffer): string => value.toString('latin1').replace(/\0.*$/s, '');
export const readIp = (value: Buffer): string => `${value[0]}.${value[1]}.${value[2]}.${value[3]}`;
export const readMac = (value: Buffer): string => value.toString('hex').replace(/..(?=.)/g, '$&:');

/** Attributes by type, of the first of each type; `eachAttribute` where a type repeats. */
export function attributes(data: Buffer, offset = 0): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (const [type, value] of eachAttribute(data, offset)) if (!found.has(type)) found.set(type, value);
  return found;
}

export function* eachAttribute(data: Buffer, offset = 0): Generator<readonly [number, Buffer]> {
  while (offset + 4 <= data.length) {
    const length = data.readUInt16LE(offset);
    if (length < 4 || offset + length > data.length) return;
    yield [data.readUInt16LE(offset + 2) & 0x3fff, data.subarray(offset + 4, offset + length)];
    offset += pad(length);
  }
}

export interface Received {
  readonly type: number;
  readonly body: Buffer;
}

let received: Buffer | undefined;
/** One for all sockets: calls are synchronous, and what is kept of an answer is copied. A sandbox opens several. */
const receiveBuffer = (): Buffer => (received ??= Buffer.allocUnsafeSlow(256 << 10));

export class NetlinkSocket {
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #into = receiveBuffer();
  #sequence = 1;

  /** Make it inside the namespace it is for (`inNetns`): it stays there. */
  constructor(protocol: number) {
    const libc = loadLibc();
    this.#libc = libc;
    this.#fd = libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
    const address = Buffer.alloc(12);
    address.writeUInt16LE(AF_NETLINK, 0);
    libc.bind(this.#fd, address);
    libc.setsockopt(this.#fd, SOL_SOCKET, SO_SNDBUFFORCE, BUFFER * 4);
    libc.setsockopt(this.#fd, SOL_SOCKET, SO_RCVBUFFORCE, BUFFER);
    for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK])
      libc.setsockopt(this.#fd, SOL_NETLINK, option, 1);
  }

  /** Sends the messages in one go, in order; throws on the first refusal that is not to be ignored. */
  request(messages: readonly Message[]): void {
    if (messages.length === 0) return;
    const first = this.#sequence;
    this.#sequence += messages.length;
    this.#libc.send(this.#fd, Buffer.concat(messages.map((message, i) => encode(message, first + i))));
    let refused: SkeinError | undefined;
    for (const data of this.#receiveAll())
      for (const { type, sequence, body, flags } of split(data)) {
        const message = type === NLMSG_ERROR ? messages[sequence - first] : undefined;
        if (message) refused ??= refusal(message, body, flags);
      }
    if (refused) throw refused;
  }

  /** Everything of a kind. Asks again when the kernel says that the list changed while it was read. */
  dump(type: number, body: Buffer, what: string): readonly Received[] {
    for (let attempt = 0; ; attempt++) {
      const { items, interrupted } = this.#dumpOnce({ type, flags: NLM_F_DUMP, body, what });
      if (!interrupted || attempt >= 5) return items;
    }
  }

  /** The one that is named; undefined where there is none. */
  find(type: number, body: Buffer, what: string): Received | undefined {
    const flags = NLM_F_ACK;
    return this.#dumpOnce({ type, flags, body, what, ignore: [ENOENT] }).items[0];
  }

  close(): void {
    this.#libc.close(this.#fd);
  }

  #dumpOnce(message: Message): { items: Received[]; interrupted: boolean } {
    const sequence = this.#sequence++;
    this.#libc.send(this.#fd, encode(message, sequence));
    const items: Received[] = [];
    let interrupted = false;
    for (;;) {
      const length = this.#libc.recv(this.#fd, this.#into, 0);
      for (const part of split(Buffer.from(this.#into.subarray(0, length)))) {
        if (part.sequence !== sequence) continue;
        if (part.flags & NLM_F_DUMP_INTR) interrupted = true;
        if (part.type === NLMSG_ERROR) {
          const refused = refusal(message, part.body, part.flags);
          if (refused) throw refused;
        }
        if (part.type === NLMSG_DONE || part.type === NLMSG_ERROR) return { items, interrupted };
        items.push({ type: part.type, body: part.body });
      }
    }
  }

  *#receiveAll(): Generator<Buffer> {
    for (;;) {
      const length = this.#libc.recv(this.#fd, this.#into, MSG_DONTWAIT);
      if (length === -EAGAIN) return;
      yield this.#into.subarray(0, length);
    }
  }
}

function encode(message: Message, sequence: number): Buffer {
  const out = Buffer.alloc(pad(HEADER + message.body.length));
  out.writeUInt32LE(HEADER + message.body.length, 0);
  out.writeUInt16LE(message.type, 4);
  out.writeUInt16LE(NLM_F_REQUEST | message.flags, 6);
  out.writeUInt32LE(sequence, 8);
  message.body.copy(out, HEADER);
  return out;
}

interface Part extends Received {
  readonly flags: number;
  readonly sequence: number;
}

function* split(data: Buffer): Generator<Part> {
  let offset = 0;
  while (offset + HEADER <= data.length) {
    const length = data.readUInt32LE(offset);
    if (length < HEADER || offset + length > data.length) return;
    yield {
      type: data.readUInt16LE(offset + 4),
      flags: data.readUInt16LE(offset + 6),
      sequence: data.readUInt32LE(offset + 8),
      body: data.subarray(offset + HEADER, offset + length),
    };
    offset += pad(length);
  }
}

/** The refusal in an error message, in words: what was asked, the errno, and the kernel's own text where it gives one. */
function refusal(message: Message, body: Buffer, flags: number): SkeinError | undefined {
  const errno = -body.readInt32LE(0);
  if (errno === 0 || message.ignore?.includes(errno)) return undefined;
  const told = flags & NLM_F_ACK_TLVS ? attributes(body, 4 + HEADER).get(NLMSGERR_ATTR_MSG) : undefined;
  const code =
    errno === EEXIST ? 'already-exists' : errno === ENODEV || errno === ENOENT ? 'not-found' : 'internal';
  return new SkeinError(code, `${message.what}: ${errnoName(errno)}${told ? ` (${readText(told)})` : ''}`);
}
