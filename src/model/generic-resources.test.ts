import assert from 'node:assert/strict';
import { test } from 'node:test';
import { discrete, named, parseGenericResources, resourceEnv } from './generic-resources.ts';

test('counts and names, as settings write them and containers see them', () => {
  const parsed = parseGenericResources(['GPU=UUID1', 'ssd = 3', 'GPU=UUID2']);
  assert.deepEqual(parsed, [named('GPU', 'UUID1'), named('GPU', 'UUID2'), discrete('ssd', 3)]);
  assert.deepEqual(resourceEnv(parsed), ['DOCKER_RESOURCE_GPU=UUID1,UUID2', 'DOCKER_RESOURCE_SSD=3']);
  assert.deepEqual(resourceEnv([]), []);
});

const REFUSED: [string[], string][] = [
  [['GPU'], "incorrect term GPU, missing '=' or malformed expression"],
  [['GPU='], "incorrect term GPU=, missing '=' or malformed expression"],
  [['SSD=-1'], 'cannot have -1 of resource SSD'],
  [['SSD=1', 'SSD=2'], 'SSD is given more than once: it must be one number, or names alone'],
  [['SSD=1', 'SSD=disk'], 'SSD is given more than once: it must be one number, or names alone'],
  [['GPU=a', 'GPU=a'], 'GPU has one name twice'],
];
for (const [terms, why] of REFUSED)
  test(`refused: ${terms.join(' ')}`, () => {
    assert.throws(() => parseGenericResources(terms), {
      code: 'invalid-argument',
      message: `could not parse GenericResource: ${why}`,
    });
  });
