/**
 * The listening end: one port for callers with and without a certificate. Each call is authorized by itself, so
 * a node that is removed, or whose certificate runs out, is refused on the connection it already has.
 *
 * INVARIANT: no handler runs before `who` of its method is checked against the peer's verified identity.
 */
import { once } from 'node:events';
import {
  createSecureServer,
  type Http2SecureServer,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Clock } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import { isCode, SkeinError } from '../model/errors.ts';
import type { ClusterId, NodeId } from '../model/ids.ts';
import type { NodeRole } from '../model/spec.ts';
import type { Encoded } from './frame.ts';
import { encodeFrame, encodeOutcome, frames, MAX_FRAME, parseFrame } from './frame.ts';
import {
  type Caller,
  type InputOf,
  type Method,
  type MethodName,
  METHODS,
  type OutputOf,
  type ParamsOf,
} from './methods.ts';
import { contextOptions, type Credentials, identityOf, type PeerIdentity, serverOptions } from './tls.ts';

export interface Call<In = unknown> {
  /** Verified; undefined only where the method is for anyone. */
  readonly peer: PeerIdentity | undefined;
  /** Address that the peer calls from. */
  readonly address: string;
  /** Values after the parameters. Must be read by at most one. */
  readonly input: AsyncIterable<In>;
  /** Aborts when the peer is gone or has given up. */
  readonly signal: AbortSignal;
}

export type Handler<N extends MethodName> = (
  params: ParamsOf<N>,
  call: Call<InputOf<N>>,
) => (typeof METHODS)[N]['answers'] extends 'one'
  ? Promise<OutputOf<N>>
  : AsyncIterable<OutputOf<N> | Encoded>;

export type Handlers = { readonly [N in MethodName]?: Handler<N> };

export interface RpcServerOptions {
  readonly credentials: Credentials;
  readonly clusterId: ClusterId;
  readonly handlers: Handlers;
  /** What the node is in the cluster by now, whatever its certificate says; undefined: it belongs to it no more. */
  roleOf(nodeId: NodeId): NodeRole | undefined | Promise<NodeRole | undefined>;
  readonly clock: Clock;
  readonly log: Log;
}

/** Connection window: one slow stream must not hold up the others of its connection. */
const WINDOW = 4 * 1024 * 1024;
/** Of a caller that has shown no certificate: a request for one is far smaller, and a stranger may open many streams. */
const STRANGERS_FRAME = 64 * 1024;

export class RpcServer {
  readonly #options: RpcServerOptions;
  readonly #server: Http2SecureServer;
  readonly #sessions = new Set<ServerHttp2Session>();
  /** Of sessions, and of those that still shake hands. */
  readonly #sockets = new Set<Socket>();

