/**
 * The registry's HTTP API (OCI distribution), read side: manifests and blobs, anonymous, Basic or Bearer. What may
 * pass by itself (network, 5xx, 429) is `unavailable`; who asks for content again does so with a backoff.
 */
import type { Clock } from '../kit/clock.ts';
import { type ErrorCode, SkeinError } from '../model/errors.ts';
import { MEDIA, sha256 } from './image-format.ts';
import { familiarName, familiarRepository, type Reference } from './reference.ts';
import { apiHost, basicHeader, hasPassword, isPlainHttp, parseChallenge } from './registry-auth.ts';
import type { RegistryAuth } from './runtime.ts';

export interface RegistryOptions {
  readonly insecure: readonly string[];
  readonly fetch: typeof fetch;
  readonly clock: Clock;
}

export interface RemoteManifest {
  readonly bytes: Buffer;
  readonly mediaType: string;
  readonly digest: string;
}

const MAX_MANIFEST = 4 * 1024 * 1024;
/** No answer, or no byte of a body, for so long: the connection is dead. */
const STALL_MS = 30_000;
const ACCEPT = [MEDIA.ociIndex, MEDIA.dockerList, MEDIA.ociManifest, MEDIA.dockerManifest, '*/*'].join(', ');

export class RegistryClient {
  readonly #options: RegistryOptions;

  constructor(options: RegistryOptions) {
    this.#options = options;
  }

  /** One repository as one user: holds the token between requests. */
  session(reference: Reference, auth: RegistryAuth | undefined): RegistrySession {
    return new RegistrySession(this.#options, reference, auth);
  }
}

export class RegistrySession {
  readonly #options: RegistryOptions;
  readonly #reference: Reference;
  readonly #auth: RegistryAuth | undefined;
  readonly #base: string;
  #authorization: string | undefined;

  constructor(options: RegistryOptions, reference: Reference, auth: RegistryAuth | undefined) {
    this.#options = options;
    this.#reference = reference;
    this.#auth = auth;
    const scheme = isPlainHttp(reference.domain, options.insecure) ? 'http' : 'https';
    this.#base = `${scheme}://${apiHost(reference.domain)}/v2/${reference.path}`;
    if (auth?.registrytoken) this.#authorization = `Bearer ${auth.registrytoken}`;
  }

  /** By tag or digest; what comes is verified against a digest that was asked for. */
  async manifest(tagOrDigest: string, signal?: AbortSignal): Promise<RemoteManifest> {
    const { response, body } = await this.#get(`/manifests/${tagOrDigest}`, { accept: ACCEPT }, signal);
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of body) {
      size += chunk.length;
      if (size > MAX_MANIFEST) throw new SkeinError('invalid-argument', 'manifest is too large');
      chunks.push(chunk);
    }
    const bytes = Buffer.concat(chunks);
    const digest = sha256(bytes);
    const expected = tagOrDigest.startsWith('sha256:')
      ? tagOrDigest
      : response.headers.get('docker-content-digest');
    if (expected?.startsWith('sha256:') && expected !== digest)
      throw new SkeinError('unavailable', `manifest verification failed for digest ${expected}`);
    return { bytes, digest, mediaType: response.headers.get('content-type')?.split(';')[0] ?? '' };
  }

  /** From `offset` on; `start` says where the registry really begins, which is 0 where it cannot skip. */
  async blob(
    digest: string,
    offset: number,
    signal?: AbortSignal,
  ): Promise<{ start: number; body: AsyncIterable<Uint8Array> }> {
    const range: Record<string, string> = offset > 0 ? { range: `bytes=${offset}-` } : {};
    const { response, body } = await this.#get(`/blobs/${digest}`, range, signal);
    return { start: response.status === 206 ? offset : 0, body };
  }

