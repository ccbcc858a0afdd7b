import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ImageInfo } from '../containerd/runtime.ts';
import { SkeinError } from '../model/errors.ts';
import type { TaskId } from '../model/ids.ts';
import type { TaskItem } from '../rpc/messages.ts';
import { pruneImages } from './image-prune.ts';

const DIGEST = `sha256:${'a'.repeat(64)}`;

const image = (id: string, tags: string[], digests: string[] = []): ImageInfo => ({
  ...{ id, tags, digests, created: undefined, size: 1, architecture: 'amd64', os: 'linux' },
  ...{ config: {}, history: [], layers: [], layerSizes: [] },
});

function stage(...used: string[]) {
  const asked: string[] = [];
  const images = {
    inUse: async () => new Set(used),
    remove: async (name: string) => {
      asked.push(name);
      if (name === 'taken:1') throw new SkeinError('failed-precondition', 'conflict');
      return { id: 'used', untagged: [name], deleted: [] };
    },
  };
  const tasks = new Map<TaskId, TaskItem>();
  const want = (Image: string, desiredState: TaskItem['desiredState'] = 'running') =>
    tasks.set(
      `${tasks.size}` as TaskId,
      { spec: { ContainerSpec: { Image } }, desiredState, status: { state: 'preparing' } } as TaskItem,
    );
  const assignments: { revision: number | undefined; tasks: typeof tasks } = { revision: 1, tasks };
  const prune = (...chosen: ImageInfo[]) => pruneImages({ images, assignments }, chosen);
  return { asked, images, assignments, want, prune };
}

test('what a container is made from stays, and what a task needs that has no container yet, by whatever name', async () => {
  const { asked, want, prune } = stage('used');
  want(`reg.example/web:1@${DIGEST}`);
  want('plain');
  want('abc123');
  want('ended:1', 'remove');
  const removed = await prune(
    image('used', ['used:1', 'used:2']),
    image('web', ['web:1'], [`reg.example/web@${DIGEST}`]),
    image('plain', ['plain:latest']),
    image('sha256:abc123def', []),
    image('ended', ['ended:1']),
    image('dangling', []),
  );
  assert.deepEqual(asked, ['ended:1', 'dangling']);
  assert.deepEqual(
    removed.map(({ untagged }) => untagged),
    [['ended:1'], ['dangling']],
  );
});

test('what somebody takes meanwhile is passed over; another failure is said', async () => {
  const { images, prune } = stage();
  const removed = await prune(image('taken', ['taken:1']), image('free', ['free:1']));
  assert.deepEqual(
    removed.map(({ untagged }) => untagged),
    [['free:1']],
  );
  images.remove = async () => {
    throw new SkeinError('unavailable', 'containerd is gone');
  };
  await assert.rejects(prune(image('free', ['free:1'])), { code: 'unavailable' });
});

test('before the first word of a manager nothing is removed; outside a cluster no task needs any', async () => {
  const { asked, assignments, images, prune } = stage();
  assignments.revision = undefined;
  await assert.rejects(prune(image('free', ['free:1'])), { code: 'unavailable' });
  assert.deepEqual(asked, []);
  await pruneImages({ images, assignments: undefined }, [image('free', ['free:1'])]);
  assert.deepEqual(asked, ['free:1']);
});
