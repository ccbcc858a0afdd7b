import assert from 'node:assert/strict';
import { test } from 'node:test';
import { missingOnHost, renderMissing } from './requirements.ts';

test('what is missing says what, why and how', () => {
  assert.equal(
    renderMissing([
      { what: 'the program nft', why: 'it holds the routing mesh', how: 'apt-get install nftables' },
    ]),
    'missing: the program nft\n  needed because it holds the routing mesh\n  to get it: apt-get install nftables',
  );
});

test('without root that is the one thing said', async (t) => {
  t.mock.method(process as Required<Pick<NodeJS.Process, 'getuid'>>, 'getuid', () => 65_534);
  assert.deepEqual(
    (await missingOnHost()).map(({ what }) => what),
    ['root'],
  );
});
