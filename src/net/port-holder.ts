/**
 * Published ports are held on the node: a socket is bound to each, so that no other program binds one unnoticed and
 * wonders why nobody comes. The sockets never listen and never receive: translation takes every packet before them.
 *
 * A port that somebody else has already is his on paper, and the mesh's in fact: it is named, so that a person hears
 * of it, and tried again with each audit. Where a container leaves its port open, one is chosen that nobody has. Only a
 * user's own container does not start where the port that it asks for is not free: there is somebody to be told. A
 * protocol that this kernel has no sockets for is nobody's to bind, and so needs no holding.
 * Cost: one file descriptor a port, high up: the low ones are for those who need them (libnft.ts).
 */
import {
  AF_INET,
  loadLibc,
  SO_REUSEADDR,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_SEQPACKET,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../kit/libc.ts';
import { LOW_DESCRIPTORS } from './libnft.ts';
import { ipToInt } from '../kit/cidr.ts';
import { isCode, SkeinError } from '../model/errors.ts';
import type { Ipv4 } from '../model/ids.ts';
import type { Protocol } from '../model/spec.ts';

/** Binds a socket to the port, of one address or of all, and gives its file descriptor. */
export type BindPort = (protocol: Protocol, port: number, address?: Ipv4) => number;

export class PortHolder {
  readonly #bind: BindPort;
  readonly #held = new Map<string, number>();
  #notHeld: ReadonlyMap<string, string> = new Map();

  constructor(bind: BindPort) {
    this.#bind = bind;
  }

  /** Ports that are published and could not be held, and why. */
  get notHeld(): ReadonlyMap<string, string> {
    return this.#notHeld;
  }

  /**
   * Holds these ports (`tcp/80`, of one address `tcp/127.0.0.1:80`) and lets go of all others; the ports that have newly
   * been found not to be held.
   */
  hold(ports: ReadonlySet<string>): readonly string[] {
    for (const [port, fd] of this.#held)
      if (!ports.has(port)) {
        loadLibc().close(fd);
        this.#held.delete(port);
      }
    const notHeld = new Map<string, string>();
    for (const port of ports)
      try {
        this.take(port);
      } catch (error) {
        const why = isCode(error, 'already-exists')
          ? 'another program has it'
          : SkeinError.from(error).message;
        notHeld.set(port, why);
      }
    const fresh = [...notHeld.keys()].filter((port) => !this.#notHeld.has(port));
    this.#notHeld = notHeld;
    return fresh;
  }

  /** Holds one more until `hold` says otherwise. `already-exists`: another program has it; `not-found`: no such address. */
  take(port: string): void {
    if (this.#held.has(port)) return;
    const [protocol, where] = port.split('/') as [Protocol, string];
    const [number, address] = where.split(':').toReversed() as [string, Ipv4?];
    try {
      this.#held.set(port, this.#bind(protocol, Number(number), address));
    } catch (error) {
      if (!isCode(error, 'unimplemented')) throw error;
    }
  }

  close(): void {
    this.hold(new Set());
  }
}

const IPPROTO: Record<Protocol, number> = { tcp: 6, udp: 17, sctp: 132 };
const TYPE: Record<Protocol, number> = { tcp: SOCK_STREAM, udp: SOCK_DGRAM, sctp: SOCK_SEQPACKET };

/**
 * In the namespace that the thread is in. Connections may linger at the port of a program that has ended: to bind beside
 * them takes SO_REUSEADDR, which is taken back, so that nobody shares the port: who asks for it without is refused to
 * bind, who asks with it to listen (Linux 6.1, which remembers that what lingered was shared) or to bind (6.18).
 */
export const bindPort: BindPort = (protocol, port, at) => {
  const where = Buffer.alloc(16);
  where.writeUInt16LE(AF_INET, 0);
  where.writeUInt16BE(port, 2);
  if (at) where.writeUInt32BE(ipToInt(at), 4);
  try {
    return bindSocket(protocol, where, false);
  } catch (error) {
    if (protocol === 'udp' || !isCode(error, 'already-exists')) throw error;
    return bindSocket(protocol, where, true);
  }
};

function bindSocket(protocol: Protocol, where: Uint8Array, beside: boolean): number {
  const libc = loadLibc();
  const fd = libc.socket(AF_INET, TYPE[protocol] | SOCK_CLOEXEC, IPPROTO[protocol]);
  const share = (on: number) => libc.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, on);
  try {
    if (beside) share(1);
    libc.bind(fd, where);
    if (beside) share(0);
    return libc.moveUp(fd, LOW_DESCRIPTORS);
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}
