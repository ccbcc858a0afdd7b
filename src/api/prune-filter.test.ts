import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createContext, runInContext } from 'node:vm';
import { timeBefore } from './prune-filter.ts';

const NOW = Date.parse('2026-11-26T12:00:00Z');

test('a duration goes back from now, a time is itself', () => {
  for (const [text, expected] of [
    ['24h', '2026-11-25T12:00:00.000Z'],
    ['1h30m', '2026-11-26T10:30:00.000Z'],
    ['1.5s500ms', '2026-11-26T11:59:58.000Z'],
    ['1795444687', '2026-11-23T14:38:07.000Z'],
    ['2026-11-20T00:00:00Z', '2026-11-20T00:00:00.000Z'],
  ] as const)
    assert.equal(new Date(timeBefore(text, NOW)).toISOString(), expected, text);
  assert.equal(timeBefore('0', NOW), NOW);
  for (const text of ['1h2', 'h', '1.h', '.5h', '1h 2m'])
    assert.throws(() => timeBefore(text, NOW), { code: 'invalid-argument' }, text);
});

test('a number of a million digits is looked through once', () => {
  const context = createContext({ timeBefore, text: '1'.repeat(1_000_000), NOW });
  assert.throws(() => runInContext('timeBefore(text, NOW)', context, { timeout: 10_000 }), {
    code: 'invalid-argument',
  });
});
