/** Image references by the grammar of the docker CLI: `[domain/]path[:tag][@digest]`, short names normalized. Pure. */
import { SkeinError } from '../model/errors.ts';

export interface Reference {
  /** Registry host, with port where one is given: `docker.io`, `127.0.0.1:5000`. */
  readonly domain: string;
  /** Repository path in the registry: `library/nginx`. */
  readonly path: string;
  readonly tag: string | undefined;
  readonly digest: string | undefined;
}

const DOMAIN_COMPONENT = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const DOMAIN = new RegExp(
  `^(?:${DOMAIN_COMPONENT}(?:\\.${DOMAIN_COMPONENT})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$`,
);
const PATH = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^\w[\w.-]{0,127}$/;
const DIGEST = /^[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}$/;
const SHA256 = /^sha256:[0-9a-f]{64}$/;
const ID = /^[0-9a-f]{64}$/;
const NAME_LIMIT = 255;

const isDigest = (text: string): boolean => SHA256.test(text);

const bad = (why = 'invalid reference format'): SkeinError => new SkeinError('invalid-argument', why);

/** Splits what is before the first slash off as the domain, if it looks like one; short names are docker.io's. */
function splitDomain(name: string): { domain: string; path: string } {
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  const isDomain = /[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase();
  const domain = isDomain ? first : 'docker.io';
  const path = isDomain ? name.slice(slash + 1) : name;
  if (domain === 'docker.io' || domain === 'index.docker.io')
    return { domain: 'docker.io', path: path.includes('/') ? path : `library/${path}` };
  return { domain, path };
}

/** Without a tag and digest the tag is `latest`. Throws `invalid-argument` in Docker's words. */
export function parseReference(text: string): Reference {
  if (ID.test(text))
    throw bad(`invalid repository name (${text}), cannot specify 64-byte hexadecimal strings`);
  const at = text.indexOf('@');
  const digest = at < 0 ? undefined : text.slice(at + 1);
  const named = at < 0 ? text : text.slice(0, at);
  const colon = named.lastIndexOf(':');
  const hasTag = colon > named.lastIndexOf('/');
  const tag = hasTag ? named.slice(colon + 1) : digest === undefined ? 'latest' : undefined;
  const { domain, path } = splitDomain(hasTag ? named.slice(0, colon) : named);
  if (path !== path.toLowerCase())
    throw bad(`invalid reference format: repository name (${path}) must be lowercase`);
  if (!DOMAIN.test(domain) || !PATH.test(path)) throw bad();
  if (tag !== undefined && !TAG.test(tag)) throw bad();
  if (digest !== undefined && !DIGEST.test(digest)) throw bad();
  if (digest !== undefined && !isDigest(digest)) throw bad('unsupported digest algorithm');
  if (`${domain}/${path}`.length > NAME_LIMIT)
    throw bad(`repository name must not be more than ${NAME_LIMIT} characters`);
  return { domain, path, tag, digest };
}

/** The name as containerd's image store has it, in full. A digest wins over a tag beside it, as in Docker. */
export const fullName = (r: Reference): string =>
  `${r.domain}/${r.path}${r.digest === undefined ? `:${r.tag}` : `@${r.digest}`}`;

/** The repository as a person writes it: without `docker.io/` and `library/`. */
export function familiarRepository(r: Reference): string {
  if (r.domain !== 'docker.io') return `${r.domain}/${r.path}`;
  return r.path.startsWith('library/') ? r.path.slice('library/'.length) : r.path;
}

/** The reference as a person writes it, tag included. */
export const familiarName = (r: Reference): string =>
  `${familiarRepository(r)}${r.digest === undefined ? `:${r.tag}` : `@${r.digest}`}`;

/** In full, without tag and digest. */
export const repositoryOf = ({ domain, path }: Reference): string => `${domain}/${path}`;

/** Nothing but a repository was said: not a tag, nor a digest. */
export const isNameOnly = (text: string): boolean =>
  !text.includes('@') && text.lastIndexOf(':') <= text.lastIndexOf('/');
