/**
 * Echo requests (ICMP) to other nodes, which their kernels answer whatever becomes of their skeind. One raw socket,
 * never waited for: whoever owns it reads it empty now and then.
 */
import {
  AF_INET,
  loadKoffi,
  loadLibc,
  MSG_DONTWAIT,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_RAW,
} from '../kit/libc.ts';
import { inNetns } from '../kit/netns.ts';
import { ipBytes, NETLINK_ROUTE, NetlinkSocket, readIp } from './netlink.ts';
import { deleteNeighbour } from './rtnetlink.ts';
import { unresolved } from './rtnetlink-read.ts';
import type { Ipv4, RandomBytes } from '../model/ids.ts';
import type { Answer } from './steering-plan.ts';

/** Sends probes and tells what came back. */
export interface Prober {
  /** A probe that the kernel will not send is one that gets no answer. */
  send(target: Ipv4, sequence: number): void;
  /**
   * Has the kernel look for `vtep` on the link anew. By itself it asks once a second, and a peer that is back is not
   * found before.
   */
  seek(vtep: Ipv4): void;
  /** Everything that has come; the socket is empty afterwards. */
  drain(): readonly Answer[];
  close(): void;
}

const IPPROTO_ICMP = 1;
const SOL_RAW = 255;
const ICMP_FILTER = 1;
const ECHO_REQUEST = 8;
const ECHO_REPLY = 0;
const HEADER = 8;

export class IcmpProber implements Prober {
  readonly #fd: number;
  readonly #route: NetlinkSocket;
  readonly #identifier: number;
  /** Tells our answers from those to somebody else who chose the same identifier. */
  readonly #cookie: Buffer;
  readonly #buffer = Buffer.alloc(256);

  /** `random` gives the identifier and the cookie; `netns` is the node's own namespace, if not this process's. */
  constructor(random: RandomBytes, netns?: string) {
    const inside = <T>(open: () => T): T => (netns === undefined ? open() : inNetns(netns, open));
    this.#route = inside(() => new NetlinkSocket(NETLINK_ROUTE));
    this.#fd = inside(() =>
      loadLibc().socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMP),
    );
    // Bits that are set are types that are not wanted.
    loadLibc().setsockopt(this.#fd, SOL_RAW, ICMP_FILTER, ~(1 << ECHO_REPLY));
    this.#identifier = Buffer.from(random(2)).readUInt16BE();
    this.#cookie = Buffer.from(random(8));
  }

  send(target: Ipv4, sequence: number): void {
    const address = Buffer.alloc(16);
    address.writeUInt16LE(AF_INET);
    ipBytes(target).copy(address, 4);
    sendTo(this.#fd, echoRequest(this.#identifier, sequence, this.#cookie), address);
  }

  seek(vtep: Ipv4): void {
    this.#route.request(
      unresolved(this.#route, vtep).map((link) => deleteNeighbour(link, `link ${link}`, vtep)),
    );
  }

  drain(): readonly Answer[] {
    const answers: Answer[] = [];
    for (;;) {
      const length = loadLibc().recv(this.#fd, this.#buffer, MSG_DONTWAIT);
      if (length < 0) return answers;
      const answer = this.#read(this.#buffer.subarray(0, length));
      if (answer) answers.push(answer);
    }
  }

  close(): void {
    this.#route.close();
    loadLibc().close(this.#fd);
  }

  /** A raw socket gives the packet with its IP header. */
  #read(packet: Buffer): Answer | undefined {
    const icmp = packet.subarray((packet[0]! & 15) * 4);
    if (icmp.length < HEADER + this.#cookie.length || icmp[0] !== ECHO_REPLY) return undefined;
    if (icmp.readUInt16BE(4) !== this.#identifier) return undefined;
    if (!icmp.subarray(HEADER, HEADER + this.#cookie.length).equals(this.#cookie)) return undefined;
    return {
      from: readIp(packet.subarray(12, 16)) as Ipv4,
      sequence: icmp.readUInt32BE(HEADER + this.#cookie.length),
    };
  }
}

/** The whole sequence number stands behind the cookie; the header has room for its lower half. */
export function echoRequest(identifier: number, sequence: number, cookie: Buffer): Buffer {
  const packet = Buffer.alloc(HEADER + cookie.length + 4);
  packet[0] = ECHO_REQUEST;
  packet.writeUInt16BE(identifier, 4);
  packet.writeUInt16BE(sequence & 0xffff, 6);
  cookie.copy(packet, HEADER);
  packet.writeUInt32BE(sequence >>> 0, HEADER + cookie.length);
  packet.writeUInt16BE(checksum(packet), 2);
  return packet;
}

/** RFC 1071. */
export function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) + (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

type SendTo = (fd: number, data: Buffer, length: number, flags: number, to: Buffer, size: number) => unknown;
let bound: SendTo | undefined;

function sendTo(fd: number, data: Buffer, address: Buffer): void {
  bound ??= loadKoffi()
    .load('libc.so.6')
    .func(
      'int64_t sendto(int fd, void *data, size_t length, int flags, void *to, uint size)',
    ) as unknown as SendTo;
  bound(fd, data, data.length, MSG_DONTWAIT, address, address.length);
}
