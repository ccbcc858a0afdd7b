/**
 * Reap: keys are service ids, marked when one of their tasks ended, is to end, or lost its node; all, when another length
 * of history is wanted.
 */
import { hasEnded, isWanted } from '../task.ts';
import type { Planner } from '../runner.ts';
import type { Cluster } from '../../model/objects.ts';
import { planReap } from './plan.ts';

export function reap(): Planner {
  return {
    name: 'reap',
    reset: (view) => new Set([...view.all('task').values()].map((task) => task.serviceId as string)),
    *changed(transition, view) {
      const task = transition.kind === 'task' ? transition.after : undefined;
      if (task && (hasEnded(task) || !isWanted(task))) yield task.serviceId;
      if (transition.kind === 'cluster' && history(transition.before) !== history(transition.after))
        for (const of of view.all('task').values()) yield of.serviceId;
      if (transition.kind === 'node' && transition.before?.status.state !== transition.after?.status.state)
        for (const of of view.tasksOfNode(transition.id)) yield of.serviceId;
    },
    foreseen: () => [], // nothing ends by a plan alone
    plan: (view, keys, now) => planReap(view, keys, now),
  };
}

const history = (cluster: Cluster | undefined): number | undefined =>
  cluster?.spec.Orchestration.TaskHistoryRetentionLimit;
