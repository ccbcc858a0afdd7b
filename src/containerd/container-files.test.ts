import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { timestamp } from '../kit/clock.ts';
import type { ContainerId } from '../model/ids.ts';
import { ContainerFiles } from './container-files.ts';
import { lostExit } from './container-record.ts';

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

test('a start of which a loss of power left an empty file was one, and its end is not known', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'skein-files-'));
  t.after(() => rmSync(root, { recursive: true }));
  const files = new ContainerFiles(root);
  const id = 'a'.repeat(64) as ContainerId;
  await files.create(id, []);
  assert.deepEqual(await files.lastStart(id), { startedAt: undefined });
  for (const name of ['started.json', 'exit.json']) writeFileSync(join(files.folder(id), name), '');
  const at = new Date('2026-01-02T03:04:05Z');
  utimesSync(join(files.folder(id), 'started.json'), at, at);
  const { startedAt } = await files.lastStart(id);
  assert.equal(startedAt, timestamp(at.getTime()));
  assert.equal(await files.exit(id), undefined);
  assert.deepEqual(lostExit(undefined, startedAt), { exitCode: 255, exitedAt: startedAt });
  // And how the next run ends is kept.
  await files.setExit(id, { exitCode: 3, exitedAt: 'now' });
  assert.equal((await new ContainerFiles(root).exit(id))?.exitCode, 3);
});

test('a start that came to nothing on a full disk goes on no more', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'skein-files-'));
  t.after(() => rmSync(root, { recursive: true }));
  const files = new ContainerFiles(root);
  const id = 'a'.repeat(64) as ContainerId;
  await files.create(id, []);
  await files.setStarted(id, 'now');
  mkdirSync(join(files.folder(id), 'started.json.new')); // nothing can be written there any more
  const before = { start: {}, exit: undefined };
  await assert.rejects(files.setNotStarted(id, before, { error: 'no', exitCode: 127 }), /EISDIR/);
  assert.equal(files.isStarting(id), false);
});
