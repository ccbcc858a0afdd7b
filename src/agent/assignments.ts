/**
 * What the manager wants of this node, as it last said: tasks, and the network view. The session fills it, the rest
 * of the agent reads it. Kept in memory only: a restarted skeind waits for its first snapshot and touches nothing
 * before (`revision === undefined`), so a stale file can never stop a container.
 *
 * INVARIANTS
 * - Maps handed out are never changed afterwards: a reader may keep a `networkView()` over an await.
 * - A delta costs one copy of the maps it touches; a snapshot that says what is known already tells nobody.
 */
import { isDeepStrictEqual } from 'node:util';
import { SkeinError } from '../model/errors.ts';
import type { ConfigId, NetworkId, NodeId, SecretId, ServiceId, TaskId } from '../model/ids.ts';
import type {
  EndpointItem,
  NetworkItem,
  NetworkView,
  PeerItem,
  SelfItem,
  ServiceItem,
} from '../model/network-view.ts';
import type { NodeRole } from '../model/spec.ts';
import type { Item, PayloadItem, TaskItem } from '../rpc/messages.ts';
import type { PayloadItems } from './payloads.ts';

export interface AssignmentsChange {
  /** Tasks that came, went or changed. */
  readonly tasks: readonly TaskId[];
  /** The network view has moved, be it in its revision only: it wants to be applied and acknowledged. */
  readonly network: boolean;
}

/** Kinds that the kernel's network does not show. */
const NOT_OF_NETWORKS: ReadonlySet<string> = new Set(['task', 'secret', 'config']);

export type Items = Readonly<Record<string, Item>>;

/** Items of each kind under the part of their key after `kind/`; `self` under the empty one. */
type Kinds = { [K in Item['kind']]: ReadonlyMap<string, Extract<Item, { kind: K }>['value']> };

const NONE: Kinds = {
  self: new Map<string, SelfItem>(),
  task: new Map<string, TaskItem>(),
  peer: new Map<string, PeerItem>(),
  network: new Map<string, NetworkItem>(),
  endpoint: new Map<string, EndpointItem>(),
  service: new Map<string, ServiceItem>(),
  secret: new Map<string, PayloadItem<SecretId>>(),
  config: new Map<string, PayloadItem<ConfigId>>(),
};

export class Assignments {
  #revision: number | undefined;
  #kinds: Kinds = NONE;
  /** Joined from the items when asked for, and again only after they changed. */
  #joined: Joined | undefined;
  #byRuntime: Sorted | undefined;
  readonly #listeners = new Set<(change: AssignmentsChange) => void>();

  /** Store revision up to which this is complete; undefined before the first snapshot. */
  get revision(): number | undefined {
    return this.#revision;
  }

  /** Those that run a container here. */
  get tasks(): ReadonlyMap<TaskId, TaskItem> {
    return this.#sorted().tasks;
  }

  /** Those that only stand on networks, for a container that was started by hand. */
  get attachments(): ReadonlyMap<TaskId, TaskItem> {
    return this.#sorted().attachments;
  }

