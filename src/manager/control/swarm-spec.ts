/**
 * What a cluster's spec may say. What Skein cannot honour is refused in words, never kept and ignored; what a client only
 * sends back as it got it is no wish. Called before a cluster is made, and for each update of it.
 */
import type { SwarmSpec } from '../../model/spec.ts';
import { withSwarmDefaults } from './initial-objects.ts';
import { denied, invalid, unimplemented } from './refusal.ts';

const HOUR_NS = 3_600_000_000_000;

/** `now`: what it says; without, the cluster is new. */
export function checkSwarmSpec(given: SwarmSpec, now?: SwarmSpec): void {
  const [spec, before] = [withSwarmDefaults(given), withSwarmDefaults(now ?? { Name: given.Name })];
  if (spec.Name !== before.Name && spec.Name !== 'default')
    throw denied('renaming the cluster is not allowed');
  if ((spec.Orchestration.TaskHistoryRetentionLimit ?? 0) < 0)
    throw invalid('task history retention limit cannot be negative');
  if ((spec.Dispatcher.HeartbeatPeriod ?? 0) < 0)
    throw invalid('heartbeat time period cannot be a negative duration');
  checkAuthority(spec.CAConfig, before.CAConfig);
  checkRaft(spec.Raft, before.Raft);
  if (spec.EncryptionConfig.AutoLockManagers)
    throw unimplemented(
      'autolock is not served by Skein yet; the keys of managers are protected by file permissions',
    );
  if (spec.TaskDefaults.LogDriver?.Name)
    throw unimplemented('TaskDefaults.LogDriver is not served by Skein: give each service its --log-driver');
}

function checkAuthority(ca: SwarmSpec['CAConfig'], before: SwarmSpec['CAConfig']): void {
  if ((ca.NodeCertExpiry ?? HOUR_NS) < HOUR_NS) throw invalid('minimum certificate expiry time is: 1h0m0s');
  if (ca.ExternalCAs?.length)
    throw unimplemented('an external CA is not served by Skein: its managers sign certificates themselves');
  if (ca.SigningCACert || ca.SigningCAKey || (ca.ForceRotate ?? 0) !== (before.ForceRotate ?? 0))
    throw unimplemented('rotating the root certificate is not served by Skein yet');
}

/** The store is etcd, which looks after its log by itself. */
function checkRaft(raft: SwarmSpec['Raft'], before: SwarmSpec['Raft']): void {
  for (const key of [
    'SnapshotInterval',
    'KeepOldSnapshots',
    'LogEntriesForSlowFollowers',
    'ElectionTick',
    'HeartbeatTick',
  ] as const)
    if (raft[key] !== before[key])
      throw unimplemented(
        `Raft.${key} cannot be set: Skein's store is etcd, which looks after its log by itself`,
      );
}
