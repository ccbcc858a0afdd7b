/**
 * Which nodes may run a task at all. An ordered pipeline: the first filter that says no is the one that is counted
 * and explained, in swarmkit's words, so cheap and telling ones stand first.
 */
import type { Node, Task } from '../../model/objects.ts';
import type { GenericResource } from '../../model/spec.ts';
import { architecture, type Constraint, matches, parseConstraints } from '../constraint.ts';
import { claim } from './generic-claim.ts';
import { type Load, reservations, wantedPorts } from './ledger.ts';

export interface Candidate {
  readonly node: Node;
  /** Including what this plan has already placed there. */
  readonly load: Load;
}

export interface Filter {
  readonly name: string;
  /** Undefined where the filter has nothing to say about tasks like this one. */
  prepare(task: Task): ((candidate: Candidate) => boolean) | undefined;
  explain(nodes: number): string;
}

/** The generic resources that the task gets on the node; undefined where they do not suffice. */
export const claimOn = ({ node, load }: Candidate, task: Task): GenericResource[] | undefined =>
  claim(node.description?.resources.generic ?? [], load.generic, reservations(task).generic);

const on = (nodes: number): string => `on ${nodes} node${nodes === 1 ? '' : 's'}`;

const ready: Filter = {
  name: 'ready',
  prepare:
    () =>
    ({ node }) =>
      node.status.state === 'ready' && node.spec.Availability === 'active' && node.description !== undefined,
  explain: (nodes) =>
    nodes === 1 ? '1 node not available for new tasks' : `${nodes} nodes not available for new tasks`,
};

const resources: Filter = {
  name: 'resources',
  prepare(task) {
    const { cpus, memory, generic } = reservations(task);
    if (cpus === 0 && memory === 0 && generic.length === 0) return undefined;
    return ({ node, load }) => {
      const { nanoCpus, memoryBytes } = node.description!.resources;
      return (
        load.cpus + cpus <= nanoCpus &&
        load.memory + memory <= memoryBytes &&
        claimOn({ node, load }, task) !== undefined
      );
    };
  },
  explain: (nodes) => `insufficient resources ${on(nodes)}`,
};

const constraints: Filter = {
  name: 'constraints',
  prepare(task) {
    const parsed: readonly Constraint[] = parseConstraints(task.spec.Placement?.Constraints);
    if (parsed.length === 0) return undefined;
    return ({ node }) => parsed.every((constraint) => matches(node, constraint));
  },
  explain: (nodes) => `scheduling constraints not satisfied ${on(nodes)}`,
};

const platform: Filter = {
  name: 'platform',
  prepare(task) {
    const platforms = task.spec.Placement?.Platforms ?? [];
    if (platforms.length === 0) return undefined;
    return ({ node }) => {
      const has = node.description!.platform;
      return platforms.some(
        ({ Architecture, OS }) =>
          (!OS || OS === has.os) &&
          (!Architecture || architecture(Architecture) === architecture(has.architecture)),
      );
    };
  },
  explain: (nodes) => `unsupported platform ${on(nodes)}`,
};

const hostPort: Filter = {
  name: 'host port',
  prepare(task) {
    const ports = wantedPorts(task);
    return ports.length === 0 ? undefined : ({ load }) => ports.every((port) => !load.ports.has(port));
  },
  explain: (nodes) => `host-mode port already in use ${on(nodes)}`,
};

const maxReplicas: Filter = {
  name: 'max replicas',
  prepare(task) {
    const max = task.spec.Placement?.MaxReplicas ?? 0;
    return max === 0 ? undefined : ({ load }) => (load.byService.get(task.serviceId) ?? 0) < max;
  },
  explain: () => 'max replicas per node limit exceed',
};

/** `ready` first: the others may rely on a description. */
const FILTERS: readonly Filter[] = [ready, resources, constraints, platform, hostPort, maxReplicas];

export class Pipeline {
  readonly #checks: readonly { filter: Filter; check: (candidate: Candidate) => boolean }[];
  readonly #refusals = new Map<Filter, number>();

  constructor(task: Task) {
    this.#checks = FILTERS.flatMap((filter) => {
      const check = filter.prepare(task);
      return check ? [{ filter, check }] : [];
    });
  }

  passes(candidate: Candidate): boolean {
    const failed = this.#checks.find(({ check }) => !check(candidate));
    if (!failed) return true;
    this.#refusals.set(failed.filter, (this.#refusals.get(failed.filter) ?? 0) + 1);
    return false;
  }

  /** "no suitable node (insufficient resources on 2 nodes; ...)", the most frequent reason first. */
  explain(): string {
    const reasons = [...this.#refusals]
      .sort(([a, m], [b, n]) => n - m || FILTERS.indexOf(a) - FILTERS.indexOf(b))
      .map(([filter, nodes]) => filter.explain(nodes));
    return reasons.length === 0 ? 'no suitable node' : `no suitable node (${reasons.join('; ')})`;
  }
}
