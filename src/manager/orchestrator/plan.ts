/**
 * Which tasks of a service should exist. One plan a service: its slots are repaired (restart policy, lost and
 * drained nodes), brought to the wanted number or the eligible nodes, and handed to the updater. Called by the
 * orchestrate loop of the leader; if it were wrong, services would run too often or not at all.
 *
 * Cost: the tasks of the services that something happened to.
 */
import type { ServiceId } from '../../model/ids.ts';
import type { Node, Task } from '../../model/objects.ts';
import type { View } from '../../store/view.ts';
import { parseConstraints, satisfies } from '../constraint.ts';
import type { Plan, Step } from '../step.ts';
import { type Ids, isActive, isDrained, isUp, isWanted, newTask } from '../task.ts';
import { planUpdate } from '../updater/plan.ts';
import { Overfull } from './overfull.ts';
import { planGlobalJob, planReplicatedJob } from './job-plan.ts';
import {
  type Context,
  factsOf,
  releaseSlot,
  repairSlot,
  type Slot,
  type SlotFacts,
  slotOf,
  startsFirst,
  successor,
} from './slot-plan.ts';

export function planServices(view: View, keys: Iterable<string>, now: number, ids: Ids): Plan {
  const overfull = new Overfull(view);
  const plans = [...keys].sort().map((key) => planService(view, key as ServiceId, { now, ids, overfull }));
  return { steps: plans.flatMap((plan) => plan.steps), wake: plans.flatMap((plan) => plan.wake) };
}

function planService(view: View, id: ServiceId, rest: Pick<Context, 'now' | 'ids' | 'overfull'>): Plan {
  const service = view.get('service', id);
  const tasks = [...view.tasksOfService(id)];
  if (!service) return { steps: removeAll(tasks), wake: [] };
  const constraints = parseConstraints(service.spec.TaskTemplate.Placement?.Constraints);
  const context = { ...rest, view, service, constraints };
  if (service.spec.Mode.Replicated) return planReplicated(context, tasks);
  if (service.spec.Mode.Global) return planGlobal(context, tasks);
  if (service.spec.Mode.ReplicatedJob) return planReplicatedJob(context, tasks);
  if (service.spec.Mode.GlobalJob)
    return planGlobalJob(
      context,
      tasks,
      [...view.all('node').values()].filter(fitsService(context)).sort(byId),
    );
  return { steps: [], wake: [] };
}

/** One step a task: a service may have more tasks than fit one transaction. */
const removeAll = (tasks: readonly Task[]): Step[] =>
  tasks
    .filter((task) => task.desiredState !== 'remove')
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .map((task) => ({ kind: 'change-slot', stop: [task], desired: 'remove', start: undefined }));

function planReplicated(context: Context, tasks: readonly Task[]): Plan {
  const wanted = context.service.spec.Mode.Replicated?.Replicas ?? 1;
  const slots = group(tasks, (task) => task.slot).map(([number, of]) =>
    factsOf(context, slotOf(number, undefined, of)),
  );
  const existing = slots.filter(({ slot }) => slot.tasks.length > 0);
  const ordered = existing.length > wanted ? keepOrder(existing) : existing;
  const keep = ordered.slice(0, wanted);
  const gone = ordered.slice(wanted);
  const added = freeNumbers(existing, wanted - existing.length);
  const start = added.map((number) => ({
    kind: 'change-slot' as const,
    stop: [],
    desired: 'shutdown' as const,
    start: newTask({ ...context, slot: number, nodeId: undefined, desiredState: 'running' }),
  }));
  const kept = planSlots(
    context,
    keep.toSorted((a, b) => a.slot.number - b.slot.number),
  );
  return {
    steps: [...gone.flatMap(({ slot }) => removeAll(slot.tasks)), ...kept.steps, ...start],
    wake: kept.wake,
  };
}

const group = <K>(tasks: readonly Task[], key: (task: Task) => K): [K, Task[]][] => [
  ...Map.groupBy(tasks, key),
];

