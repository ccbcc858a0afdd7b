/** The cluster in Docker's JSON: `GET /swarm`, and the Swarm section of `/info`. */
import type { Cluster } from '../../model/objects.ts';
import type { SwarmSpec } from '../../model/spec.ts';
import type { View } from '../../store/view.ts';
import type { LocalSwarmState } from '../backend.ts';
import { metaJson } from './meta.ts';
import { tlsInfo } from './tls-info.ts';

/** What Docker fills in at `swarm init`. Raft's numbers are shown because clients send them back; etcd ignores them. */
export const swarmSpecDefaults = (spec: SwarmSpec): SwarmSpec => ({
  Name: spec.Name || 'default',
  Labels: spec.Labels ?? {},
  Orchestration: { TaskHistoryRetentionLimit: 5, ...spec.Orchestration },
  Raft: {
    SnapshotInterval: spec.Raft.SnapshotInterval || 10_000,
    KeepOldSnapshots: spec.Raft.KeepOldSnapshots ?? 0,
    LogEntriesForSlowFollowers: spec.Raft.LogEntriesForSlowFollowers || 500,
    ElectionTick: spec.Raft.ElectionTick || 10,
    HeartbeatTick: spec.Raft.HeartbeatTick || 1,
  },
  Dispatcher: { HeartbeatPeriod: spec.Dispatcher.HeartbeatPeriod || 5_000_000_000 },
  CAConfig: { ...spec.CAConfig, NodeCertExpiry: spec.CAConfig.NodeCertExpiry || 7_776_000_000_000_000 },
  TaskDefaults: spec.TaskDefaults,
  EncryptionConfig: spec.EncryptionConfig,
});

const clusterJson = (cluster: Cluster): object => ({
  ...metaJson(cluster.id, cluster),
  Spec: cluster.spec,
  TLSInfo: tlsInfo(cluster.ca),
  RootRotationInProgress: false,
  DefaultAddrPool: cluster.addressPools,
  SubnetSize: cluster.subnetSize,
  DataPathPort: cluster.dataPathPort,
});

export const swarmJson = (cluster: Cluster): object => ({
  ...clusterJson(cluster),
  JoinTokens: { Worker: cluster.joinTokens.worker, Manager: cluster.joinTokens.manager },
});

export function swarmInfoJson(local: LocalSwarmState, view: View | undefined): object {
  const nodes = view ? [...view.all('node').values()] : [];
  return {
    NodeID: local.nodeId ?? '',
    NodeAddr: local.nodeAddr,
    LocalNodeState: local.state,
    ControlAvailable: local.controlAvailable,
    Error: local.error,
    RemoteManagers:
      local.managers.length > 0
        ? local.managers.map(({ nodeId, addr }) => ({ NodeID: nodeId, Addr: addr }))
        : null,
    ...(view && {
      Nodes: nodes.length,
      Managers: nodes.filter((node) => node.manager !== undefined).length,
    }),
    ...(view?.cluster && { Cluster: clusterJson(view.cluster) }),
  };
}
