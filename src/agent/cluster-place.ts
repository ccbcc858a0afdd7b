/**
 * This node's network for containers started by hand, while the node is a member: stands on overlay networks are asked
 * of the leader, come back as assignments, and are reported on and given back here.
 */
import { timestamp, type Clock } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId, NetworkId, TaskId } from '../model/ids.ts';
import type { TaskStatus } from '../model/objects.ts';
import { isAfter, isTerminal } from '../model/task-state.ts';
import type { WantedStand } from '../model/standalone.ts';
import type { NodeNetwork } from '../net/network.ts';
import type { RpcClient } from '../rpc/client.ts';
import type { TaskItem } from '../rpc/messages.ts';
import type { Assignments } from './assignments.ts';
import type { NetworkLoop } from './network-loop.ts';
import { Reporter, type StatusSink } from './reporter.ts';
import type { NetworkPlace, Stand } from './standalone-networks.ts';

export interface ClusterPlaceOptions {
  readonly network: NodeNetwork;
  readonly networkLoop: Pick<NetworkLoop, 'isReadyFor' | 'onNetworks' | 'view'>;
  readonly assignments: Assignments;
  readonly sink: StatusSink;
  /** The connection to the leader. */
  readonly client: () => Pick<RpcClient, 'call'> | undefined;
  readonly isStandalone: (id: ContainerId) => boolean;
  readonly clock: Clock;
  readonly log: Log;
}

const ARRIVE_MS = 15_000;

export class ClusterPlace implements NetworkPlace {
  readonly network: NodeNetwork;
  readonly #options: ClusterPlaceOptions;
  readonly #reporter: Reporter;
  /** Given back, though the manager may not have said so yet: others may still be sending there. */
  readonly #given = new Set<TaskId>();
  #unsubscribe: (() => void) | undefined;

  constructor(options: ClusterPlaceOptions) {
    this.#options = options;
    this.network = options.network;
    this.#reporter = new Reporter(options.sink);
  }

  start(): void {
    this.#unsubscribe = this.#options.assignments.onChange(() => this.#report());
    this.#report();
  }

  stop(): void {
    this.#unsubscribe?.();
  }

  get ready(): boolean {
    return this.#options.networkLoop.view !== undefined;
  }

  async join(id: ContainerId, name: string, network: WantedStand): Promise<Stand> {
    const { taskId } = await this.#leader().call('network.attach', { containerId: id, name, network });
    try {
      return this.#stand(await this.#arrived(taskId));
    } catch (error) {
      await this.#leader().call('network.detach', { taskId });
      throw error;
    }
  }

  async leave(id: ContainerId, network?: NetworkId): Promise<void> {
    for (const item of this.#held(id, network)) await this.#giveBack(item);
  }

  abandon(id: ContainerId, network?: NetworkId): void {
    for (const item of this.#held(id, network)) {
      this.#given.add(item.id);
      this.#release(item);
    }
  }

  stands(id: ContainerId): readonly Stand[] {
    return this.#held(id)
      .filter((item) => !this.#given.has(item.id) && !isAfter(item.desiredState, 'complete'))
      .map((item) => this.#stand(item));
  }

  /** One network a stand. */
  #stand({ attachments: [attachment] }: TaskItem): Stand {
    const network = this.#options.networkLoop.view?.networks.get(attachment!.networkId);
    return { ...attachment!, name: network?.name ?? '', internal: network?.internal ?? false };
  }

  /** What has not ended, oldest first. */
  #held(id: ContainerId, network?: NetworkId): readonly TaskItem[] {
    return [...this.#options.assignments.attachments.values()].filter(
      (item) =>
        holder(item) === id &&
        (network === undefined || item.attachments.some(({ networkId }) => networkId === network)) &&
        !isTerminal(this.#reporter.statusOf(item).state),
    );
  }

  /** Where no manager can be reached it stays what it was. */
  async #giveBack(item: TaskItem): Promise<void> {
    if (isAfter(item.desiredState, 'complete')) return this.#say(item, 'shutdown');
    this.#given.add(item.id);
    try {
      await this.#leader().call('network.detach', { taskId: item.id });
    } catch (error) {
      this.#given.delete(item.id);
      throw error;
    }
  }

  #leader(): Pick<RpcClient, 'call'> {
    const client = this.#options.client();
    if (!client) throw new SkeinError('unavailable', 'no manager can be reached at the moment; try again');
    return client;
  }

  /** The stand is known here, and the kernel knows its networks. */
  async #arrived(taskId: TaskId): Promise<TaskItem> {
    const { assignments, networkLoop, clock } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<TaskItem>();
    const look = () => {
      const item = assignments.attachments.get(taskId);
      if (item && networkLoop.isReadyFor(item)) resolve(item);
    };
    const late = () =>
      reject(new SkeinError('deadline-exceeded', 'the network did not come to this node in time; try again'));
    const ends = [assignments.onChange(look), networkLoop.onNetworks(look), clock.after(ARRIVE_MS, late)];
    look();
    try {
      return await promise;
    } finally {
      for (const end of ends) end();
    }
  }

  /** A stand is up as soon as it is here; it has ended when its container has, or it is nobody's. */
  #report(): void {
    const { attachments } = this.#options.assignments;
    this.#reporter.forgetOthers(attachments);
    for (const id of this.#given) if (!attachments.has(id)) this.#given.delete(id);
    for (const item of attachments.values()) {
      const { state } = this.#reporter.statusOf(item);
      if (isTerminal(state)) continue;
      const id = holder(item);
      const wanted = this.#options.isStandalone(id) && !this.#given.has(item.id);
      const stays = wanted && !isAfter(item.desiredState, 'complete');
      if (stays) this.#say(item, 'running');
      else this.#release(item);
    }
  }

  /** Asked for again with the next change of the assignments, until the manager has it. */
  #release(item: TaskItem): void {
    if (isAfter(item.desiredState, 'complete')) return this.#say(item, 'shutdown');
    this.#options
      .client()
      ?.call('network.detach', { taskId: item.id })
      .catch((error: unknown) =>
        this.#options.log.debug('a stand on a network is given back later', {
          'task.id': item.id,
          err: error,
        }),
      );
  }

  #say(item: TaskItem, state: 'running' | 'shutdown'): void {
    const status: TaskStatus = {
      timestamp: timestamp(this.#options.clock.now()),
      ...{ state, message: state === 'running' ? 'started' : 'shutdown', err: '', ports: [], health: 'none' },
      container: { containerId: holder(item), pid: 0, exitCode: 0 },
    };
    this.#reporter.report(item, status);
  }
}

const holder = (item: TaskItem): ContainerId =>
  (item.spec.NetworkAttachmentSpec?.ContainerID ?? '') as ContainerId;
