/**
 * The HTTP server of the Engine API: a unix socket, and TCP where wanted. One catch-all fastify route hands every
 * request to the route table (router.ts); versions, headers, errors and streams are the same for all of them.
 *
 * A request with an Upgrade header does not pass fastify: Node gives it to the `upgrade` listener, which asks the same
 * table. Exec and attach take the connection over there; anything else is answered as without that header.
 */
import { chmod, chown, readFile } from 'node:fs/promises';
import { type IncomingMessage, type Server, ServerResponse, createServer } from 'node:http';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { type Clock, systemClock } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import { SkeinError } from '../model/errors.ts';
import type { Backends } from './backend.ts';
import { API_VERSION, MIN_API_VERSION } from './convert/info.ts';
import { invalid, notFound } from './http-error.ts';
import { hangUp, takeBody } from './hijack.ts';
import { ApiRequest } from './request.ts';
import { type Route, compareVersions, createRouter, splitVersion } from './router.ts';
import { routes as allRoutes } from './routes.ts';
import { removeStaleSocket } from './stale-socket.ts';
import { writeAnswer, writeError } from './writer.ts';

export interface ApiServerOptions {
  readonly backends: Backends;
  readonly log: Log;
  readonly clock?: Clock;
  /** For the Server header. */
  readonly version?: string;
  readonly routes?: readonly Route[];
}

export interface ListenOptions {
  /** Permission bits of the socket; 0660 unless given. */
  readonly mode?: number;
  /** Name or id of the group that owns the socket. */
  readonly group?: string | number;
}

export interface ApiServer {
  /** Listens on a unix socket; a socket file that nobody serves any more is replaced. */
  listen(path: string, options?: ListenOptions): Promise<void>;
  /** Listens on TCP without TLS; the port. For loopback and lab only: whoever reaches it is root. */
  listenTcp(host: string, port: number): Promise<number>;
  /** Ends streams and connections, then resolves. */
  close(): Promise<void>;
  /** In-process requests, for tests. */
  readonly app: FastifyInstance;
}

/** Clients send whole service specs in the query. */
const MAX_HEADER = 1024 * 1024;

export async function createApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const { log } = options;
  const closing = new AbortController();
  const serve = serveRequest(options, closing.signal);
  const app = createApp(serve);
  await app.ready();
  const listeners = new Set<Listener>();
  const create = () => createListener(app, serve, closing.signal);
  const started = async (listener: Listener, listen: (done: () => void) => void): Promise<void> => {
    const { server } = listener;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      listen(() => {
        server.off('error', reject);
        server.on('error', (err) => log.error('api listener failed', { err }));
        resolve();
      });
    });
    listeners.add(listener);
  };
  return {
    app,
    async listen(path, { mode = 0o660, group } = {}) {
      await removeStaleSocket(path);
      const listener = create();
      await started(listener, (done) => {
        const mask = process.umask(0o177); // nobody else may connect between bind and chmod
        listener.server.listen(path, done); // binds before it returns
        process.umask(mask);
      });
      if (group !== undefined) await chown(path, process.getuid?.() ?? 0, await groupId(group));
      await chmod(path, mode);
    },
    async listenTcp(host, port) {
      const listener = create();
      await started(listener, (done) => listener.server.listen(port, host, done));
      const address = listener.server.address();
      return typeof address === 'object' && address ? address.port : port;
    },
    async close() {
      closing.abort();
      await Promise.all([...listeners].map(closeListener));
      await app.close();
    },
  };
}

interface Listener {
  readonly server: Server;
  /** Connections of upgrade requests: Node counts them until they close, and closes none of them. */
  readonly handedOver: ReadonlySet<Socket>;
}

function createListener(app: FastifyInstance, serve: Serve, closing: AbortSignal): Listener {
  const handedOver = new Set<Socket>();
  const answers = new Set<ServerResponse>();
  const server = createServer({ maxHeaderSize: MAX_HEADER }, (request, response) => {
    answers.add(response);
    response.once('close', () => answers.delete(response));
    app.routing(request, response);
  });
  server.requestTimeout = 0; // an image may take longer than five minutes to arrive; headersTimeout stays
  server.on('upgrade', (request, socket: Socket, head: Buffer) => {
    handedOver.add(socket);
    socket.once('close', () => handedOver.delete(socket));
    socket.on('error', () => socket.destroy());
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(socket);
    response.on('finish', () => void hangUp(socket, closing));
    takeBody(request, socket, head).then(
      (body) => serve(request, response, Readable.from(body.length > 0 ? [body] : []), socket),
      (error: unknown) => writeError(response, error),
    );
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    // What comes in the middle of an answer would be taken for a part of it.
    const answering = [...answers].some((answer) => answer.socket === socket && answer.headersSent);
    if (answering) socket.destroy();
    if (socket.writable) socket.write(malformed(error));
    socket.destroySoon(); // whatever the client does with its half
  });
  return { server, handedOver };
}

