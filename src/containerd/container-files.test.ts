import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ContainerId } from '../model/ids.ts';
import { ContainerFiles } from './container-files.ts';

test('that its memory was used up is kept until it is started again', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'skein-files-'));
  t.after(() => rmSync(root, { recursive: true }));
  const files = new ContainerFiles(root);
  const id = 'a'.repeat(64) as ContainerId;
  await files.create(id, []);
  assert.equal(files.isOomKilled(id), false);
  files.setOomKilled(id);
  assert.equal(files.isOomKilled(id), true);
  await files.setStarted(id, 'now');
  assert.equal(files.isOomKilled(id), false);
});
