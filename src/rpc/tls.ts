/**
 * Who the peer is. A certificate chained to the cluster's root names node (CN), role (OU) and cluster (O); the
 * address it calls from or listens on is no part of the trust.
 */
import type { PeerCertificate, SecureContextOptions, TLSSocket } from 'node:tls';
import type { SecureServerOptions } from 'node:http2';
import type { Clock } from '../kit/clock.ts';
import type { ClusterId, NodeId } from '../model/ids.ts';
import type { NodeRole } from '../model/spec.ts';

/** PEM texts of one node. */
export interface Credentials {
  readonly key: string;
  readonly certificate: string;
  /** Root(s) of the cluster. */
  readonly ca: string;
}

export interface PeerIdentity {
  readonly nodeId: NodeId;
  readonly role: NodeRole;
  readonly clusterId: ClusterId;
  /** Milliseconds since the epoch. A connection may outlive the certificate it was opened with. */
  readonly notAfter: number;
}

const MANAGER_OU = 'swarm-manager';
const WORKER_OU = 'swarm-worker';
export const ouOf = (role: NodeRole): string => (role === 'manager' ? MANAGER_OU : WORKER_OU);

const ROLES: Readonly<Record<string, NodeRole>> = { [MANAGER_OU]: 'manager', [WORKER_OU]: 'worker' };

/** What a certificate says; undefined for one that is not of Skein's form. Says nothing on its chain. */
function identityIn(certificate: Pick<PeerCertificate, 'subject' | 'valid_to'>): PeerIdentity | undefined {
  const subject: Record<string, unknown> = { ...certificate.subject };
  const { CN, O, OU } = subject;
  const role = typeof OU === 'string' ? ROLES[OU] : undefined;
  if (!role || typeof CN !== 'string' || typeof O !== 'string') return undefined;
  return {
    nodeId: CN as NodeId,
    role,
    clusterId: O as ClusterId,
    notAfter: Date.parse(certificate.valid_to),
  };
}

/** The verified identity of a connection's peer; undefined without a certificate or with one not of this root. */
export function identityOf(socket: TLSSocket, clock: Clock): PeerIdentity | undefined {
  if (!socket.authorized) return undefined;
  const identity = identityIn(socket.getPeerCertificate());
  return identity && identity.notAfter > clock.now() ? identity : undefined;
}

const secure = ({ key, certificate, ca }: Credentials): SecureContextOptions => ({
  key,
  cert: certificate,
  ca,
  minVersion: 'TLSv1.3',
});

export const serverOptions = (credentials: Credentials): SecureServerOptions => ({
  ...secure(credentials),
  requestCert: true,
  // Joiners have none yet; each method decides by the verified identity.
  rejectUnauthorized: false,
});

export const contextOptions = secure;

/** Refuses a server that is not a manager (of this cluster, once we know which). */
const managersOnly =
  (clusterId?: ClusterId) =>
  (_host: string, certificate: PeerCertificate): Error | undefined => {
    const identity = identityIn(certificate);
    if (identity?.role !== 'manager') return new Error('the peer is not a manager of the cluster');
    if (clusterId !== undefined && identity.clusterId !== clusterId)
      return new Error(`the peer belongs to another cluster (${identity.clusterId})`);
    return undefined;
  };

/** How a client trusts: by the root, or (to fetch that root, whose digest it knows) not at all yet. */
export type Trust =
  | { readonly kind: 'member'; readonly credentials: Credentials; readonly clusterId?: ClusterId }
  | { readonly kind: 'root'; readonly ca: string }
  | { readonly kind: 'none' };

export function clientOptions(trust: Trust): SecureContextOptions & {
  rejectUnauthorized: boolean;
  checkServerIdentity: (host: string, certificate: PeerCertificate) => Error | undefined;
} {
  const base = { minVersion: 'TLSv1.3' as const, rejectUnauthorized: trust.kind !== 'none' };
  switch (trust.kind) {
    case 'none':
      return { ...base, checkServerIdentity: () => undefined };
    case 'root':
      return { ...base, ca: trust.ca, checkServerIdentity: managersOnly() };
    case 'member':
      return {
        ...base,
        ...secure(trust.credentials),
        checkServerIdentity: managersOnly(trust.clusterId),
      };
  }
}
