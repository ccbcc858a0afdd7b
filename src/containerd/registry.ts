/** The registry's HTTP API (OCI distribution): what is read for a pull; what is written is in registry-upload.ts. */
import { SkeinError } from '../model/errors.ts';
import { MEDIA, sha256 } from './image-format.ts';
import { familiarName, familiarRepository, type Reference } from './reference.ts';
import { collect, type Refuse, type RegistryOptions, RegistryTransport } from './registry-transport.ts';
import { RegistryUpload } from './registry-upload.ts';
import type { RegistryAuth } from './runtime.ts';

export interface RemoteManifest {
  readonly bytes: Buffer;
  readonly mediaType: string;
  readonly digest: string;
}

const MAX_MANIFEST = 4 * 1024 * 1024;
const MAX_TAGS = 4 * 1024 * 1024;
/** Tags of one repository, and pages of them, that are listed at most. */
const TAG_PAGES = 100;
const ACCEPT = [MEDIA.ociIndex, MEDIA.dockerList, MEDIA.ociManifest, MEDIA.dockerManifest, '*/*'].join(', ');
const OK = [200];

export class RegistryClient {
  readonly #options: RegistryOptions;

  constructor(options: RegistryOptions) {
    this.#options = options;
  }

  /** One repository as one user. */
  session(reference: Reference, auth: RegistryAuth | undefined): RegistrySession {
    return new RegistrySession(new RegistryTransport(this.#options, reference, auth, pullRefusal(reference)));
  }

  upload(reference: Reference, auth: RegistryAuth | undefined): RegistryUpload {
    return new RegistryUpload(this.#options, reference, auth);
  }
}

export class RegistrySession {
  readonly #transport: RegistryTransport;

  constructor(transport: RegistryTransport) {
    this.#transport = transport;
  }

  /** By tag or digest; what comes is verified against a digest that was asked for. */
  async manifest(tagOrDigest: string, signal?: AbortSignal): Promise<RemoteManifest> {
    const url = this.#transport.url(`/manifests/${tagOrDigest}`);
    const { response, body } = await this.#transport.request(
      url,
      { headers: { accept: ACCEPT } },
      OK,
      signal,
    );
    const bytes = Buffer.concat(await collect(body, MAX_MANIFEST));
    if (bytes.length > MAX_MANIFEST) throw new SkeinError('invalid-argument', 'manifest is too large');
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
    const headers: Record<string, string> = offset > 0 ? { range: `bytes=${offset}-` } : {};
    const url = this.#transport.url(`/blobs/${digest}`);
    const { response, body } = await this.#transport.request(url, { headers }, [200, 206], signal);
    return { start: response.status === 206 ? offset : 0, body };
  }

  async tags(signal?: AbortSignal): Promise<readonly string[]> {
    const first = this.#transport.url('/tags/list');
    const tags: string[] = [];
    for (let [url, pages]: [string | undefined, number] = [first, 0]; url; pages++) {
      if (pages === TAG_PAGES) throw new SkeinError('resource-exhausted', 'the repository has too many tags');
      const { response, body } = await this.#transport.request(url, {}, OK, signal);
      tags.push(...parseTags(Buffer.concat(await collect(body, MAX_TAGS)).toString()));
      const next = /<([^>]+)>\s*;\s*rel="?next"?/.exec(response.headers.get('link') ?? '')?.[1];
      url = next === undefined ? undefined : new URL(next, first).href;
    }
    return tags;
  }
}

function parseTags(text: string): readonly string[] {
  try {
    const { tags } = JSON.parse(text) as { tags?: unknown };
    return Array.isArray(tags) ? tags.filter((tag): tag is string => typeof tag === 'string') : [];
  } catch (cause) {
    throw new SkeinError('unavailable', 'the registry gave no list of tags', { cause });
  }
}

/** In Docker's words. */
const pullRefusal =
  (reference: Reference): Refuse =>
  (status, text) => {
    const denied = `pull access denied for ${familiarRepository(reference)}, repository does not exist or may require 'docker login'`;
    if (status === 401) return new SkeinError('unauthenticated', denied);
    if (status === 403) return new SkeinError('permission-denied', denied);
    if (status !== 404) return undefined;
    return new SkeinError(
      'not-found',
      text.includes('NAME_UNKNOWN')
        ? denied
        : `manifest for ${familiarName(reference)} not found: manifest unknown: manifest unknown`,
    );
  };
