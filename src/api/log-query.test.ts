import assert from 'node:assert/strict';
import { test } from 'node:test';
import { logTime } from './log-query.ts';

test('times of log queries', () => {
  for (const [given, wanted] of [
    ['', undefined],
    ['0', undefined],
    ['1795444687', '2026-11-23T14:38:07.000000000Z'],
    ['1795444687.25', '2026-11-23T14:38:07.250000000Z'],
    ['2026-11-23T14:38:07Z', '2026-11-23T14:38:07.000Z'],
    ['2026-11-23T15:38:07+01:00', '2026-11-23T14:38:07.000Z'],
  ] as const)
    assert.equal(logTime('since', given), wanted, given);
  for (const bad of ['x', '10m', '-5', '99999999999999'])
    assert.throws(() => logTime('since', bad), { code: 'invalid-argument' }, bad);
});
