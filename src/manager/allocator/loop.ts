/** Allocate: keys name the object that may need something. What got nothing asks again when something is freed. */
import type { Transition, View } from '../../store/view.ts';
import type { Planner } from '../runner.ts';
import { type Ids, isWanted } from '../task.ts';
import { Book } from './book.ts';
import { planAllocation } from './plan.ts';

const RETRY_MS = 5_000;

export function allocate(ids: Ids): Planner {
  const book = new Book();
  let refused = new Set<string>();
  return {
    name: 'allocate',
    reset(view, now) {
      book.rebuild(view, now);
      return allKeys(view);
    },
    *changed(transition, view, now) {
      const { releases } = book;
      book.follow(transition, now);
      yield* keysOf(transition, view);
      if (book.releases !== releases || transition.kind === 'network') yield* refused;
    },
    // The book need not follow: this planner runs once a round, and it alone gives addresses and ports out.
    foreseen: keysOf,
    plan(view, keys, now) {
      const plan = planAllocation(view, book, keys, now, ids);
      refused = new Set([...refused].filter((key) => !keys.has(key)).concat(...plan.refused));
      // Quarantine ends without a change of the view.
      return { steps: plan.steps, wake: [...plan.refused].map((key) => ({ key, at: now + RETRY_MS })) };
    },
  };
}

function* allKeys(view: View): Iterable<string> {
  for (const kind of ['network', 'node', 'service'] as const)
    for (const id of view.all(kind).keys()) yield `${kind}/${id}`;
  for (const task of view.all('task').values()) if (task.status.state === 'new') yield `task/${task.id}`;
}

function* keysOf(transition: Transition, view: View): Iterable<string> {
  const { kind, id, before, after } = transition;
  if (kind === 'task') {
    if (transition.after?.status.state === 'new' && isWanted(transition.after)) yield `task/${id}`;
  } else if (kind === 'node') {
    if (after && needsLook(transition)) yield `node/${id}`;
  } else if (kind === 'service') {
    if (after && (transition.before?.spec !== transition.after?.spec || !transition.after?.endpoint))
      yield `service/${id}`;
    // Its tasks wait for its endpoint.
    for (const task of view.tasksOfService(transition.id))
      if (task.status.state === 'new') yield `task/${task.id}`;
  } else if (kind === 'network') {
    yield `network/${id}`;
    // The ingress network concerns every node and every published service.
    if ((after ?? before)?.spec && (transition.after ?? transition.before)!.spec.Ingress)
      for (const kind of ['node', 'service'] as const)
        for (const each of view.all(kind).keys()) yield `${kind}/${each}`;
  }
}

const needsLook = ({ before, after }: Extract<Transition, { kind: 'node' }>): boolean =>
  !before || before.attachments.length === 0 || before.attachments !== after?.attachments;
