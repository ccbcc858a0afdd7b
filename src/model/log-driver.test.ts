import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_LOG_POLICY, logAttributes, logPolicy } from './log-driver.ts';

const jsonFile = (Options: Record<string, string>) => ({ Name: 'json-file', Options });

test('who says nothing is bounded; a size alone means one file, as in Docker', () => {
  for (const silent of [undefined, {}, { Name: '' }, jsonFile({})])
    assert.deepEqual(logPolicy(silent), DEFAULT_LOG_POLICY);
  const files = (maxFileBytes: number, maxFiles: number) => ({ kind: 'files', maxFileBytes, maxFiles });
  assert.deepEqual(logPolicy(jsonFile({ 'max-size': '1m' })), files(1_000_000, 1));
  assert.deepEqual(logPolicy(jsonFile({ 'max-size': '1.5 KiB', 'max-file': '4' })), files(1500, 4));
  assert.deepEqual(logPolicy(jsonFile({ 'max-file': '2' })), files(10_000_000, 2));
  assert.deepEqual(logPolicy({ Name: 'none' }), { kind: 'none' });
});

const REFUSED: readonly (readonly [string, object])[] = [
  ["invalid size: 'ten'", jsonFile({ 'max-size': 'ten' })],
  ['max-size must be a positive number', jsonFile({ 'max-size': '0' })],
  ['max-file cannot be less than 1', jsonFile({ 'max-file': '0' })],
  ["invalid max-file: 'x' is not a number", jsonFile({ 'max-file': 'x' })],
  ["unknown log opt 'max-sise' for json-file log driver", jsonFile({ 'max-sise': '1m' })],
  ["unknown log opt 'max-size' for none log driver", { Name: 'none', Options: { 'max-size': '1m' } }],
  ['logger: logging mode not supported: fast', jsonFile({ mode: 'fast' })],
  ['invalid regular expression in a log option: (', jsonFile({ 'labels-regex': '(' })],
  ['log option tag is not served by Skein; leave it out', jsonFile({ tag: '{{.Name}}' })],
  ['log option compress is not served by Skein; leave it out', jsonFile({ compress: 'true' })],
];

for (const [message, driver] of REFUSED)
  test(`refused: ${message}`, () => assert.throws(() => logPolicy(driver), { message }));

test('details are the labels and variables that the options name', () => {
  const labels = { tier: 'front', other: 'x' };
  const env = ['A=1', 'B=x=y', 'UNSET'];
  assert.deepEqual(logAttributes(jsonFile({ labels: 'tier,absent', env: 'B,UNSET' }), labels, env), {
    tier: 'front',
    B: 'x=y',
  });
  assert.deepEqual(logAttributes(jsonFile({ 'labels-regex': '^o', 'env-regex': 'A' }), labels, env), {
    other: 'x',
    A: '1',
  });
  assert.deepEqual(logAttributes(undefined, labels, env), {});
});
