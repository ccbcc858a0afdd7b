import assert from 'node:assert/strict';
import { test } from 'node:test';
import { busySeconds } from './busy.ts';

test('all that is not idle, waiting or somebody else counts', () => {
  const stat = 'cpu  100 20 300 9999 8888 40 50 7777 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n';
  assert.equal(busySeconds(stat), 5.1);
});

test('work is seen', () => {
  const before = busySeconds();
  for (const end = process.cpuUsage().user + 50_000; process.cpuUsage().user < end; );
  assert.ok(busySeconds() > before);
});
