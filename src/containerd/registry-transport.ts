/**
 * Requests to one repository of a registry as one user: anonymous, Basic or Bearer, the token kept between requests.
 * What may pass by itself (network, 5xx, 429) is `unavailable`; who asks for content again does so with a backoff.
 *
 * INVARIANT: challenges are answered one at a time, and each token is asked for all that any request has wanted so far: one
 * for less would take from requests at the same time what they have just got.
 */
import type { Clock } from '../kit/clock.ts';
import { KeyedLocks } from '../kit/keyed-locks.ts';
import { SkeinError } from '../model/errors.ts';
import type { Reference } from './reference.ts';
import {
  apiHost,
  basicHeader,
  type Challenge,
  hasPassword,
  isPlainHttp,
  parseChallenge,
  Scopes,
} from './registry-auth.ts';
import type { RegistryAuth } from './runtime.ts';

export interface RegistryOptions {
  readonly insecure: readonly string[];
  readonly fetch: typeof fetch;
  readonly clock: Clock;
}

export interface RegistryRequest {
  readonly method?: 'GET' | 'HEAD' | 'POST' | 'PATCH' | 'PUT';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | AsyncIterable<Uint8Array> | URLSearchParams;
}

export interface RegistryAnswer {
  readonly response: Response;
  /** To be read, or dropped. */
  readonly body: AsyncIterable<Uint8Array>;
  readonly drop: () => void;
}

/** What a refusal of the registry is in words; 401 too where it says that there is nothing to answer it with. */
export type Refuse = (
  status: number,
  text: string,
  scheme: Challenge['scheme'] | undefined,
) => SkeinError | undefined;

/** No answer, or no byte of a body, for so long: the connection is dead. */
const STALL_MS = 30_000;
const MAX_TOKEN = 1024 * 1024;
const MAX_REFUSAL = 64 * 1024;

export class RegistryTransport {
  readonly #options: RegistryOptions;
  readonly #reference: Reference;
  readonly #auth: RegistryAuth | undefined;
  readonly #refuse: Refuse;
  readonly #origin: string;
  readonly #answering = new KeyedLocks<'challenge'>();
  readonly #scopes = new Scopes();
  #authorization: string | undefined;

  constructor(
    options: RegistryOptions,
    reference: Reference,
    auth: RegistryAuth | undefined,
    refuse: Refuse,
  ) {
    this.#options = options;
    this.#reference = reference;
    this.#auth = auth;
    this.#refuse = refuse;
    const scheme = isPlainHttp(reference.domain, options.insecure) ? 'http' : 'https';
    this.#origin = `${scheme}://${apiHost(reference.domain)}`;
    if (auth?.registrytoken) this.#authorization = `Bearer ${auth.registrytoken}`;
  }

  /** A place of the repository: `/manifests/TAG`. */
  url(path: string): string {
    return `${this.#origin}/v2/${this.#reference.path}${path}`;
  }

  /** Throws what a status says that is not among `accept`. A body that is a stream is sent once, without a second try. */
  async request(
    url: string,
    request: RegistryRequest,
    accept: readonly number[],
    signal?: AbortSignal,
  ): Promise<RegistryAnswer> {
    const shown = this.#authorization;
    let answer = await this.#send(url, request, signal);
    if (answer.response.status === 401) {
      const refused = answer;
      await this.#answering.run('challenge', () => this.#answer(refused, shown, signal));
      answer = await this.#send(url, request, signal);
    }
    if (!accept.includes(answer.response.status)) throw await this.#refusal(answer);
    return answer;
  }

