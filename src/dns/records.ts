/**
 * dns/: what a container gets when it asks for a name. A process of its own on each node (main.ts), so that a restart,
 * an upgrade or a busy moment of skeind neither stops nor delays an answer; skeind feeds it over a unix socket
 * (feed.ts) and it goes on with what it was last told. The agent calls the feed; if it lies, a request goes to the
 * wrong task or to nobody.
 *
 * This file is what both sides know: records under keys, in batches. One endpoint more is one record; a question costs
 * a few look-ups, whatever exists.
 */
import type { ContainerId, Ipv4, NetworkId, ServiceId } from '../model/ids.ts';

export interface NetworkRecord {
  readonly kind: 'network';
  readonly id: NetworkId;
  readonly name: string;
}

/** A service on one network. */
export interface ServiceRecord {
  readonly kind: 'service';
  readonly id: ServiceId;
  readonly networkId: NetworkId;
  readonly name: string;
  readonly aliases: readonly string[];
  /** undefined: no virtual IP (dnsrr), the name leads to the tasks. */
  readonly virtualIp: Ipv4 | undefined;
}

/** A container on one network. */
export interface EndpointRecord {
  readonly kind: 'endpoint';
  readonly networkId: NetworkId;
  readonly serviceId: ServiceId | undefined;
  readonly address: Ipv4;
  /** Its own names, the first of them the one that an address is told to be. */
  readonly names: readonly string[];
  readonly inRotation: boolean;
}

/** A container of this node that asks. */
export interface SandboxRecord {
  readonly kind: 'sandbox';
  readonly id: ContainerId;
  readonly netnsPath: string;
  /** In the order in which they are searched. */
  readonly networks: readonly NetworkId[];
  /** Where to ask on; empty: the node's own resolvers. */
  readonly servers: readonly string[];
  /** False: every network is internal, nothing outside is asked. */
  readonly forward: boolean;
}

export type DnsRecord = NetworkRecord | ServiceRecord | EndpointRecord | SandboxRecord;

export const sandboxKey = (id: ContainerId): string => `sandbox/${id}`;

export type ToResolver =
  /** What follows, up to the commit, replaces everything. */
  | { readonly type: 'begin' }
  | { readonly type: 'put'; readonly key: string; readonly record: DnsRecord }
  | { readonly type: 'delete'; readonly key: string }
  | { readonly type: 'commit'; readonly seq: number };

/** The batch is in force: listeners are open, answers follow it. `failed`: sandboxes that could not be listened in. */
export interface FromResolver {
  readonly seq: number;
  readonly failed: readonly { readonly id: ContainerId; readonly why: string }[];
}
