import assert from 'node:assert/strict';
import { test } from 'node:test';
import { METHODS } from './methods.ts';

test('who asks the leader for logs says of which service tasks to come are wanted', () => {
  const asked = { id: 'a', tasks: [], follow: true, stdout: true, stderr: true, service: 'web' };
  assert.deepEqual(METHODS['logs.read'].params.parse(asked), asked);
});
