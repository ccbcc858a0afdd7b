import assert from 'node:assert/strict';
import { test } from 'node:test';
import { goMode } from './file-mode.ts';

test('modes as Go has them', () => {
  assert.equal(goMode(0o100644), 0o644);
  assert.equal(goMode(0o40755), 0x80000000 + 0o755);
  assert.equal(goMode(0o41777), 0x80000000 + 0x100000 + 0o777);
  assert.equal(goMode(0o120777), 0x8000000 + 0o777);
  assert.equal(goMode(0o104755), 0x800000 + 0o755);
  assert.equal(goMode(0o20666), 0x4000000 + 0x200000 + 0o666);
});
