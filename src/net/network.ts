/**
 * The network of one node: namespaces, bridges, VXLAN, the ingress endpoint, the routing mesh and the containers' way
 * out. Decided by pure planners (`plan.ts`, `nft-plan.ts`, `diff-plan.ts`, `delta-plan.ts`), done by executors over
 * netlink in process (`executors.ts`), kept in agreement by `KernelNetwork`. The agent calls it; `trace/` borrows its
 * typed plans and its way into namespaces. If it lies about what the kernel holds, packets go to the wrong task.
 *
 * This file is what the agent needs of it, in one interface with a fake beside the real thing.
 *
 * `apply` and `attach` are level-triggered: each reads the kernel, compares and changes only what differs, so each
 * may be repeated, and may be killed between any two steps.
 */
import type { ContainerId, InterfaceAddress, Mac, NetworkId, ServiceId } from '../model/ids.ts';
import type { NetworkView } from '../model/network-view.ts';
import type { HostPort } from '../model/spec.ts';

/** What a container's network namespace must hold. */
export interface SandboxSpec {
  readonly id: ContainerId;
  /** Whose task it is; undefined for a container of no service. */
  readonly serviceId: ServiceId | undefined;
  /** One link a network; of a new sandbox in this order: eth0, eth1, ... The gateway link comes last. */
  readonly attachments: readonly {
    readonly networkId: NetworkId;
    readonly address: InterfaceAddress;
    readonly mac: Mac;
  }[];
  /** Host-mode ports, translated on the gateway bridge. */
  readonly hostPorts: readonly HostPort[];
  /** Where the container's questions for other names go; empty: to the node's own resolvers. */
  readonly dnsServers: readonly string[];
  /** No way out: all networks are internal. */
  readonly internal: boolean;
}

export interface Sandbox {
  readonly id: ContainerId;
  readonly netnsPath: string;
  /** Host ports as bound, with what was chosen for those that left it open. */
  readonly hostPorts: readonly HostPort[];
}

export interface AttachedSandbox extends Omit<Sandbox, 'id'> {
  readonly spec: SandboxSpec;
}

export interface NodeNetwork {
  /** Makes the kernel agree with the view; resolves when packets flow by it. */
  apply(view: NetworkView, signal?: AbortSignal): Promise<void>;
  /**
   * Makes the container's namespace alone, which `attach` fills; where there is one, nothing. Whoever needs no more than
   * to be in it (a process that is made, and started later) does not wait for the rest.
   */
  prepare(id: ContainerId): Promise<void>;
  /**
   * Makes the container's namespace and links, or changes them to these networks: links that stay are not touched.
   * The networks it names must be in the last applied view.
   */
  attach(spec: SandboxSpec): Promise<Sandbox>;
  /** Where the container's namespace is bound once it is prepared or attached: what `attach` will say. */
  netnsPath(id: ContainerId): string;
  /** Removes namespace and links; what is gone already is no error. */
  detach(id: ContainerId): Promise<void>;
  /** The sandboxes that were attached and not detached since, as they were asked for. */
  attached(): Promise<readonly AttachedSandbox[]>;
  /** Every sandbox that exists on this node, the truth being the kernel's. */
  sandboxes(): Promise<readonly ContainerId[]>;
  /** Whether the container's is among them; costs the same however many there are. */
  hasSandbox(id: ContainerId): Promise<boolean>;
  /** Link that carries `address`, with its MAC and MTU. */
  uplink(address: string): Promise<{ readonly name: string; readonly mac: Mac; readonly mtu: number }>;
  close(): Promise<void>;
}
