/** Which process an end is told of, where it is told late. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import type { ContainerdApi } from './api.ts';
import { ContainerTasks } from './container-tasks.ts';
import type { ContainerConfig } from './runtime.ts';

test('a process is past as soon as its task has gone; one of a skeind before, or one that is not named, never', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-tasks-'));
  t.after(() => rmSync(folder, { recursive: true }));
  let pid = 5;
  let fails = false;
  const create = async () => {
    if (fails) throw new SkeinError('deadline-exceeded', 'containerd: Tasks.Create: timed out');
    return { pid: pid++ };
  };
  const api = { tasks: { create, delete: async () => ({}), get: async () => ({}) } };
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
  // It may have been made all the same, and be started by the next try.
  await tasks.delete(id);
  fails = true;
  await assert.rejects(make(), { code: 'deadline-exceeded' });
  assert.equal(tasks.isPast(id, 7), false);
  await tasks.remove(id, async () => {});
  assert.equal(tasks.isPast(id, 5), false, 'nothing is remembered of what is removed');
});
