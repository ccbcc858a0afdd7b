import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type BenchResult, judge, median, quantile, ratio, ratioBeyond, show, tableOf } from './figures.ts';

const figure = (contender: string, values: number[], lower = false) => ({
  quantity: 'requests',
  contender,
  unit: '1/s',
  lower,
  values,
});

const result = (of: number[], against: number[], lower = false): BenchResult => ({
  name: 'x',
  title: 'X',
  method: '',
  figures: [figure('mesh', of, lower), figure('bare', against, lower)],
  targets: [{ quantity: /requests/, of: 'mesh', against: 'bare', atLeast: 0.9 }],
  limits: [{ quantity: /requests/, contender: 'mesh', atMost: 100 }],
  missing: [],
});

test('medians and quantiles', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.ok(Number.isNaN(median([])));
  assert.equal(quantile([1, 2, 3, 4], 0.99), 4);
  assert.equal(quantile([1, 2, 3, 4], 0.5), 2);
});

test('a ratio above one is better, of rates and of latencies', () => {
  assert.equal(ratio(figure('a', [200]), figure('b', [100])), 2);
  assert.equal(ratio(figure('a', [200], true), figure('b', [100], true)), 0.5);
});

test('of pairs, the median of their ratios counts: a machine that grows slower is in none of them', () => {
  const [mesh, bare] = [figure('mesh', [190, 95, 76, 57]), figure('bare', [200, 100, 80, 60])] as const;
  assert.equal(ratio(mesh, bare, true), 0.95);
  assert.throws(() => ratio(mesh, figure('bare', [200]), true), { code: 'internal' });
  // Slower from the second run on: the medians are of runs that had another machine.
  const slower = result([190, 95, 95], [200, 200, 100]);
  assert.deepEqual(
    [slower, { ...slower, paired: true as const }].map((r) => [judge(r)[0]!.holds, tableOf(r)[1]![3]]),
    [
      [false, '0.47'],
      [true, '0.95'],
    ],
  );
});

test('targets and limits are judged by medians', () => {
  assert.deepEqual(
    judge(result([80, 95, 99], [100, 100, 100])).map((j) => j.holds),
    [true, true],
  );
  assert.deepEqual(
    judge(result([80, 85, 120], [100, 100, 100])).map((j) => j.holds),
    [false, true],
  );
  assert.deepEqual(
    judge(result([111], [100], true)).map((j) => j.holds),
    [true, false],
  );
});

test('the table shows median, range and ratio', () => {
  assert.deepEqual(tableOf(result([80, 95, 99], [100, 100, 100])), [
    ['', 'mesh', 'bare', 'mesh / bare'],
    ['requests, 1/s', '95 (80-99)', '100 (100-100)', '0.95'],
  ]);
  assert.equal(show(123456.7), '123,457');
  assert.equal(show(1.2345), '1.23');
});

test('of two that contain a third, only what each costs more is compared', () => {
  const of = (contender: string, us: number) => figure(contender, [us], true);
  assert.equal(ratioBeyond(of('mesh', 44), of('HAProxy', 100), of('bare', 40)), 15);
  assert.equal(ratioBeyond(of('mesh', 39), of('HAProxy', 100), of('bare', 40)), Infinity);
  const [mesh, proxy, bare] = [
    [44, 84, 24],
    [100, 90, 80],
    [40, 80, 20],
  ].map((us) => figure('', us, true));
  assert.equal(ratioBeyond(mesh!, proxy!, bare!), 15);
  const [judgement] = judge({
    ...result([44], [40], true),
    figures: [of('mesh', 44), of('bare', 40), of('HAProxy', 50)],
    targets: [{ quantity: /requests/, of: 'mesh', against: 'HAProxy', beyond: 'bare', atLeast: 3 }],
    limits: [],
  });
  assert.deepEqual(judgement, {
    text: 'requests, beyond the bare: mesh is 2.50 x HAProxy (target 3)',
    holds: false,
  });
});
