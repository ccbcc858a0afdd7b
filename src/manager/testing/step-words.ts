/** For tests only: a step of the orchestrators in words. */
import type { Step } from '../step.ts';

/** What stops, what starts in which slot with which desired state. */
export function words(step: Step): string {
  if (step.kind === 'change-slot') {
    const stop = step.stop.map((t) => `${step.desired} ${t.id}`);
    const start = step.start
      ? [
          `start ${step.start.slot || step.start.nodeId} ${step.start.desiredState} v${step.start.specVersion}`,
        ]
      : [];
    return [...stop, ...start].join(', ');
  }
  if (step.kind === 'release-task') return `release ${step.task.id}`;
  if (step.kind === 'set-update-status' || step.kind === 'rollback-service') return `${step.status.state}`;
  return step.kind;
}
