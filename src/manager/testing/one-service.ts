/** For tests only: one service, its nodes and tasks, and what the orchestrator makes of them, in words. */
import { timestamp } from '../../kit/clock.ts';
import type { Node, Service, Task } from '../../model/objects.ts';
import type { ServiceSpec } from '../../model/spec.ts';
import { planServices } from '../orchestrator/plan.ts';
import { counterIds, node, service, spec, status, T0, task, viewOf } from './builders.ts';
import { words } from './step-words.ts';

const SECOND = 1000;
export const at = (seconds: number) => timestamp(T0 + seconds * SECOND);

export interface Case {
  readonly service?: Partial<Service>;
  readonly spec?: Partial<ServiceSpec>;
  readonly nodes?: Node[];
  readonly tasks?: Task[];
  readonly seconds?: number;
}

export function plan(c: Case): { steps: string[]; wake: number[] } {
  const view = viewOf(
    { kind: 'service', object: service({ spec: spec(c.spec), ...c.service }) },
    ...(c.nodes ?? [node('n1'), node('n2')]).map((object) => ({ kind: 'node', object }) as const),
    ...(c.tasks ?? []).map((object) => ({ kind: 'task', object }) as const),
  );
  const { steps, wake } = planServices(view, ['svc'], T0 + (c.seconds ?? 0) * SECOND, counterIds());
  return { steps: steps.map(words), wake: wake.map((w) => (w.at - T0) / SECOND) };
}

export const drained = node('n1', { spec: { Labels: {}, Role: 'worker', Availability: 'drain' } });

export const failed = (patch: Partial<Task> = {}) => task('a', { status: status('failed'), ...patch });

export const replicated = (Replicas: number): Partial<ServiceSpec> => ({
  Mode: { Replicated: { Replicas } },
});
