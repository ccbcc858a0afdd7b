import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isHeld, removalConflict, type RemovalRequest } from './image-removal.ts';

const ID = `sha256:${'a'.repeat(64)}`;
const running = { containerId: 'b'.repeat(64), imageId: ID, running: true };
const stopped = { containerId: 'c'.repeat(64), imageId: ID, running: false };
const one = ['docker.io/library/web:1'];
const two = [...one, 'reg.example/web:1'];

const ask = (more: Partial<RemovalRequest>) =>
  removalConflict({
    ...{ reference: 'web:1', imageId: ID, byName: true, names: one, users: [], force: false },
    ...more,
  });

test('by a name: the last one of a used image wants force, another is only taken away', () => {
  const words =
    'conflict: unable to remove repository reference "web:1" (must force) - container bbbbbbbbbbbb is using its referenced image aaaaaaaaaaaa';
  assert.equal(ask({ users: [running] }), words);
  assert.equal(ask({ users: [running], names: two }), undefined);
  assert.equal(ask({ users: [running], force: true }), undefined);
  const digest = `docker.io/library/web@sha256:${'d'.repeat(64)}`;
  assert.equal(ask({ users: [running], names: [...one, digest] }), words, 'its own digest is no other name');
  assert.equal(ask({}), undefined);
  assert.equal(isHeld({ byName: true, users: [stopped, running] }), true, 'it goes on without a name');
  assert.equal(isHeld({ byName: true, users: [stopped] }), false, 'as Docker, which lets it go');
});

test('by its id: a running container keeps it whatever is said, the rest gives way to force', () => {
  const byId = (more: Partial<RemovalRequest>) => ask({ reference: 'aaaaaaaaaaaa', byName: false, ...more });
  const unable = 'conflict: unable to delete aaaaaaaaaaaa';
  const hard = `${unable} (cannot be forced) - image is being used by running container bbbbbbbbbbbb`;
  assert.equal(byId({ users: [stopped, running] }), hard);
  assert.equal(byId({ users: [running], force: true }), hard);
  assert.equal(
    byId({ users: [stopped] }),
    `${unable} (must be forced) - image is being used by stopped container cccccccccccc`,
  );
  assert.equal(
    byId({ names: two }),
    `${unable} (must be forced) - image is referenced in multiple repositories`,
  );
  assert.equal(byId({ names: two, users: [stopped], force: true }), undefined);
  assert.equal(byId({}), undefined);
});
