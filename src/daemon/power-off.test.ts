import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import type { RunProcess } from '../kit/process.ts';
import { hostGoesDown } from './power-off.ts';

test('only a host that goes down takes its containers with it, not a restart of skeind', async () => {
  const saying =
    (stdout: string): RunProcess =>
    () =>
      Promise.resolve({ code: 1, stdout, stderr: '' });
  const silent: RunProcess = () => Promise.reject(new Error('exit 4'));
  assert.equal(await hostGoesDown(saying('stopping\n'), tmpdir()), true);
  for (const state of ['running\n', 'degraded\n', 'starting\n', ''])
    assert.equal(await hostGoesDown(saying(state), tmpdir()), false, state);
  assert.equal(await hostGoesDown(silent, tmpdir()), false);
  assert.equal(await hostGoesDown(saying('stopping\n'), '/nowhere'), false, 'systemd does not run here');
});