  constructor(options: RpcServerOptions) {
    this.#options = options;
    this.#server = createSecureServer({
      ...serverOptions(options.credentials),
      settings: { initialWindowSize: 1024 * 1024, maxConcurrentStreams: 1000 },
      maxSessionMemory: 64,
    });
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    this.#server.on('session', (session) => this.#keep(session));
    this.#server.on('stream', (stream, headers) => void this.#serve(stream, headers[':path'] ?? ''));
    // A scan or a plain HTTP client on this port is none of our business.
    this.#server.on('tlsClientError', (err) => options.log.debug('handshake failed', { err }));
    this.#server.on('sessionError', (err) => options.log.debug('connection failed', { err }));
  }

  async listen(host: string, port: number): Promise<{ readonly host: string; readonly port: number }> {
    this.#server.listen(port, host);
    await once(this.#server, 'listening');
    const address = this.#server.address() as AddressInfo;
    return { host: address.address, port: address.port };
  }

  /** New connections use these from now on; the others live until they end. */
  setCredentials(credentials: Credentials): void {
    this.#server.setSecureContext(contextOptions(credentials));
  }

  /** Ends every connection of a node: after it was removed, or its role changed. */
  disconnect(nodeId: NodeId): void {
    for (const session of this.#sessions)
      if (identityOf(session.socket as TLSSocket, this.#options.clock)?.nodeId === nodeId) session.destroy();
  }

  /** Ends every connection, those too that come in this moment. */
  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #keep(session: ServerHttp2Session): void {
    this.#sessions.add(session);
    session.setLocalWindowSize(WINDOW);
    session.on('close', () => this.#sessions.delete(session));
    session.on('error', (err) => this.#options.log.debug('connection failed', { err }));
  }

  async #serve(stream: ServerHttp2Stream, path: string): Promise<void> {
    const abort = new AbortController();
    stream.on('close', () => abort.abort());
    stream.on('error', () => abort.abort());
    try {
      await this.#answer(stream, path.slice(1), abort.signal);
      await this.#finish(stream, undefined);
    } catch (error) {
      if (abort.signal.aborted) return;
      if (isCode(SkeinError.from(error), 'internal'))
        this.#options.log.error('call failed', { 'rpc.method': path.slice(1), err: error });
      await this.#finish(stream, error);
    }
  }

  async #answer(stream: ServerHttp2Stream, name: string, signal: AbortSignal): Promise<void> {
    stream.respond({ ':status': 200, 'content-type': 'application/x-ndjson' });
    const method = Object.hasOwn(METHODS, name) ? METHODS[name as MethodName] : undefined;
    const handler = this.#options.handlers[name as MethodName] as
      | ((params: unknown, call: Call<never>) => Promise<unknown> | AsyncIterable<unknown>)
      | undefined;
    if (!method || !handler) throw new SkeinError('unimplemented', `this node does not serve ${name}`);
    const socket = stream.session!.socket as TLSSocket;
    const peer = await this.#authorize(socket, method.who);
    // Whoever stops reading in the middle has still to answer: that must not destroy the stream.
    const chunks = stream.iterator({ destroyOnReturn: false });
    const lines = frames(chunks, peer ? MAX_FRAME : STRANGERS_FRAME);
    const first = await lines.next();
    if (first.done) throw new SkeinError('invalid-argument', 'the call has no parameters');
    const params = parseFrame(method.params as Method<unknown, unknown, unknown>['params'], first.value);
    const input = parsed(lines, method.input as Method<unknown, unknown, unknown>['input']);
    const call = { peer, address: socket.remoteAddress ?? '', input, signal } as Call<never>;
    const answer = handler(params, call);
    if (Symbol.asyncIterator in answer) {
      for await (const value of answer) {
        if (signal.aborted) return;
        await write(stream, encodeFrame(value), signal);
      }
    } else await write(stream, encodeFrame((await answer) ?? {}), signal);
  }

  async #authorize(socket: TLSSocket, who: Caller): Promise<PeerIdentity | undefined> {
    const { clock, clusterId, roleOf } = this.#options;
    const found = identityOf(socket, clock);
    const role = found && found.clusterId === clusterId ? await roleOf(found.nodeId) : undefined;
    const peer = role && found;
    if (who === 'anyone') return peer;
    if (!found) throw new SkeinError('unauthenticated', 'a valid node certificate is needed for this call');
    if (!peer) throw new SkeinError('permission-denied', 'the node is not a member of this cluster');
    if (who === 'manager' && !(peer.role === 'manager' && role === 'manager'))
      throw new SkeinError('permission-denied', 'only a manager may make this call');
    return peer;
  }

  async #finish(stream: ServerHttp2Stream, error: unknown): Promise<void> {
    if (stream.destroyed || !stream.writable) return;
    stream.end(encodeOutcome(error));
    // What the peer still sends is not wanted any more; reading it lets the stream close.
    stream.resume();
  }
}

async function* parsed<T>(
  lines: AsyncIterable<string>,
  schema: Method<unknown, T, unknown>['input'],
): AsyncGenerator<T> {
  for await (const line of lines) yield parseFrame(schema, line);
}

/** Waits until the peer takes more: back-pressure reaches the handler. */
async function write(stream: ServerHttp2Stream, line: Buffer, signal: AbortSignal): Promise<void> {
  if (stream.destroyed) throw new SkeinError('canceled', 'the peer is gone');
  if (!stream.write(line)) await once(stream, 'drain', { signal });
}
