import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MEASURES, runsOf } from './mesh-measures.ts';

const CONTENDERS = ['mesh', 'bare path', 'HAProxy'];
const round = (n: number, quick = false) => [...runsOf(['near', 'far'], CONTENDERS, n, quick)];

test('all contenders are measured one after the other, as often as each other', () => {
  const runs = round(1);
  for (let n = 0; n < runs.length; n += CONTENDERS.length) {
    const together = runs.slice(n, n + CONTENDERS.length);
    assert.deepEqual(together.map(({ contender }) => contender).sort(), CONTENDERS.toSorted());
    assert.equal(new Set(together.map(({ target, measure }) => `${target} ${measure.path}`)).size, 1);
  }
  const times = MEASURES.reduce((sum, { runs: each }) => sum + each, 0);
  assert.equal(runs.length, 2 * times * CONTENDERS.length);
  assert.equal(round(1, true).length, 2 * MEASURES.length * CONTENDERS.length);
});

test('in two rounds each is first of every measure, and no figure is of two values', () => {
  for (const measure of MEASURES) {
    const all = [1, 2]
      .flatMap((n) => round(n))
      .filter((run) => run.measure === measure && run.target === 'near');
    const first = all.filter((_, n) => n % CONTENDERS.length === 0).map(({ contender }) => contender);
    assert.deepEqual([...new Set(first)].sort(), CONTENDERS.toSorted());
    assert.ok(first.length > 2);
  }
});
