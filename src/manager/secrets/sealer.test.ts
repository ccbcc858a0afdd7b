import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SecretId } from '../../model/ids.ts';
import { newSecretsKey, Sealer } from './sealer.ts';

let next = 0;
const random = (length: number) => new Uint8Array(length).fill(++next);
const [a, b] = ['a', 'b'] as SecretId[] as [SecretId, SecretId];

function sealer(key = newSecretsKey(random)): Sealer {
  const made = new Sealer(random);
  made.unlock(key);
  return made;
}

test('what is sealed opens with the same key, for the same secret only', () => {
  const key = newSecretsKey(random);
  const text = sealer(key).seal(a, Buffer.from('xyzzy'));
  assert.ok(!text.includes('xyzzy') && !text.includes(Buffer.from('xyzzy').toString('base64')));
  assert.equal(sealer(key).open(a, text).toString(), 'xyzzy');
  assert.throws(() => sealer(key).open(b, text), /secret b does not open/);
  assert.throws(() => sealer().open(a, text), /does not open with this manager's key/);
});

test('a changed byte is noticed, and no two seals are alike', () => {
  const s = sealer();
  const text = s.seal(a, Buffer.from('xyzzy'));
  const bytes = Buffer.from(text.split('.')[2]!, 'base64');
  bytes[0]! ^= 1;
  const changed = [...text.split('.').slice(0, 2), bytes.toString('base64')].join('.');
  assert.throws(() => s.open(a, changed), /does not open/);
  assert.notEqual(s.seal(a, Buffer.from('xyzzy')), text);
});

test('without a key it is locked, and says so', () => {
  assert.throws(() => new Sealer(random).seal(a, Buffer.from('x')), /secrets are locked/);
  assert.throws(() => new Sealer(random).unlock('c2hvcnQ='), /damaged/);
});
