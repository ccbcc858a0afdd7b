/**
 * Tells what happens to this node's containers, tasks' and users' own, whoever made it happen: from the runtime's
 * events, with the names and labels that Docker tells along. The networks of a container are told when it starts and
 * ends, which is when it comes onto them and leaves; a network comes to the node with the first and goes with the last.
 */
import { containerEvent } from '../containerd/container-event.ts';
import type { ContainerEvent, ContainerInfo, ContainerRuntime } from '../containerd/runtime.ts';
import type { Clock } from '../kit/clock.ts';
import type { Tell } from '../kit/event-log.ts';
import type { Log } from '../kit/log.ts';
import type { ContainerId, NetworkId } from '../model/ids.ts';
import type { ContainerNetwork } from './engine.ts';
import { followContainers } from './follow-containers.ts';

export interface NodeEventsOptions {
  readonly runtime: Pick<ContainerRuntime, 'events' | 'get' | 'list'>;
  readonly networks: (id: ContainerId) => Promise<readonly Pick<ContainerNetwork, 'networkId' | 'name'>[]>;
  readonly tell: Tell;
  readonly clock: Clock;
  readonly log: Log;
}

interface Known {
  info: ContainerInfo;
  networks: readonly Pick<ContainerNetwork, 'networkId' | 'name'>[];
  /** ms */
  startedAt?: number;
}

type Happening = Exclude<ContainerEvent, { type: 'resync' }>;

/** Announced of a container that was connected to a network, or disconnected. */
export const NETWORKS_CHANGED = 'networks changed';

export class NodeEvents {
  readonly #options: NodeEventsOptions;
  readonly #known = new Map<ContainerId, Known>();
  readonly #abort = new AbortController();
  #watching: Promise<void> = Promise.resolve();

  constructor(options: NodeEventsOptions) {
    this.#options = options;
  }

  run(): void {
    const on = (event: ContainerEvent) => (event.type === 'resync' ? this.#resync() : this.#on(event));
    this.#watching = followContainers(this.#options, on, this.#abort.signal);
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#watching;
  }

  /** What happened while nobody listened is not told: nobody knows when it was. */
  async #resync(): Promise<void> {
    this.#known.clear();
    for (const info of await this.#options.runtime.list())
      this.#known.set(info.id, { info, networks: await this.#options.networks(info.id) });
  }

  async #on(event: Happening): Promise<void> {
    const known = await this.#look(event);
    if (!known) return; // none of ours
    const { clock } = this.#options;
    switch (event.type) {
      case 'create':
        return this.#say(known, 'create');
      case 'start':
        known.networks = await this.#options.networks(event.id);
        known.startedAt = clock.now();
        this.#sayNetworks(known, 'connect', known.networks);
        return this.#say(known, 'start');
      case 'kill':
        return this.#say(known, 'kill', { signal: String(event.signal) });
      case 'oom':
      case 'pause':
        return this.#say(known, event.type);
      case 'resume':
        return this.#say(known, 'unpause');
      case 'announced':
        return event.action === NETWORKS_CHANGED
          ? this.#changed(known)
          : this.#say(known, event.action, event.attributes);
      case 'exit': {
        const ran = known.startedAt === undefined ? 0 : Math.floor((clock.now() - known.startedAt) / 1000);
        this.#say(known, 'die', { exitCode: String(event.exitCode), execDuration: String(ran) });
        this.#sayNetworks(known, 'disconnect', known.networks);
        known.networks = [];
        return;
      }
      case 'delete':
        this.#known.delete(event.id);
        return this.#say(known, 'destroy');
    }
  }

  /** As it was last seen; looked at when it is new, and when it may have been given another name, which is announced. */
  async #look(event: Happening): Promise<Known | undefined> {
    const { id, type } = event;
    const known = this.#known.get(id);
    if (type === 'delete' || (known && type !== 'announced')) return known;
    const info = type === 'create' ? event.info : await this.#options.runtime.get(id);
    if (known && info) known.info = info;
    if (known || !info) return known;
    const fresh = { info, networks: [] };
    this.#known.set(id, fresh);
    return fresh;
  }

  #say({ info }: Known, action: string, more: Readonly<Record<string, string>> = {}): void {
    this.#options.tell(containerEvent(info, action, more));
  }

  async #changed(known: Known): Promise<void> {
    const before = known.networks;
    known.networks = await this.#options.networks(known.info.id);
    const [had, has] = [before, known.networks].map((list) => new Set(list.map((n) => n.networkId)));
    const gone = before.filter((n) => !has!.has(n.networkId));
    this.#sayNetworks(known, 'disconnect', gone);
    const fresh = known.networks.filter((n) => !had!.has(n.networkId));
    this.#sayNetworks(known, 'connect', fresh);
  }

  #sayNetworks({ info }: Known, action: 'connect' | 'disconnect', networks: Known['networks']): void {
    for (const { networkId: id, name } of networks) {
      const tell = (what: string, more: Readonly<Record<string, string>> = {}) =>
        this.#options.tell({
          ...{ type: 'network', action: what, id, scope: 'local' },
          attributes: { ...more, name, type: 'overlay' },
        });
      const alone = !this.#isOn(id, info.id);
      if (alone && action === 'connect') tell('create');
      tell(action, { container: info.id });
      if (alone && action === 'disconnect') tell('destroy');
    }
  }

  /** Another container of this node is on the network. */
  #isOn(id: NetworkId, but: ContainerId): boolean {
    return [...this.#known.values()].some(
      ({ info, networks }) => info.id !== but && networks.some(({ networkId }) => networkId === id),
    );
  }
}
