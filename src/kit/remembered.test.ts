import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import { Remembered } from './remembered.ts';

test('where it is full the first makes room, and what is put in anew is the last', () => {
  const known = new Remembered<string, number>(2);
  known.set('a', 1).set('b', 2).set('a', 3).set('c', 4);
  assert.deepEqual(
    [...known],
    [
      ['a', 3],
      ['c', 4],
    ],
  );
});
