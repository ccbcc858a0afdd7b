/**
 * The real `NodeNetwork`: makes one node's kernel agree with the network view, and makes and removes sandboxes.
 *
 * INVARIANTS
 * - The first apply and the apply after an error read the kernel back, and so do audits, in pieces (audit.ts); in
 *   between the last plan stands for it (programmer.ts).
 * - A death between any two steps is repaired by the next apply: no step depends on what only memory knew.
 * - Nothing of others is touched: links by name (link-names.ts), one nftables table, sandboxes by their folder.
 * - Operations run one at a time, in the order they were asked for; after `close` none does: somebody else may be
 *   taking the node's network away. No namespace switch spans an `await`.
 *
 * Scale: a change of endpoints and services costs two passes that compare identities (`delta-plan.ts`) and what it
 * programs; any other change plans and compares everything in memory. An attach does not depend on what else there is.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { addressOf } from '../kit/cidr.ts';
import { type Clock, sleep, systemClock } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import { isCode, SkeinError } from '../model/errors.ts';
import type { Cidr, ContainerId, Ipv4 } from '../model/ids.ts';
import type { NetworkView } from '../model/network-view.ts';
import { forgetUnanswered } from './conntrack.ts';
import type { Step } from './diff-plan.ts';
import { DEFAULT_GATEWAY_SUBNET } from './gateway-plan.ts';
import { GATEWAY_LINK, INGRESS_LINK, isPortOf } from './link-names.ts';
import { removeTableText } from './nft-text.ts';
import type { AttachedSandbox, NodeNetwork, Sandbox, SandboxSpec } from './network.ts';
import { Places } from './places.ts';
import { type Desired, type Facts, planNode, type SandboxRecord } from './plan.ts';
import { type ApplyReport, Programmer } from './programmer.ts';
import { readFacts, readUplink, type Uplink } from './local-facts.ts';
import { dumpAddresses, dumpLinks, dumpNeighbours } from './rtnetlink-read.ts';
import { planRecord, underView } from './sandbox-plan.ts';
import { Unanswered } from './unanswered.ts';
import { SandboxRecords } from './sandbox-records.ts';
import { type Place, ZERO_MAC } from './state.ts';

export interface KernelNetworkOptions {
  /** Holds `netns/` and `sandboxes/`; gone after a reboot, or stale, which is as good. */
  readonly runRoot: string;
  readonly log: Log;
  /** This node's tunnel endpoint: the underlay address that other nodes send to. */
  readonly vtep: Ipv4;
  readonly gatewaySubnet?: Cidr;
  readonly clock?: Clock;
  /** The node's own namespace, when it is not that of this process. */
  readonly netns?: string;
}

/** What the kernel is to hold, and what of the node no plan holds. */
export interface Planned {
  readonly plan: Desired;
  readonly view: NetworkView;
  readonly uplink: Uplink;
  readonly vtep: Ipv4;
  /** Of the root namespace, whoever gave them. */
  readonly addresses: ReadonlySet<Ipv4>;
}

/**
 * A namespace that is being taken down holds its VNIs and names a little longer, and what memory knew may be gone: how
 * often and how long we try again, reading back each time.
 */
const RETRIES = { times: 50, ms: 40 };
/** How long the kernel gets to take a removed namespace down, and how often we look. */
const LEAVING = { ms: 500, step: 20 };

export class KernelNetwork implements NodeNetwork {
  readonly #options: KernelNetworkOptions;
  readonly #places: Places;
  readonly #records: SandboxRecords;
  readonly #programmer: Programmer;
  #view: NetworkView | undefined;
  #facts: Facts | undefined;
  #last: ApplyReport | undefined;
  /** Removed, but their links may still be on their way out. */
  readonly #leaving = new Set<ContainerId>();
  /** Prepared, and not touched since. */
  readonly #empty = new Set<ContainerId>();
  readonly #clock: Clock;
  readonly #unanswered: Unanswered;
  #queue: Promise<unknown> = Promise.resolve();
  #closed = false;

  static async open(options: KernelNetworkOptions): Promise<KernelNetwork> {
    return new KernelNetwork(options);
  }

