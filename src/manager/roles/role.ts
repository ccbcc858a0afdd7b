import type { Node } from '../../model/objects.ts';
import type { NodeRole } from '../../model/spec.ts';

/**
 * What a node is now: a manager from the moment it is asked to be one, a worker only once the store's members have let
 * it go. Its certificate, the doors open to it and what it is told of itself follow this.
 */
export const roleOf = ({ spec, manager }: Pick<Node, 'spec' | 'manager'>): NodeRole =>
  spec.Role === 'manager' || manager ? 'manager' : 'worker';
