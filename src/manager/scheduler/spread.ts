/**
 * Chooses among the nodes that may run a task: placement preferences level by level, then (recently failing last)
 * fewest tasks of the service, then fewest tasks at all, then by id so that the choice is repeatable.
 *
 * Cost: O(nodes) to build for one service, O(levels * values + log nodes) for each task placed.
 */
import type { ServiceId } from '../../model/ids.ts';
import type { Node, Task } from '../../model/objects.ts';
import { nodeValue } from '../constraint.ts';
import type { Candidate } from './filters.ts';

interface Ranked extends Candidate {
  readonly failing: boolean;
}

type Tree = { readonly heap: Heap } | { readonly branches: readonly Tree[] };

export class Spread {
  readonly #service: ServiceId;
  readonly #root: Tree;

  constructor(task: Task, candidates: readonly Candidate[], isFailing: (node: Node) => boolean) {
    this.#service = task.serviceId;
    const ranked = candidates.map((candidate) => ({ ...candidate, failing: isFailing(candidate.node) }));
    const keys = (task.spec.Placement?.Preferences ?? []).flatMap(
      ({ Spread: spread }) => spread?.SpreadDescriptor ?? [],
    );
    this.#root = this.#grow(ranked, keys);
  }

  /** The best node that still `fits`; those that do not are left out for good. The caller then counts the task. */
  take(fits: (candidate: Candidate) => boolean): Candidate | undefined {
    return this.#take(this.#root, fits);
  }

  #grow(candidates: readonly Ranked[], keys: readonly string[]): Tree {
    const [key, ...rest] = keys;
    if (key === undefined) return { heap: new Heap(candidates, (a, b) => this.#before(a, b)) };
    const groups = Map.groupBy(candidates, ({ node }) => nodeValue(node, key) ?? '');
    return {
      branches: [...groups].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, group]) => this.#grow(group, rest)),
    };
  }

  #take(tree: Tree, fits: (candidate: Candidate) => boolean): Candidate | undefined {
    if ('heap' in tree) return this.#takeFromHeap(tree.heap, fits);
    const byTasks = tree.branches
      .map((branch) => ({ branch, tasks: this.#tasksIn(branch) }))
      .sort((a, b) => a.tasks - b.tasks);
    for (const { branch } of byTasks) {
      const found = this.#take(branch, fits);
      if (found) return found;
    }
    return undefined;
  }

  #takeFromHeap(heap: Heap, fits: (candidate: Candidate) => boolean): Candidate | undefined {
    for (;;) {
      // Its load may have grown since it was put in.
      const top = heap.settle();
      if (!top || fits(top)) return top;
      heap.drop();
    }
  }

  #tasksIn(tree: Tree): number {
    if ('branches' in tree) return tree.branches.reduce((sum, branch) => sum + this.#tasksIn(branch), 0);
    return tree.heap.items.reduce((sum, { load }) => sum + (load.byService.get(this.#service) ?? 0), 0);
  }

  #before(a: Ranked, b: Ranked): boolean {
    const mine = (c: Ranked) => c.load.byService.get(this.#service) ?? 0;
    const order =
      Number(a.failing) - Number(b.failing) ||
      mine(a) - mine(b) ||
      a.load.tasks - b.load.tasks ||
      (a.node.id < b.node.id ? -1 : 1);
    return order < 0;
  }
}

/** A binary heap whose keys only grow, and only at the top: after each choice the top sinks to its place. */
class Heap {
  readonly items: Ranked[];
  readonly #before: (a: Ranked, b: Ranked) => boolean;

  constructor(items: readonly Ranked[], before: (a: Ranked, b: Ranked) => boolean) {
    this.items = [...items];
    this.#before = before;
    for (let i = (items.length >> 1) - 1; i >= 0; i--) this.#sink(i);
  }

  settle(): Ranked | undefined {
    this.#sink(0);
    return this.items[0];
  }

  drop(): void {
    const last = this.items.pop();
    if (last && this.items.length > 0) this.items[0] = last;
  }

  #sink(start: number): void {
    const { items } = this;
    for (let i = start; ; ) {
      let least = i;
      for (const child of [2 * i + 1, 2 * i + 2])
        if (child < items.length && this.#before(items[child]!, items[least]!)) least = child;
      if (least === i) return;
      [items[i], items[least]] = [items[least]!, items[i]!];
      i = least;
    }
  }
}
