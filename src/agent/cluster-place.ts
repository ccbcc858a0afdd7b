/**
 * This node's network for containers started by hand, while the node is a member: stands on overlay networks are asked
 * of the leader, come back as assignments, and are reported on and given back here.
 */
import { timestamp, type Clock } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId, TaskId } from '../model/ids.ts';
import type { TaskStatus } from '../model/objects.ts';
import { isAfter, isTerminal } from '../model/task-state.ts';
import type { NodeNetwork } from '../net/network.ts';
import type { RpcClient } from '../rpc/client.ts';
import type { TaskItem } from '../rpc/messages.ts';
import type { Assignments } from './assignments.ts';
import type { NetworkLoop } from './network-loop.ts';
import { Reporter, type StatusSink } from './reporter.ts';
import type { NetworkPlace } from './standalone.ts';

export interface ClusterPlaceOptions {
  readonly network: NodeNetwork;
  readonly networkLoop: Pick<NetworkLoop, 'isReadyFor' | 'view'>;
  readonly assignments: Assignments;
  readonly sink: StatusSink;
  /** The connection to the leader. */
  readonly client: () => RpcClient | undefined;
  readonly isStandalone: (id: ContainerId) => boolean;
  readonly clock: Clock;
  readonly log: Log;
}

const ARRIVE_MS = 15_000;
const LOOK_MS = 20;

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

  async join(id: ContainerId, name: string, networks: Parameters<NetworkPlace['join']>[2]) {
    await this.leave(id); // of a run that was cut short
    const { taskId } = await this.#leader().call('network.attach', { containerId: id, name, networks });
    const { attachments } = await this.#arrived(taskId);
    const { view } = this.#options.networkLoop;
    const internal = attachments.every((a) => view?.networks.get(a.networkId)?.internal === true);
    return { attachments, internal };
  }

  async leave(id: ContainerId): Promise<void> {
    const own = [...this.#options.assignments.attachments.values()].filter((item) => holder(item) === id);
    for (const item of own) {
      if (isTerminal(this.#reporter.statusOf(item).state)) continue;
      if (isAfter(item.desiredState, 'complete')) this.#say(item, 'shutdown');
      else {
        this.#given.add(item.id);
        await this.#leader().call('network.detach', { taskId: item.id });
      }
    }
  }

  /** Where the container stands now. */
  standOf(id: ContainerId): TaskItem | undefined {
    return [...this.#options.assignments.attachments.values()].find(
      (item) => holder(item) === id && !this.#given.has(item.id) && !isAfter(item.desiredState, 'complete'),
    );
  }

  #leader(): RpcClient {
    const client = this.#options.client();
    if (!client) throw new SkeinError('unavailable', 'no manager can be reached at the moment; try again');
    return client;
  }

  /** The stand is known here, and the kernel knows its networks. */
  #arrived(taskId: TaskId): Promise<TaskItem> {
    const { assignments, networkLoop, clock } = this.#options;
    const deadline = clock.now() + ARRIVE_MS;
    return new Promise((resolve, reject) => {
      const look = () => {
        const item = assignments.attachments.get(taskId);
        if (item && networkLoop.isReadyFor(item)) resolve(item);
        else if (clock.now() < deadline) clock.after(LOOK_MS, look);
        else
          reject(
            new SkeinError('deadline-exceeded', 'the network did not come to this node in time; try again'),
          );
      };
      look();
    });
  }

  /** A stand is up as soon as it is here; it has ended when its container has, or it is nobody's. */
  #report(): void {
    const { attachments } = this.#options.assignments;
    for (const id of this.#given) if (!attachments.has(id)) this.#given.delete(id);
    for (const item of attachments.values()) {
      const { state } = this.#reporter.statusOf(item);
      if (isTerminal(state)) continue;
      const id = holder(item);
      const stays = this.#options.isStandalone(id) && !isAfter(item.desiredState, 'complete');
      if (stays) this.#say(item, 'running');
      else this.#release(item);
    }
  }

  #release(item: TaskItem): void {
    if (isAfter(item.desiredState, 'complete')) return this.#say(item, 'shutdown');
    this.leave(holder(item)).catch((error: unknown) =>
      this.#options.log.debug('a stand on a network is given back later', { 'task.id': item.id, err: error }),
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
