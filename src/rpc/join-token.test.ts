import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { checkRoot, digestInToken, newJoinToken, rootDigest } from './join-token.ts';

test('a token vouches for the root it was made for, and for no other', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), fc.uint8Array({ minLength: 16, maxLength: 16 }), (a, b, bytes) => {
      const token = newJoinToken(a, () => bytes);
      assert.match(token, /^SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$/);
      assert.equal(digestInToken(token), rootDigest(a));
      checkRoot(token, a);
      if (a !== b) assert.throws(() => checkRoot(token, b), /remote CA does not match fingerprint/);
    }),
  );
});

test('what is no token is refused', () => {
  const [digest, secret] = ['a'.repeat(50), 'b'.repeat(25)];
  for (const text of [
    ...['', 'SWMTKN-1-abc-def', `SWMTKN-2-${digest}-${secret}`],
    ...[`SWMTKN-1-${digest}-${secret.slice(1)}`, `SWMTKN-1-${digest}-${secret}b`],
  ])
    assert.throws(() => digestInToken(text), { code: 'invalid-argument', message: 'invalid join token' });
});
