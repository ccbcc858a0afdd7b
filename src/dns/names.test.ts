import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import type { Ipv4, NetworkId, ServiceId } from '../model/ids.ts';
import { Names } from './names.ts';
import type { DnsRecord } from './records.ts';

const [FRONT, BACK] = ['front', 'back'] as NetworkId[] as [NetworkId, NetworkId];
const WEB = 'web' as ServiceId;

const RECORDS: readonly (readonly [key: string, record: DnsRecord])[] = [
  ['network/front', { kind: 'network', id: FRONT, name: 'front' }],
  [
    'service/web',
    {
      kind: 'service',
      id: WEB,
      networkId: FRONT,
      name: 'web',
      aliases: [],
      virtualIp: undefined,
    },
  ],
  [
    'endpoint/1',
    {
      kind: 'endpoint',
      networkId: BACK,
      serviceId: WEB,
      address: '10.1.0.1' as Ipv4,
      names: ['web.1'],
      inRotation: true,
    },
  ],
];

test('a network is kept for as long as a record is of it, in whatever order they go; a question keeps none', () => {
  for (const order of [RECORDS, RECORDS.toReversed()]) {
    const names = new Names();
    for (const [key, record] of RECORDS) names.put(key, record);
    assert.deepEqual([...names.networks.keys()].sort(), [BACK, FRONT]);
    assert.equal(names.network('other' as NetworkId).services.size, 0);
    names.put(...RECORDS[1]!);
    for (const [key] of order) names.delete(key);
    assert.deepEqual([names.networks.size, names.records.size], [0, 0]);
  }
});

test('a network that was there before keeps its names when its own record comes anew', () => {
  const names = new Names();
  for (const [key, record] of RECORDS) names.put(key, record);
  names.put('network/front', { kind: 'network', id: FRONT, name: 'Front2' });
  assert.equal(names.network(FRONT).name, 'front2');
  assert.ok(names.network(FRONT).services.has('web'));
});

test('a network keeps its own name without a service, and its containers without a name', () => {
  const names = new Names();
  for (const [key, record] of RECORDS) names.put(key, record);
  const [, , [, endpoint]] = RECORDS as [unknown, unknown, [string, DnsRecord & { kind: 'endpoint' }]];
  names.put('endpoint/2', { ...endpoint, address: '10.1.0.2' as Ipv4, names: ['web.2'] });
  for (const key of ['service/web', 'endpoint/1']) names.delete(key);
  assert.equal(names.network(FRONT).name, 'front');
  assert.deepEqual([...names.network(BACK).containers.keys()], ['web.2']);
});
