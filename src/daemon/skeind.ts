/**
 * skeind: the one place where everything is wired. Starts containerd (or finds it running), opens the API, and is again
 * the member of a cluster that it was. A signal ends skeind and nothing else: containers, containerd, etcd and every
 * rule in the kernel stay.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { flushCompileCache } from 'node:module';
import { hostname as systemHostname } from 'node:os';
import { AgentEngine } from '../agent/engine.ts';
import { NodeEvents } from '../agent/node-events.ts';
import { Standalone } from '../agent/standalone.ts';
import { TaskFiles } from '../agent/task-files.ts';
import { describeNode, engineId, readHostFacts, readResolvConf } from '../agent/node-facts.ts';
import type { Backends } from '../api/backend.ts';
import { ExecInstances } from '../api/exec-instances.ts';
import { registryLogin } from '../api/registry-login.ts';
import { createApiServer } from '../api/server.ts';
import { followCluster } from '../api/events.ts';
import { Containerd } from '../containerd/containerd.ts';
import { ContainerdProcess } from '../containerd/daemon-process.ts';
import { type Clock, systemClock } from '../kit/clock.ts';
import { EventLog } from '../kit/event-log.ts';
import { isRunning, writePidFile } from '../kit/detached.ts';
import type { Log } from '../kit/log.ts';
import { sha256 } from '../kit/sha256.ts';
import { SkeinError } from '../model/errors.ts';
import { parseGenericResources } from '../model/generic-resources.ts';
import { type ContainerId, type Mac, newId } from '../model/ids.ts';
import { warningsOf } from '../net/doctor-plan.ts';
import type { KernelNetwork } from '../net/kernel-network.ts';
import { NetworkStatusFile } from '../net/network-status.ts';
import { foldersOf } from './folders.ts';
import { HeapTrimmer, ownHeap } from './heap-trimmer.ts';
import { addressTowards, localAddresses } from './local-addresses.ts';
import { endContainers, endingsOf, hostGoesDown } from './power-off.ts';
import { type Settings, socketPath } from './settings.ts';
import { Swarm } from './swarm.ts';
import type { Tools } from './tools.ts';
import { SKEIN_VERSION } from './version.ts';

const NO_MAC = '00:00:00:00:00:00' as Mac;

export async function runDaemon(settings: Settings, log: Log): Promise<void> {
  const daemon = await Skeind.start(settings, log);
  flushCompileCache(); // its next start is quick, also when it does not live to its end
  await endSignal();
  log.info('skeind ends; containers, containerd and etcd stay');
  await daemon.stop();
}

const endSignal = (): Promise<void> =>
  new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.once(signal, () => resolve());
  });

class Skeind {
  readonly #stops: (() => Promise<void>)[] = [];
  readonly #log: Log;

  private constructor(log: Log) {
    this.#log = log;
  }

  static async start(settings: Settings, log: Log): Promise<Skeind> {
    const daemon = new Skeind(log);
    try {
      await daemon.#start(settings, log);
      return daemon;
    } catch (error) {
      await daemon.stop();
      throw error;
    }
  }

  /** In the reverse order of the start; what fails to end is said, and keeps nothing else from its end. */
  async stop(): Promise<void> {
    for (const stop of this.#stops.splice(0).reverse())
      await stop().catch((error: unknown) =>
        this.#log.warn('a part of skeind did not end well', { err: error }),
      );
  }

  async #start(settings: Settings, log: Log): Promise<void> {
    const folders = foldersOf(settings);
    const { dataRoot, runRoot } = folders;
    const tools: Tools = { clock: systemClock, log, random: randomBytes, hash: sha256 };
    const { clock } = tools;
    const events = new EventLog(clock);
    mkdirSync(dataRoot, { recursive: true, mode: 0o711 });
    mkdirSync(runRoot, { recursive: true, mode: 0o711 });
    claim(folders.pidFile, dataRoot);

    const containerd = new ContainerdProcess({ dataRoot, runRoot, clock, log });
    await containerd.start();
    this.#stops.push(() => containerd.close());
    const runtime = await Containerd.open({
      socket: containerd.socket,
      dataRoot,
      runRoot,
      cgroupParent: settings.cgroupParent,
      insecureRegistries: settings.insecureRegistries,
      tell: events.tell,
      clock,
      log,
    });
    this.#stops.push(async () => {
      const endings = (await hostGoesDown()) ? await endingsOf(runtime, log) : [];
      await runtime.close();
      await endContainers(containerd.socket, endings);
    });

    const hostname = settings.hostname ?? systemHostname();
    const describe = (uplinkMac: Mac) =>
      describeNode({
        hostname,
        engineVersion: SKEIN_VERSION,
        engineLabels: settings.labels,
        genericResources: parseGenericResources(settings.nodeGenericResources),
        uplinkMac,
      });
    const standalone = await Standalone.open({
      runtime,
      files: new TaskFiles(dataRoot, 'standalone'),
      place: () => swarm.agent?.place,
      runRoot,
      resolvConf: readResolvConf,
      newId: () => randomBytes(32).toString('hex') as ContainerId,
      random: Math.random,
      hash: sha256,
      tell: events.tell,
      clock,
      log,
    });
    const swarm = new Swarm({
      folders,
      listenAddr: settings.listenAddr,
      hostname,
      runtime,
      isStandalone: (id) => standalone.owns(id),
      keepUnusedImagesMs: settings.keepUnusedImages * 1000,
      localAddresses,
      addressTowards,
      serving: (view) => followCluster(view, events.tell),
      tell: events.tell,
      describe: async (network: KernelNetwork, address) => describe((await network.uplink(address)).mac),
      tools,
    });
    this.#stops.push(() => swarm.close());
    const engine = new AgentEngine({
      runtime,
      standalone,
      clock,
      place: () => swarm.agent?.place,
      assignments: () => swarm.agent?.assignments,
      hash: sha256,
      id: await engineId(dataRoot, () => newId(randomBytes)),
      dataRoot,
      skeinVersion: SKEIN_VERSION,
      description: () => describe(NO_MAC),
      host: await readHostFacts(),
      warnings: () => (swarm.agent ? warningsOf(new NetworkStatusFile(runRoot).status) : []),
      login: registryLogin({ insecure: settings.insecureRegistries }),
    });
    const networks = (id: ContainerId) => engine.containerNetworks(id);
    const nodeEvents = new NodeEvents({ runtime, networks, tell: events.tell, clock, log });
    nodeEvents.run();
    this.#stops.push(() => nodeEvents.stop());
    await swarm.resume();
    standalone.run();
    this.#stops.push(() => standalone.stop());

    const backends: Backends = {
      swarm,
      engine,
      execs: new ExecInstances(engine, () => randomBytes(32).toString('hex'), events.tell),
      events,
      cluster: () => swarm.control,
      role: () => swarm.role,
      explain: (question, signal) => swarm.explain(question, signal),
    };
    const api = await createApiServer({ backends, log: log.with({ part: 'api' }), version: SKEIN_VERSION });
    this.#stops.push(() => api.close());
    await api.listen(socketPath(settings), { ...(settings.socketGroup && { group: settings.socketGroup }) });
    this.#trimHeap(clock);
    log.info('skeind serves', { socket: socketPath(settings), version: SKEIN_VERSION });
  }

  #trimHeap(clock: Clock): void {
    const heap = ownHeap();
    if (!heap) return;
    const trimmer = new HeapTrimmer({ clock, ...heap });
    trimmer.start();
    this.#stops.push(() => trimmer.stop());
  }
}

/** Two daemons on one data root would fight over every container; the second one is told so. */
function claim(pidFile: string, dataRoot: string): void {
  const other = isRunning(pidFile);
  if (other !== undefined && other !== process.pid)
    throw new SkeinError('failed-precondition', `skeind runs already (pid ${other}) on ${dataRoot}`);
  writePidFile(pidFile, process.pid);
}
