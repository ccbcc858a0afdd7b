/**
 * A small client of the Docker Engine API on a unix socket, for the lab, the demo, the tests and the benchmarks. It
 * knows HTTP and Docker's error form, and no object of the API: callers say what they expect back.
 */
import { Agent, type IncomingMessage, request } from 'node:http';
import { type ErrorCode, SkeinError } from '../model/errors.ts';

export interface CallOptions {
  readonly query?: Readonly<Record<string, string | number | boolean>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON, unless it is bytes. */
  readonly body?: unknown;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface EngineResponse {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

const CODES: Readonly<Record<number, ErrorCode>> = {
  400: 'invalid-argument',
  401: 'unauthenticated',
  403: 'permission-denied',
  404: 'not-found',
  406: 'failed-precondition',
  409: 'already-exists',
  500: 'internal',
  501: 'unimplemented',
  503: 'unavailable',
};

const MAX_BODY = 64 * 1024 * 1024;

export class EngineClient {
  readonly socket: string;
  readonly #agent: Agent | false;

  /** `keepAlive`: one connection for all that is asked one after the other, for who asks often. */
  constructor(socket: string, { keepAlive = false }: { readonly keepAlive?: boolean } = {}) {
    this.socket = socket;
    this.#agent = keepAlive && new Agent({ keepAlive });
  }

  get<T>(path: string, options?: CallOptions): Promise<T> {
    return this.call<T>('GET', path, options);
  }

  post<T>(path: string, body?: unknown, options?: CallOptions): Promise<T> {
    return this.call<T>('POST', path, { ...options, body });
  }

  delete<T = undefined>(path: string, options?: CallOptions): Promise<T> {
    return this.call<T>('DELETE', path, options);
  }

  /** The parsed answer; text where it is not JSON. Docker's error becomes a SkeinError with its message. */
  async call<T>(method: string, path: string, options: CallOptions = {}): Promise<T> {
    const { status, headers, body } = await this.raw(method, path, options);
    const text = body.toString();
    if (status >= 400)
      throw new SkeinError(CODES[status] ?? 'internal', `${method} ${path}: ${messageOf(text, status)}`);
    const json = headers['content-type']?.includes('json') && text !== '';
    return (json ? JSON.parse(text) : text) as T;
  }

  /** The answer as it came, whatever its status. */
  async raw(method: string, path: string, options: CallOptions = {}): Promise<EngineResponse> {
    const response = await this.open(method, path, options);
    const chunks: Buffer[] = [];
    let size = 0;
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        size += chunk.length;
        if (size > MAX_BODY)
          throw new SkeinError('resource-exhausted', `${method} ${path}: answer too large`);
        chunks.push(chunk);
      }
    } catch (error) {
      if (error instanceof SkeinError) throw error;
      const code = options.signal?.aborted ? 'canceled' : 'unavailable';
      throw new SkeinError(code, `${method} ${path}: the answer broke off`, { cause: error });
    }
    return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) };
  }

  /** The answer as a stream, for logs and events. The signal or `timeoutMs` ends it, whole. */
  open(method: string, path: string, options: CallOptions = {}): Promise<IncomingMessage> {
    const { body } = options;
    const payload =
      body === undefined ? undefined : body instanceof Uint8Array ? body : Buffer.from(JSON.stringify(body));
    const headers = {
      ...(payload && {
        'content-type': body instanceof Uint8Array ? 'application/x-tar' : 'application/json',
        'content-length': payload.length,
      }),
      ...options.headers,
    };
    const deadline = AbortSignal.timeout(options.timeoutMs ?? 60_000);
    const signal = options.signal ? AbortSignal.any([options.signal, deadline]) : deadline;
    return new Promise((resolve, reject) => {
      const req = request(
        {
          socketPath: this.socket,
          method,
          path: withQuery(path, options.query),
          headers,
          signal,
          agent: this.#agent,
        },
        resolve,
      );
      req.on('error', (cause) => {
        const late = deadline.aborted && !options.signal?.aborted;
        const code = late ? 'deadline-exceeded' : options.signal?.aborted ? 'canceled' : 'unavailable';
        reject(
          new SkeinError(code, `${method} ${path}: ${late ? 'no answer in time' : cause.message}`, { cause }),
        );
      });
      req.end(payload);
    });
  }

  /** The answer's lines of JSON, as they come. */
  async *lines<T>(method: string, path: string, options: CallOptions = {}): AsyncGenerator<T> {
    const response = await this.open(method, path, options);
    const status = response.statusCode ?? 0;
    let text = '';
    try {
      for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) {
        text += chunk;
        if (text.length > MAX_BODY)
          throw new SkeinError('resource-exhausted', `${method} ${path}: answer too large`);
        if (status >= 400) continue;
        const lines = text.split('\n');
        text = lines.pop()!;
        for (const line of lines) yield JSON.parse(line) as T;
      }
    } catch (error) {
      if (error instanceof SkeinError) throw error;
      const code = options.signal?.aborted ? 'canceled' : 'unavailable';
      throw new SkeinError(code, `${method} ${path}: the answer broke off`, { cause: error });
    }
    if (status >= 400)
      throw new SkeinError(CODES[status] ?? 'internal', `${method} ${path}: ${messageOf(text, status)}`);
  }

  /** True once the API answers. */
  async ping(timeoutMs = 2_000): Promise<boolean> {
    try {
      return (await this.raw('GET', '/_ping', { timeoutMs })).status === 200;
    } catch {
      return false;
    }
  }

  /** Loads an image archive (`docker load`); what the daemon says of it. */
  load(tar: Uint8Array, signal?: AbortSignal): Promise<string> {
    return this.call<string>('POST', '/images/load', {
      query: { quiet: 1 },
      body: tar,
      timeoutMs: 120_000,
      ...(signal && { signal }),
    }).then(String);
  }
}

function withQuery(path: string, query: CallOptions['query']): string {
  if (!query) return path;
  const text = new URLSearchParams(
    Object.entries(query).map(([k, v]): [string, string] => [k, String(v)]),
  ).toString();
  return text === '' ? path : `${path}?${text}`;
}

function messageOf(text: string, status: number): string {
  try {
    const { message } = JSON.parse(text) as { message?: string };
    if (message) return message;
  } catch {
    // not Docker's form; shown as it is
  }
  return `HTTP ${status} ${text.slice(0, 500)}`;
}
