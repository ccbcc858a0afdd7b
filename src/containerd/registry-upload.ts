/** The registry's HTTP API (OCI distribution), write side: blobs that it lacks, then the manifest that names them. */
import { isCode, SkeinError } from '../model/errors.ts';
import type { Descriptor } from './image-format.ts';
import type { Reference } from './reference.ts';
import { type Refuse, type RegistryOptions, RegistryTransport } from './registry-transport.ts';
import type { RegistryAuth } from './runtime.ts';

const STREAM = { 'content-type': 'application/octet-stream' };

export class RegistryUpload {
  readonly #transport: RegistryTransport;

  constructor(options: RegistryOptions, reference: Reference, auth: RegistryAuth | undefined) {
    this.#transport = new RegistryTransport(options, reference, auth, pushRefusal(auth));
  }

  async has(digest: string, signal: AbortSignal): Promise<boolean> {
    const url = this.#transport.url(`/blobs/${digest}`);
    const { response, drop } = await this.#transport.request(url, { method: 'HEAD' }, [200, 404], signal);
    drop();
    return response.status === 200;
  }

  /**
   * Where to send a blob; undefined: the registry has taken it from `from`, another of its repositories, which is only
   * an offer that it may decline, also because this user may not read there.
   */
  async begin(digest: string, from: string | undefined, signal: AbortSignal): Promise<string | undefined> {
    try {
      return await this.#begin(digest, from, signal);
    } catch (error) {
      if (from === undefined || !isCode(error, 'unauthenticated', 'permission-denied')) throw error;
      return this.#begin(digest, undefined, signal);
    }
  }

  async #begin(digest: string, from: string | undefined, signal: AbortSignal): Promise<string | undefined> {
    const query = from === undefined ? '' : `?${new URLSearchParams({ mount: digest, from }).toString()}`;
    const url = this.#transport.url(`/blobs/uploads/${query}`);
    const { response, drop } = await this.#transport.request(url, { method: 'POST' }, [201, 202], signal);
    drop();
    return response.status === 201 ? undefined : placeOf(response, url);
  }

  async send(
    place: string,
    digest: string,
    content: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<void> {
    const patch = { method: 'PATCH', headers: STREAM, body: content } as const;
    const sent = await this.#transport.request(place, patch, [202], signal);
    sent.drop();
    const end = new URL(placeOf(sent.response, place));
    end.searchParams.set('digest', digest);
    (await this.#transport.request(end.href, { method: 'PUT' }, [201], signal)).drop();
  }

  async manifest(
    tag: string,
    { mediaType }: Descriptor,
    bytes: Uint8Array,
    signal: AbortSignal,
  ): Promise<void> {
    const put = { method: 'PUT', headers: { 'content-type': mediaType }, body: bytes } as const;
    const url = this.#transport.url(`/manifests/${tag}`);
    (await this.#transport.request(url, put, [201], signal)).drop();
  }
}

function placeOf(response: Response, from: string): string {
  const place = response.headers.get('location');
  if (place === null) throw new SkeinError('unavailable', 'the registry did not say where to send a blob');
  return new URL(place, from).href;
}

/** What the registry says, as Docker passes it on: `denied: requested access to the resource is denied`. */
const pushRefusal =
  (auth: RegistryAuth | undefined): Refuse =>
  (status, text, scheme) => {
    const anonymous = ![auth?.username, auth?.identitytoken, auth?.registrytoken].some(Boolean);
    if (status === 401 && anonymous && scheme === 'basic')
      return new SkeinError('unauthenticated', 'no basic auth credentials');
    const said = firstError(text);
    if (status === 401)
      return new SkeinError('unauthenticated', said ?? 'unauthorized: authentication required');
    if (status === 403)
      return new SkeinError(
        'permission-denied',
        said ?? 'denied: requested access to the resource is denied',
      );
    return said !== undefined && status < 500 && status !== 429
      ? new SkeinError('invalid-argument', said)
      : undefined;
  };

function firstError(text: string): string | undefined {
  try {
    const { errors } = JSON.parse(text) as { errors?: { code?: unknown; message?: unknown }[] };
    const { code, message } = errors?.[0] ?? {};
    if (typeof code !== 'string' || typeof message !== 'string') return undefined;
    return `${code.toLowerCase().replaceAll('_', ' ')}: ${message}`;
  } catch {
    return undefined;
  }
}
