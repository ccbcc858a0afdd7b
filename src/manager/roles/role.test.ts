import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../../kit/clock.ts';
import type { NodeId } from '../../model/ids.ts';
import { MemoryStore } from '../../store/memory.ts';
import { node, viewOf } from '../testing/builders.ts';
import { memberRole } from './role.ts';

test('a node that joined a moment ago is a member before the view shows it; a stranger and a removed one are none', async () => {
  const store = new MemoryStore({ clock: new VirtualClock() });
  const { version: _, ...object } = node('n1');
  await store.transact([{ op: 'create', kind: 'node', object }]);
  const id = 'n1' as NodeId;
  assert.equal(await memberRole(id, viewOf(), store), 'worker');
  assert.equal(await memberRole('n2' as NodeId, viewOf(), store), undefined);
  const [stored] = (await store.snapshot()).objects.filter(({ kind }) => kind === 'node');
  await store.transact([{ op: 'delete', kind: 'node', id, version: stored!.object.version }]);
  assert.equal(await memberRole(id, viewOf(), store), undefined);
});