  #sorted(): Sorted {
    const all = this.#kinds.task as ReadonlyMap<TaskId, TaskItem>;
    if (this.#byRuntime?.all === all) return this.#byRuntime;
    const attachments = new Map([...all].filter(([, item]) => item.spec.Runtime === 'attachment'));
    const tasks = attachments.size === 0 ? all : new Map([...all].filter(([id]) => !attachments.has(id)));
    return (this.#byRuntime = { all, tasks, attachments });
  }

  /** Secrets and configs of this node's tasks. */
  get payloads(): PayloadItems {
    return { secrets: this.#kinds.secret, configs: this.#kinds.config };
  }

  /** The managers have this node among the ready ones, with what it said of itself. */
  get recognised(): boolean {
    const self = this.#kinds.self.get('');
    return self !== undefined && this.#kinds.peer.has(self.nodeId);
  }

  /** What the managers say this node is; undefined before they have said anything. */
  get role(): NodeRole | undefined {
    return this.#kinds.self.get('')?.role;
  }

  /** Undefined before the first snapshot. */
  networkView(): NetworkView | undefined {
    if (this.#revision === undefined) return undefined;
    const self = this.#kinds.self.get('');
    this.#joined = joined(this.#kinds, self, this.#joined);
    return {
      revision: this.#revision,
      self,
      peers: this.#joined.peers,
      networks: this.#kinds.network as ReadonlyMap<NetworkId, NetworkItem>,
      endpoints: this.#kinds.endpoint,
      services: this.#joined.services,
    };
  }

  /** A snapshot: everything not in `items` is gone. */
  replace(revision: number, items: Items): void {
    const gone: string[] = [];
    for (const [kind, map] of Object.entries(this.#kinds))
      for (const id of map.keys()) {
        const key = kind === 'self' ? 'self' : `${kind}/${id}`;
        if (!(key in items)) gone.push(key);
      }
    this.#move(revision, items, gone);
  }

  /** A delta on top of what is known. */
  apply(revision: number, put: Items, gone: readonly string[]): void {
    if (this.#revision === undefined) throw new SkeinError('internal', 'a delta came before the snapshot');
    this.#move(revision, put, gone);
  }

  onChange(listener: (change: AssignmentsChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #move(revision: number, put: Items, gone: readonly string[]): void {
    const copies: Partial<Record<Item['kind'], Map<string, Item['value']>>> = {};
    const tasks = new Set<TaskId>();
    const change = (key: string, value: Item['value'] | undefined) => {
      const [kind, id] = splitKey(key);
      if (isDeepStrictEqual((copies[kind] ?? this.#kinds[kind]).get(id), value)) return;
      const map = (copies[kind] ??= new Map<string, Item['value']>(this.#kinds[kind]));
      if (value === undefined) map.delete(id);
      else map.set(id, value);
      if (kind === 'task') tasks.add(id as TaskId);
    };
    for (const key of gone) change(key, undefined);
    for (const [key, item] of Object.entries(put)) change(key, item.value);
    const network =
      this.#revision !== revision || Object.keys(copies).some((kind) => !NOT_OF_NETWORKS.has(kind));
    this.#revision = revision;
    this.#kinds = { ...this.#kinds, ...copies } as Kinds;
    if (tasks.size === 0 && !network) return;
    for (const listener of this.#listeners) listener({ tasks: [...tasks], network });
  }
}

interface Sorted {
  readonly all: ReadonlyMap<TaskId, TaskItem>;
  readonly tasks: ReadonlyMap<TaskId, TaskItem>;
  readonly attachments: ReadonlyMap<TaskId, TaskItem>;
}

interface Joined {
  readonly of: Kinds;
  readonly self: NodeId | undefined;
  readonly peers: ReadonlyMap<NodeId, PeerItem>;
  readonly services: ReadonlyMap<ServiceId, ServiceItem>;
}

/** Peers without this node; each service as one, of its parts on the networks it is sent for. */
function joined(of: Kinds, self: SelfItem | undefined, last: Joined | undefined): Joined {
  const same = last && last.self === self?.nodeId;
  return {
    of,
    self: self?.nodeId,
    peers: same && last.of.peer === of.peer ? last.peers : othersThan(self?.nodeId, of.peer),
    services: last?.of.service === of.service ? last.services : joinServices(of.service),
  };
}

function othersThan(self: NodeId | undefined, peers: Kinds['peer']): ReadonlyMap<NodeId, PeerItem> {
  const others = new Map<NodeId, PeerItem>();
  for (const peer of peers.values()) if (peer.nodeId !== self) others.set(peer.nodeId, peer);
  return others;
}

function joinServices(parts: Kinds['service']): ReadonlyMap<ServiceId, ServiceItem> {
  const services = new Map<ServiceId, ServiceItem>();
  for (const part of parts.values()) {
    const known = services.get(part.serviceId);
    services.set(
      part.serviceId,
      known
        ? {
            ...part,
            ingressPorts: [...known.ingressPorts, ...part.ingressPorts],
            virtualIps: [...known.virtualIps, ...part.virtualIps],
            names: [...known.names, ...part.names],
          }
        : part,
    );
  }
  return services;
}

function splitKey(key: string): [Item['kind'], string] {
  const at = key.indexOf('/');
  const kind = (at < 0 ? key : key.slice(0, at)) as Item['kind'];
  if (!(kind in NONE)) throw new SkeinError('internal', `an assignment of unknown kind: ${key}`);
  return [kind, at < 0 ? '' : key.slice(at + 1)];
}
