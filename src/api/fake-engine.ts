/** The node's own containers and images, over FakeRuntime. */
import type { FakeRuntime } from '../containerd/fake.ts';
import type { ExecConfig, ExecProcess } from '../containerd/process.ts';
import type {
  ContainerInfo,
  ImageInfo,
  LogLine,
  LogQuery,
  RegistryAuth,
  RemovedImage,
} from '../containerd/runtime.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId, NetworkId } from '../model/ids.ts';
import type { HostPort } from '../model/spec.ts';
import { taskName } from '../model/names.ts';
import type { EngineBackend, EngineInfo, HealthReport, RestartReport } from './backend.ts';
import { FakeControl } from './fake-control.ts';
import { type FakeCluster, fakeDescription } from './fake-cluster.ts';

export class FakeEngine implements EngineBackend {
  readonly images: FakeRuntime['images'];
  readonly volumes: FakeRuntime['volumes'];
  readonly archives: FakeRuntime['archives'];
  readonly control: FakeControl;
  readonly #runtime: FakeRuntime;
  readonly #cluster: FakeCluster;

  constructor(runtime: FakeRuntime, cluster: FakeCluster) {
    this.#runtime = runtime;
    this.control = new FakeControl(runtime, this.again);
    this.images = runtime.images;
    this.volumes = runtime.volumes;
    this.archives = runtime.archives;
    this.#cluster = cluster;
  }

  async login(auth: RegistryAuth) {
    if (!this.images.authorize(auth.serveraddress ?? '', auth))
      throw new SkeinError('unauthenticated', `Get "https://${auth.serveraddress}/v2/": unauthorized`);
    return { identityToken: '' };
  }

  containers() {
    return this.#runtime.list();
  }

  async container(ref: string) {
    const found = (await this.#runtime.list()).find((c) => c.id.startsWith(ref) || c.name === ref);
    if (!found) throw new SkeinError('not-found', `No such container: ${ref}`);
    return found;
  }

  /** Ports bound, by container. */
  readonly bound = new Map<ContainerId, readonly HostPort[]>();

  async ports() {
    return this.bound;
  }

  /** Needed is what containers are made from. */
  async pruneImages(images: readonly ImageInfo[]) {
    const used = await this.images.inUse();
    const removed: RemovedImage[] = [];
    for (const image of images) {
      if (used.has(image.id)) continue;
      const names = image.tags.length > 0 ? image.tags : [image.id];
      for (const name of names) removed.push(await this.images.remove(name, {}));
    }
    return removed;
  }

  written(id: ContainerId): Promise<number> {
    return this.#runtime.written(id);
  }

  readonly healths = new Map<ContainerId, HealthReport>();

  async health({ id }: ContainerInfo) {
    return this.healths.get(id);
  }

  readonly again = new Map<ContainerId, RestartReport>();

  async restarts({ id }: ContainerInfo) {
    return this.again.get(id);
  }

  logs(id: ContainerId, query: LogQuery, signal: AbortSignal): AsyncIterable<LogLine> {
    return this.#runtime.logs(id, query, signal);
  }

  exec(id: ContainerId, config: ExecConfig): Promise<ExecProcess> {
    return this.#runtime.exec(id, config);
  }

  async networkContainers(id: NetworkId) {
    const { view, selfId } = this.#cluster;
    return [...view.tasksOfNetwork(id)]
      .filter((task) => task.nodeId === selfId)
      .map((task) => {
        const stand = task.attachments.find((a) => a.networkId === id)!;
        return {
          containerId: task.status.container?.containerId,
          taskId: task.id,
          name: taskName(task),
          mac: stand.mac,
          address: stand.address,
        };
      });
  }

  async info(): Promise<EngineInfo> {
    return {
      id: 'AAAA:BBBB:CCCC:DDDD:EEEE:FFFF:GGGG:HHHH:IIII:JJJJ:KKKK:LLLL',
      description: fakeDescription('host1'),
      dataRoot: '/var/lib/skein',
      skeinVersion: '0.1.0',
      containerd: { version: '1.6.20', revision: 'abc' },
      runc: '1.1.5',
      kernelVersion: '6.1.0',
      operatingSystem: 'Debian GNU/Linux 12 (bookworm)',
      osVersion: '12',
      cgroupVersion: '2',
      warnings: [],
    };
  }
}