  /** Within STALL_MS come the answer and each piece of either body. The token goes to the registry itself alone. */
  async #send(
    url: string,
    { method = 'GET', headers = {}, body }: RegistryRequest,
    signal?: AbortSignal,
    authorization = this.#authorization,
  ): Promise<RegistryAnswer> {
    const stalled = new AbortController();
    let cancel = () => {};
    const { clock } = this.#options;
    const watch = () => {
      cancel();
      cancel = clock.after(STALL_MS, () => stalled.abort(new Error(`no answer within ${STALL_MS / 1000} s`)));
    };
    const failed = (cause: unknown): SkeinError => {
      cancel();
      if (signal?.aborted) return new SkeinError('canceled', 'canceled', { cause });
      const verb = `${method[0]}${method.slice(1).toLowerCase()}`;
      return new SkeinError('unavailable', `${verb} "${url}": ${reason(cause)}`, { cause });
    };
    const watched = async function* (source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
      for await (const chunk of source) {
        watch();
        yield chunk;
      }
    };
    watch();
    try {
      const own = new URL(url).origin === new URL(this.#origin).origin ? authorization : '';
      const response = await this.#options.fetch(url, {
        method,
        headers: { ...(own && { authorization: own }), ...headers },
        signal: signal ? AbortSignal.any([signal, stalled.signal]) : stalled.signal,
        ...(body !== undefined && sent(body, watched)),
      });
      const read = async function* (): AsyncGenerator<Uint8Array> {
        try {
          if (response.body) yield* watched(response.body);
        } catch (cause) {
          throw failed(cause);
        } finally {
          cancel();
        }
      };
      const drop = () => {
        cancel();
        void response.body?.cancel().catch(() => undefined);
      };
      return { response, body: read(), drop };
    } catch (cause) {
      throw failed(cause);
    }
  }

  /** Finds what to send as Authorization after a 401 to what was shown. */
  async #answer(
    answer: RegistryAnswer,
    shown: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const challenge = parseChallenge(answer.response.headers.get('www-authenticate'));
    const auth = this.#auth;
    const wanted = challenge?.params.scope ?? `repository:${this.#reference.path}:pull`;
    // Another request may have found the answer in the meantime.
    const found = this.#authorization !== undefined && this.#authorization !== shown;
    if (found && (challenge?.scheme !== 'bearer' || this.#scopes.has(wanted))) return answer.drop();
    if (challenge?.scheme === 'basic' && hasPassword(auth) && shown === undefined) {
      answer.drop();
      this.#authorization = basicHeader(auth);
      return;
    }
    if (challenge?.scheme === 'bearer' && challenge.params.realm) {
      answer.drop();
      this.#scopes.add(wanted);
      const token = await this.#token(challenge.params, signal);
      if (token) {
        this.#authorization = `Bearer ${token}`;
        return;
      }
    }
    throw await this.#refusal(answer);
  }

  async #token(params: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<string | undefined> {
    const realm = params.realm!;
    const query = new URLSearchParams(params.service ? { service: params.service } : {});
    const scopes = this.#scopes.list();
    const identity = this.#auth?.identitytoken;
    if (!identity) for (const scope of scopes) query.append('scope', scope);
    else {
      query.set('scope', scopes.join(' ')); // OAuth has them in one
      query.set('grant_type', 'refresh_token');
      query.set('refresh_token', identity);
      query.set('client_id', 'skein');
    }
    const asked = identity
      ? await this.#send(realm, { method: 'POST', body: query }, signal, '')
      : await this.#send(
          `${realm}${realm.includes('?') ? '&' : '?'}${query.toString()}`,
          { headers: hasPassword(this.#auth) ? { authorization: basicHeader(this.#auth) } : {} },
          signal,
          '',
        );
    if (!asked.response.ok) throw await this.#refusal(asked);
    const text = Buffer.concat(await collect(asked.body, MAX_TOKEN)).toString();
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

  async #refusal({ response, body }: RegistryAnswer): Promise<SkeinError> {
    const text = Buffer.concat(await collect(body, MAX_REFUSAL).catch(() => [])).toString();
    const challenge = parseChallenge(response.headers.get('www-authenticate'));
    const said = this.#refuse(response.status, text, challenge?.scheme);
    if (said) return said;
    const passing = response.status >= 500 || response.status === 429;
    return new SkeinError(
      passing ? 'unavailable' : 'invalid-argument',
      `unexpected status from ${this.#reference.domain}: ${response.status} ${response.statusText}`,
    );
  }
}

function sent(
  body: NonNullable<RegistryRequest['body']>,
  watched: (source: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>,
): RequestInit {
  if (body instanceof URLSearchParams) return { body };
  if (body instanceof Uint8Array) return { body: new Uint8Array(body) };
  return { body: ReadableStream.from(watched(body)), duplex: 'half' };
}

/** As much of it as there is up to a little over the limit. */
export async function collect(body: AsyncIterable<Uint8Array>, limit: number): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > limit) break;
  }
  return chunks;
}

/** What a name server that says no, or nothing, comes to in words. */
const LOOKUP: Readonly<Record<string, string>> = {
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'no name server answers (temporary failure in name resolution)',
};

/** fetch hides the reason in the cause. */
function reason(thrown: unknown): string {
  const cause = (thrown as { cause?: unknown }).cause ?? thrown;
  const { code = '', hostname } = cause as NodeJS.ErrnoException & { readonly hostname?: string };
  if (Object.hasOwn(LOOKUP, code)) return `lookup ${hostname ?? 'of its name'}: ${LOOKUP[code]}`;
  return cause instanceof Error
    ? cause.message || (cause as NodeJS.ErrnoException).code || cause.name
    : String(cause);
}
