/**
 * A read-only picture of the cluster at one revision, in memory, with the indexes the managers need. Planners and
 * the API read it; `Cache` (cache.ts) keeps it true by snapshot and watch.
 */
import type { NetworkId, NodeId, ServiceId } from '../model/ids.ts';
import type { Cluster, Id, Kind, Network, Objects, Task } from '../model/objects.ts';
import type { Change } from './store.ts';

export interface View {
  readonly revision: number;
  /** The one cluster object; undefined only before `swarm init` has written it. */
  readonly cluster: Cluster | undefined;
  /** The ingress network, where there is one. */
  readonly ingress: Network | undefined;
  get<K extends Kind>(kind: K, id: Id<K>): Objects[K] | undefined;
  all<K extends Kind>(kind: K): ReadonlyMap<Id<K>, Objects[K]>;
  byName<K extends 'service' | 'network' | 'secret' | 'config'>(
    kind: K,
    name: string,
  ): Objects[K] | undefined;
  tasksOfService(id: ServiceId): ReadonlySet<Task>;
  tasksOfNode(id: NodeId): ReadonlySet<Task>;
  /** Tasks with an attachment to the network. */
  tasksOfNetwork(id: NetworkId): ReadonlySet<Task>;
}

/** One object before and after; both are given for a change, one for creation or deletion. */
export type Transition = {
  [K in Kind]: {
    readonly kind: K;
    readonly id: Id<K>;
    readonly before: Objects[K] | undefined;
    readonly after: Objects[K] | undefined;
  };
}[Kind];

/** A view that moves on. `onChange` listeners run synchronously, after the view holds the whole batch. */
export interface LiveView extends View {
  onChange(listener: (transitions: readonly Transition[], revision: number) => void): () => void;
  /** Resolves once the view has reached `revision`: read your own writes. */
  reached(revision: number, signal?: AbortSignal): Promise<void>;
}

/** A view that tests and planners can be given changes by hand. */
export interface MutableView extends LiveView {
  apply(revision: number, changes: readonly Change[]): void;
}
