import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RestartPolicy } from '../model/standalone.ts';
import { afterOpening, planRestart, type Runs, STARTED } from './restart-plan.ts';

const AT = Date.parse('2026-11-26T12:00:00Z');
const time = (ms: number) => new Date(AT + ms).toISOString();
const policy = (name: RestartPolicy['name'], maxRetries = 0): RestartPolicy => ({ name, maxRetries });
/** Ended at AT, after so long. */
const ended = (exitCode: number, ranMs = 1_000) =>
  ({ status: 'stopped', exitCode, startedAt: time(-ranMs), exitedAt: time(0) }) as const;

test('who is started again, by policy, exit code, and what the user said last', () => {
  const stopped: Runs = { ...STARTED, wanted: false };
  const twice: Runs = { ...STARTED, restarts: 2 };
  for (const [of, runs, exitCode, expected] of [
    [undefined, STARTED, 1, false],
    [policy('no'), STARTED, 1, false],
    [policy('always'), STARTED, 0, true],
    [policy('always'), stopped, 0, false],
    [policy('always'), { ...STARTED, over: true }, 1, false],
    [policy('unless-stopped'), STARTED, 0, true],
    [policy('unless-stopped'), stopped, 137, false],
    [policy('on-failure'), STARTED, 0, false],
    [policy('on-failure'), STARTED, 1, true],
    [policy('on-failure'), twice, 1, true],
    [policy('on-failure', 3), twice, 1, true],
    [policy('on-failure', 2), twice, 1, false],
  ] as const)
    assert.equal(planRestart(of, runs, ended(exitCode)) !== undefined, expected, `${of?.name} ${exitCode}`);
  for (const status of ['created', 'running', 'paused', 'unknown'] as const)
    assert.equal(planRestart(policy('always'), STARTED, { ...ended(1), status }), undefined, status);
});

test('the wait doubles with each short run, up to a minute, and begins anew after a long one', () => {
  let runs = STARTED;
  const waits: number[] = [];
  const end = (ranMs: number) => {
    const again = planRestart(policy('always'), runs, ended(1, ranMs))!;
    assert.equal(again.endedAt, AT);
    waits.push(again.waitMs);
    ({ runs } = again);
  };
  for (let n = 0; n < 12; n++) end(1_000);
  end(10_000);
  end(9_999);
  assert.deepEqual(waits.slice(0, 4), [100, 200, 400, 800]);
  assert.deepEqual(waits.slice(9), [51_200, 60_000, 60_000, 100, 200]);
  assert.equal(runs.restarts, 14);
});

test('a start of skeind brings back what is always to run, and nothing else that a user ended', () => {
  const stopped: Runs = { wanted: false, restarts: 4, short: 3 };
  assert.deepEqual(afterOpening(policy('always'), stopped), STARTED);
  for (const name of ['unless-stopped', 'on-failure', 'no'] as const)
    assert.equal(afterOpening(policy(name), stopped), stopped);
  const runs: Runs = { wanted: true, restarts: 4, short: 3 };
  assert.equal(afterOpening(policy('always'), runs), runs);
  // What ended by itself, and was given another policy then, runs by that from now on.
  const { over } = afterOpening(policy('unless-stopped'), { ...runs, over: true });
  const { wanted } = afterOpening(policy('unless-stopped'), { ...stopped, over: true });
  assert.deepEqual([over, wanted], [false, false]);
});
