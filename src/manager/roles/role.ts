import type { NodeId } from '../../model/ids.ts';
import type { Node } from '../../model/objects.ts';
import type { NodeRole } from '../../model/spec.ts';
import type { Store } from '../../store/store.ts';
import type { View } from '../../store/view.ts';

/**
 * What a node is now: a manager from the moment it is asked to be one, a worker only once the store's members have let
 * it go. Its certificate, the doors open to it and what it is told of itself follow this.
 */
export const roleOf = ({ spec, manager }: Pick<Node, 'spec' | 'manager'>): NodeRole =>
  spec.Role === 'manager' || manager ? 'manager' : 'worker';

/** Of a member of the cluster; one that joined a moment ago is in the store before it is in this manager's view. */
export async function memberRole(
  id: NodeId,
  view: Pick<View, 'get'>,
  store: Pick<Store, 'get'>,
): Promise<NodeRole | undefined> {
  const node = view.get('node', id) ?? (await store.get('node', id));
  return node && roleOf(node);
}
