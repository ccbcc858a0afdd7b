/** Join tokens, `SWMTKN-1-<digest of the root>-<secret>`: the joiner knows by it which cluster it may trust. */
import { createHash } from 'node:crypto';
import { SkeinError } from '../model/errors.ts';
import type { RandomBytes } from '../model/ids.ts';

const DIGEST_LENGTH = 50;
const SECRET_LENGTH = 25;
const FORM = /^SWMTKN-1-([0-9a-z]{50})-([0-9a-z]{25})$/;

const base36 = (bytes: Uint8Array, length: number): string =>
  BigInt(`0x${Buffer.from(bytes).toString('hex')}`)
    .toString(36)
    .padStart(length, '0')
    .slice(-length);

/** 50 characters of base 36: the SHA-256 of the root's PEM. */
export const rootDigest = (pem: string): string =>
  base36(createHash('sha256').update(pem).digest(), DIGEST_LENGTH);

export const newJoinToken = (rootPem: string, random: RandomBytes): string =>
  `SWMTKN-1-${rootDigest(rootPem)}-${base36(random(16), SECRET_LENGTH)}`;

export function digestInToken(token: string): string {
  const digest = FORM.exec(token)?.[1];
  if (digest === undefined) throw new SkeinError('invalid-argument', 'invalid join token');
  return digest;
}

/** Refuses a root that the token does not vouch for: somebody else answers at that address. */
export function checkRoot(token: string, rootPem: string): void {
  const [expected, actual] = [digestInToken(token), rootDigest(rootPem)];
  if (expected !== actual)
    throw new SkeinError(
      'failed-precondition',
      `remote CA does not match fingerprint. Expected: ${expected}, got: ${actual}`,
    );
}
