/**
 * Writes an answer to the socket. Streams honour back-pressure: the next chunk is asked for when the last one has
 * been taken. A client that goes away aborts the request's signal, which ends the source.
 */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Answer, StreamAnswer } from './answer.ts';
import { converse, readAway } from './hijack.ts';
import { httpError } from './http-error.ts';

export async function writeAnswer(
  response: ServerResponse,
  answer: Answer,
  signal: AbortSignal,
  upgraded?: Socket,
): Promise<void> {
  if (upgraded && answer.kind !== 'duplex') readAway(upgraded);
  switch (answer.kind) {
    case 'json':
      return writeText(response, answer.status, 'application/json', `${JSON.stringify(answer.body)}\n`);
    case 'text':
      return writeText(response, answer.status, 'text/plain; charset=utf-8', answer.text);
    case 'empty':
      response.writeHead(answer.status, {
        ...answer.headers,
        ...(answer.status !== 204 && { 'content-length': 0 }),
      });
      return endAfterRequest(response);
    case 'stream':
      return writeStream(response, answer, signal);
    case 'duplex':
      return converse(response, answer, signal, upgraded);
  }
}

function writeText(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
  endAfterRequest(response, body);
}

/** How much of a body that nobody wants is read before the connection is cut. */
const MAX_DISCARD = 1024 * 1024 * 1024;

/**
 * The answer goes out at once, but ends only when the client has sent all: if the connection closed, it would see a
 * broken pipe instead of the reason; if the rest stayed unread, it would wait for ever to be rid of it.
 */
function endAfterRequest(response: ServerResponse, body?: string | Uint8Array): void {
  const request = response.req;
  const { 'content-length': length, 'transfer-encoding': encoding, upgrade } = request.headers;
  if (
    upgrade !== undefined ||
    request.readableEnded ||
    request.destroyed ||
    (!Number(length ?? 0) && encoding === undefined)
  ) {
    response.end(body);
    return;
  }
  if (body === undefined) response.flushHeaders();
  else if (request.method !== 'HEAD') response.write(body);
  let size = 0;
  request.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size > MAX_DISCARD) request.destroy();
  });
  request.once('end', () => response.end());
  request.once('error', () => response.destroy());
  request.resume();
}

export function writeError(response: ServerResponse, thrown: unknown): void {
  if (response.destroyed) return;
  const { status, message } = httpError(thrown);
  writeText(response, status, 'application/json', `${JSON.stringify({ message })}\n`);
}

async function writeStream(
  response: ServerResponse,
  answer: StreamAnswer,
  signal: AbortSignal,
): Promise<void> {
  const source = answer.chunks[Symbol.asyncIterator]();
  const head = () => {
    if (response.headersSent) return;
    response.writeHead(200, { ...answer.headers, 'content-type': answer.contentType });
    response.flushHeaders();
  };
  if (answer.eager) head();
  try {
    for (;;) {
      const next = await source.next();
      if (next.done || signal.aborted) break;
      head();
      if (!response.write(next.value)) await once(response, 'drain', { signal });
    }
    head();
    endAfterRequest(response);
  } catch (error) {
    if (signal.aborted || response.destroyed) response.destroy();
    else if (!response.headersSent) writeError(response, error);
    else endAfterRequest(response, answer.failure(httpError(error).message));
  } finally {
    await source.return?.();
  }
}
