/**
 * Who would be given a connection: the kernel is asked for the socket that it would give a SYN to, and looks it up as
 * for one. So wildcard and dual-stack sockets count, those on another address, on loopback or for IPv6 alone do not. A
 * question costs a hash look-up; a read of /proc/PID/net/tcp walks the host's whole table of connections.
 */
import { inNetns } from '../kit/netns.ts';
import { isCode } from '../model/errors.ts';
import type { Ipv4 } from '../model/ids.ts';
import { ipBytes, NETLINK_SOCK_DIAG, NetlinkSocket, u32 } from './netlink.ts';

const SOCK_DIAG_BY_FAMILY = 20;
const AF_INET = 2;
const IPPROTO_TCP = 6;
const TCP_LISTEN = 10;
/** Bytes of a `struct inet_diag_req_v2`; where its parts stand. */
const REQUEST = 56;
const STATES = 4;
const SOURCE_PORT = 8;
const SOURCE = 12;
const COOKIE = 48;
/** Any socket, whatever its cookie. */
const NO_COOKIE = Buffer.concat([u32(0xffffffff), u32(0xffffffff)]);

export class Listeners {
  /** The kernel knows the question; undefined before the first. */
  #isAnswered: boolean | undefined;

  /** Those of the TCP ports at which nobody in the namespace would take a connection to `address`. */
  closed(netns: string, address: Ipv4, ports: readonly number[]): readonly number[] {
    const socket = inNetns(netns, () => new NetlinkSocket(NETLINK_SOCK_DIAG));
    try {
      const closed = ports.filter((port) => !isListening(socket, address, port));
      if (closed.length > 0) this.#isAnswered ??= answers(socket);
      return this.#isAnswered === false ? [] : closed;
    } finally {
      socket.close();
    }
  }
}

function isListening(socket: NetlinkSocket, address: Ipv4, port: number): boolean {
  const request = requestOf();
  request.writeUInt16BE(port, SOURCE_PORT);
  ipBytes(address).copy(request, SOURCE);
  const found = socket.find(SOCK_DIAG_BY_FAMILY, request, `who listens on port ${port}`);
  return found !== undefined && found.body[1] === TCP_LISTEN;
}

/** A kernel without inet_diag says of every single socket that there is none; asked for all, it says that as well. */
function answers(socket: NetlinkSocket): boolean {
  try {
    socket.dump(SOCK_DIAG_BY_FAMILY, requestOf(), 'who listens');
    return true;
  } catch (error) {
    if (isCode(error, 'not-found')) return false;
    throw error;
  }
}

function requestOf(): Buffer {
  const request = Buffer.alloc(REQUEST);
  request[0] = AF_INET;
  request[1] = IPPROTO_TCP;
  request.writeUInt32LE(1 << TCP_LISTEN, STATES);
  NO_COOKIE.copy(request, COOKIE);
  return request;
}
