/**
 * Where things are in etcd. All of it lies under one prefix, so that a watch of the prefix sees every revision.
 *
 *     /skein/<kind>/<id>         JSON of the object
 *     /skein/name/<kind>/<name>  id of the object that has the name
 *     /skein/election/<key>      who leads, held by a lease
 */
import { type Kind, KINDS } from '../../model/objects.ts';

export const PREFIX = '/skein/';

const KIND_SET: ReadonlySet<string> = new Set(KINDS);

export const toBytes = (text: string): Uint8Array => Buffer.from(text);
export const toText = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString();

export const objectKey = (kind: Kind, id: string): string => `${PREFIX}${kind}/${id}`;
export const kindPrefix = (kind: Kind): string => `${PREFIX}${kind}/`;
export const nameKey = (kind: Kind, name: string): string => `${PREFIX}name/${kind}/${name}`;
export const electionKey = (key: string): string => `${PREFIX}election/${key}`;

/** First key after all that start with `prefix`, for range requests. */
export function prefixEnd(prefix: string): Uint8Array {
  const bytes = Buffer.from(prefix);
  bytes[bytes.length - 1]! += 1; // prefixes end in '/': no carry
  return bytes;
}

/** Kind and id of an object's key; undefined for the other keys. */
export function parseObjectKey(key: Uint8Array): { readonly kind: Kind; readonly id: string } | undefined {
  const [kind = '', ...id] = toText(key).slice(PREFIX.length).split('/');
  return KIND_SET.has(kind) ? { kind: kind as Kind, id: id.join('/') } : undefined;
}