/** Slots in the order in which they are kept: running before not, and fewer on one node before more. */
function keepOrder(slots: readonly SlotFacts[]): SlotFacts[] {
  const up = ({ best }: SlotFacts) => Number(best !== undefined && isUp(best));
  const perNode = new Map<string, number>();
  const ranked = slots
    .toSorted((a, b) => up(b) - up(a) || a.slot.number - b.slot.number)
    .map((facts) => {
      const node = facts.best?.nodeId ?? '';
      perNode.set(node, (perNode.get(node) ?? 0) + 1);
      return { facts, nth: perNode.get(node)! };
    });
  return ranked.sort((a, b) => up(b.facts) - up(a.facts) || a.nth - b.nth).map(({ facts }) => facts);
}

function freeNumbers(existing: readonly SlotFacts[], count: number): number[] {
  const taken = new Set(existing.map(({ slot }) => slot.number));
  const free: number[] = [];
  for (let n = 1; free.length < count; n++) if (!taken.has(n)) free.push(n);
  return free;
}

const byId = (a: Node, b: Node): number => (a.id < b.id ? -1 : 1);

/** Whether a global service has a place on the node, or keeps the one it has. */
const fitsService =
  ({ constraints }: Context) =>
  (node: Node | undefined): boolean =>
    node !== undefined && node.status.state === 'ready' && !isDrained(node) && satisfies(node, constraints);

function planGlobal(context: Context, tasks: readonly Task[]): Plan {
  const { view } = context;
  const byNode = new Map(group(tasks, (task) => task.nodeId));
  const fits = fitsService(context);
  const unfit = [...byNode].filter(([id]) => !fits(id && view.get('node', id)));
  const leave = unfit.flatMap(([, of]) => stopAll(of.filter((task) => !staysOn(view, task, fits))));
  const nodes = [...view.all('node').values()].filter(fits).sort(byId);
  const slots = nodes
    .map((node) => factsOf(context, slotOf(0, node.id, byNode.get(node.id) ?? [])))
    .filter((facts) => facts.slot.tasks.length > 0 || isActive(view, facts.slot.nodeId!));
  const plan = planSlots(context, slots);
  return { steps: [...leave, ...plan.steps], wake: plan.wake };
}

/** A node that is only unknown for a moment keeps its global task; one that is down, drained or unfit does not. */
const staysOn = (view: View, task: Task, fits: (node: Node) => boolean): boolean => {
  const node = task.nodeId && view.get('node', task.nodeId);
  if (!node || node.status.state === 'down') return false;
  return node.status.state !== 'ready' && fits({ ...node, status: { ...node.status, state: 'ready' } });
};

const stopAll = (tasks: readonly Task[]): Step[] =>
  tasks
    .filter(isWanted)
    .map((task) => ({ kind: 'change-slot', stop: [task], desired: 'shutdown', start: undefined }));

/** Repairs, updates and releases the slots that stay. A slot that is repaired is left to the updater the next time. */
function planSlots(context: Context, slots: readonly SlotFacts[]): Plan {
  const steps: Step[] = [];
  const wake: { key: string; at: number }[] = [];
  const repaired = new Set<Slot>();
  for (const facts of slots) {
    const repair = repairSlot(context, facts);
    if (repair.length > 0) repaired.add(facts.slot);
    const release = repair.length > 0 ? { steps: [], wake: [] } : releaseSlot(context, facts.slot);
    steps.push(...repair, ...release.steps);
    wake.push(...release.wake);
  }
  const update = updateSteps(context, slots, repaired);
  return { steps: [...steps, ...update.steps], wake: [...wake, ...update.wake] };
}

function updateSteps(context: Context, slots: readonly SlotFacts[], repaired: ReadonlySet<Slot>): Plan {
  const { service, now } = context;
  const { replace, status, rollback, wakeAt } = planUpdate(service, slots, now);
  const steps: Step[] = replace
    .filter(({ slot }) => !repaired.has(slot))
    .map(({ slot, best, leaving }) => {
      const stop = startsFirst(service) || !best ? [] : [best, ...leaving];
      return { kind: 'change-slot', stop, desired: 'shutdown', start: successor(context, slot, stop) };
    });
  if (status) steps.push({ kind: rollback ? 'rollback-service' : 'set-update-status', service, status });
  return { steps, wake: wakeAt === undefined ? [] : [{ key: service.id, at: wakeAt }] };
}
