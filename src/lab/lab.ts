/**
 * One lab: brought up, found again by another process, disturbed, and taken down.
 *
 * INVARIANTS
 * - `down` works on any lab and on any part of one, in any process, and leaves nothing: it does not need the state file.
 * - `up` that fails takes down what it had started.
 * - Nothing in a lab can reach the machine's own network: no station has a default route.
 */
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { type RunOptions, type RunProcess, type RunResult, runProcess } from '../kit/process.ts';
import { SkeinError } from '../model/errors.ts';
import { removeNetns } from '../kit/netns.ts';
import type { EngineClient } from './client.ts';
import type { BuiltImage } from './image-archive.ts';
import { awaitReady, engineOf, initCluster, joinAll, until } from './cluster.ts';
import {
  type DaemonCommand,
  daemonCommand,
  logFile,
  logTail,
  type Pids,
  pidsOf,
  type ProcessName,
  signalProcess,
  startDaemon,
  writeSettings,
} from './node-process.ts';
import {
  CGROUP_FOLDER,
  checkLabName,
  DATA_FOLDER,
  labFolders,
  type LabOptions,
  type LabPlan,
  nodeOf,
  type NodePlan,
  NETNS_FOLDER,
  planLab,
  RUN_FOLDER,
  stationOf,
} from './plan.ts';
import { claimState, labNames, readState } from './state.ts';
import {
  killAll,
  removeCgroups,
  removeIfEmpty,
  removeRuntimeFiles,
  removeShimFolders,
  signalAll,
  takePower,
  type Traces,
  unmountBelow,
} from './sweep.ts';
import { labNetnsFiles, Underlay } from './underlay.ts';

/** What a lab needs of its surroundings. */
export interface LabTools {
  readonly run: RunProcess;
  /** Told of each long step. */
  readonly progress: (text: string) => void;
  readonly daemon: DaemonCommand;
  /** How it is known that a node is up; the API answers unless given. */
  readonly isUp: (node: NodePlan) => Promise<boolean>;
}

const labTools = (overrides: Partial<LabTools> = {}): LabTools => ({
  run: runProcess,
  progress: () => {},
  daemon: daemonCommand,
  isUp: (node) => engineOf(node).ping(),
  ...overrides,
});

/** What `skein lab up --json` prints. A process that does not run is null (etcd on a worker). */
export interface LabReport {
  readonly name: string;
  readonly client: { readonly netns: string; readonly address: string };
  readonly nodes: readonly {
    readonly name: string;
    readonly address: string;
    readonly netns: string;
    readonly socket: string;
    readonly dataRoot: string;
    readonly pids: Pids;
  }[];
}

export class Lab {
  readonly plan: LabPlan;
  readonly #options: LabOptions;
  readonly #tools: LabTools;
  readonly #underlay: Underlay;

  private constructor(options: LabOptions, tools: LabTools) {
    this.plan = planLab(options);
    this.#options = options;
    this.#tools = tools;
    this.#underlay = new Underlay(this.plan, tools.run);
  }

  /** A lab that another process, or this one, brought up. */
  static open(name: string, tools: Partial<LabTools> = {}): Lab {
    return new Lab(readState(checkLabName(name)), labTools(tools));
  }

  static names(): readonly string[] {
    return labNames();
  }

  static async up(options: LabOptions, tools: Partial<LabTools> = {}, signal?: AbortSignal): Promise<Lab> {
    const lab = new Lab(options, labTools(tools));
    claimState(lab.plan, options);
    try {
      await lab.#build(signal);
      return lab;
    } catch (error) {
      await downLab(lab.plan.name).catch((left: unknown) =>
        lab.#tools.progress(`could not take everything down: ${SkeinError.from(left).message}`),
      );
      throw error;
    }
  }

