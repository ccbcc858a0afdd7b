import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerId, Ipv4, NetworkId, ServiceId } from '../model/ids.ts';
import { answer, TASK_TTL, VIRTUAL_IP_TTL } from './answer.ts';
import { Names } from './names.ts';
import type { DnsRecord, SandboxRecord } from './records.ts';

const FRONT = 'front' as NetworkId;
const BACK = 'back' as NetworkId;
const ip = (text: string) => text as Ipv4;

const task = (
  service: string,
  n: number,
  networkId: NetworkId,
  address: string,
  inRotation = true,
): DnsRecord => ({
  kind: 'endpoint',
  networkId,
  serviceId: service as ServiceId,
  address: ip(address),
  names: [`${service}.${n}.x${n}`, `${n}${n}${n}`],
  inRotation,
});
const service = (
  name: string,
  networkId: NetworkId,
  virtualIp?: string,
  ...aliases: string[]
): DnsRecord => ({
  kind: 'service',
  id: name as ServiceId,
  networkId,
  name,
  aliases,
  virtualIp: virtualIp ? ip(virtualIp) : undefined,
});

const RECORDS: readonly DnsRecord[] = [
  { kind: 'network', id: FRONT, name: 'front' },
  { kind: 'network', id: BACK, name: 'back' },
  service('web', FRONT, '10.0.1.2', 'www'),
  task('web', 1, FRONT, '10.0.1.11'),
  task('web', 2, FRONT, '10.0.1.12'),
  task('web', 3, FRONT, '10.0.1.13', false),
  service('round', FRONT),
  task('round', 4, FRONT, '10.0.1.21'),
  service('idle', FRONT),
  service('db', BACK, '10.0.2.2'),
  task('db', 5, BACK, '10.0.2.11'),
  service('both', FRONT, '10.0.1.3'),
  service('both', BACK, '10.0.2.3'),
];

const names = new Names();
RECORDS.forEach((record, n) => names.put(String(n), record));

const asker = (networks: NetworkId[], forward = true): SandboxRecord => ({
  kind: 'sandbox',
  id: 'c' as ContainerId,
  netnsPath: '',
  networks,
  servers: [],
  forward,
});
const ask = (name: string, type = 'A', of = asker([FRONT])) => answer({ name, type }, of, names);
const found = (ttl: number, ...addresses: string[]) => ({ kind: 'addresses', addresses, ttl });

const TABLE: [what: string, name: string, reply: object][] = [
  ['a service is its virtual IP', 'web', found(VIRTUAL_IP_TTL, '10.0.1.2')],
  ['whatever the case', 'WeB', found(VIRTUAL_IP_TTL, '10.0.1.2')],
  ['with a final dot', 'web.', found(VIRTUAL_IP_TTL, '10.0.1.2')],
  ['with its network', 'web.front', found(VIRTUAL_IP_TTL, '10.0.1.2')],
  ['by alias', 'www', found(VIRTUAL_IP_TTL, '10.0.1.2')],
  ['without a virtual IP it is its tasks', 'round', found(TASK_TTL, '10.0.1.21')],
  ['tasks. is every task in rotation', 'tasks.web', found(TASK_TTL, '10.0.1.11', '10.0.1.12')],
  ['of an alias too', 'tasks.www', found(TASK_TTL, '10.0.1.11', '10.0.1.12')],
  ['a container by name, in rotation or not', 'web.3.x3', found(TASK_TTL, '10.0.1.13')],
  ['a container by id', '111', found(TASK_TTL, '10.0.1.11')],
  ['a container by name and network', 'web.1.x1.front', found(TASK_TTL, '10.0.1.11')],
  ['a service that nothing runs of exists, and is nowhere', 'idle', { kind: 'nothing' }],
  ['a service of another network is nobody here', 'db', { kind: 'forward' }],
  ['the network of others is none of the asker', 'db.back', { kind: 'forward' }],
  ['the rest of the world is asked on', 'example.org', { kind: 'forward' }],
];

