import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SkeinError } from '../../model/errors.ts';
import type { NetworkId } from '../../model/ids.ts';
import { network, task } from '../store.contract.ts';
import type { Op } from '../store.ts';
import type { KeyValue } from './gen/kv_pb.js';
import { objectKey, toText } from './keys.ts';
import { type Known, type PlannedTxn, planTxn } from './txn-plan.ts';

const NOW = '2026-01-01T00:00:00.000000000Z';

function plan(ops: readonly Op[], known: Record<string, Known> = {}, fenced = false): PlannedTxn {
  const fence = fenced ? { key: '/skein/election/leader', createRevision: 7 } : undefined;
  const planned = planTxn(ops, new Map(Object.entries(known)), NOW, fence);
  assert.ok(!(planned instanceof SkeinError));
  return planned;
}

/** `put KEY` and `delete KEY`, in order. */
const effects = ({ request }: PlannedTxn): string[] =>
  request.success!.map(({ request: op }) => {
    const verb = op?.case === 'requestPut' ? 'put' : 'delete';
    return `${verb} ${toText((op!.value as { key: Uint8Array }).key)}`;
  });
const guarded = ({ request }: PlannedTxn): string[] => request.compare!.map(({ key }) => toText(key!));

const known = (version: number, name?: string): Known => ({ version, createdAt: NOW, name });
const net = (name: string) => network(name, 'n1' as NetworkId);
const key = objectKey('network', 'n1');

test('a created object takes its name', () => {
  const planned = plan([{ op: 'create', kind: 'network', object: net('a') }]);
  assert.deepEqual(effects(planned), [`put ${key}`, 'put /skein/name/network/a']);
  assert.deepEqual(guarded(planned), [key, '/skein/name/network/a']);
});

test('an update that keeps the name leaves the index alone; one that changes it moves the entry', () => {
  const update = (name: string): Op => ({ op: 'update', kind: 'network', object: net(name), version: 3 });
  assert.deepEqual(effects(plan([update('a')], { [key]: known(3, 'a') })), [`put ${key}`]);
  assert.deepEqual(effects(plan([update('b')], { [key]: known(3, 'a') })), [
    `put ${key}`,
    'put /skein/name/network/b',
    'delete /skein/name/network/a',
  ]);
});

test('a name given from one object to another in one transaction is written once, without a guard', () => {
  const create: Op = { op: 'create', kind: 'network', object: network('a', 'n2' as NetworkId) };
  const planned = plan([{ op: 'delete', kind: 'network', id: 'n1' as NetworkId }, create], {
    [key]: known(3, 'a'),
  });
  assert.deepEqual(effects(planned), [
    `put ${objectKey('network', 'n2')}`,
    'put /skein/name/network/a',
    `delete ${key}`,
  ]);
  assert.ok(!guarded(planned).includes('/skein/name/network/a'));
});

test('the first guard that does not hold names the error; the fence comes first', () => {
  const planned = plan([{ op: 'create', kind: 'task', object: task() }], {}, true);
  const leader = { createRevision: 7n } as KeyValue;
  assert.equal(planned.refusalOf([leader, undefined]), undefined);
  assert.equal(planned.refusalOf([undefined, leader])?.code, 'failed-precondition');
  assert.equal(
    planned.refusalOf([{ createRevision: 8n } as KeyValue, undefined])?.code,
    'failed-precondition',
  );
  assert.equal(planned.refusalOf([leader, leader])?.code, 'already-exists');
});

test('what is known to be stale is refused without asking etcd; a delete of what is gone does nothing', () => {
  const update: Op = { op: 'update', kind: 'network', object: net('a'), version: 3 };
  for (const state of [{}, { [key]: known(4, 'a') }]) {
    const planned = planTxn([update], new Map(Object.entries(state)), NOW, undefined);
    assert.equal(planned instanceof SkeinError && planned.code, 'out-of-sequence');
  }
  assert.deepEqual(effects(plan([{ op: 'delete', kind: 'network', id: 'n1' as NetworkId, version: 3 }])), []);
});
