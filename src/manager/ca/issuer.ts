/**
 * Answers `ca.root` and `ca.issue`. The Node object comes into being here, in the transaction before its
 * certificate is given out: a certificate without a node would be a member nobody can remove.
 */
import { timingSafeEqual } from 'node:crypto';
import type { Clock } from '../../kit/clock.ts';
import { isIpv4 } from '../../kit/cidr.ts';
import type { Log } from '../../kit/log.ts';
import { isCode, SkeinError } from '../../model/errors.ts';
import { type Ipv4, newId, type NodeId, type RandomBytes } from '../../model/ids.ts';
import type { Cluster, Meta, Node } from '../../model/objects.ts';
import type { Availability, NodeRole, SwarmSpec } from '../../model/spec.ts';
import type { ManagerAddress } from '../../rpc/messages.ts';
import type { IssueAnswer, IssueRequest } from '../../rpc/methods.ts';
import type { Call } from '../../rpc/server.ts';
import type { Store } from '../../store/store.ts';
import type { View } from '../../store/view.ts';
import { roleOf } from '../roles/role.ts';
import { issueNode } from './authority.ts';

export interface IssuerOptions {
  readonly store: Pick<Store, 'get' | 'transact'>;
  readonly view: Pick<View, 'cluster' | 'get'>;
  readonly clock: Clock;
  readonly random: RandomBytes;
  readonly log: Log;
  /** Control addresses of the managers, for the joiner to keep. */
  managers(): readonly ManagerAddress[];
}

/** swarmkit's words, which the docker CLI shows as they are. */
const INVALID_TOKEN =
  'rpc error: code = InvalidArgument desc = A valid join token is necessary to join this cluster';
const RETRIES = 5;

const DEFAULT_LIFE_MS = 90 * 24 * 3600_000;
/** Of a node's certificate. */
export const certificateLifeMs = ({ CAConfig }: Pick<SwarmSpec, 'CAConfig'>): number =>
  (CAConfig.NodeCertExpiry ?? 0) / 1e6 || DEFAULT_LIFE_MS;

export class Issuer {
  readonly #options: IssuerOptions;

  constructor(options: IssuerOptions) {
    this.#options = options;
  }

  async root(): Promise<{ readonly ca: string }> {
    return { ca: this.#cluster().ca.certificate };
  }

  async issue(request: IssueRequest, call: Pick<Call, 'peer' | 'address'>): Promise<IssueAnswer> {
    const cluster = this.#cluster();
    if (request.token !== undefined) {
      const role = roleOfToken(cluster, request.token);
      if (!role) throw new SkeinError('invalid-argument', INVALID_TOKEN);
      return this.#admit(cluster, request, role, call.address);
    }
    if (!call.peer) throw new SkeinError('invalid-argument', INVALID_TOKEN);
    const node = this.#options.view.get('node', call.peer.nodeId);
    if (!node) throw new SkeinError('permission-denied', 'the node is not a member of this cluster');
    // The stored role, not the certificate's: a worker that is made a manager, and the other way, renews as that.
    return this.#certify(cluster, request.csr, node.id, roleOf(node));
  }

  async #admit(
    cluster: Cluster,
    request: IssueRequest,
    role: NodeRole,
    address: string,
  ): Promise<IssueAnswer> {
    const id = newId<NodeId>(this.#options.random);
    // Signed first: a request that cannot be signed leaves no node behind.
    const answer = await this.#certify(cluster, request.csr, id, role, false);
    await this.#options.store.transact([
      {
        op: 'create',
        kind: 'node',
        object: newNode(id, role, request.availability ?? 'active', address, answer.certificate),
      },
    ]);
    this.#options.log.info('node joined', { 'node.id': id, role });
    return answer;
  }

  async #certify(
    cluster: Cluster,
    csr: string,
    nodeId: NodeId,
    role: NodeRole,
    stored = true,
  ): Promise<IssueAnswer> {
    const { clock, random } = this.#options;
    const expiryMs = certificateLifeMs(cluster.spec);
    const certificate = await issueNode(cluster.ca, csr, { nodeId, role, clusterId: cluster.id }, expiryMs, {
      now: () => clock.now(),
      random,
    });
    if (stored) await this.#record(nodeId, certificate);
    const managers = this.#options.managers();
    return { certificate, ca: cluster.ca.certificate, nodeId, clusterId: cluster.id, role, managers };
  }

  async #record(id: NodeId, certificate: string): Promise<void> {
    for (let left = RETRIES; ; left--) {
      const node = await this.#options.store.get('node', id);
      if (!node) throw new SkeinError('permission-denied', 'the node is not a member of this cluster');
      try {
        await this.#options.store.transact([
          { op: 'update', kind: 'node', object: { ...node, certificate }, version: node.version },
        ]);
        return;
      } catch (error) {
        if (!isCode(error, 'out-of-sequence') || left === 0) throw error;
      }
    }
  }

  #cluster(): Cluster {
    const { cluster } = this.#options.view;
    if (!cluster) throw new SkeinError('unavailable', 'the cluster is not ready yet');
    return cluster;
  }
}

/** A node as it enters the cluster, before its agent has said anything. */
export function newNode(
  id: NodeId,
  role: NodeRole,
  availability: Availability,
  address: string,
  certificate: string,
): Omit<Node, keyof Meta> {
  const addr = peerIpv4(address) ?? ('0.0.0.0' as Ipv4);
  return {
    id,
    spec: { Labels: {}, Role: role, Availability: availability },
    description: undefined,
    status: { state: 'unknown', message: '', addr },
    dataPathAddr: addr,
    manager: undefined,
    attachments: [],
    certificate,
  };
}

/** The IPv4 address of a peer; a dual-stack listener shows it mapped into IPv6. */
export function peerIpv4(address: string): Ipv4 | undefined {
  const plain = address.replace(/^::ffff:/, '');
  return isIpv4(plain) ? plain : undefined;
}

/** Compares with every token in constant time, so that the answer's delay tells nothing. */
function roleOfToken(cluster: Pick<Cluster, 'joinTokens'>, token: string): NodeRole | undefined {
  const given = Buffer.from(token);
  const matches = (wanted: string) => {
    const bytes = Buffer.from(wanted);
    return bytes.length === given.length && timingSafeEqual(bytes, given);
  };
  const [manager, worker] = [matches(cluster.joinTokens.manager), matches(cluster.joinTokens.worker)];
  if (manager) return 'manager';
  return worker ? 'worker' : undefined;
}
