/**
 * trace/ shows what a connection does on the wire: it captures on the nodes involved, joins the hops and renders them.
 * `skein trace` and the demo call it. If it lies, people debug what is not there: so every value shown was captured,
 * and joined by what the kernel says (conntrack) or what translation can not change (TCP's initial sequence number).
 *
 * A packet socket (AF_PACKET) opened inside a namespace sees every interface there; the filter runs in the kernel.
 * Reading is a poll on a short timer: no thread, no fork, and bounded by packets and time.
 */
import { loadLibc, SO_RCVBUFFORCE, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW, SOL_SOCKET } from '../kit/libc.ts';
import { inNetns } from '../kit/netns.ts';
import { type CaptureFilter, compileFilter, encodeFilter, SNAP_LENGTH } from './filter.ts';
import { packetSyscalls } from './packet-syscalls.ts';

/** Where a capture stands: a node, or one container of it. */
export interface CapturePoint {
  /** Shown to people: `node1`, `web.1`. */
  readonly name: string;
  readonly netns: string;
}

export interface CapturedFrame {
  readonly point: string;
  /** Name of the interface. */
  readonly link: string;
  readonly direction: 'in' | 'out' | 'other';
  /** Nanoseconds since the epoch. */
  readonly time: bigint;
  /** On the wire; `bytes` holds the first SNAP_LENGTH of it. */
  readonly length: number;
  readonly bytes: Buffer;
}

interface PointSocket {
  readonly point: string;
  readonly fd: number;
  /** Names by index, as they were when first seen. */
  readonly links: Map<number, string>;
}

export interface CaptureLimits {
  readonly maxPackets?: number;
  readonly maxMs?: number;
}

const AF_PACKET = 17;
const SO_ATTACH_FILTER = 26;
const ETH_P_ALL = 3;
const RECEIVE_BUFFER = 8 * 1024 * 1024;
const POLL_MS = 5;
/** A poll reads no more than this, so that a flood does not hold the event loop. */
const POLL_PACKETS = 2_000;

/** To this host, to all, to some, or to another host: a bridge's port takes those in, too. */
const PACKET_OTHERHOST = 3;
const PACKET_OUTGOING = 4;

/** A capture at several points at once, on one clock. Frames come in the order the kernel stamped them. */
export class Capture {
  readonly #sockets: PointSocket[] = [];
  #frames: CapturedFrame[] = [];
  #taken = 0;
  readonly #maxPackets: number;
  readonly #buffer = Buffer.alloc(SNAP_LENGTH);
  readonly #address = Buffer.alloc(20);
  #timer: NodeJS.Timeout | undefined;
  #end: NodeJS.Timeout | undefined;
  #dropped = 0;

  private constructor(limits: CaptureLimits) {
    this.#maxPackets = limits.maxPackets ?? 20_000;
  }

  static start(points: readonly CapturePoint[], filter: CaptureFilter, limits: CaptureLimits = {}): Capture {
    const capture = new Capture(limits);
    const program = encodeFilter(compileFilter(filter));
    try {
      for (const { name, netns } of points)
        capture.#sockets.push({
          point: name,
          fd: inNetns(netns, () => openPacketSocket(program)),
          links: new Map(),
        });
    } catch (error) {
      capture.#close();
      throw error;
    }
    capture.#timer = setInterval(() => capture.#poll(), POLL_MS);
    capture.#end = setTimeout(() => capture.#close(), limits.maxMs ?? 60_000);
    return capture;
  }

  /** Packets seen by the filter that the bound did not let in. */
  get dropped(): number {
    return this.#dropped;
  }

  /** What was captured so far. */
  frames(): readonly CapturedFrame[] {
    this.#poll();
    return this.#frames.toSorted((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0));
  }

  /** What was captured since it was taken last; it is kept here no longer. */
  take(): readonly CapturedFrame[] {
    const frames = this.frames();
    this.#taken += frames.length;
    this.#frames = [];
    return frames;
  }

  /** As much is captured as the bound allows, or the time is over. */
  get full(): boolean {
    return this.#taken + this.#frames.length >= this.#maxPackets || this.#sockets.length === 0;
  }

  /** From now on; no packet is missed or seen twice in between. */
  setFilter(filter: CaptureFilter): void {
    const program = encodeFilter(compileFilter(filter));
    for (const { fd } of this.#sockets) attachFilter(fd, program);
  }

  /** Ends the capture; repeatable. */
  stop(): readonly CapturedFrame[] {
    const frames = this.frames();
    this.#close();
    return frames;
  }

  #poll(): void {
    for (const socket of this.#sockets) for (let n = 0; n < POLL_PACKETS && this.#receive(socket); n++);
  }

  #receive(socket: PointSocket): boolean {
    const { point, fd } = socket;
    const calls = packetSyscalls();
    const length = calls.receive(fd, this.#buffer, this.#address);
    if (length === undefined) return false;
    if (this.full) {
      this.#dropped++;
      return true;
    }
    // struct sockaddr_ll: family 2, protocol 2, ifindex 4, hatype 2, pkttype 1, halen 1, address 8.
    const type = this.#address.readUInt8(10);
    this.#frames.push({
      point,
      link: linkOf(socket, this.#address.readInt32LE(4)),
      direction: type === PACKET_OUTGOING ? 'out' : type <= PACKET_OTHERHOST ? 'in' : 'other',
      time: calls.timestamp(fd),
      length,
      bytes: Buffer.from(this.#buffer.subarray(0, Math.min(length, SNAP_LENGTH))),
    });
    return true;
  }

  #close(): void {
    clearInterval(this.#timer);
    clearTimeout(this.#end);
    for (const { fd } of this.#sockets.splice(0)) loadLibc().close(fd);
  }
}

function linkOf({ fd, links }: PointSocket, index: number): string {
  let name = links.get(index);
  if (name === undefined) links.set(index, (name = packetSyscalls().linkName(fd, index) ?? `link ${index}`));
  return name;
}

const attachFilter = (fd: number, program: Uint8Array): void =>
  loadLibc().attachProgram(fd, SOL_SOCKET, SO_ATTACH_FILTER, program);

/** Deaf (protocol 0) until the filter is in place: nothing unasked for is ever queued. */
function openPacketSocket(program: Uint8Array): number {
  const libc = loadLibc();
  const fd = libc.socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  try {
    libc.setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER);
    attachFilter(fd, program);
    packetSyscalls().timestamp(fd); // the first question turns time stamps on
    const address = Buffer.alloc(20);
    address.writeUInt16LE(AF_PACKET, 0);
    address.writeUInt16BE(ETH_P_ALL, 2);
    libc.bind(fd, address);
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}
