/** The sockets in one sandbox: made inside its namespace, served from here. */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type Server, type Socket } from 'node:net';
import {
  AF_INET,
  loadLibc,
  SO_RCVBUFFORCE,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../kit/libc.ts';
import { inNetns } from '../kit/netns.ts';
import { framed } from './forward.ts';
import { RESOLVER } from '../model/network-view.ts';

export type Serve = (query: Buffer, over: 'udp' | 'tcp') => Promise<Buffer | undefined> | Buffer | undefined;

const [SO_REUSEADDR, SO_REUSEPORT, SO_ATTACH_REUSEPORT_CBPF] = [2, 15, 51];
/** Questions that wait while this process is not on a core: about 1,300. */
const WAITING_BYTES = 1 << 20;
/**
 * "Return 1" in classic BPF: of two sockets that listen here everything new goes to the second, the newer one. (Where
 * there is one only, the kernel finds no second and takes the first.) The older one has nothing left to lose when it
 * has answered what waits in it, and can be closed.
 */
const TO_THE_NEWEST = Buffer.from([0x06, 0, 0, 0, 1, 0, 0, 0]);
const TCP_IDLE_MS = 10_000;
const MAX_CONNECTIONS = 64;
/** A question is short; who sends more over TCP is no client. */
const MAX_QUESTION = 4_096;
const MAX_UNREAD = 1 << 20;

export class Listener {
  readonly #udp: UdpSocket;
  readonly #tcp: Server;
  readonly #connections = new Set<Socket>();

  private constructor(udp: UdpSocket, tcp: Server, serve: Serve) {
    this.#udp = udp;
    this.#tcp = tcp;
    udp.on('message', (query, { address, port }) => {
      const reply = serve(query, 'udp');
      if (reply instanceof Promise) void reply.then((bytes) => bytes && this.#send(bytes, port, address));
      else if (reply) this.#send(reply, port, address);
    });
    udp.on('error', () => {}); // of a client that has gone
    tcp.maxConnections = MAX_CONNECTIONS;
    tcp.on('connection', (socket) => this.#converse(socket, serve));
    tcp.on('error', () => {});
  }

  /** Resolves when it can be asked. A second process may listen too: the next version takes over without a gap. */
  static async open(netnsPath: string, serve: Serve): Promise<Listener> {
    const fds = openBoth(netnsPath);
    const udp = createSocket('udp4');
    const tcp = createServer();
    const listener = new Listener(udp, tcp, serve);
    try {
      await Promise.all([
        new Promise<void>((resolve, reject) => {
          udp.once('error', reject);
          udp.bind({ fd: fds.udp }, resolve);
        }),
        new Promise<void>((resolve, reject) => {
          tcp.once('error', reject);
          tcp.listen({ fd: fds.tcp }, resolve);
        }),
      ]);
      for (const fd of [fds.udp, fds.tcp])
        loadLibc().attachProgram(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, TO_THE_NEWEST);
    } catch (error) {
      listener.close();
      throw error;
    }
    return listener;
  }

  /** Everything is closed: an open socket would keep the namespace of a removed container alive. */
  close(): void {
    this.#udp.close();
    this.#tcp.close();
    for (const socket of this.#connections) socket.destroy();
  }

  #send(bytes: Buffer, port: number, address: string): void {
    try {
      this.#udp.send(bytes, port, address);
    } catch {
      // closed while the answer was on its way
    }
  }

  #converse(socket: Socket, serve: Serve): void {
    this.#connections.add(socket);
    let got = Buffer.alloc(0);
    socket.setTimeout(TCP_IDLE_MS, () => socket.destroy());
    socket.on('error', () => {});
    socket.on('close', () => this.#connections.delete(socket));
    socket.on('data', (chunk: Buffer) => {
      got = Buffer.concat([got, chunk]);
      while (got.length >= 2 && got.length >= 2 + got.readUInt16BE(0)) {
        const query = got.subarray(2, 2 + got.readUInt16BE(0));
        got = got.subarray(2 + query.length);
        void Promise.resolve(serve(query, 'tcp')).then((reply) => {
          if (reply && !socket.destroyed) socket.write(framed(reply));
          // Who asks and does not read is not waited for.
          if (socket.writableLength > MAX_UNREAD) socket.destroy();
        });
      }
      if (got.length > MAX_QUESTION) socket.destroy();
    });
  }
}

function openBoth(netnsPath: string): { readonly udp: number; readonly tcp: number } {
  return inNetns(netnsPath, () => {
    const udp = bound(SOCK_DGRAM);
    try {
      return { udp, tcp: bound(SOCK_STREAM) };
    } catch (error) {
      loadLibc().close(udp);
      throw error;
    }
  });
}

/** A socket of this type on the resolver's address, in the namespace that the thread is in. */
function bound(type: number): number {
  const libc = loadLibc();
  const fd = libc.socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  try {
    for (const option of [SO_REUSEADDR, SO_REUSEPORT]) libc.setsockopt(fd, SOL_SOCKET, option, 1);
    if (type === SOCK_DGRAM) libc.setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, WAITING_BYTES);
    const address = Buffer.alloc(16);
    address.writeUInt16LE(AF_INET, 0);
    address.writeUInt16BE(RESOLVER.listens, 2);
    Buffer.from(RESOLVER.address.split('.').map(Number)).copy(address, 4);
    libc.bind(fd, address);
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}
