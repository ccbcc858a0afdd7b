/**
 * Jobs: tasks that run to their end once. A slot stands for one completion, a node for one in a global job; a slot
 * whose task completed is done and never touched again in this execution. Each update of the service is another
 * execution: what still runs of the one before is removed, what has ended stays as history.
 *
 * A slot whose task failed is repaired as any other, by the restart policy. Where that says no more the slot is spent:
 * it holds back neither other slots nor the place it had, and the job does not complete.
 */
import { hadBegun } from '../../kit/clock.ts';
import type { NodeId } from '../../model/ids.ts';
import type { Node, Task } from '../../model/objects.ts';
import { jobSize } from '../job.ts';
import type { Plan, Step } from '../step.ts';
import { hasEnded, isActive, newTask, timeOf } from '../task.ts';
import { type Context, factsOf, releaseSlot, repairSlot, type SlotFacts, slotOf } from './slot-plan.ts';

export function planReplicatedJob(context: Context, tasks: readonly Task[]): Plan {
  const { service } = context;
  const { current, leave } = byExecution(context, tasks);
  const slots = [...Map.groupBy(current, (task) => task.slot)].map(([number, of]) =>
    factsOf(context, slotOf(number, undefined, of)),
  );
  const open = slots.filter((facts) => !isDone(facts));
  const { concurrent, completions } = jobSize(service.spec.Mode.ReplicatedJob!);
  const busy = open.filter(({ finished }) => !finished).length;
  const room = Math.max(0, Math.min(concurrent - busy, completions - slots.length));
  const taken = new Set(slots.map(({ slot }) => slot.number));
  const start: Step[] = [];
  for (let number = 1; start.length < room; number++)
    if (!taken.has(number)) start.push(startSlot(context, number, undefined));
  return join(leave, planOpen(context, open), start);
}

/** `nodes`: those that may run the service, each once; one that came after the execution began has no part in it. */
export function planGlobalJob(context: Context, tasks: readonly Task[], nodes: readonly Node[]): Plan {
  const { view, service, now } = context;
  const { current, leave } = byExecution(context, tasks);
  const began = timeOf(service.jobStatus?.lastExecution ?? service.createdAt);
  const ofNode = Map.groupBy(current, (task) => task.nodeId);
  const eligible = new Set(nodes.map((node) => node.id));
  const unfit = current.filter((task) => !task.nodeId || !eligible.has(task.nodeId)).filter(isGoingOn);
  const slots = nodes
    .filter(
      ({ id, createdAt }) =>
        ofNode.has(id) || (isActive(view, id) && hadBegun(timeOf(createdAt), began, now)),
    )
    .map(({ id }) => factsOf(context, slotOf(0, id, ofNode.get(id) ?? [])));
  const isEmpty = ({ slot }: SlotFacts): boolean => slot.tasks.length === 0;
  const start = slots.filter(isEmpty).map(({ slot }) => startSlot(context, 0, slot.nodeId));
  const open = slots.filter((facts) => !isEmpty(facts) && !isDone(facts));
  return join([...leave, ...unfit.map(stop('shutdown'))], planOpen(context, open), start);
}

const isDone = ({ slot }: SlotFacts): boolean => slot.tasks.some((task) => task.status.state === 'complete');

const isGoingOn = (task: Task): boolean =>
  !hasEnded(task) && task.desiredState !== 'remove' && task.desiredState !== 'shutdown';

const stop =
  (desired: 'shutdown' | 'remove') =>
  (task: Task): Step => ({ kind: 'change-slot', stop: [task], desired, start: undefined });

function byExecution({ service }: Context, tasks: readonly Task[]): { current: Task[]; leave: Step[] } {
  const isCurrent = (task: Task): boolean => task.jobIteration === service.jobStatus?.jobIteration;
  const old = tasks.filter((task) => !isCurrent(task) && !hasEnded(task) && task.desiredState !== 'remove');
  return {
    current: tasks.filter((task) => isCurrent(task) && task.desiredState !== 'remove'),
    leave: old.sort((a, b) => (a.id < b.id ? -1 : 1)).map(stop('remove')),
  };
}

function startSlot(context: Context, slot: number, nodeId: NodeId | undefined): Step {
  const start = newTask({ ...context, slot, nodeId, desiredState: 'running' });
  return { kind: 'change-slot', stop: [], desired: 'shutdown', start };
}

function planOpen(context: Context, slots: readonly SlotFacts[]): Plan {
  const plans = slots
    .toSorted((a, b) => a.slot.number - b.slot.number)
    .map((facts): Plan => {
      const steps = repairSlot(context, facts);
      return steps.length > 0 ? { steps, wake: [] } : releaseSlot(context, facts.slot);
    });
  return { steps: plans.flatMap((p) => p.steps), wake: plans.flatMap((p) => p.wake) };
}

const join = (leave: readonly Step[], open: Plan, start: readonly Step[]): Plan => ({
  steps: [...leave, ...open.steps, ...start],
  wake: open.wake,
});
