/** Service in Docker's JSON. */
import type { Service, ServiceEndpoint, Task, UpdateStatus } from '../../model/objects.ts';
import { metaJson } from './meta.ts';
import { withDefaults } from './service-spec.ts';

export interface ServiceStatus {
  readonly RunningTasks: number;
  readonly DesiredTasks: number;
  readonly CompletedTasks: number;
}

export function serviceJson(
  service: Service,
  options: { readonly insertDefaults?: boolean; readonly status?: ServiceStatus } = {},
): object {
  const defaults = options.insertDefaults ? withDefaults : (spec: Service['spec']) => spec;
  return {
    ...metaJson(service.id, service),
    Spec: defaults(service.spec),
    ...(service.previousSpec && { PreviousSpec: defaults(service.previousSpec) }),
    Endpoint: endpointJson(service),
    ...(service.updateStatus && { UpdateStatus: updateStatusJson(service.updateStatus) }),
    ...(options.status && { ServiceStatus: options.status }),
    ...(service.jobStatus && {
      JobStatus: {
        JobIteration: { Index: service.jobStatus.jobIteration },
        LastExecution: service.jobStatus.lastExecution,
      },
    }),
  };
}

function endpointJson({ endpoint }: Service): object {
  // As in Docker, which gives an endpoint only to what has something to be reached by.
  if (!endpoint || endpoint.ports.length + endpoint.virtualIps.length === 0) return { Spec: {} };
  const { ports, virtualIps } = endpoint satisfies ServiceEndpoint;
  return {
    Spec: endpoint.spec,
    ...(ports.length > 0 && { Ports: ports }),
    ...(virtualIps.length > 0 && {
      VirtualIPs: virtualIps.map((vip) => ({ NetworkID: vip.networkId, Addr: vip.address })),
    }),
  };
}

const updateStatusJson = (status: UpdateStatus): object => ({
  State: status.state,
  ...(status.startedAt && { StartedAt: status.startedAt }),
  ...(status.completedAt && { CompletedAt: status.completedAt }),
  Message: status.message,
});

/** Counts as Swarm's ListServiceStatuses: what runs, what should, and (jobs) what has completed in this execution. */
export function serviceStatus(service: Service, tasks: Iterable<Task>): ServiceStatus {
  const { Replicated, ReplicatedJob, GlobalJob } = service.spec.Mode;
  const job = ReplicatedJob ?? GlobalJob;
  let running = 0;
  let completed = 0;
  let wanted = 0;
  for (const task of tasks) {
    if (job && task.jobIteration !== service.jobStatus?.jobIteration) continue;
    if (task.status.state === 'running' && task.desiredState !== 'remove') running++;
    if (task.status.state === 'complete' && job) completed++;
    else if (task.desiredState === 'running' || (job && task.desiredState === 'complete')) wanted++;
  }
  const desired = Replicated ? (Replicated.Replicas ?? 1) : ReplicatedJob ? jobWidth(ReplicatedJob) : wanted;
  return { RunningTasks: running, DesiredTasks: desired, CompletedTasks: completed };
}

const jobWidth = (job: { MaxConcurrent?: number; TotalCompletions?: number }): number =>
  job.MaxConcurrent || job.TotalCompletions || 1;
