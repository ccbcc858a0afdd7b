/**
 * Published ports are held on the node: a socket is bound to each, so that no other program binds one unnoticed and
 * wonders why nobody comes. The sockets never listen and never receive: translation takes every packet before them.
 *
 * A port that somebody else has already is his on paper, and the mesh's in fact: it is named, so that a person hears
 * of it, and tried again with each audit. A protocol that this kernel has no sockets for is nobody's to
 * bind, and so needs no holding. Cost: one file descriptor a port, high up: the low ones are for those who need them
 * (libnft.ts).
 */
import { AF_INET, loadLibc, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM } from '../kit/libc.ts';
import { LOW_DESCRIPTORS } from './libnft.ts';
import { isCode, SkeinError } from '../model/errors.ts';
import type { Protocol } from '../model/spec.ts';

/** Binds a socket to the port and gives its file descriptor. */
export type BindPort = (protocol: Protocol, port: number) => number;

/** Ports are the keys: of a set, or of what hangs on each. */
export type Ports = Pick<ReadonlySet<string>, 'has' | 'keys'>;

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

  /** Holds these ports (`tcp/80`) and lets go of all others; the ports that have newly been found not to be held. */
  hold(ports: Ports): readonly string[] {
    for (const [port, fd] of this.#held)
      if (!ports.has(port)) {
        loadLibc().close(fd);
        this.#held.delete(port);
      }
    const notHeld = new Map<string, string>();
    for (const port of ports.keys()) {
      if (this.#held.has(port)) continue;
      const [protocol, number] = port.split('/') as [Protocol, string];
      try {
        this.#held.set(port, this.#bind(protocol, Number(number)));
      } catch (error) {
        if (isCode(error, 'unimplemented')) continue;
        const why = isCode(error, 'already-exists')
          ? 'another program has it'
          : SkeinError.from(error).message;
        notHeld.set(port, why);
      }
    }
    const fresh = [...notHeld.keys()].filter((port) => !this.#notHeld.has(port));
    this.#notHeld = notHeld;
    return fresh;
  }

  close(): void {
    this.hold(new Set());
  }
}

const IPPROTO: Record<Protocol, number> = { tcp: 6, udp: 17, sctp: 132 };
const TYPE: Record<Protocol, number> = { tcp: SOCK_STREAM, udp: SOCK_DGRAM, sctp: SOCK_SEQPACKET };

/** In the namespace that the thread is in; without SO_REUSEADDR, so that nobody shares it. */
export const bindPort: BindPort = (protocol, port) => {
  const libc = loadLibc();
  const fd = libc.socket(AF_INET, TYPE[protocol] | SOCK_CLOEXEC, IPPROTO[protocol]);
  try {
    const address = Buffer.alloc(16);
    address.writeUInt16LE(AF_INET, 0);
    address.writeUInt16BE(port, 2);
    libc.bind(fd, address);
    return libc.moveUp(fd, LOW_DESCRIPTORS);
  } catch (error) {
    libc.close(fd);
    throw error;
  }
};
