/** Whether a manager may be made a worker: asked before it is written, in the words of swarmkit. */
import type { Node } from '../../model/objects.ts';
import type { View } from '../../store/view.ts';
import { inUse } from '../control/refusal.ts';
import { hasQuorum } from './plan.ts';

/** Those that are on their way out already do not count for those that stay. */
export function checkDemotion(view: Pick<View, 'all'>, node: Node): void {
  const rest = [...view.all('node').values()].filter(
    ({ id, spec, manager }) => id !== node.id && manager && spec.Role === 'manager',
  );
  if (rest.length === 0) throw inUse('attempting to demote the last manager of the swarm');
  const alive = rest.filter(({ status }) => status.state === 'ready');
  if (!hasQuorum(alive.length, rest.length))
    throw inUse("can't remove member from the raft: this would result in a loss of quorum");
}
