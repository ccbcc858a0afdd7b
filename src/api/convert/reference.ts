/** Image references between the long form clients send and the short one people read. */
export interface Reference {
  /** `busybox`, `registry:5000/a/b`: as Docker shows it. */
  readonly familiar: string;
  /** `library/busybox`, `a/b`: without the registry. */
  readonly path: string;
  readonly tag: string | undefined;
  readonly digest: string | undefined;
}

export function parseReference(text: string): Reference {
  const [named = '', digest] = text.split('@');
  const colon = named.lastIndexOf(':');
  const tagged = colon > named.lastIndexOf('/');
  const name = tagged ? named.slice(0, colon) : named;
  const familiar = name.replace(/^(index\.)?docker\.io\//, '').replace(/^library\//, '');
  const slash = familiar.indexOf('/');
  const first = familiar.slice(0, Math.max(0, slash));
  const registry = first.includes('.') || first.includes(':') || first === 'localhost';
  const path = registry ? familiar.slice(slash + 1) : slash < 0 ? `library/${familiar}` : familiar;
  return { familiar, path, tag: tagged ? named.slice(colon + 1) : undefined, digest };
}

/** With the registry, as Docker names a repository that it pushes to. */
export const fullRepository = ({ familiar, path }: Reference): string =>
  familiar.endsWith(`/${path}`) ? familiar : `docker.io/${path}`;

/** `fromImage` and `tag` of a pull; the tag may be a digest. Without either, latest. */
export function pullReference(image: string, tag: string): Reference & { readonly full: string } {
  const given = parseReference(image);
  const asDigest = tag.includes(':') ? tag : given.digest;
  const asTag = asDigest ? undefined : tag || given.tag || 'latest';
  const full = asDigest ? `${given.familiar}@${asDigest}` : `${given.familiar}:${asTag}`;
  return { ...given, tag: asTag, digest: asDigest, full };
}

const NAME =
  /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::\d+)?\/)?[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^\w[\w.-]{0,127}$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;

export const isValidReference = ({ familiar, tag, digest }: Reference): boolean =>
  familiar.length <= 255 &&
  NAME.test(familiar) &&
  (tag === undefined || TAG.test(tag)) &&
  (digest === undefined || DIGEST.test(digest));
