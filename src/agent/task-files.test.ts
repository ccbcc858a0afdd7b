import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ContainerId } from '../model/ids.ts';
import { TaskFiles } from './task-files.ts';

test('the mark of a start is there at once, for the start does not wait for the disk', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'skein-files-'));
  t.after(() => rmSync(root, { recursive: true }));
  const files = new TaskFiles(root);
  const id = 'a'.repeat(64) as ContainerId;
  assert.equal(await files.isStarted(id), false);
  const marked = files.markStarted(id);
  assert.equal(await files.isStarted(id), true);
  await marked;
});
