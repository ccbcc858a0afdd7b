/** What `swarm init` asks for and cannot have is refused before anything is made. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SwarmInitRequest } from '../api/backend.ts';
import { swarmSpecDefaults } from '../api/convert/swarm.ts';
import { checkInit } from './new-cluster.ts';

const request: SwarmInitRequest = {
  ...{
    listenAddr: '',
    advertiseAddr: '',
    dataPathAddr: '',
    dataPathPort: 0,
    addressPools: [],
    subnetSize: 0,
  },
  ...{ forceNewCluster: false, availability: '' },
  spec: swarmSpecDefaults({ Raft: {}, Dispatcher: {}, CAConfig: {} } as SwarmInitRequest['spec']),
};
const refused = (patch: Partial<SwarmInitRequest>, message: RegExp | string) =>
  assert.throws(() => checkInit({ ...request, ...patch }), { message });

test('ports that are the system’s or given out by it carry no data path', () => {
  for (const dataPathPort of [0, 1024, 4789, 49151]) checkInit({ ...request, dataPathPort });
  for (const dataPathPort of [1, 1023, 49152])
    refused({ dataPathPort }, `Datapath port number is not in valid range (1024-49151) : ${dataPathPort}`);
});

test('subnets are no larger than the pool they are cut from, and hold containers', () => {
  checkInit({ ...request, addressPools: ['10.9.0.0/16'], subnetSize: 29 });
  checkInit({ ...request, addressPools: ['10.9.0.0/16', '10.8.0.0/24'] });
  for (const [pools, subnetSize, words] of [
    [
      ['10.9.0.0/16'],
      15,
      /^invalid default subnet size 15: must be between 16 \(pool 10\.9\.0\.0\/16\) and 29$/,
    ],
    [['10.9.0.0/16'], 30, /^invalid default subnet size 30/],
    [['10.9.0.0/16', '10.8.0.0/25'], 0, /^invalid default subnet size 24: must be between 25 \(pool 10\.8/],
  ] as const)
    refused({ addressPools: pools, subnetSize }, words);
  refused({ addressPools: ['10.9.0.0'] }, /10\.9\.0\.0/);
});

test('an availability that is none, and what is not served', () => {
  refused({ availability: 'asleep' }, 'invalid Availability: "asleep"');
});
