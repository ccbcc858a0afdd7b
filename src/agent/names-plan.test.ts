/** Which names a network view has, and what of them changes with it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIpv4 } from '../kit/cidr.ts';
import type { NetworkId, ServiceId, TaskId } from '../model/ids.ts';
import { sha256 as hash } from '../kit/sha256.ts';
import { containerIdOf } from '../model/names.ts';
import { endpointKey } from '../model/network-view.ts';
import { endpoint, INGRESS, network, port, service, view } from '../net/builders.ts';
import { namesDelta } from './names-plan.ts';

const FRONT = 'front' as NetworkId;
const web = 'web' as ServiceId;
const shortId = (task: string) => containerIdOf(task as TaskId, hash).slice(0, 12);
const served = {
  ...service('web', port(80, 80)),
  names: [{ networkId: FRONT, aliases: ['www'] }],
  virtualIps: [
    { networkId: INGRESS, address: parseIpv4('10.255.0.9') },
    { networkId: FRONT, address: parseIpv4('10.0.1.2') },
  ],
};
const task = endpoint('a', 't1', '10.0.1.11', {
  ...{ networkId: FRONT, serviceId: web, name: 'web.1.t1', aliases: ['www'] },
});
const own = endpoint('a', 'c1', '10.0.1.12', { networkId: FRONT, name: 'shell', aliases: ['db'] });
const whole = view({
  networks: [network('ingress'), network('front')],
  services: [served],
  endpoints: [endpoint('a', undefined, '10.255.0.2'), endpoint('a', 't1', '10.255.0.7'), task, own],
});

test('networks of users, services by name, alias and virtual IP there, tasks and containers; of ingress nothing', () => {
  const { put, delete: gone } = namesDelta(undefined, whole, hash);
  assert.deepEqual(gone, []);
  const records = new Map(put);
  assert.equal(records.size, 4);
  assert.deepEqual(records.get('network/front'), { kind: 'network', id: FRONT, name: 'front' });
  assert.deepEqual(records.get('service/web/front'), {
    ...{ kind: 'service', id: web, networkId: FRONT, name: 'web', aliases: ['www'] },
    virtualIp: '10.0.1.2',
  });
  const endpoints = [...records.values()].filter(({ kind }) => kind === 'endpoint');
  assert.deepEqual(endpoints, [
    {
      ...{ kind: 'endpoint', networkId: FRONT, serviceId: web, address: '10.0.1.11', inRotation: true },
      names: ['web.1.t1', shortId('t1')],
    },
    {
      ...{ kind: 'endpoint', networkId: FRONT, serviceId: undefined, address: '10.0.1.12', inRotation: true },
      names: ['shell', shortId('c1'), 'db'],
    },
  ]);
});

test('only what changed is said, and what has gone is taken back', () => {
  assert.deepEqual(namesDelta(whole, whole, hash), { put: [], delete: [] });
  const same = { ...whole, services: new Map([[web, { ...served, preserveClientIp: true }]]) };
  assert.deepEqual(namesDelta(whole, same, hash), { put: [], delete: [] }, 'nothing that a name is made of');
  const endpoints = new Map(whole.endpoints);
  for (const [key, item] of endpoints)
    if (item === task) endpoints.set(key, { ...task, inRotation: false });
    else if (item === own) endpoints.delete(key);
  const changed = namesDelta(whole, { ...whole, endpoints }, hash);
  assert.equal(changed.put.length, 1);
  assert.equal((changed.put[0]![1] as { inRotation: boolean }).inRotation, false);
  assert.deepEqual(changed.delete, [`endpoint/${endpointKey(own)}`]);
  const without = namesDelta(
    whole,
    view({ networks: [network('ingress')], endpoints: [], services: [{ ...served, names: [] }] }),
    hash,
  );
  assert.deepEqual(without.put, []);
  assert.equal(without.delete.length, 4);
});
