/** Where things lie below the data root (survives a reboot) and the run root (does not). The one list of paths. */
import { join } from 'node:path';
import type { Settings } from './settings.ts';

export const foldersOf = ({ dataRoot, runRoot }: Settings) => ({
  dataRoot,
  runRoot,
  /** skeind's own pid and start time: two daemons on one data root would fight. */
  pidFile: join(runRoot, 'skeind.pid'),
  resolverLog: join(dataRoot, 'resolver.log'),
  /** Everything that makes this node a member of a cluster; gone when it leaves. */
  cluster: join(dataRoot, 'cluster'),
  identity: join(dataRoot, 'cluster', 'identity.json'),
  membership: join(dataRoot, 'cluster', 'membership.json'),
  /** Managers: opens the secrets in the store, and is not in it. */
  secretsKey: join(dataRoot, 'cluster', 'secrets.key'),
  etcd: join(dataRoot, 'etcd'),
  etcdTls: {
    caFile: join(dataRoot, 'cluster', 'etcd-ca.pem'),
    certFile: join(dataRoot, 'cluster', 'etcd-peer.pem'),
    keyFile: join(dataRoot, 'cluster', 'etcd-peer-key.pem'),
  },
});

/** All that a data root holds: what lies there under other names is not Skein's. */
export const DATA_ENTRIES = [
  ...['cluster', 'etcd', 'resolver.log'],
  ...['containerd', 'containers', 'volumes', 'tasks', 'standalone', 'engine-id'],
];

export type Folders = ReturnType<typeof foldersOf>;
