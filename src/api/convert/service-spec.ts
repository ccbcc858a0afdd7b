/**
 * The form a service spec is kept in. Docker's API gives back `Isolation: "default"` and `Runtime: "container"`, drops
 * empty members, and clients send that back on the next update; so that an update which changes nothing also
 * *compares* as nothing, the same form is made on the way in.
 *
 * INVARIANT: canonical(canonical(spec)) equals canonical(spec).
 */
import type { ContainerSpec, ServiceSpec, TaskSpec, UpdateConfig } from '../../model/spec.ts';

export function canonical(spec: ServiceSpec): ServiceSpec {
  const { Networks, Labels, TaskTemplate, Mode, UpdateConfig, RollbackConfig, EndpointSpec, ...rest } = spec;
  const template = canonicalTask(TaskTemplate, Networks);
  return {
    ...withoutEmpty(rest),
    Name: spec.Name,
    Labels: Labels ?? {},
    TaskTemplate: template,
    Mode: Object.keys(Mode).length > 0 ? Mode : { Replicated: {} },
    ...(UpdateConfig && { UpdateConfig: canonicalUpdate(UpdateConfig) }),
    ...(RollbackConfig && { RollbackConfig: canonicalUpdate(RollbackConfig) }),
    ...(EndpointSpec && { EndpointSpec: { Mode: 'vip', ...withoutEmpty(EndpointSpec) } }),
  } as ServiceSpec;
}

/** Docker tells these three of every such config, whether they were given or not. */
const canonicalUpdate = (config: UpdateConfig): UpdateConfig => ({
  ...withoutEmpty(config),
  FailureAction: config.FailureAction || 'pause',
  MaxFailureRatio: config.MaxFailureRatio ?? 0,
  Order: config.Order || 'stop-first',
});

function canonicalTask(task: TaskSpec, oldNetworks: ServiceSpec['Networks']): TaskSpec {
  const { ContainerSpec: container, Networks, ForceUpdate, Runtime, Resources, Placement, ...rest } = task;
  const networks = Networks?.length ? Networks : oldNetworks;
  return {
    ContainerSpec: canonicalContainer(container),
    ...(Resources && {
      Resources: {
        ...(Resources.Limits && { Limits: withoutZero(withoutEmpty(Resources.Limits)) }),
        ...(Resources.Reservations && { Reservations: withoutZero(withoutEmpty(Resources.Reservations)) }),
      },
    }),
    ...rest,
    ...(Placement && { Placement: withoutZero(withoutEmpty(Placement)) }),
    ...(networks?.length && { Networks: networks.map((network) => withoutEmpty(network)) }),
    ForceUpdate: ForceUpdate ?? 0,
    Runtime: Runtime || 'container',
  };
}

/** Members that Go's encoder omits when false or 0; `Init` is a pointer there and stays. */
const OMIT_FALSE = ['TTY', 'OpenStdin', 'ReadOnly'] as const;

function canonicalContainer(container: ContainerSpec): ContainerSpec {
  const result: ContainerSpec = {
    ...withoutEmpty(container),
    Image: container.Image,
    ...(container.DNSConfig && { DNSConfig: withoutEmpty(container.DNSConfig) }),
    Isolation: container.Isolation || 'default',
  };
  for (const key of OMIT_FALSE) if (result[key] === false) delete result[key];
  if (result.OomScoreAdj === 0) delete result.OomScoreAdj;
  if (result.Healthcheck) result.Healthcheck = withoutZero(withoutEmpty(result.Healthcheck));
  if (result.Mounts)
    result.Mounts = result.Mounts.map((mount) => {
      const { ReadOnly, ...others } = withoutEmpty(mount);
      return ReadOnly ? { ...others, ReadOnly } : others;
    });
  return result;
}

/** Drops undefined, empty text and empty lists; empty objects mean something (`Global: {}`) and stay. */
function withoutEmpty<T extends object>(value: T): T {
  const kept = Object.entries(value).filter(
    ([, v]) => v !== undefined && v !== '' && !(Array.isArray(v) && v.length === 0),
  );
  return Object.fromEntries(kept) as T;
}

const withoutZero = <T extends object>(value: T): T =>
  Object.fromEntries(Object.entries(value).filter(([, v]) => v !== 0)) as T;

const UPDATE_DEFAULTS = {
  Parallelism: 1,
  FailureAction: 'pause',
  Monitor: 5_000_000_000,
  MaxFailureRatio: 0,
  Order: 'stop-first',
} as const;

/** `insertDefaults=true`: what applies where the user said nothing. Jobs have no update config. */
export function withDefaults(spec: ServiceSpec): ServiceSpec {
  const { ContainerSpec: container } = spec.TaskTemplate;
  const job = spec.Mode.ReplicatedJob !== undefined || spec.Mode.GlobalJob !== undefined;
  return {
    ...spec,
    TaskTemplate: {
      ...spec.TaskTemplate,
      ContainerSpec: {
        ...container,
        StopGracePeriod: container.StopGracePeriod ?? 10_000_000_000,
        DNSConfig: container.DNSConfig ?? {},
      },
      RestartPolicy: {
        Condition: job ? 'on-failure' : 'any',
        Delay: 5_000_000_000,
        MaxAttempts: 0,
        ...spec.TaskTemplate.RestartPolicy,
      },
    },
    ...(!job && {
      UpdateConfig: { ...UPDATE_DEFAULTS, ...spec.UpdateConfig },
      RollbackConfig: { ...UPDATE_DEFAULTS, ...spec.RollbackConfig },
    }),
    EndpointSpec: { Mode: 'vip', ...spec.EndpointSpec },
  };
}
