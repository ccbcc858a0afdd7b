/** The first transaction of a cluster: the cluster itself, its first node, the ingress network. */
import { parseCidr } from '../../kit/cidr.ts';
import type { Cidr, ClusterId, NetworkId } from '../../model/ids.ts';
import type { ClusterCa } from '../../model/objects.ts';
import type { NetworkSpec, NodeRole, SwarmSpec } from '../../model/spec.ts';
import type { Draft, Op } from '../../store/store.ts';

export interface InitialCluster {
  readonly clusterId: ClusterId;
  readonly ingressId: NetworkId;
  readonly spec: SwarmSpec;
  /** Empty: 10.0.0.0/8, as Docker's. */
  readonly addressPools: readonly string[];
  /** 0: 24. */
  readonly subnetSize: number;
  /** 0: 4789. */
  readonly dataPathPort: number;
  readonly joinTokens: Readonly<Record<NodeRole, string>>;
  readonly ca: ClusterCa;
  readonly node: Draft<'node'>;
}

const DEFAULT_POOL = '10.0.0.0/8';

const ingressSpec: NetworkSpec = {
  Name: 'ingress',
  Labels: {},
  Driver: 'overlay',
  Ingress: true,
  Internal: false,
  Attachable: false,
  IPAM: { Driver: 'default', Options: {}, Config: [] },
  Options: {},
};

export function initialObjects(init: InitialCluster): readonly Op[] {
  const pools = init.addressPools.length > 0 ? init.addressPools : [DEFAULT_POOL];
  return [
    {
      op: 'create',
      kind: 'cluster',
      object: {
        id: init.clusterId,
        spec: withSwarmDefaults(init.spec),
        addressPools: pools.map((pool): Cidr => parseCidr(pool)),
        subnetSize: init.subnetSize || 24,
        dataPathPort: init.dataPathPort || 4789,
        joinTokens: init.joinTokens,
        ca: init.ca,
      },
    },
    { op: 'create', kind: 'node', object: init.node },
    { op: 'create', kind: 'network', object: { id: init.ingressId, spec: ingressSpec, state: undefined } },
  ];
}

/** What Docker shows where the user said nothing. */
export const withSwarmDefaults = (spec: Partial<SwarmSpec>): SwarmSpec => ({
  Name: spec.Name || 'default',
  Labels: spec.Labels ?? {},
  Orchestration: { TaskHistoryRetentionLimit: spec.Orchestration?.TaskHistoryRetentionLimit ?? 5 },
  Raft: {
    SnapshotInterval: spec.Raft?.SnapshotInterval || 10_000,
    KeepOldSnapshots: spec.Raft?.KeepOldSnapshots ?? 0,
    LogEntriesForSlowFollowers: spec.Raft?.LogEntriesForSlowFollowers ?? 500,
    ElectionTick: spec.Raft?.ElectionTick || 10,
    HeartbeatTick: spec.Raft?.HeartbeatTick || 1,
  },
  Dispatcher: { HeartbeatPeriod: spec.Dispatcher?.HeartbeatPeriod || 5_000_000_000 },
  CAConfig: { ...spec.CAConfig, NodeCertExpiry: spec.CAConfig?.NodeCertExpiry || 7_776_000_000_000_000 },
  TaskDefaults: spec.TaskDefaults ?? {},
  EncryptionConfig: spec.EncryptionConfig ?? { AutoLockManagers: false },
});
