import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TaskStatus } from '../model/objects.ts';
import { newStatus, taskItem } from './fake-node.ts';
import { Reporter } from './reporter.ts';

test('what goes back, or says nothing new but the time, is not said', () => {
  const said: TaskStatus[] = [];
  const reporter = new Reporter({ report: (_id, status) => void said.push(status) });
  const item = taskItem('t1', { status: newStatus('ready') });
  const [running, later] = ['2026-01-01T00:00:01Z', '2026-01-01T00:00:02Z'].map((timestamp) => ({
    ...newStatus('running'),
    timestamp,
  })) as [TaskStatus, TaskStatus];
  for (const status of [newStatus('preparing'), running, newStatus('starting'), later])
    reporter.report(item, status);
  assert.deepEqual(said, [running]);
  assert.equal(reporter.statusOf(item), running);
  const known = { ...item, status: newStatus('failed') };
  reporter.report(known, { ...running, health: 'healthy' });
  assert.deepEqual(said, [running], 'nor after what the manager knows');
});
