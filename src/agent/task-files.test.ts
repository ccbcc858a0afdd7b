import assert from 'node:assert/strict';
import { pbkdf2 } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import type { ContainerId } from '../model/ids.ts';
import { TaskFiles } from './task-files.ts';

const derive = promisify(pbkdf2);

test('the mark of a start is there at once, for the start does not wait for the disk', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'skein-files-'));
  t.after(() => rmSync(root, { recursive: true }));
  const files = new TaskFiles(root);
  const id = 'a'.repeat(64) as ContainerId;
  assert.equal(await files.isStarted(id), false);
  // What reads and writes files behind it has all its threads taken.
  const busy = Array.from({ length: 8 }, () => derive('', '', 50_000, 32, 'sha256'));
  const marked = files.markStarted(id);
  assert.equal(await files.isStarted(id), true);
  await Promise.all([marked, ...busy]);
});