  constructor(options: KernelNetworkOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#unanswered = new Unanswered(
      this.#clock,
      (place, backends) => void this.#forgetUnanswered(place, backends),
    );
    this.#places = new Places(options.runRoot, options.netns, this.#clock);
    this.#records = new SandboxRecords(options.runRoot);
    this.#programmer = new Programmer({
      places: this.#places,
      log: options.log,
      backendsLeft: (place, backends) => this.#unanswered.left(place, backends),
    });
  }

  /** What the last apply or audit did. */
  get lastReport(): ApplyReport | undefined {
    return this.#last;
  }

  /** Published ports that are not held on this node, and why. */
  get notHeld(): ReadonlyMap<string, string> {
    return this.#programmer.notHeld;
  }

  apply(view: NetworkView, signal?: AbortSignal): Promise<void> {
    return this.#serial(async () => {
      signal?.throwIfAborted();
      this.#view = view;
      for (const record of this.#records.all) {
        const now = underView(record, view);
        if (now !== record) this.#records.set(now);
      }
      await this.#reconcile(view, signal);
    });
  }

  /**
   * Reads everything back and repairs what drifted. Counts what it repaired. Changes are made in between: only where
   * something differs they wait for all of it.
   */
  async audit(): Promise<ApplyReport> {
    if (await this.#isAsPlanned()) return (this.#last = { readBack: true, steps: {}, total: 0 });
    return this.#serial(async () => {
      if (!this.#view) return { readBack: false, steps: {}, total: 0 };
      this.#forget();
      const report = await this.#reconcile(this.#view);
      if (report.total > 0) this.#options.log.warn('network drift repaired', { 'net.steps': report.steps });
      return report;
    });
  }

  prepare(id: ContainerId): Promise<void> {
    return this.#serial(async () => {
      if (this.#places.exists(id)) return;
      this.#places.create(id);
      this.#empty.add(id);
    });
  }

  attach(spec: SandboxSpec): Promise<Sandbox> {
    return this.#serial(async () => {
      const facts = this.#currentFacts();
      const record = this.#choose(spec, facts);
      this.#records.set(record);
      this.#programmer.make(record, this.#view!, facts, { isEmpty: this.#empty.delete(spec.id) });
      if (record.hostPorts.length > 0) await this.#reconcile(this.#view!);
      return {
        id: spec.id,
        netnsPath: this.netnsPath(spec.id),
        hostPorts: record.hostPorts,
      };
    });
  }

  /**
   * Deleting a veth holds the caller for tens of milliseconds; the kernel does it by itself, in the background, when
   * the namespace goes. Only where something keeps the namespace alive are the links deleted by hand.
   */
  async detach(id: ContainerId): Promise<void> {
    this.#leaving.add(id);
    try {
      await this.#serial(() => this.#remove(id));
      for (let waited = 0; waited < LEAVING.ms && this.#isLeaving(id); waited += LEAVING.step)
        await sleep(this.#clock, LEAVING.step);
      await this.#serial(async () =>
        this.#programmer.run(this.#ports(id).map((name) => ({ kind: 'link.delete', place: 'fabric', name }))),
      );
    } finally {
      this.#leaving.delete(id);
    }
  }

  async attached(): Promise<readonly AttachedSandbox[]> {
    return this.#records.all
      .filter(({ spec }) => this.#places.exists(spec.id))
      .map(({ spec, hostPorts }) => ({ spec, hostPorts, netnsPath: this.netnsPath(spec.id) }));
  }

  netnsPath(id: ContainerId): string {
    return this.#places.path(id)!;
  }

  async sandboxes(): Promise<readonly ContainerId[]> {
    return this.#sandboxIds().sort();
  }

  async hasSandbox(id: ContainerId): Promise<boolean> {
    return this.#records.get(id) !== undefined || this.#places.has(id);
  }

  /** Looks at what the kernel was last made to hold, between two changes. Undefined before the first view. */
  inspect<T>(look: (planned: Planned) => T): Promise<T | undefined> {
    return this.#serial(async () => {
      const view = this.#view;
      if (!view) return undefined;
      const { vtep } = this.#options;
      const root = this.#places.route('root');
      return look({
        plan: this.#programmer.known ?? this.#planned(),
        view,
        uplink: readUplink(root, vtep),
        vtep,
        addresses: new Set(dumpAddresses(root).map(({ ip }) => ip)),
      });
    });
  }

  async uplink(address: string): Promise<Uplink> {
    return readUplink(this.#places.route('root'), address);
  }

  /**
   * Takes away everything of Skein's on this node, for one that leaves its cluster. Repeatable. What the kernel still
   * takes down in the background (links of a removed namespace) is waited for by the next apply.
   */
  clear(): Promise<void> {
    return this.#serial(async () => {
      this.#view = undefined;
      this.#unanswered.close();
      this.#programmer.close();
      this.#forget();
      for (const id of this.#sandboxIds()) {
        this.#places.remove(id);
        this.#records.delete(id);
      }
      this.#empty.clear();
      this.#places.withNft('root', (nft) => nft.run(removeTableText));
      this.#programmer.run(
        [INGRESS_LINK, GATEWAY_LINK].map((name) => ({ kind: 'link.delete', place: 'root', name })),
      );
      this.#places.remove('fabric');
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#unanswered.close();
    await this.#queue;
    this.#places.close();
    this.#programmer.close();
  }

  /**
   * Runs `fn` after everything that was asked for before it, and a turn of the event loop: an attach holds this process
   * for up to ten milliseconds, and eight in a row would keep the first container waiting for the last one's sandbox.
   */
  #serial<T>(fn: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(() => {
      if (this.#closed) throw new SkeinError('canceled', "this node's network was let go of");
      return fn();
    });
    this.#queue = result.catch(() => undefined).then(() => nextTurn());
    return result;
  }

  #forget(): void {
    for (const { spec } of this.#records.all) this.#places.forget(spec.id);
    this.#programmer.forget();
    this.#facts = undefined;
  }

  async #isAsPlanned(): Promise<boolean> {
    const pieces = this.#programmer.pieces(() => this.#planned());
    for (;;) {
      const { done, value } = await this.#serial(async () => pieces.next());
      if (done) break;
      if (!value) return false;
    }
    await this.#serial(async () => this.#programmer.holdPorts());
    return true;
  }

  async #reconcile(view: NetworkView, signal?: AbortSignal): Promise<ApplyReport> {
    for (let attempt = 1; ; attempt++)
      try {
        return (this.#last = this.#programmer.program(view, this.#currentFacts(), {
          records: this.#records.all,
          leaving: this.#leaving,
        }));
      } catch (error) {
        this.#forget();
        if (attempt >= RETRIES.times || signal?.aborted || !isCode(error, 'already-exists', 'not-found'))
          throw error;
        await sleep(this.#clock, RETRIES.ms, signal);
      }
  }

  /** Repairs nothing that a later apply would not: where it fails, the connections wait for their clients to give up. */
  #forgetUnanswered(place: Place, backends: ReadonlySet<string>): Promise<void> {
    return this.#serial(async () => {
      if (!this.#places.exists(place)) return;
      const forgotten = this.#places.withFilter(place, (socket) => forgetUnanswered(socket, backends));
      if (forgotten > 0) this.#options.log.info('connections moved off backends that left', { forgotten });
    }).catch((error: unknown) =>
      this.#options.log.warn('connections to backends that left may hang', { err: error }),
    );
  }

  async #remove(id: ContainerId): Promise<void> {
    const record = this.#records.get(id);
    this.#places.remove(id);
    this.#empty.delete(id);
    this.#records.delete(id);
    this.#programmer.drop(id);
    if (record?.gateway && this.#hasGateway())
      this.#programmer.run([forgetNeighbour(addressOf(record.gateway))]);
    if (record && record.hostPorts.length > 0 && this.#view) {
      this.#programmer.compareAll();
      await this.#reconcile(this.#view);
    }
  }

  /** Ports that are left open are tried: what another program has is known when it is. */
  #choose(spec: SandboxSpec, { gateway }: Facts): SandboxRecord {
    const before = this.#records.get(spec.id);
    const context = {
      ...{ view: this.#view, before, gateway, taken: this.#takenAddresses(before) },
      others: this.#records.all.filter((r) => r.spec.id !== spec.id),
    };
    for (const foreign = new Set<string>(); ; ) {
      const record = planRecord(spec, { ...context, foreign });
      const other = before ? undefined : this.#programmer.takePorts(record);
      if (other === undefined) return record;
      foreign.add(other);
    }
  }

  /** By namespace or by record: a death may have left either alone. */
  #sandboxIds(): ContainerId[] {
    return [...new Set([...this.#places.sandboxes(), ...this.#records.all.map((r) => r.spec.id)])];
  }

  /** The sandbox's links outside it: ports of the fabric's bridges. */
  #ports(id: ContainerId): string[] {
    if (!this.#places.exists('fabric')) return [];
    return dumpLinks(this.#places.route('fabric'))
      .map((link) => link.name)
      .filter((name) => isPortOf(id, name));
  }

  /** Some of its links are still there, as far as we may look. */
  #isLeaving(id: ContainerId): boolean {
    return !this.#closed && this.#ports(id).length > 0;
  }

  #hasGateway(): boolean {
    return dumpLinks(this.#places.route('root')).some((l) => l.name === GATEWAY_LINK);
  }

  /** Addresses of the gateway subnet that the kernel holds as a sandbox's. */
  #takenAddresses(before: SandboxRecord | undefined): Set<Ipv4> {
    if (before?.gateway) return new Set();
    return new Set(dumpNeighbours(this.#places.route('root')).map((n) => n.ip));
  }

  /** What the view asks for, from the node as it is now. */
  #planned(): Desired {
    this.#facts = undefined;
    const alive = this.#records.all.filter((r) => this.#places.exists(r.spec.id));
    return planNode(this.#view!, alive, this.#currentFacts());
  }

  #currentFacts(): Facts {
    if (this.#facts) return this.#facts;
    const { vtep, gatewaySubnet = DEFAULT_GATEWAY_SUBNET } = this.#options;
    const gateways = this.#records.all.flatMap((r) => (r.gateway ? [r.gateway] : []));
    const subnets = [...(this.#view?.networks.values() ?? [])].map((n) => n.subnet);
    return (this.#facts = readFacts(this.#places.route('root'), { vtep, gatewaySubnet, gateways, subnets }));
  }
}

const forgetNeighbour = (ip: Ipv4): Step => ({
  kind: 'neighbour.delete',
  place: 'root',
  neighbour: { place: 'root', link: GATEWAY_LINK, ip, mac: ZERO_MAC },
});
