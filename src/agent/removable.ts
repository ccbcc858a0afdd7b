import type { ContainerInfo } from '../containerd/runtime.ts';
import { SkeinError } from '../model/errors.ts';

/** Without force only what has ended is removed, and is not about to be started again by its policy. */
export function checkRemovable({ name, status }: ContainerInfo, restarting: boolean): void {
  const state = restarting ? 'restarting' : status;
  if (!['running', 'paused', 'restarting'].includes(state)) return;
  const how =
    state === 'paused'
      ? 'paused and must be unpaused first'
      : `${state}: stop the container before removing or force remove`;
  throw new SkeinError('failed-precondition', `cannot remove container "/${name}": container is ${how}`);
}
