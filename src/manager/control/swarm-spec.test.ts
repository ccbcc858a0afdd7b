/** What a cluster may be told of itself: what is taken, and the words for what is not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SwarmSpec } from '../../model/spec.ts';
import { withSwarmDefaults } from './initial-objects.ts';
import { checkSwarmSpec } from './swarm-spec.ts';

const now = withSwarmDefaults({ CAConfig: { ForceRotate: 1 } });
const HOUR = 3600e9;

const TAKEN: [string, Partial<SwarmSpec>][] = [
  ['what it says already', {}],
  ['labels', { Labels: { a: 'b' } }],
  ['the length of history', { Orchestration: { TaskHistoryRetentionLimit: 0 } }],
  ['the heartbeat', { Dispatcher: { HeartbeatPeriod: 1e9 } }],
  ['the life of certificates', { CAConfig: { ...now.CAConfig, NodeCertExpiry: HOUR } }],
  ['parts that say nothing', { Raft: {}, Dispatcher: {}, CAConfig: { ForceRotate: 1, ExternalCAs: [] } }],
];
for (const [name, patch] of TAKEN) test(`taken: ${name}`, () => checkSwarmSpec({ ...now, ...patch }, now));

const raft = (patch: SwarmSpec['Raft']) => ({ Raft: { ...now.Raft, ...patch } });
const ca = (patch: SwarmSpec['CAConfig']) => ({ CAConfig: { ...now.CAConfig, ...patch } });
const NEW_ROOT = 'Unimplemented: rotating the root certificate is not served by Skein yet';
const ETCD = "cannot be set: Skein's store is etcd, which looks after its log by itself";
const REFUSED: [string, Partial<SwarmSpec>][] = [
  [NEW_ROOT, ca({ ForceRotate: 2 })],
  [NEW_ROOT, ca({ SigningCACert: 'pem' })],
  [
    'Unimplemented: an external CA is not served by Skein: its managers sign certificates themselves',
    ca({ ExternalCAs: [{ URL: 'https://ca' }] }),
  ],
  ['InvalidArgument: minimum certificate expiry time is: 1h0m0s', ca({ NodeCertExpiry: HOUR - 1 })],
  [`Unimplemented: Raft.SnapshotInterval ${ETCD}`, raft({ SnapshotInterval: 5000 })],
  [`Unimplemented: Raft.KeepOldSnapshots ${ETCD}`, raft({ KeepOldSnapshots: 3 })],
  [`Unimplemented: Raft.ElectionTick ${ETCD}`, raft({ ElectionTick: 3 })],
  [
    'Unimplemented: autolock is not served by Skein yet; the keys of managers are protected by file permissions',
    { EncryptionConfig: { AutoLockManagers: true } },
  ],
  [
    'Unimplemented: TaskDefaults.LogDriver is not served by Skein: give each service its --log-driver',
    { TaskDefaults: { LogDriver: { Name: 'journald' } } },
  ],
  [
    'InvalidArgument: task history retention limit cannot be negative',
    { Orchestration: { TaskHistoryRetentionLimit: -1 } },
  ],
  [
    'InvalidArgument: heartbeat time period cannot be a negative duration',
    { Dispatcher: { HeartbeatPeriod: -1 } },
  ],
  ['PermissionDenied: renaming the cluster is not allowed', { Name: 'other' }],
];
for (const [words, patch] of REFUSED)
  test(`refused: ${words}`, () => {
    const message = words.replace(/^(\w+): /, 'rpc error: code = $1 desc = ');
    assert.throws(() => checkSwarmSpec({ ...now, ...patch }, now), { message });
  });

test('a new cluster may say what it would say by itself, and have a name', () => {
  checkSwarmSpec({ Name: 'mine' } as SwarmSpec);
  checkSwarmSpec(withSwarmDefaults({}));
  assert.throws(() => checkSwarmSpec(withSwarmDefaults({ Raft: { SnapshotInterval: 1 } })), /Raft\.Snapshot/);
  assert.throws(() => checkSwarmSpec(now), /rotating the root/);
});
