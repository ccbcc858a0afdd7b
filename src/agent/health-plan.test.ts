import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  afterProbe,
  exceeded,
  type Health,
  healthCheckOf,
  healthReport,
  mergeHealth,
  newHealth,
  nextProbeAt,
} from './health-plan.ts';

const S = 1e9;
const check = (patch: object = {}) => healthCheckOf({ Test: ['CMD', 'true'], ...patch })!;

/** Probes at these seconds after the start, with these exit codes. */
const probed = (of: ReturnType<typeof check>, ...probes: [at: number, exitCode: number][]): Health =>
  probes.reduce<Health>(
    (health, [at, exitCode]) =>
      afterProbe(of, health, { startedMs: at * 1000, endedMs: at * 1000 + 100, exitCode, output: `${at}` }),
    newHealth(0),
  );

test('the forms of a test', () => {
  assert.deepEqual(check({ Test: ['CMD', 'a', 'b c'] }).argv, ['a', 'b c']);
  assert.deepEqual(check({ Test: ['CMD-SHELL', 'a || b'] }).argv, ['/bin/sh', '-c', 'a || b']);
  for (const none of [undefined, {}, { Test: [] }, { Test: ['NONE'] }, { Test: ['CMD'] }])
    assert.equal(healthCheckOf(none), undefined);
});

test("what is not said is Docker's default", () => {
  assert.deepEqual(check(), {
    argv: ['true'],
    intervalMs: 30_000,
    timeoutMs: 30_000,
    startPeriodMs: 0,
    startIntervalMs: 5_000,
    retries: 3,
  });
});

test("a service's check stands over its image's, field by field", () => {
  const image = { Test: ['CMD', 'a'], Interval: 5 * S, Retries: 2 };
  assert.deepEqual(mergeHealth(undefined, image), image);
  assert.deepEqual(mergeHealth({ Test: ['NONE'] }, undefined), { Test: ['NONE'] });
  assert.deepEqual(mergeHealth({ Test: [], Interval: 0, Retries: 7 }, image), { ...image, Retries: 7 });
  assert.equal(healthCheckOf(mergeHealth({ Test: ['NONE'] }, image)), undefined);
});

test('one good probe makes it healthy, as many bad ones in a row as it may have retries unhealthy', () => {
  const c = check({ Retries: 2 });
  const status = (...probes: [number, number][]) => probed(c, ...probes).status;
  assert.equal(status([30, 1]), 'starting');
  assert.equal(status([30, 1], [60, 0]), 'healthy');
  assert.equal(status([30, 0], [60, 1]), 'healthy');
  assert.equal(status([30, 0], [60, 1], [90, 0], [120, 1]), 'healthy');
  assert.equal(status([30, 0], [60, 1], [90, -1]), 'unhealthy');
  assert.equal(status([30, 1], [60, 1], [90, 0]), 'healthy');
});

test('a bad probe in the start period does not count, one after a good one does', () => {
  const c = check({ Retries: 1, StartPeriod: 60 * S });
  assert.equal(probed(c, [5, 1], [59, 1]).status, 'starting');
  assert.equal(probed(c, [5, 1], [61, 1]).status, 'unhealthy');
  assert.equal(probed(c, [5, 0], [10, 1]).status, 'unhealthy');
});

test('probes are due an interval after the last; in the start period sooner, until the first good one', () => {
  const c = check({ Interval: 30 * S, StartPeriod: 60 * S, StartInterval: 2 * S });
  const now = 100_000;
  assert.equal(nextProbeAt(c, newHealth(0), now), 2_000);
  assert.equal(nextProbeAt(c, probed(c, [2, 1]), now), 4_100);
  assert.equal(nextProbeAt(c, probed(c, [2, 0]), now), 32_100);
  assert.equal(nextProbeAt(c, probed(c, [61, 1]), now), 91_100);
  assert.equal(nextProbeAt(check(), newHealth(0), now), 30_000);
});

test('the last five probes are kept, and shown as Docker shows them', () => {
  const health = probed(check(), [1, 0], [2, 0], [3, 0], [4, 0], [5, 0], [6, 1]);
  const report = healthReport(health);
  assert.deepEqual(
    { ...report, Log: report.Log.slice(-1) },
    {
      Status: 'healthy',
      FailingStreak: 1,
      Log: [
        {
          Start: '1970-01-01T00:00:06.000000000Z',
          End: '1970-01-01T00:00:06.100000000Z',
          ExitCode: 1,
          Output: '6',
        },
      ],
    },
  );
  assert.equal(report.Log.length, 5);
  assert.equal(healthReport(undefined).Status, 'starting');
});

test("a timeout in Docker's words and Go's duration", () => {
  assert.equal(exceeded(500, ''), 'Health check exceeded timeout (500ms)');
  assert.equal(exceeded(3_000, 'half'), 'Health check exceeded timeout (3s): half');
  assert.equal(exceeded(90_000, ''), 'Health check exceeded timeout (1m30s)');
});

test('what is said is what counts', () => {
  const said = { Interval: S, Timeout: 2 * S, Retries: 4, StartPeriod: 5 * S, StartInterval: 0.6 * S };
  assert.deepEqual(check(said), {
    argv: ['true'],
    intervalMs: 1000,
    timeoutMs: 2000,
    startPeriodMs: 5000,
    startIntervalMs: 600,
    retries: 4,
  });
});

test('a start period that began in the future, by a clock that was set back since, is over', () => {
  const c = check({ StartPeriod: 60 * S, Interval: 30 * S, Retries: 2 });
  const hour = 3_600_000;
  const probe = (health: Health, seconds: number) =>
    afterProbe(c, health, { startedMs: seconds * 1000, endedMs: seconds * 1000, exitCode: 1, output: '' });
  const health = probe(newHealth(hour), 0);
  assert.equal(nextProbeAt(c, health, 0), 30_000);
  assert.equal(probe(health, 30).status, 'unhealthy');
});
