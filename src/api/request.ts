/** One request as handlers see it: parsed query, bounded body, and a signal that ends with the client. */
import type { IncomingHttpHeaders } from 'node:http';
import type { z } from 'zod';
import type { RegistryAuth } from '../containerd/runtime.ts';
import type { Clock } from '../kit/clock.ts';
import { SkeinError } from '../model/errors.ts';
import type { Backends, ClusterBackend } from './backend.ts';
import { LOCKED, NOT_IN_SWARM, STARTING, WORKER, invalid } from './http-error.ts';
import { parseBody } from './normalize.ts';

/** Docker has no limit; a config may have 1000 KiB, which is 1.4 MB in base64. */
export const MAX_BODY = 8 * 1024 * 1024;

export interface RawRequest {
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly version: string;
  readonly body: AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal;
}

export class ApiRequest {
  readonly backends: Backends;
  readonly clock: Clock;
  readonly version: string;
  readonly signal: AbortSignal;
  /** The body as it comes, unbounded: image archives. */
  readonly stream: AsyncIterable<Uint8Array>;
  readonly #raw: RawRequest;

  constructor(backends: Backends, clock: Clock, raw: RawRequest) {
    this.backends = backends;
    this.clock = clock;
    this.version = raw.version;
    this.signal = raw.signal;
    this.stream = raw.body;
    this.#raw = raw;
  }

  param(name: string): string {
    return this.#raw.params[name] ?? '';
  }

  text(name: string): string {
    return this.#raw.query.get(name) ?? '';
  }

  /** All values of a name that is given several times. */
  texts(name: string): readonly string[] {
    return this.#raw.query.getAll(name);
  }

  /** Docker's BoolValue: everything but empty, 0, no, false and none is true. */
  flag(name: string, otherwise = false): boolean {
    const value = this.#raw.query.get(name);
    if (value === null) return otherwise;
    return !['', '0', 'no', 'false', 'none'].includes(value.trim().toLowerCase());
  }

  /** The object version that an update must name. */
  objectVersion(kind: string): number {
    const value = this.text('version');
    if (!/^\d{1,16}$/.test(value)) throw invalid(`invalid ${kind} version '${value}': not a number`);
    return Number(value);
  }

  header(name: string): string | undefined {
    const value = this.#raw.headers[name];
    return Array.isArray(value) ? value[0] : value;
  }

  async json<T>(schema: z.ZodType<T>): Promise<T> {
    const type = (this.header('content-type') ?? '').split(';')[0]!.trim().toLowerCase();
    if (type !== '' && type !== 'application/json')
      throw invalid(`unsupported Content-Type header (${type}): must be 'application/json'`);
    return parseBody(schema, await this.#bounded());
  }

  async #bounded(): Promise<string> {
    const tooLarge = new SkeinError(
      'resource-exhausted',
      `request body too large: the limit is ${MAX_BODY} bytes`,
    );
    if (Number(this.header('content-length') ?? 0) > MAX_BODY) throw tooLarge;
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of this.stream) {
      size += chunk.length;
      if (size > MAX_BODY) throw tooLarge;
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString('utf8');
  }

  cluster(): ClusterBackend {
    const cluster = this.backends.cluster();
    if (cluster) return cluster;
    const { state } = this.backends.swarm.state();
    if (this.backends.role() === 'manager') throw new SkeinError('unavailable', STARTING);
    const words = state === 'active' ? WORKER : state === 'locked' ? LOCKED : NOT_IN_SWARM;
    throw new SkeinError('unavailable', words);
  }

  /** `X-Registry-Auth` as it came; some clients send base64 of what is no credential. */
  registryAuth(): { readonly raw: string | undefined; readonly auth: RegistryAuth | undefined } {
    const raw = this.header('x-registry-auth');
    return { raw: raw || undefined, auth: raw ? decodeAuth(raw) : undefined };
  }
}

const FIELDS = ['username', 'password', 'identitytoken', 'registrytoken', 'serveraddress'] as const;

/** Tolerant: garbage and `{}` mean no credential. */
function decodeAuth(header: string): RegistryAuth | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(header, 'base64').toString('utf8'));
    if (typeof value !== 'object' || value === null) return undefined;
    const given = new Map(Object.entries(value).map(([key, v]) => [key.toLowerCase(), v as unknown]));
    const known = FIELDS.flatMap((key) => {
      const field = given.get(key);
      return typeof field === 'string' && field !== '' ? [[key, field] as const] : [];
    });
    return known.length > 0 ? Object.fromEntries(known) : undefined;
  } catch {
    return undefined;
  }
}
