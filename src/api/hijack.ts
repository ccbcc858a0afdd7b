/**
 * Connections that are taken over: exec and attach. With an Upgrade header the socket is the client's and ours, both
 * ways; without one the answer is a raw stream that the end of the connection ends, and the client can only listen.
 *
 * Where Node puts the body of an upgrade request depends on its version: 20 and 24 give what came with the head, the
 * rest follows on the socket; 26 gives it through the request.
 */
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import type { DuplexAnswer } from './answer.ts';
import { invalid } from './http-error.ts';
import { MAX_BODY } from './request.ts';

/** How long a client that has its answer may take to close its half of the connection. */
const LINGER_MS = 5_000;

/** How often it is looked whether the client is there. */
const PULSE_MS = 2_000;
const NOTHING = Buffer.alloc(0);

/** The body, wherever it is; what came behind it is the conversation's and goes back to the socket. */
export async function takeBody(request: IncomingMessage, socket: Socket, head: Buffer): Promise<Buffer> {
  if (request.headers['transfer-encoding'] !== undefined)
    throw invalid('a request that takes over its connection must give the length of its body');
  const length = Number(request.headers['content-length'] ?? 0);
  if (length > MAX_BODY) throw invalid(`request body too large: the limit is ${MAX_BODY} bytes`);
  let bytes = head;
  while (bytes.length < length) bytes = Buffer.concat([bytes, await nextChunk(request, socket)]);
  if (bytes.length > length) socket.unshift(bytes.subarray(length));
  return bytes.subarray(0, length);
}

function nextChunk(request: IncomingMessage, socket: Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const done = (settle: () => void) => {
      for (const source of [request, socket]) {
        source.off('data', onData);
        source.pause();
      }
      for (const event of ['end', 'close']) socket.off(event, onEnd);
      settle();
    };
    const onData = (chunk: Buffer) => done(() => resolve(chunk));
    const onEnd = () => done(() => reject(invalid('the request ended before its body')));
    for (const event of ['end', 'close']) socket.once(event, onEnd);
    for (const source of [request, socket]) source.on('data', onData);
  });
}

export async function converse(
  response: ServerResponse,
  answer: DuplexAnswer,
  signal: AbortSignal,
  upgraded: Socket | undefined,
): Promise<void> {
  if (!upgraded) return listenOnly(response, answer, signal);
  response.detachSocket(upgraded);
  upgraded.setKeepAlive(true, PULSE_MS); // over TCP the kernel has to ask, too
  const headers = { 'Content-Type': answer.contentType, Connection: 'Upgrade', Upgrade: 'tcp' };
  const lines = Object.entries({ ...headers, ...response.getHeaders() }).map(
    ([k, v]) => `${k}: ${String(v)}`,
  );
  signal.addEventListener('abort', () => upgraded.destroy(), { once: true });
  upgraded.write(`HTTP/1.1 101 UPGRADED\r\n${lines.join('\r\n')}\r\n\r\n`);
  const pulse = setInterval(
    () => (upgraded.destroyed ? clearInterval(pulse) : feelFor(upgraded)),
    PULSE_MS,
  ).unref();
  try {
    await answer.talk({ input: upgraded, signal, write: (chunk) => send(upgraded, chunk, signal) });
  } finally {
    await hangUp(upgraded, signal);
  }
}

/**
 * A client that is gone and one that has only said all it has to say look the same to who reads, and a container may
 * print nothing for days. To write nothing tells them apart: it fails where nobody could read it.
 */
function feelFor(socket: Socket): void {
  if (socket.writable && socket.writableLength === 0) socket.write(NOTHING);
}

async function listenOnly(
  response: ServerResponse,
  answer: DuplexAnswer,
  signal: AbortSignal,
): Promise<void> {
  response.shouldKeepAlive = false;
  response.removeHeader('transfer-encoding'); // bare bytes up to the end of the connection
  response.writeHead(200, { 'content-type': answer.contentType });
  response.flushHeaders();
  try {
    const write = (chunk: Uint8Array) => send(response, chunk, signal);
    await answer.talk({ input: Readable.from([]), signal, write });
  } finally {
    response.end();
  }
}

/** For an answer that takes nothing over: what the client still sends is read away, so that its end is seen. */
export function readAway(socket: Socket): void {
  socket.once('end', () => socket.end());
  socket.resume();
}

/** Does nothing where the client is gone: whoever writes looks at the signal. */
async function send(to: Socket | ServerResponse, chunk: Uint8Array, signal: AbortSignal): Promise<void> {
  if (signal.aborted || !to.writable) return;
  if (!to.write(chunk)) await once(to, 'drain', { signal }).catch(() => undefined);
}

/**
 * Closes our half and reads away what the client still sends: closing with unread input would reset the connection
 * under the answer that the client has not read yet.
 */
export async function hangUp(socket: Socket, signal: AbortSignal): Promise<void> {
  if (signal.aborted || socket.destroyed) return void socket.destroy();
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  socket.resume();
  socket.end();
  if (!socket.destroyed) await once(socket, 'close', { signal }).catch(() => undefined);
  clearTimeout(timer);
  socket.destroy();
}
