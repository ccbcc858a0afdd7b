/**
 * The networks of a user's own container: its sandbox, and its stands on overlay networks. Called by `Standalone`, one
 * call a container at a time.
 *
 * INVARIANTS
 * - What the container's notes name is what its next start asks for. While it runs, its stands are the truth: notes
 *   follow them, so that a death in between leaves a stand too much or too little until the run ends, and no more.
 * - A link is there only while the stand behind it is held: it comes after the stand and goes before another has the
 *   address.
 */
import type { ContainerInfo, ContainerRuntime } from '../containerd/runtime.ts';
import { isCode, SkeinError } from '../model/errors.ts';
import type { ContainerId, NetworkId } from '../model/ids.ts';
import type { Attachment } from '../model/objects.ts';
import type { StandaloneSpec, WantedStand } from '../model/standalone.ts';
import type { NodeNetwork } from '../net/network.ts';
import { NETWORKS_CHANGED } from './node-events.ts';
import { standaloneFiles, standaloneSandbox } from './standalone-config.ts';
import type { TaskFiles } from './task-files.ts';

/** Where a container stands on one overlay network. */
export interface Stand extends Attachment {
  readonly name: string;
  /** No way out of that network. */
  readonly internal: boolean;
}

/** How containers come onto this node's network; there is one while the node is a member of a cluster. */
export interface NetworkPlace {
  readonly network: NodeNetwork;
  /** A network view is applied. */
  readonly ready: boolean;
  /** Resolves when the stand is in the view. */
  join(id: ContainerId, name: string, wanted: WantedStand): Promise<Stand>;
  /** Gives back the container's stands, or that on one network; none is no error. */
  leave(id: ContainerId, network?: NetworkId): Promise<void>;
  /** As `leave`, and when no manager can be reached, one is told later. */
  abandon(id: ContainerId, network?: NetworkId): void;
  /** Where it stands now. */
  stands(id: ContainerId): readonly Stand[];
}

export interface StandaloneNetworksOptions {
  readonly runtime: Pick<ContainerRuntime, 'update' | 'announce'>;
  readonly files: TaskFiles;
  readonly place: () => NetworkPlace | undefined;
  readonly resolvConf: () => string;
}

const NO_CLUSTER =
  'this node is not part of a swarm, and skein connects containers to a network only in one. Use "docker swarm init" or "docker swarm join" first';

const isUp = ({ status }: ContainerInfo): boolean => status === 'running' || status === 'paused';

/** Whether a user means this network: by name, id, or the beginning of the id. */
const isMeant = (target: string, { name, networkId }: Stand): boolean =>
  name === target || networkId.startsWith(target);

export class StandaloneNetworks {
  readonly #options: StandaloneNetworksOptions;

  constructor(options: StandaloneNetworksOptions) {
    this.#options = options;
  }

  /** Before a start: all its stands, and the sandbox with them. */
  async bring(info: ContainerInfo): Promise<void> {
    const place = this.#place();
    await place.leave(info.id); // of a run that was cut short
    const spec = specOf(info);
    for (const wanted of spec.network.networks)
      if (!place.stands(info.id).some((stand) => isMeant(wanted.target, stand)))
        await place.join(info.id, info.name, wanted);
    await this.#settle(info.id, spec, place.stands(info.id), place);
  }

  /** After the end: nothing is left of either. */
  async take(id: ContainerId): Promise<void> {
    const place = this.#options.place();
    if (!place) return; // whoever left the cluster took the node's network away
    try {
      await place.network.detach(id);
    } catch (error) {
      if (this.#options.place() === place) throw error;
      return; // taken away meanwhile
    }
    try {
      await place.leave(id);
    } catch (error) {
      if (!isCode(error, 'unavailable', 'deadline-exceeded')) throw error;
      place.abandon(id); // a container goes without a manager too
    }
  }

  /** `docker network connect`: at once where it runs, else at its next start. */
  async connect(info: ContainerInfo, wanted: WantedStand): Promise<void> {
    const spec = specOf(info);
    const { mode, networks } = spec.network;
    if (mode === 'none')
      throw new SkeinError(
        'invalid-argument',
        'container cannot be connected to multiple networks with one of the networks in private (none) mode',
      );
    const place = isUp(info) ? this.#place() : undefined;
    const stands = place?.stands(info.id) ?? [];
    const isOn = place
      ? stands.some((stand) => isMeant(wanted.target, stand))
      : networks.some(({ target }) => target === wanted.target);
    if (isOn)
      throw new SkeinError(
        'permission-denied',
        `${info.name} is already attached to network ${wanted.target}`,
      );
    const changed = withNetworks(spec, [...networks, wanted]);
    if (place) {
      const stand = await place.join(info.id, info.name, wanted);
      try {
        await this.#settle(info.id, changed, [...stands, stand], place);
      } catch (error) {
        await this.#settle(info.id, spec, stands, place);
        await place.leave(info.id, stand.networkId);
        throw error;
      }
    }
    await this.#keep(info.id, changed);
  }

  /** `docker network disconnect`. Forced, it does not wait for a manager. */
  async disconnect(info: ContainerInfo, target: string, force: boolean): Promise<void> {
    const spec = specOf(info);
    const place = isUp(info) ? this.#place() : undefined;
    const stands = place?.stands(info.id) ?? [];
    const stand = stands.find((one) => isMeant(target, one));
    const rest = spec.network.networks.filter(
      (wanted) => wanted.target !== target && !(stand && isMeant(wanted.target, stand)),
    );
    if (!stand && rest.length === spec.network.networks.length)
      throw new SkeinError(
        'failed-precondition',
        `container ${info.id} is not connected to the network ${target}`,
      );
    const changed = withNetworks(spec, rest);
    if (place && stand) {
      if (force) place.abandon(info.id, stand.networkId);
      else await place.leave(info.id, stand.networkId);
      const left = stands.filter((one) => one !== stand);
      await this.#settle(info.id, changed, left, place);
    }
    await this.#keep(info.id, changed);
  }

  async #settle(
    id: ContainerId,
    spec: StandaloneSpec,
    stands: readonly Stand[],
    { network }: NetworkPlace,
  ): Promise<void> {
    const { files, resolvConf } = this.#options;
    const { mode } = spec.network;
    const internal = mode === 'none' || (mode === 'overlay' && stands.every((stand) => stand.internal));
    // Who was disconnected from his last network keeps no way in either.
    const ports = stands.length === 0 && mode === 'overlay' ? [] : spec.ports;
    await network.attach(standaloneSandbox(id, { ...spec, ports }, stands, internal));
    await files.write(id, standaloneFiles(id, spec, stands, resolvConf()));
  }

  async #keep(id: ContainerId, spec: StandaloneSpec): Promise<void> {
    const { runtime } = this.#options;
    await runtime.update(id, { notes: spec });
    runtime.announce(id, NETWORKS_CHANGED);
  }

  #place(): NetworkPlace {
    const place = this.#options.place();
    if (!place) throw new SkeinError('unavailable', NO_CLUSTER);
    if (!place.ready)
      throw new SkeinError('unavailable', 'the managers have not told this node its networks yet; try again');
    return place;
  }
}

const withNetworks = (spec: StandaloneSpec, networks: readonly WantedStand[]): StandaloneSpec => ({
  ...spec,
  network: { ...spec.network, networks },
});

export const specOf = (info: ContainerInfo): StandaloneSpec => info.config.notes as StandaloneSpec;