  async #get(path: string, headers: Record<string, string>, signal: AbortSignal | undefined) {
    let answer = await this.#fetch(`${this.#base}${path}`, headers, signal);
    if (answer.response.status === 401) {
      answer.drop();
      this.#authorization = await this.#answer(answer.response, signal);
      answer = await this.#fetch(`${this.#base}${path}`, headers, signal);
    }
    if (!answer.response.ok) throw await this.#refusal(answer.response, answer.body);
    return answer;
  }

  /** A request whose answer, and each piece of its body, must come within STALL_MS. */
  async #fetch(url: string, headers: Record<string, string>, signal?: AbortSignal, init: RequestInit = {}) {
    const stalled = new AbortController();
    let cancel = () => {};
    const { clock } = this.#options;
    const watch = () => {
      cancel();
      cancel = clock.after(STALL_MS, () => stalled.abort(new Error(`no answer within ${STALL_MS / 1000} s`)));
    };
    const failed = (cause: unknown): SkeinError => {
      cancel();
      if (signal?.aborted) return new SkeinError('canceled', 'pull canceled', { cause });
      return new SkeinError('unavailable', `Get "${url}": ${reason(cause)}`, { cause });
    };
    watch();
    try {
      const authorization = this.#authorization;
      const response = await this.#options.fetch(url, {
        headers: { ...headers, ...(authorization && { authorization }) },
        signal: signal ? AbortSignal.any([signal, stalled.signal]) : stalled.signal,
        ...init,
      });
      const body = (async function* (): AsyncGenerator<Uint8Array> {
        try {
          for await (const chunk of response.body ?? []) {
            watch();
            yield chunk;
          }
        } catch (cause) {
          throw failed(cause);
        } finally {
          cancel();
        }
      })();
      const drop = () => {
        cancel();
        void response.body?.cancel().catch(() => undefined);
      };
      return { response, body, drop };
    } catch (cause) {
      throw failed(cause);
    }
  }

  /** What to send as Authorization after a 401. */
  async #answer(response: Response, signal: AbortSignal | undefined): Promise<string> {
    const challenge = parseChallenge(response.headers.get('www-authenticate'));
    if (challenge?.scheme === 'basic' && hasPassword(this.#auth) && this.#authorization === undefined)
      return basicHeader(this.#auth);
    if (challenge?.scheme === 'bearer' && challenge.params.realm) {
      const token = await this.#token(challenge.params, signal);
      if (token) return `Bearer ${token}`;
    }
    throw this.#denied('unauthenticated');
  }

  async #token(params: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<string | undefined> {
    const scope = params.scope ?? `repository:${this.#reference.path}:pull`;
    const query = new URLSearchParams({ scope, ...(params.service && { service: params.service }) });
    this.#authorization = undefined;
    const identity = this.#auth?.identitytoken;
    if (identity) {
      query.set('grant_type', 'refresh_token');
      query.set('refresh_token', identity);
      query.set('client_id', 'skein');
    }
    const url = identity ? params.realm! : `${params.realm}?${query.toString()}`;
    const headers: Record<string, string> =
      hasPassword(this.#auth) && !identity ? { authorization: basicHeader(this.#auth) } : {};
    const { response, body, drop } = await this.#fetch(
      url,
      headers,
      signal,
      identity ? { method: 'POST', body: query } : {},
    );
    if (response.status === 401 || response.status === 403) {
      drop();
      throw this.#denied('unauthenticated');
    }
    if (!response.ok) throw await this.#refusal(response, body);
    const text = Buffer.concat(await collect(body, MAX_MANIFEST)).toString();
    try {
      const { token, access_token: access } = JSON.parse(text) as { token?: string; access_token?: string };
      return token ?? access;
    } catch (cause) {
      throw new SkeinError(
        'unavailable',
        `the token service of ${this.#reference.domain} did not give a token`,
        { cause },
      );
    }
  }

  #denied(code: ErrorCode): SkeinError {
    return new SkeinError(
      code,
      `pull access denied for ${familiarRepository(this.#reference)}, repository does not exist or may require 'docker login'`,
    );
  }

  async #refusal(response: Response, body: AsyncIterable<Uint8Array>): Promise<SkeinError> {
    const text = Buffer.concat(await collect(body, 64 * 1024).catch(() => [])).toString();
    if (response.status === 401) return this.#denied('unauthenticated');
    if (response.status === 403) return this.#denied('permission-denied');
    if (response.status === 404)
      return new SkeinError(
        'not-found',
        text.includes('NAME_UNKNOWN')
          ? this.#denied('not-found').message
          : `manifest for ${familiarName(this.#reference)} not found: manifest unknown: manifest unknown`,
      );
    const passing = response.status >= 500 || response.status === 429;
    return new SkeinError(
      passing ? 'unavailable' : 'invalid-argument',
      `unexpected status from ${this.#reference.domain}: ${response.status} ${response.statusText}`,
    );
  }
}

async function collect(body: AsyncIterable<Uint8Array>, limit: number): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > limit) break;
  }
  return chunks;
}

/** fetch hides the reason in the cause. */
function reason(thrown: unknown): string {
  const cause = (thrown as { cause?: unknown }).cause ?? thrown;
  return cause instanceof Error
    ? cause.message || (cause as NodeJS.ErrnoException).code || cause.name
    : String(cause);
}
