import assert from 'node:assert/strict';
import { pbkdf2 } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import type { ContainerId } from '../model/ids.ts';
import { STARTED, UNWANTED } from './restart-plan.ts';
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

test('that a container is wanted no more is on the disk before it is said, that it is wanted is said at once', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'skein-files-'));
  t.after(() => rmSync(root, { recursive: true }));
  const files = new TaskFiles(root, 'standalone');
  const id = 'a'.repeat(64) as ContainerId;
  await files.write(id, {});
  const said = () => JSON.parse(readFileSync(join(root, 'standalone', id, 'runs.json'), 'utf8')) as unknown;
  // What flushes files has all its threads taken.
  const busy = Array.from({ length: 8 }, () => derive('', '', 50_000, 32, 'sha256'));
  const started = files.writeRuns(id, STARTED);
  assert.deepEqual(said(), STARTED);
  const ended = files.writeRuns(id, UNWANTED);
  assert.deepEqual(said(), STARTED);
  await Promise.all([started, ended, ...busy]);
  assert.deepEqual(said(), UNWANTED);
});

test('of what a loss of power has emptied, a start was said last; of what is not there, nothing', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'skein-files-'));
  t.after(() => rmSync(root, { recursive: true }));
  const files = new TaskFiles(root, 'standalone');
  const id = 'a'.repeat(64) as ContainerId;
  await files.write(id, {});
  assert.equal(await files.readRuns(id), undefined);
  writeFileSync(join(root, 'standalone', id, 'runs.json'), '');
  assert.deepEqual(await files.readRuns(id), STARTED);
});

test('that a container is wanted no more is said when its file has the name on the disk too', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'skein-files-'));
  t.after(() => rmSync(root, { recursive: true }));
  const files = new TaskFiles(root, 'standalone');
  const id = 'a'.repeat(64) as ContainerId;
  await files.write(id, {});
  await files.writeRuns(id, STARTED);
  let told = false;
  const ended = files.writeRuns(id, UNWANTED).then(() => (told = true));
  // What flushes the folder finds all threads taken.
  const busy = Array.from({ length: 8 }, () => derive('', '', 200_000, 32, 'sha256'));
  const said = () =>
    JSON.parse(readFileSync(join(root, 'standalone', id, 'runs.json'), 'utf8')) as typeof STARTED;
  while (said().wanted) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(told, false);
  await Promise.all([ended, ...busy]);
});