for (const [what, name, reply] of TABLE) test(what, () => assert.deepEqual(ask(name), reply));

test('a name that is ours has no AAAA, and nobody else is asked', () => {
  for (const name of ['web', 'tasks.web', 'web.1.x1', 'idle']) {
    assert.deepEqual(ask(name, 'AAAA'), { kind: 'nothing' });
    assert.deepEqual(ask(name, 'MX'), { kind: 'nothing' });
  }
  assert.deepEqual(ask('example.org', 'AAAA'), { kind: 'forward' });
});

test('on several networks the first that knows the name counts; a network chooses another', () => {
  const of = asker([BACK, FRONT]);
  assert.deepEqual(ask('both', 'A', of), found(VIRTUAL_IP_TTL, '10.0.2.3'));
  assert.deepEqual(ask('both.front', 'A', of), found(VIRTUAL_IP_TTL, '10.0.1.3'));
  assert.deepEqual(ask('web', 'A', of), found(VIRTUAL_IP_TTL, '10.0.1.2'));
});

test('addresses have names, on the networks of the asker alone', () => {
  const name = (text: string) => ({ kind: 'name', name: text, ttl: TASK_TTL });
  assert.deepEqual(ask('11.1.0.10.in-addr.arpa', 'PTR'), name('web.1.x1.front'));
  assert.deepEqual(ask('2.1.0.10.in-addr.arpa', 'PTR'), name('web.front'));
  assert.deepEqual(ask('11.2.0.10.in-addr.arpa', 'PTR'), { kind: 'forward' });
  assert.deepEqual(ask('11.1.0.10.in-addr.arpa', 'A'), { kind: 'nothing' });
  assert.deepEqual(ask('999.1.0.10.in-addr.arpa', 'PTR'), { kind: 'forward' });
});

test('an alias that two services share is both of them', () => {
  const own = new Names();
  [
    ...RECORDS,
    service('blue', FRONT, '10.0.1.5', 'shop'),
    service('green', FRONT, undefined, 'shop'),
    task('green', 6, FRONT, '10.0.1.31'),
    task('blue', 7, FRONT, '10.0.1.32'),
  ].forEach((record, n) => own.put(String(n), record));
  const shop = (name: string) => answer({ name, type: 'A' }, asker([FRONT]), own);
  assert.deepEqual(shop('shop'), found(TASK_TTL, '10.0.1.5', '10.0.1.31'));
  assert.deepEqual(shop('tasks.shop'), found(TASK_TTL, '10.0.1.32', '10.0.1.31'));
});

test('where nothing may go out, nothing is asked on', () => {
  assert.deepEqual(ask('example.org', 'A', asker([FRONT], false)), { kind: 'no-such-name' });
});

test('records replaced and removed leave nothing behind', () => {
  const own = new Names();
  RECORDS.forEach((record, n) => own.put(String(n), record));
  own.put('2', service('web', FRONT, '10.0.1.99'));
  assert.deepEqual(
    answer({ name: 'web', type: 'A' }, asker([FRONT]), own),
    found(VIRTUAL_IP_TTL, '10.0.1.99'),
  );
  assert.deepEqual(answer({ name: 'www', type: 'A' }, asker([FRONT]), own), { kind: 'forward' });
  for (const key of [...own.records.keys()]) own.delete(key);
  for (const name of ['web', 'tasks.web', 'web.1.x1', 'both.back', '2.1.0.10.in-addr.arpa'])
    assert.deepEqual(answer({ name, type: 'A' }, asker([FRONT, BACK]), own), { kind: 'forward' });
});

test('what comes and goes is not kept for long', () => {
  assert.equal(TASK_TTL, 1, 'a task that ends is steered away from within a second');
  assert.ok(VIRTUAL_IP_TTL <= 10, 'far from the 600 s that keep a service that was made anew away');
});
