/**
 * The node's network with names: what the kernel is told, the resolver is told after it, so that no name leads where
 * packets do not go yet; and a container's way to the resolver is open before the container starts.
 */
import type { ResolverFeed } from '../dns/feed.ts';
import { checkListening, type RecordChanges } from '../dns/feed.ts';
import { type DnsRecord, sandboxKey } from '../dns/records.ts';
import { type Clock, sleep } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import type { HashText } from '../model/names.ts';
import type { NetworkView } from '../model/network-view.ts';
import type { Sandbox, SandboxSpec } from '../net/network.ts';
import type { AuditedNetwork, AuditReport } from './network-loop.ts';
import { namesDelta } from './names-plan.ts';

export interface NamedNetworkOptions {
  readonly network: AuditedNetwork;
  readonly names: Pick<ResolverFeed, 'set'>;
  readonly hash: HashText;
  readonly clock: Clock;
  readonly log: Log;
}

/** How long a view or a container waits for the resolver. */
const APPLY_MS = 1_000;
const ATTACH_MS = 5_000;

export class NamedNetwork implements AuditedNetwork {
  readonly #options: NamedNetworkOptions;
  #view: NetworkView | undefined;
  /** The resolver was told to let go of them. */
  readonly #going = new Set<ContainerId>();

  constructor(options: NamedNetworkOptions) {
    this.#options = options;
  }

  async apply(view: NetworkView, signal?: AbortSignal): Promise<void> {
    const { network, log } = this.#options;
    await network.apply(view, signal);
    const changes = namesDelta(this.#view, view, this.#options.hash);
    // The first view is the whole: the containers that this node has are part of it.
    const put = new Map(changes.put);
    if (!this.#view)
      for (const { spec, netnsPath } of await network.attached())
        if (!this.#going.has(spec.id)) put.set(...asker(spec, netnsPath));
    this.#view = view;
    if (put.size === 0 && changes.delete.length === 0) return;
    const told = await this.#tell({ put, delete: changes.delete }, APPLY_MS);
    if (!told) log.warn('the resolver does not answer; names follow when it does');
  }

  prepare(id: ContainerId): Promise<void> {
    return this.#options.network.prepare(id);
  }

  async attach(spec: SandboxSpec): Promise<Sandbox> {
    const sandbox = await this.#options.network.attach(spec);
    const put = new Map([asker(spec, sandbox.netnsPath)]);
    const failed = await this.#tell({ put, delete: [] }, ATTACH_MS);
    if (!failed) throw new SkeinError('unavailable', 'the resolver of this node does not answer');
    checkListening(failed, spec.id);
    return sandbox;
  }

  /** The resolver first: its sockets would keep the namespace alive. */
  async detach(id: ContainerId): Promise<void> {
    this.#going.add(id);
    try {
      await this.#tell({ put: new Map(), delete: [sandboxKey(id)] }, APPLY_MS);
      await this.#options.network.detach(id);
    } finally {
      this.#going.delete(id);
    }
  }

  netnsPath(id: ContainerId): string {
    return this.#options.network.netnsPath(id);
  }

  sandboxes(): Promise<readonly ContainerId[]> {
    return this.#options.network.sandboxes();
  }

  hasSandbox(id: ContainerId): Promise<boolean> {
    return this.#options.network.hasSandbox(id);
  }

  attached(): ReturnType<AuditedNetwork['attached']> {
    return this.#options.network.attached();
  }

  uplink(address: string): ReturnType<AuditedNetwork['uplink']> {
    return this.#options.network.uplink(address);
  }

  audit(): Promise<AuditReport> {
    return this.#options.network.audit?.() ?? Promise.resolve({ steps: {}, total: 0 });
  }

  get notHeld(): ReadonlyMap<string, string> {
    return this.#options.network.notHeld ?? new Map();
  }

  close(): Promise<void> {
    return this.#options.network.close();
  }

  /** What the resolver could not do; undefined when it has not answered in time. */
  async #tell(changes: RecordChanges, ms: number) {
    const abort = new AbortController();
    try {
      return await Promise.race([
        this.#options.names.set(changes),
        sleep(this.#options.clock, ms, abort.signal).then(() => undefined),
      ]);
    } finally {
      abort.abort();
    }
  }
}

const asker = (spec: SandboxSpec, netnsPath: string): [string, DnsRecord] => [
  sandboxKey(spec.id),
  {
    kind: 'sandbox',
    id: spec.id,
    netnsPath,
    networks: spec.attachments.map((a) => a.networkId),
    servers: spec.dnsServers,
    forward: !spec.internal,
  },
];
