/** The argument vector of an etcd member. Pure. */
export interface PeerTls {
  /** PEM files. The CA is one of etcd peers alone: no other certificate of the cluster gets in. */
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
}

/** Alone, no election can be lost, so it may be quick: a restart serves after 0.4 s in place of 1.7 s. */
export type Timing = 'alone' | 'peers';

/** How the member comes to its data: from what is there, as a new cluster of one, as a new member of a cluster. */
export type StartMode =
  | { readonly kind: 'existing' }
  | { readonly kind: 'bootstrap' }
  | { readonly kind: 'force-new-cluster' }
  | { readonly kind: 'join'; readonly others: readonly PeerAddress[] };

export interface PeerAddress {
  readonly name: string;
  readonly peerUrl: string;
}

export interface MemberPlan {
  readonly binary: string;
  /** Absolute: it makes the argument vector unique on a host, by which a running member is found again. */
  readonly dataDir: string;
  /** Socket in the working directory of the member; etcd wants a port behind the name. */
  readonly socket: string;
  readonly name: string;
  readonly peerUrl: string;
  readonly tls: PeerTls | undefined;
  readonly timing: Timing;
  readonly mode: StartMode;
  /** Of the database; 4 GiB unless given. */
  readonly quotaBytes?: number | undefined;
}

const TICKS: Readonly<Record<Timing, { readonly heartbeat: number; readonly election: number }>> = {
  alone: { heartbeat: 20, election: 200 },
  peers: { heartbeat: 100, election: 1000 },
};

/**
 * `max-txn-ops`: a batch of 200 operations puts up to 400 keys and compares up to 401. `max-request-bytes`: such a
 * batch of tasks is about 1 MB. Compaction keeps 10 minutes: a manager that was away for less goes on from its watch.
 */
const LIMITS = [
  ['--max-txn-ops', '1024'],
  ['--max-request-bytes', `${8 * 1024 * 1024}`],
  ['--auto-compaction-mode', 'periodic'],
  ['--auto-compaction-retention', '10m'],
] as const;
const QUOTA = 4 * 1024 ** 3;

export function memberArgv(plan: MemberPlan): readonly string[] {
  const { heartbeat, election } = TICKS[plan.timing];
  const clientUrl = `unix://${plan.socket}`;
  return [
    plan.binary,
    ...['--name', plan.name],
    ...['--data-dir', plan.dataDir],
    ...['--listen-client-urls', clientUrl, '--advertise-client-urls', clientUrl],
    ...['--listen-peer-urls', plan.peerUrl, '--initial-advertise-peer-urls', plan.peerUrl],
    ...['--heartbeat-interval', `${heartbeat}`, '--election-timeout', `${election}`, '--pre-vote'],
    ...LIMITS.flat(),
    ...['--quota-backend-bytes', `${plan.quotaBytes ?? QUOTA}`],
    ...['--logger', 'zap', '--log-outputs', 'stderr'],
    ...tlsFlags(plan.tls),
    ...modeFlags(plan),
  ];
}

/**
 * The environment of the member. etcd takes settings from ETCD_* too, so it gets none of ours but this one, under its
 * name up to 3.5 and from 3.6 on; as a flag, the wrong name would not start. A peer proves itself by a certificate of
 * the peers' CA; that it comes from the address in it cannot be asked of managers with several addresses.
 */
export const memberEnv = (path: string | undefined): Readonly<Record<string, string | undefined>> => ({
  PATH: path,
  ETCD_EXPERIMENTAL_PEER_SKIP_CLIENT_SAN_VERIFICATION: 'true',
  ETCD_PEER_SKIP_CLIENT_SAN_VERIFICATION: 'true',
});

const tlsFlags = (tls: PeerTls | undefined): readonly string[] =>
  tls
    ? [
        ...['--peer-cert-file', tls.certFile, '--peer-key-file', tls.keyFile],
        ...['--peer-trusted-ca-file', tls.caFile, '--peer-client-cert-auth'],
      ]
    : [];

function modeFlags({ mode, name, peerUrl }: MemberPlan): readonly string[] {
  const cluster = (members: readonly PeerAddress[], state: string) => [
    ...['--initial-cluster', members.map((member) => `${member.name}=${member.peerUrl}`).join(',')],
    ...['--initial-cluster-state', state],
  ];
  switch (mode.kind) {
    case 'existing': // etcd would ignore these flags, but refuses a peer URL that --initial-cluster lacks
      return cluster([{ name, peerUrl }], 'existing');
    case 'bootstrap':
      return cluster([{ name, peerUrl }], 'new');
    case 'force-new-cluster':
      return [...cluster([{ name, peerUrl }], 'existing'), '--force-new-cluster'];
    case 'join':
      return cluster([...mode.others, { name, peerUrl }], 'existing');
  }
}
