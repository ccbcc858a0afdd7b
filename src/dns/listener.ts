/** The sockets in one sandbox: made inside its namespace, served from here. */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type Server, type Socket } from 'node:net';
import { loadLibc } from '../kit/libc.ts';
import { inNetns } from '../kit/netns.ts';
import { framed } from './forward.ts';
import { RESOLVER } from '../model/network-view.ts';

export type Serve = (query: Buffer, over: 'udp' | 'tcp') => Promise<Buffer | undefined> | Buffer | undefined;

const [AF_INET, SOCK_STREAM, SOCK_DGRAM, SOCK_CLOEXEC, SOCK_NONBLOCK] = [2, 1, 2, 0o2000000, 0o4000];
const [SOL_SOCKET, SO_REUSEADDR, SO_REUSEPORT] = [1, 2, 15];
const TCP_IDLE_MS = 10_000;
const MAX_CONNECTIONS = 64;
/** A question is short; who sends more over TCP is no client. */
const MAX_QUESTION = 4_096;

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
    const fds = inNetns(netnsPath, () => ({ udp: bound(SOCK_DGRAM), tcp: bound(SOCK_STREAM) }));
    const udp = createSocket('udp4');
    const tcp = createServer();
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
    return new Listener(udp, tcp, serve);
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
        });
      }
      if (got.length > MAX_QUESTION) socket.destroy();
    });
  }
}

/** A socket of this type on the resolver's address, in the namespace that the thread is in. */
function bound(type: number): number {
  const libc = loadLibc();
  const fd = libc.socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  try {
    for (const option of [SO_REUSEADDR, SO_REUSEPORT]) libc.setsockopt(fd, SOL_SOCKET, option, 1);
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
