/**
 * agent/: makes one node agree with what the manager wants of it. The session (rpc) fills `Assignments`; the network
 * loop makes the kernel agree with the view, the worker makes containerd agree with the tasks, the reporter says how
 * it went. daemon/ builds one `Agent` for each membership in a cluster.
 *
 * If it lies: a task reported running that is not takes requests to nowhere; a revision said applied that is not lets
 * a drained container be stopped under its connections.
 * One task more on this node costs its own steps and an entry of the full pass; a task elsewhere costs one endpoint.
 */
import { isNews } from '../containerd/container-event.ts';
import type { ContainerEvent, ContainerRuntime } from '../containerd/runtime.ts';
import type { Clock } from '../kit/clock.ts';
import type { Tell } from '../kit/event-log.ts';
import type { Log } from '../kit/log.ts';
import type { ContainerId } from '../model/ids.ts';
import type { HashText } from '../model/names.ts';
import type { HostFirewall } from '../net/firewall.ts';
import type { Listeners } from '../net/listeners.ts';
import type { NetworkStatusFile } from '../net/network-status.ts';
import type { Prober } from '../net/probe-socket.ts';
import type { LogRecord, LogRequest } from '../rpc/messages.ts';
import type { Assignments } from './assignments.ts';
import type { CollectionPolicy } from './collection-plan.ts';
import { FirewallLoop } from './firewall-loop.ts';
import { followContainers } from './follow-containers.ts';
import { DEFAULT_POLICY, diskOf, ImageCollector } from './image-collector.ts';
import { readLogs } from './logs.ts';
import { type AuditedNetwork, NetworkLoop } from './network-loop.ts';
import { PLATFORM, readResolvConf } from './node-facts.ts';
import type { PayloadStore } from './payload-store.ts';
import { Reporter, type StatusSink } from './reporter.ts';
import { SteeringLoop } from './steering-loop.ts';
import { TaskFiles } from './task-files.ts';
import { Worker } from './worker.ts';

export interface AgentOptions {
  readonly runtime: ContainerRuntime;
  readonly network: AuditedNetwork;
  /** What the network loop's view of the peers is judged by, and where that is kept; without: nobody is away. */
  readonly steering?: {
    readonly prober: Prober;
    readonly status: NetworkStatusFile;
  };
  /** Keeps the host's firewall from dropping what Skein forwards; without: it is left alone. */
  readonly firewall?: Pick<HostFirewall, 'keep'>;
  /** By what a task without a health check is seen to serve. */
  readonly listeners: Pick<Listeners, 'closed'>;
  readonly assignments: Assignments;
  readonly sink: StatusSink;
  readonly dataRoot: string;
  readonly payloads: PayloadStore;
  readonly hostname: string;
  /** SHA-256 as 64 hexadecimal digits. */
  readonly hash: HashText;
  readonly random: () => number;
  readonly clock: Clock;
  readonly log: Log;
  /** Hears what happens on this node. */
  readonly tell?: Tell;
  readonly resolvConf?: () => string;
  readonly isStandalone?: (id: ContainerId) => boolean;
  readonly concurrency?: number;
  /** When images that tasks brought are given up. */
  readonly collection?: CollectionPolicy;
}

export class Agent {
  readonly #options: AgentOptions;
  readonly #reporter: Reporter;
  readonly networkLoop: NetworkLoop;
  readonly #worker: Worker;
  readonly #collector: ImageCollector;
  readonly #steering: SteeringLoop | undefined;
  readonly #firewall: FirewallLoop | undefined;
  readonly #abort = new AbortController();
  #unsubscribe: (() => void) | undefined;
  #events: Promise<void> = Promise.resolve();
  #complete = false;

  constructor(options: AgentOptions) {
    const { runtime, network, listeners, assignments, sink, dataRoot, payloads, hostname, hash, clock, log } =
      options;
    this.#options = options;
    this.#reporter = new Reporter(sink);
    const status = options.steering?.status;
    this.#steering =
      options.steering &&
      new SteeringLoop({
        ...options.steering,
        view: () => assignments.networkView(),
        onChange: () => this.networkLoop.mark(),
        save: (peers) => status?.write({ peers }),
        remembered: options.steering.status.status.peers,
        clock,
        log,
      });
    this.#firewall = options.firewall && new FirewallLoop({ firewall: options.firewall, status, clock, log });
    this.networkLoop = new NetworkLoop({
      network,
      view: () => assignments.networkView(),
      applied: (revision) => sink.applied(revision),
      ...(this.#steering && { away: () => this.#steering!.away }),
      ...(status && {
        audits: { status: status.status.audits, save: (audits) => status.write({ audits }) },
        saveNotHeld: (notHeld) => status.write({ notHeld }),
      }),
      random: options.random,
      clock,
      log,
    });
    this.#collector = new ImageCollector({
      images: runtime.images,
      assignments,
      policy: options.collection ?? DEFAULT_POLICY,
      disk: () => diskOf(dataRoot),
      ...(options.tell && { tell: options.tell }),
      clock,
      log,
    });
    this.#worker = new Worker({
      runtime,
      network,
      networkLoop: this.networkLoop,
      listeners,
      assignments,
      reporter: this.#reporter,
      files: new TaskFiles(dataRoot),
      payloads,
      hash,
      node: () => ({ id: assignments.networkView()?.self?.nodeId, hostname, platform: PLATFORM }),
      resolvConf: options.resolvConf ?? readResolvConf,
      clock,
      log,
      ...(options.tell && { tell: options.tell }),
      ...(options.isStandalone && { isStandalone: options.isStandalone }),
      ...(options.concurrency !== undefined && { concurrency: options.concurrency }),
    });
  }

  start(): this {
    this.#unsubscribe = this.#options.assignments.onChange(({ tasks, network }) => {
      if (network) this.networkLoop.mark();
      for (const id of tasks) this.#worker.follow(id);
      if (tasks.length > 0) this.#collector.mark();
      this.#lookAtAll();
    });
    this.networkLoop.onNetworks(() => this.#markTasks());
    this.networkLoop.start();
    this.#steering?.start();
    this.#firewall?.start();
    this.#worker.start();
    this.#collector.start();
    this.#events = followContainers(this.#options, (event) => this.#on(event), this.#abort.signal);
    this.#lookAtAll();
    return this;
  }

  /** Lets go; containers, sandboxes and the kernel's network stay as they are. */
  async stop(): Promise<void> {
    this.#abort.abort();
    this.#unsubscribe?.();
    this.#steering?.stop();
    const loops = [this.#worker, this.networkLoop, this.#collector];
    await Promise.all([...loops.map((loop) => loop.stop()), this.#firewall?.stop(), this.#events]);
  }

  logs(request: LogRequest, signal: AbortSignal): AsyncIterable<LogRecord> {
    return readLogs(this.#options.runtime, this.#options.hash, request, signal);
  }

  #markTasks(): void {
    for (const item of this.#options.assignments.tasks.values())
      if (item.status.state !== 'running') this.#worker.markTask(item.id);
  }

  /** Once, after the first snapshot: only now is it known what is not wanted. */
  #lookAtAll(): void {
    if (this.#complete || this.#options.assignments.revision === undefined) return;
    this.#complete = true;
    this.#markAll();
  }

  #markAll(): void {
    this.#worker.markAll().catch((error: unknown) => {
      this.#options.log.warn('containers could not be listed; the full pass will', { err: error });
    });
  }

  #on(event: ContainerEvent): void {
    if (event.type === 'resync') this.#markAll();
    else if (isNews(event)) this.#worker.mark(event.id);
    if (event.type === 'delete') this.#collector.mark();
  }
}
