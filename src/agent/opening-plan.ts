/**
 * Which ports of a task must be listened on before it comes into rotation, and for how long that is waited for. Pure.
 * A container without a health check counts as running once its process was started, which is before its server
 * listens: a connection that is led to it then is refused, and Docker loses it.
 */
import { addressOf } from '../kit/cidr.ts';
import type { ContainerInfo } from '../containerd/runtime.ts';
import type { Ipv4 } from '../model/ids.ts';
import type { NetworkView } from '../model/network-view.ts';
import type { TaskStatus } from '../model/objects.ts';
import { isBefore } from '../model/task-state.ts';
import type { TaskItem } from '../rpc/messages.ts';
import { healthCheckOf } from './health-plan.ts';

/** Where the mesh leads connections of a container. */
export interface Door {
  /** Of the container. */
  readonly netns: string;
  readonly address: Ipv4;
  /** TCP. */
  readonly ports: readonly number[];
}

/**
 * A container that listens later, or somewhere else, or never, serves as well as it would have: from then on. Without
 * a bound, a port that is published by mistake would take the whole service away.
 */
const BOUND_MS = 10_000;
const MIN_LOOK_MS = 10;
const MAX_LOOK_MS = 250;

/** Undefined: it is in rotation as soon as it runs, by its health check or at once. */
export function doorOf(
  item: Pick<TaskItem, 'attachments' | 'endpointSpec'>,
  { status, config }: Pick<ContainerInfo, 'status' | 'config'>,
  networks: NetworkView['networks'] | undefined,
): Door | undefined {
  if ((status !== 'running' && status !== 'paused') || healthCheckOf(config.spec.Healthcheck))
    return undefined;
  const ports = (item.endpointSpec.Ports ?? [])
    .filter(({ Protocol, PublishMode }) => Protocol === 'tcp' && PublishMode === 'ingress')
    .map(({ TargetPort }) => TargetPort);
  const stand = item.attachments.find(({ networkId }) => networks?.get(networkId)?.ingress);
  if (!stand || ports.length === 0) return undefined;
  return { netns: config.netnsPath, address: addressOf(stand.address), ports: [...new Set(ports)] };
}

/**
 * When it began to be waited for, from what the managers were told last: a restarted agent goes on waiting, and does
 * not take out of rotation what was in. Undefined: no more.
 */
export function waitsSince(known: TaskStatus, now: number): number | undefined {
  if (isBefore(known.state, 'running')) return now;
  return known.state === 'running' && known.notListening ? Date.parse(known.timestamp) : undefined;
}

/** A clock that was set back ends the wait as well. */
export const isOver = (since: number, now: number): boolean => now < since || now >= since + BOUND_MS;

/** Soon at first, then in proportion to what it has taken so far: at most a quarter of that is lost. */
export const nextLookMs = (since: number, now: number): number =>
  Math.min(MAX_LOOK_MS, Math.max(MIN_LOOK_MS, (now - since) / 4), Math.max(1, since + BOUND_MS - now));
