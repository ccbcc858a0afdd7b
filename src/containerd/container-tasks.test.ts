/** Which process an end is told of, where it is told late. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ContainerId } from '../model/ids.ts';
import type { ContainerdApi } from './api.ts';
import { ContainerTasks } from './container-tasks.ts';
import type { ContainerConfig } from './runtime.ts';

test('a process is past as soon as its task has gone; one of a skeind before, or one that is not named, never', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-tasks-'));
  t.after(() => rmSync(folder, { recursive: true }));
  let pid = 5;
  const api = {
    tasks: { create: async () => ({ pid: pid++ }), delete: async () => ({}), get: async () => ({}) },
  };
  const tasks = new ContainerTasks(api as unknown as ContainerdApi, folder);
  const id = 'a'.repeat(64) as ContainerId;
  const make = () => tasks.create({ id, spec: { Image: 'app:1' } } as ContainerConfig, [], folder);
  assert.equal(tasks.isPast(id, 4), false);
  await make();
  assert.deepEqual(
    [4, 5, 0].map((one) => tasks.isPast(id, one)),
    [true, false, false],
  );
  await tasks.delete(id);
  assert.equal(tasks.isPast(id, 5), true);
  await make();
  assert.deepEqual(
    [5, 6].map((one) => tasks.isPast(id, one)),
    [true, false],
  );
  await tasks.remove(id, async () => {});
  assert.equal(tasks.isPast(id, 5), false, 'nothing is remembered of what is removed');
});
