import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConstraint, parseConstraints, satisfies } from './constraint.ts';
import { node } from './testing/builders.ts';

const n1 = node('n1', {
  spec: { Labels: { zone: 'a', 'com.example.disk': 'SSD' }, Role: 'worker', Availability: 'active' },
  description: {
    ...node('n1').description!,
    hostname: 'Host-1',
    engine: { version: '1', labels: { kernel: 'new' }, plugins: [] },
  },
});

const HELD = [
  'node.id == n1',
  'node.hostname==host-1',
  'node.role != manager',
  'node.ip == 192.0.2.1',
  'node.ip == 192.0.2.0/24',
  'node.ip == 0.0.0.0/0',
  'node.ip != 198.51.100.0/24',
  'node.platform.os == linux',
  'node.platform.arch == x86_64',
  'node.platform.arch == amd64',
  'node.labels.zone == A',
  'node.labels.com.example.disk == ssd',
  'node.labels.nosuch != x',
  'engine.labels.kernel == new',
  'NODE.ROLE == worker',
];
const BROKEN = [
  'node.id == n2',
  'node.role == manager',
  'node.ip == 192.0.2.128/25',
  'node.ip != 192.0.2.0/24',
  'node.platform.arch == arm64',
  'node.labels.zone != a',
  'node.labels.nosuch == x',
  'engine.labels.zone == a',
  'node.nosuch == x',
  'node.nosuch != x',
];
for (const text of HELD) test(`holds: ${text}`, () => assert.ok(satisfies(n1, [parseConstraint(text)])));
for (const text of BROKEN)
  test(`does not: ${text}`, () => assert.ok(!satisfies(n1, [parseConstraint(text)])));

test('all must hold, none is none, and what cannot be read holds nowhere', () => {
  assert.ok(!satisfies(n1, parseConstraints(['node.role == worker', 'node.labels.zone == b'])));
  assert.ok(satisfies(n1, parseConstraints(undefined)));
  assert.ok(!satisfies(n1, parseConstraints(['node.role = worker'])));
});

const REFUSED: [string, string][] = [
  ['node.role = worker', 'constraint expected one operator from ==, !='],
  ['node.role', 'constraint expected one operator from ==, !='],
  ['no de.role == worker', "key 'no de.role' is invalid"],
  ['== worker', "key '' is invalid"],
  ['node.role ==', "value '' is invalid"],
  ['node.role == a;b', "value 'a;b' is invalid"],
  ['node.ip == 192.0.2.0/33', 'invalid CIDR address: 192.0.2.0/33'],
  ['node.ip == node1', 'invalid CIDR address: node1'],
];
for (const [text, message] of REFUSED)
  test(`refused: ${text}`, () => assert.throws(() => parseConstraint(text), { message }));
