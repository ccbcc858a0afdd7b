import assert from 'node:assert/strict';
import { test } from 'node:test';
import { globMatches, matches, parseFilters } from './filters.ts';

const parse = (value: unknown) =>
  parseFilters(typeof value === 'string' ? value : JSON.stringify(value), ['a', 'b']);

test('both forms of filters mean the same', () => {
  assert.deepEqual(parse({ a: ['x', 'y'] }).get('a'), ['x', 'y']);
  assert.deepEqual(parse({ a: { x: true, y: true, z: false } }).get('a'), ['x', 'y']);
  for (const none of ['', '{}', 'null']) assert.equal(parse(none).has('a'), false);
});

test('what is not a filter is refused by name', () => {
  for (const [value, message] of [
    [{ c: ['x'] }, "invalid filter 'c'"],
    ['{', 'invalid filter: not a JSON object of names and values'],
    [[], 'invalid filter: not a JSON object of names and values'],
    [{ a: 'x' }, "invalid filter 'a': its values must be a list of strings"],
    [{ a: [1] }, "invalid filter 'a': its values must be a list of strings"],
  ] as const)
    assert.throws(() => parse(value), { code: 'invalid-argument', message });
  assert.throws(() => parse({ a: ['x'] }).flag('a'), { message: "invalid filter 'a=[x]'" });
});

test('values of one filter are alternatives, labels are all demanded', () => {
  const filters = parse({ a: ['x', 'y'], b: ['k', 'l=v=w'] });
  assert.equal(
    filters.any('a', (v) => v === 'y'),
    true,
  );
  assert.equal(
    filters.any('a', (v) => v === 'z'),
    false,
  );
  assert.equal(filters.labels('b', { k: '', l: 'v=w' }), true);
  assert.equal(filters.labels('b', { k: '' }), false);
  assert.equal(filters.labels('b', null), false);
  // What every object of the language has is no label of anything: a prune by it would take all away.
  for (const name of ['constructor', 'toString', '__proto__'])
    assert.equal(parse({ b: [name] }).labels('b', { k: '' }), false, name);
});

test('names match in part, or at their ends', () => {
  assert.deepEqual(
    ['web', '^web$', '^web', 'b.1$', 'x', '^eb'].map((wanted) => matches(wanted, 'web.1')),
    [true, false, true, true, false, false],
  );
});

test('a star takes no more than leaves the rest its place', () => {
  assert.ok(globMatches('*ab', 'aab'));
  assert.ok(!globMatches('*ab', 'aba'));
});

test('patterns stay within a path element, and cost no more the more stars they have', () => {
  const all = ['web:1', 'a/web:1', 'a/b/web:1'];
  for (const [pattern, expected] of [
    ['*', ['web:1']],
    ['web*', ['web:1']],
    ['w?b:1', ['web:1']],
    ['*/*', ['a/web:1']],
    ['a/*/w*b*1', ['a/b/web:1']],
    ['a*web:1', []],
    ['web', []],
    ['web:1**', ['web:1']],
    ['*e*:?', ['web:1']],
  ] as const)
    assert.deepEqual(
      all.filter((text) => globMatches(pattern, text)),
      expected,
      pattern,
    );
  assert.equal(globMatches(`${'*a'.repeat(100)}*b`, 'a'.repeat(5000)), false);
  assert.equal(globMatches(`${'*a'.repeat(100)}*b`, `${'a'.repeat(5000)}b`), true);
});
