import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { SKEIN_VERSION } from '../src/daemon/version.ts';

test('what Skein says of itself is the version of its package', () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  assert.equal(SKEIN_VERSION, version);
});
