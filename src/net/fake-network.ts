/**
 * A node's network without a kernel, for tests of the agent: decides as the real one does (the same planners), and
 * remembers instead of programming.
 */
import type { Cidr, ContainerId, InterfaceAddress, Ipv4, Mac } from '../model/ids.ts';
import { SkeinError } from '../model/errors.ts';
import type { NetworkView } from '../model/network-view.ts';
import { chooseGateway, DEFAULT_GATEWAY_SUBNET } from './gateway-plan.ts';
import type { AttachedSandbox, NodeNetwork, Sandbox, SandboxSpec } from './network.ts';
import { type Desired, type Facts, planNode, type SandboxRecord } from './plan.ts';
import { planRecord, underView } from './sandbox-plan.ts';

export interface FakeNetworkOptions {
  readonly vtep?: Ipv4;
  readonly mac?: Mac;
  readonly mtu?: number;
  readonly gatewaySubnet?: Cidr;
}

export class FakeNetwork implements NodeNetwork {
  readonly #options: Required<FakeNetworkOptions>;
  readonly #records = new Map<ContainerId, SandboxRecord>();
  readonly #prepared = new Set<ContainerId>();
  /** Every view applied, in order. */
  readonly applied: NetworkView[] = [];
  /** Thrown by the next apply, prepare or attach, once. */
  failNext: SkeinError | undefined;

  constructor(options: FakeNetworkOptions = {}) {
    this.#options = {
      vtep: '192.0.2.1' as Ipv4,
      mac: '02:00:00:00:00:01' as Mac,
      mtu: 1500,
      gatewaySubnet: DEFAULT_GATEWAY_SUBNET,
      ...options,
    };
  }

  get view(): NetworkView | undefined {
    return this.applied.at(-1);
  }

  /** What the kernel would hold now. */
  get state(): Desired | undefined {
    return this.view && planNode(this.view, [...this.#records.values()], this.#facts());
  }

  async apply(view: NetworkView, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    this.#failOnce();
    this.applied.push(view);
    for (const [id, record] of this.#records) this.#records.set(id, underView(record, view));
  }

  async prepare(id: ContainerId): Promise<void> {
    this.#failOnce();
    this.#prepared.add(id);
  }

  async attach(spec: SandboxSpec): Promise<Sandbox> {
    this.#failOnce();
    const record = planRecord(spec, {
      view: this.view,
      others: [...this.#records.values()].filter((r) => r.spec.id !== spec.id),
      before: this.#records.get(spec.id),
      gateway: this.#facts().gateway,
      taken: new Set(),
      foreign: new Set(),
    });
    this.#records.set(spec.id, record);
    return { id: spec.id, netnsPath: pathOf(spec.id), hostPorts: record.hostPorts };
  }

  netnsPath(id: ContainerId): string {
    return pathOf(id);
  }

  async detach(id: ContainerId): Promise<void> {
    this.#records.delete(id);
    this.#prepared.delete(id);
  }

  async attached(): Promise<readonly AttachedSandbox[]> {
    return [...this.#records.values()].map(({ spec, hostPorts }) => ({
      ...{ spec, hostPorts, netnsPath: pathOf(spec.id) },
    }));
  }

  async sandboxes(): Promise<readonly ContainerId[]> {
    return [...new Set([...this.#records.keys(), ...this.#prepared])].sort();
  }

  async hasSandbox(id: ContainerId): Promise<boolean> {
    return this.#records.has(id) || this.#prepared.has(id);
  }

  async uplink(address: string): Promise<{ readonly name: string; readonly mac: Mac; readonly mtu: number }> {
    const { vtep, mac, mtu } = this.#options;
    if (address !== vtep)
      throw new SkeinError('not-found', `no link of this node has the address ${address}`);
    return { name: 'eth0', mac, mtu };
  }

  async close(): Promise<void> {}

  #failOnce(): void {
    const error = this.failNext;
    this.failNext = undefined;
    if (error) throw error;
  }

  #facts(): Facts {
    const { vtep, mtu, gatewaySubnet } = this.#options;
    return { vtep, uplinkMtu: mtu, gateway: this.#gateway(gatewaySubnet) };
  }

  #gateway(wanted: Cidr): InterfaceAddress {
    return chooseGateway({ wanted, sandboxes: [], present: undefined, occupied: [] });
  }
}

const pathOf = (id: ContainerId): string => `/run/skein/netns/${id}`;
