/**
 * Stands on attachable networks for containers that a user started by hand (`docker run --network`): as in Swarm, a
 * task of no service for each, fixed to its node, that runs nothing. The allocator gives it an address, the dispatcher
 * tells its node; when the container ends or is disconnected, the node gives it back, and the reaper deletes it after
 * its address's quarantine.
 */
import { ipToInt, parseIpv4, range } from '../../kit/cidr.ts';
import { timestamp, type Clock } from '../../kit/clock.ts';
import { isCode, SkeinError } from '../../model/errors.ts';
import {
  type Ipv4,
  newId,
  type NodeId,
  type RandomBytes,
  type ServiceId,
  type TaskId,
} from '../../model/ids.ts';
import type { Network } from '../../model/objects.ts';
import type { NetworkAttachmentSpec } from '../../model/spec.ts';
import { atLeast } from '../../model/task-state.ts';
import type { AttachRequest } from '../../rpc/methods.ts';
import type { Draft, Store } from '../../store/store.ts';
import type { LiveView } from '../../store/view.ts';
import { draftOf } from '../step.ts';
import { ATTACHMENT } from '../task.ts';
import { findNetwork } from './lookup.ts';
import { until } from './until.ts';

export interface AttachmentsOptions {
  readonly store: Pick<Store, 'transact'>;
  readonly view: LiveView;
  readonly clock: Clock;
  readonly random: RandomBytes;
}

/** How long allocator and scheduler may take together. */
const ASSIGN_MS = 15_000;
const DETACH_TRIES = 5;
const SEEN_MS = 1_000;
/** How long what was written may take to show in the view. */
const VISIBLE_MS = 10_000;

export class Attachments {
  readonly #options: AttachmentsOptions;

  constructor(options: AttachmentsOptions) {
    this.#options = options;
  }

  /** Resolves when the stand has its address and its node is being told. */
  async attach(nodeId: NodeId, request: AttachRequest, signal: AbortSignal): Promise<TaskId> {
    const { store, view, random } = this.#options;
    const { target, aliases, address } = request.network;
    const network = this.#attachable(target);
    if (address) checkAddress(network, address);
    const stand: NetworkAttachmentSpec = {
      Target: network.id,
      Aliases: [...new Set([request.name, request.containerId.slice(0, 12), ...aliases])],
      ...(address && { Addresses: [address] }),
    };
    const id = newId<TaskId>(random);
    const object = this.#task(id, nodeId, request, stand);
    const revision = await store.transact([{ op: 'create', kind: 'task', object }]);
    try {
      // Whoever takes it back has to see it first.
      await view.reached(revision, AbortSignal.timeout(VISIBLE_MS));
      await this.#assigned(id, AbortSignal.any([signal, AbortSignal.timeout(ASSIGN_MS)]));
      return id;
    } catch (error) {
      await this.detach(nodeId, id);
      throw error;
    }
  }

  /** Of another node or gone already: nothing to do. */
  async detach(nodeId: NodeId, id: TaskId): Promise<void> {
    const { store, view, clock } = this.#options;
    for (let left = DETACH_TRIES; ; left--) {
      const task = view.get('task', id);
      if (!task || task.nodeId !== nodeId || task.spec.Runtime !== ATTACHMENT) return;
      if (task.desiredState === 'remove') return;
      const object = { ...draftOf<'task'>(task), desiredState: 'remove' as const };
      try {
        const ops = [{ op: 'update', kind: 'task', object, version: task.version }] as const;
        const revision = await store.transact(ops);
        // Whoever removes the network next must not be told that this one stands there.
        await view.reached(revision, AbortSignal.timeout(VISIBLE_MS));
        return;
      } catch (error) {
        if (!isCode(error, 'out-of-sequence') || left === 1) throw error;
        // Its node reported of it meanwhile, which the view shows in a moment.
        await until(view, clock, SEEN_MS, () => view.get('task', id)?.version !== task.version);
      }
    }
  }

  #attachable(target: string): Network {
    let network: Network;
    try {
      network = findNetwork(this.#options.view, target);
    } catch {
      throw new SkeinError(
        'not-found',
        `Could not attach to network ${target}: rpc error: code = NotFound desc = network ${target} not found`,
      );
    }
    const { Attachable, Ingress, Name } = network.spec;
    if (!Attachable || Ingress)
      throw new SkeinError(
        'permission-denied',
        `Could not attach to network ${target}: rpc error: code = PermissionDenied desc = network ${Name} not manually attachable`,
      );
    return network;
  }

  #task(
    id: TaskId,
    nodeId: NodeId,
    { containerId, name }: AttachRequest,
    stand: NetworkAttachmentSpec,
  ): Draft<'task'> {
    return {
      id,
      nodeId,
      serviceId: '' as ServiceId,
      slot: 0,
      spec: {
        Runtime: ATTACHMENT,
        ContainerSpec: { Image: '' },
        NetworkAttachmentSpec: { ContainerID: containerId, ContainerName: name },
        Networks: [stand],
      },
      specVersion: 0,
      serviceName: '',
      serviceLabels: {},
      endpointSpec: {},
      desiredState: 'running',
      status: {
        timestamp: timestamp(this.#options.clock.now()),
        ...{ state: 'new', message: 'created', err: '', container: undefined, ports: [], health: 'none' },
      },
      attachments: [],
      registryAuth: undefined,
      jobIteration: undefined,
    };
  }

  /** A refusal of allocator or scheduler becomes the caller's. */
  #assigned(id: TaskId, signal: AbortSignal): Promise<void> {
    const { view } = this.#options;
    return new Promise((resolve, reject) => {
      const done = (settle: () => void) => {
        unsubscribe();
        signal.removeEventListener('abort', onAbort);
        settle();
      };
      const look = () => {
        const task = view.get('task', id);
        if (task && atLeast(task.status.state, 'assigned')) done(resolve);
        else if (task?.status.err)
          done(() =>
            reject(new SkeinError('resource-exhausted', `Could not attach to network: ${task.status.err}`)),
          );
      };
      const onAbort = () =>
        done(() =>
          reject(new SkeinError('deadline-exceeded', 'attaching to the network took too long; try again')),
        );
      const unsubscribe = view.onChange(look);
      if (signal.aborted) return onAbort();
      signal.addEventListener('abort', onAbort, { once: true });
      look();
    });
  }
}

/** In Docker's words. What the address is for (the gateway, another container) is the allocator's to say. */
function checkAddress({ state }: Network, address: Ipv4): void {
  if (!state) return;
  const { first, last } = range(state.subnet);
  const n = ipToInt(parseIpv4(address));
  if (n <= first || n >= last)
    throw new SkeinError(
      'invalid-argument',
      `invalid endpoint settings:\nno configured subnet contains IP address ${address}`,
    );
}