  async #build(signal?: AbortSignal): Promise<void> {
    const { plan } = this;
    const { progress } = this.#tools;
    progress(`${plan.nodes.length} namespaces on a segment of their own, and a client`);
    mkdirSync(plan.runFolder, { recursive: true });
    await this.#underlay.create();
    for (const station of [plan.client, ...plan.nodes]) {
      signal?.throwIfAborted();
      await this.#underlay.attach(station);
    }
    progress(`starting ${plan.nodes.map((n) => n.name).join(', ')}`);
    for (const node of plan.nodes) writeSettings(node, this.#options.settings ?? {});
    await Promise.all(plan.nodes.map((node) => this.#start(node, signal)));
    if (!plan.cluster) return;
    progress(`forming a cluster on ${plan.nodes[0]!.address}`);
    await initCluster(plan, signal);
    await joinAll(plan, progress, signal);
    await awaitReady(plan, signal);
  }

  node(name: string): NodePlan {
    return nodeOf(this.plan, name);
  }

  /** The API of a node. */
  engine(name: string): EngineClient {
    return engineOf(this.node(name));
  }

  report(): LabReport {
    const { name, client, nodes } = this.plan;
    return {
      name,
      client: { netns: client.netns, address: client.address },
      nodes: nodes.map((node) => ({
        name: node.name,
        address: node.address,
        netns: node.netns,
        socket: node.socket,
        dataRoot: node.dataRoot,
        pids: pidsOf(node),
      })),
    };
  }

  /** Cuts a station off the segment, or with two, the way between them. */
  cut(a: string, b?: string): Promise<void> {
    return this.#setCut(true, a, b);
  }

  heal(a?: string, b?: string): Promise<void> {
    return a === undefined ? this.#underlay.healAll() : this.#setCut(false, a, b);
  }

  #setCut(cut: boolean, a: string, b?: string): Promise<void> {
    const one = stationOf(this.plan, a);
    if (b === undefined) return this.#underlay.setUp(one, !cut);
    if (a === b) throw new SkeinError('invalid-argument', `${a} can not be cut from itself`);
    return this.#underlay.setPair(one, stationOf(this.plan, b), cut);
  }

  /** `all` is what a crash of the machine takes: the daemons, their shims and every container. */
  async kill(
    name: string,
    what: ProcessName | 'all' = 'skeind',
    signal: NodeJS.Signals = 'SIGKILL',
  ): Promise<void> {
    const node = this.node(name);
    if (what === 'all' && signal === 'SIGKILL') await killAll(this.#traces(node));
    else if (what === 'all') await signalAll(this.#traces(node), signal);
    else await signalProcess(node, what, signal);
  }

  /** Starts what does not run; resolves when the node's API answers. */
  async start(name: string, signal?: AbortSignal): Promise<void> {
    const node = this.node(name);
    if (!this.#underlay.isAttached(node)) await this.#underlay.attach(node);
    await this.#start(node, signal);
  }

  /** Everything of the node goes, processes, links, namespaces, mounts; the data root stays. Then it starts. */
  async reboot(name: string, signal?: AbortSignal): Promise<void> {
    await this.powerOff(name);
    await this.start(name, signal);
  }

  /** The first half of a reboot. A node that was cut off is still cut off when it comes back. */
  async powerOff(name: string): Promise<void> {
    const node = this.node(name);
    const cut = !(await this.#underlay.isUp(node));
    await takePower(this.#traces(node), node.runRoot);
    await this.#underlay.detach(node);
    if (cut) await this.#underlay.attach(node, false);
  }

  /** Loads an image on every node: no registry can be reached from a lab. */
  async load(image: BuiltImage, signal?: AbortSignal): Promise<void> {
    const size = `${Math.round(image.tar.length / 1e6)} MB`;
    for (const { name } of this.plan.nodes) {
      signal?.throwIfAborted();
      this.#tools.progress(`loading the image ${image.name} on ${name} (${size})`);
      await this.engine(name).load(image.tar, signal);
    }
  }

  /** Runs a program in a node's or the client's namespace. */
  exec(where: string, argv: readonly string[], options?: RunOptions): Promise<RunResult> {
    return this.#tools.run([...this.enter(where), ...argv], options);
  }

  /** What to put before an argument vector to run it there. */
  enter(where: string): readonly string[] {
    return ['nsenter', `--net=${stationOf(this.plan, where).netns}`, '--'];
  }

  logFile(name: string): string {
    return logFile(this.node(name));
  }

  async down(): Promise<void> {
    await downLab(this.plan.name);
  }

  async #start(node: NodePlan, signal?: AbortSignal): Promise<void> {
    const died = (cause?: unknown) =>
      new SkeinError('unavailable', `skeind of ${node.name} ended at its start:\n${logTail(node)}`, {
        cause,
      });
    await startDaemon(node, this.#tools.daemon).catch((error: unknown) => {
      throw died(error);
    });
    const ready = async (): Promise<true | string> => {
      if (await this.#tools.isUp(node)) return true;
      if (pidsOf(node).skeind === null) throw died();
      return `skeind runs and does not answer; its log ends with:\n${logTail(node)}`;
    };
    await until(`${node.name} to answer on ${node.socket}`, ready, {
      timeoutMs: 60_000,
      ...(signal && { signal }),
    });
  }

  #traces(node: NodePlan): Traces {
    return {
      folders: [node.dataRoot, node.runRoot],
      netns: [node.netns],
      cgroup: node.cgroupParent,
    };
  }
}

/**
 * Removes everything that a lab of this name left on the machine; false when there was nothing. Repeatable; works
 * without the state file.
 */
export async function downLab(name: string): Promise<boolean> {
  const { data, run: runFolder } = labFolders(checkLabName(name));
  const folders = [data, runFolder];
  const netns = labNetnsFiles(name);
  const existed = netns.length > 0 || folders.some((folder) => existsSync(folder));
  const cgroup = `/${CGROUP_FOLDER}/${name}`;
  await killAll({ folders, netns, cgroup });
  unmountBelow(folders);
  removeRuntimeFiles(runFolder);
  for (const path of netns) removeNetns(path);
  removeCgroups(cgroup);
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  for (const folder of [DATA_FOLDER, RUN_FOLDER, NETNS_FOLDER]) removeIfEmpty(folder);
  if (existed && labNames().length === 0) removeShimFolders();
  return existed;
}
