/** The agent's half of a node, for as long as it is a member of a cluster. Wiring and nothing else. */
import { Agent } from '../agent/agent.ts';
import { ClusterPlace } from '../agent/cluster-place.ts';
import { Assignments } from '../agent/assignments.ts';
import { DEFAULT_POLICY } from '../agent/image-collector.ts';
import { NamedNetwork } from '../agent/named-network.ts';
import { ResolverFeed } from '../dns/feed.ts';
import { type Identity, keepRenewed, renew } from '../agent/identity.ts';
import { PayloadStore } from '../agent/payload-store.ts';
import { Session } from '../agent/session.ts';
import type { ContainerRuntime } from '../containerd/runtime.ts';
import type { Tell } from '../kit/event-log.ts';
import { runProcess } from '../kit/process.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import type { NodeDescription } from '../model/objects.ts';
import { KernelNetwork } from '../net/kernel-network.ts';
import { HostFirewall } from '../net/firewall.ts';
import { Listeners } from '../net/listeners.ts';
import { NetworkStatusFile } from '../net/network-status.ts';
import { IcmpProber } from '../net/probe-socket.ts';
import { NodeWalker } from '../trace/node-walker.ts';
import { NodeTracer } from '../trace/node-tracer.ts';
import { clearNetwork } from './clear-network.ts';
import type { Folders } from './folders.ts';
import type { Membership } from './membership-file.ts';
import type { Tools } from './tools.ts';
import { SKEIN_VERSION } from './version.ts';

export interface AgentSideOptions {
  readonly folders: Folders;
  readonly membership: Membership;
  readonly hostname: string;
  readonly runtime: ContainerRuntime;
  readonly identity: () => Identity;
  /** Keeps a changed identity (renewed, other managers) and tells who else uses it. */
  readonly adopt: (identity: Identity) => void;
  readonly isStandalone: (id: ContainerId) => boolean;
  readonly keepUnusedImagesMs: number;
  readonly describe: (network: KernelNetwork, address: string) => Promise<NodeDescription>;
  /** Hears what happens on this node. */
  readonly tell: Tell;
  readonly tools: Tools;
}

export class AgentSide {
  readonly assignments = new Assignments();
  readonly session: Session;
  readonly #options: AgentSideOptions;
  readonly #network: KernelNetwork;
  readonly #names: ResolverFeed;
  readonly #place: ClusterPlace;
  readonly #agent: Agent;
  readonly #stop = new AbortController();
  #running: Promise<unknown>[] = [];

  static async open(options: AgentSideOptions): Promise<AgentSide> {
    const { folders, membership, tools } = options;
    const network = await KernelNetwork.open({
      runRoot: folders.runRoot,
      log: tools.log.with({ part: 'network' }),
      vtep: membership.dataPathAddr,
      clock: tools.clock,
    });
    return new AgentSide(options, network);
  }

  private constructor(options: AgentSideOptions, network: KernelNetwork) {
    this.#options = options;
    this.#network = network;
    this.#names = resolverFeed(options.folders, options.tools);
    const { folders, membership, tools } = options;
    const { clock, hash } = tools;
    const log = tools.log.with({ part: 'agent' });
    const dataPathAddr = membership.dataPathAddr;
    const status = new NetworkStatusFile(folders.runRoot);
    const firewall = new HostFirewall(runProcess);
    const walker = new NodeWalker({
      network,
      firewall,
      status: () => status.status,
      managersView: () => this.assignments.networkView(),
      clock,
    });
    this.session = new Session({
      identity: options.identity,
      saveManagers: (managers) => options.adopt({ ...options.identity(), managers }),
      assignments: this.assignments,
      describe: async () => ({ description: await options.describe(network, dataPathAddr), dataPathAddr }),
      logs: (request, signal) => this.#agent.logs(request, signal),
      walk: (starts) => walker.walk(starts),
      trace: new NodeTracer({ runRoot: folders.runRoot, clock }),
      clock,
      log,
      random: Math.random,
    });
    const named = new NamedNetwork({ network, names: this.#names, hash, clock, log });
    this.#agent = new Agent({
      runtime: options.runtime,
      network: named,
      firewall,
      listeners: new Listeners(),
      steering: {
        prober: new IcmpProber(tools.random),
        status,
      },
      assignments: this.assignments,
      sink: this.session,
      dataRoot: folders.dataRoot,
      payloads: new PayloadStore(folders.runRoot, runProcess),
      isStandalone: options.isStandalone,
      hostname: options.hostname,
      tell: options.tell,
      collection: { ...DEFAULT_POLICY, keepMs: options.keepUnusedImagesMs },
      hash,
      random: Math.random,
      clock,
      log,
    });
    this.#place = new ClusterPlace({
      network: named,
      networkLoop: this.#agent.networkLoop,
      assignments: this.assignments,
      sink: this.session,
      client: () => this.session.client,
      isStandalone: options.isStandalone,
      clock,
      log,
    });
  }

  /** Where containers started by hand come onto the network; there is none any more from the beginning of `stop`. */
  get place(): ClusterPlace | undefined {
    return this.#stop.signal.aborted ? undefined : this.#place;
  }

  start(): void {
    this.#place.start();
    const { identity, tools } = this.#options;
    const { signal } = this.#stop;
    this.#agent.start();
    this.#running = [
      this.session.run(signal),
      keepRenewed({
        clock: tools.clock,
        log: tools.log,
        random: Math.random,
        signal,
        current: identity,
        renew: () => this.certify(signal),
      }),
    ];
  }

  /** Has a new certificate, of the role that the managers say this node has, and goes on with it. */
  async certify(signal: AbortSignal): Promise<Identity> {
    const { identity, adopt } = this.#options;
    const { client } = this.session;
    if (!client) throw new SkeinError('unavailable', 'no session with a manager at the moment');
    const fresh = await renew(client, identity(), signal);
    adopt(fresh);
    this.session.reconnect();
    return fresh;
  }

  /** Resolves when the managers count this node as ready; rejects when the signal aborts first. */
  async recognised(signal: AbortSignal): Promise<void> {
    if (this.assignments.recognised) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const off = this.assignments.onChange(() => this.assignments.recognised && resolve());
    const give = () => reject(signal.reason as Error);
    signal.addEventListener('abort', give, { once: true });
    try {
      await promise;
    } finally {
      off();
      signal.removeEventListener('abort', give);
    }
  }

  /** Lets go; containers and the kernel's network stay as they are. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#place.stop();
    await Promise.allSettled([...this.#running, this.#agent.stop(), this.#names.close()]);
    await this.#network.close();
  }

  /** After `stop`, when the node leaves its cluster: no container, sandbox, link or rule of it remains. */
  static async remove(
    options: Pick<AgentSideOptions, 'folders' | 'runtime' | 'tools' | 'isStandalone'>,
  ): Promise<void> {
    for (const { id, status } of await options.runtime.list()) {
      if (!options.isStandalone(id)) await options.runtime.remove(id);
      else if (status === 'running' || status === 'paused') await options.runtime.kill(id, 'SIGKILL');
    }
    await new PayloadStore(options.folders.runRoot, runProcess).clear();
    await resolverFeed(options.folders, options.tools).remove();
    await clearNetwork(options.folders.runRoot, options.tools.log);
  }
}

const resolverFeed = ({ runRoot, resolverLog }: Folders, { clock, log }: Tools): ResolverFeed =>
  new ResolverFeed({
    runRoot,
    logFile: resolverLog,
    version: SKEIN_VERSION,
    clock,
    log: log.with({ part: 'names' }),
  });
