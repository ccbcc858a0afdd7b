/** Schedule: keys are ids of pending tasks. Those without a node ask again when a node changes or frees something. */
import type { Transition } from '../../store/view.ts';
import type { Planner } from '../runner.ts';
import { isWanted, occupiesNode } from '../task.ts';
import { Ledger } from './ledger.ts';
import { isPending, planSchedule } from './plan.ts';

export function schedule(): Planner {
  const ledger = new Ledger();
  let refused = new Set<string>();
  return {
    name: 'schedule',
    *reset(view) {
      ledger.rebuild(view);
      for (const task of view.all('task').values()) if (isPending(task)) yield task.id;
    },
    *changed(transition) {
      ledger.follow(transition);
      if (transition.kind === 'task' && isPending(transition.after)) yield transition.id;
      if (transition.kind === 'node' || frees(transition)) yield* refused;
    },
    *foreseen(transition) {
      ledger.follow(transition);
      if (transition.kind === 'task' && isPending(transition.after)) yield transition.id;
    },
    restored: (transition) => ledger.follow(transition),
    plan(view, keys, now) {
      const plan = planSchedule(view, ledger, keys, now);
      refused = new Set([...refused].filter((key) => !keys.has(key)).concat(...plan.refused));
      return plan;
    },
  };
}

const frees = (transition: Transition): boolean =>
  transition.kind === 'task' &&
  transition.before !== undefined &&
  occupiesNode(transition.before) &&
  (!transition.after ||
    !occupiesNode(transition.after) ||
    (isWanted(transition.before) && !isWanted(transition.after)));