function malformed({ code, message }: NodeJS.ErrnoException): string {
  const status = code === 'HPE_HEADER_OVERFLOW' ? '431 Request Header Fields Too Large' : '400 Bad Request';
  const body = `${JSON.stringify({ message: `malformed request: ${message}` })}\n`;
  return `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}

/** Streams have been told to end by the signal; what is still open after a second is cut. */
async function closeListener({ server, handedOver }: Listener): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const timer = setTimeout(() => {
    server.closeAllConnections();
    for (const socket of handedOver) socket.destroy();
  }, 1000);
  await closed;
  clearTimeout(timer);
}

/** Fastify has no word of its own in an answer: what it would refuse by itself is asked of the table like all else. */
function createApp(serve: Serve): FastifyInstance {
  const handler = (request: FastifyRequest, reply: FastifyReply) => {
    reply.hijack();
    // Leaving the body early must not close the connection: the answer goes through it.
    return serve(request.raw, reply.raw, request.raw.iterator({ destroyOnReturn: false }));
  };
  const app = Fastify({
    logger: false,
    bodyLimit: Number.MAX_SAFE_INTEGER,
    exposeHeadRoutes: false,
    frameworkErrors: (_error, request, reply) => void handler(request, reply),
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, payload, done) => done(null, payload));
  app.setErrorHandler((_error, request, reply) => handler(request, reply));
  app.setNotFoundHandler(handler);
  app.route({ method: ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH'], url: '/*', handler });
  return app;
}

/** With `upgraded`, an answer that takes over the connection gets that socket. */
type Serve = (
  request: IncomingMessage,
  response: ServerResponse,
  body: AsyncIterable<Uint8Array>,
  upgraded?: Socket,
) => Promise<void>;

function serveRequest(options: ApiServerOptions, closing: AbortSignal): Serve {
  const { backends, log, clock = systemClock, version: skein = '0' } = options;
  const match = createRouter(options.routes ?? allRoutes);
  return async (request, response, body, upgraded) => {
    const gone = new AbortController();
    (upgraded ?? response).on('close', () => gone.abort());
    const signal = AbortSignal.any([gone.signal, closing]);
    try {
      setHeaders(response, backends, skein);
      const target = route(request, match);
      const api = new ApiRequest(backends, clock, { ...target, headers: request.headers, body, signal });
      await writeAnswer(response, await target.handler(api), signal, upgraded);
    } catch (error) {
      if (SkeinError.from(error).code === 'internal' && !signal.aborted)
        log.error('request failed', {
          'http.method': request.method,
          'http.url': request.url?.slice(0, 200),
          err: error,
        });
      if (!response.headersSent) writeError(response, error);
      else response.destroy();
    }
  };
}

function route(request: IncomingMessage, match: ReturnType<typeof createRouter>) {
  const url = request.url ?? '/';
  const at = url.indexOf('?');
  const { version, path } = splitVersion(at < 0 ? url : url.slice(0, at));
  checkVersion(version);
  const found = match(request.method ?? 'GET', path);
  if (!found) throw notFound('page not found');
  const query = new URLSearchParams(at < 0 ? '' : url.slice(at + 1));
  return { ...found, query, version: version ?? API_VERSION };
}

function checkVersion(version: string | undefined): void {
  if (version === undefined) return;
  if (compareVersions(version, API_VERSION) > 0)
    throw invalid(`client version ${version} is too new. Maximum supported API version is ${API_VERSION}`);
  if (compareVersions(version, MIN_API_VERSION) < 0)
    throw invalid(
      `client version ${version} is too old. Minimum supported API version is ${MIN_API_VERSION}, please upgrade your client to a newer version`,
    );
}

/** On every answer, as dockerd; clients negotiate by those of `_ping`. */
function setHeaders(response: ServerResponse, backends: Backends, skein: string): void {
  const { state, controlAvailable } = backends.swarm.state();
  const swarm = state === 'active' ? `active/${controlAvailable ? 'manager' : 'worker'}` : state;
  const headers = {
    'Api-Version': API_VERSION,
    'Docker-Experimental': 'false',
    Ostype: 'linux',
    Server: `Skein/${skein} (linux)`,
    Swarm: swarm,
    'Builder-Version': '1',
    'Cache-Control': 'no-cache, no-store, must-revalidate',
    Pragma: 'no-cache',
  };
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
}

async function groupId(group: string | number): Promise<number> {
  if (typeof group === 'number' || /^\d+$/.test(group)) return Number(group);
  const line = (await readFile('/etc/group', 'utf8')).split('\n').find((l) => l.startsWith(`${group}:`));
  if (!line) throw new SkeinError('not-found', `there is no group ${group} on this machine`);
  return Number(line.split(':')[2]);
}
