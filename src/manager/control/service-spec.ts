/**
 * Whether a service's spec can work, in swarmkit's order and words. Pure: throws the refusal, changes nothing.
 * What needs the rest of the cluster (names, networks, ports) is in service-context.ts.
 */
import { SkeinError } from '../../model/errors.ts';
import { kindOf } from '../../model/generic-resources.ts';
import type {
  ContainerSpec,
  EndpointSpec,
  GenericResource,
  MountSpec,
  PortSpec,
  ResourceSpec,
  RestartPolicy,
  ServiceSpec,
  TaskSpec,
  UpdateConfig,
} from '../../model/spec.ts';
import { checkTemplate } from '../../model/template.ts';
import { parseConstraint } from '../constraint.ts';
import { isJob } from '../job.ts';
import { invalid, unimplemented } from './refusal.ts';
import { checkServed } from './unserved.ts';

/** Docker's names of services, networks, secrets and configs: what a DNS label may be, with inner dots and dashes. */
const NAME = /^[a-zA-Z0-9]+(?:[a-zA-Z0-9-_]*[a-zA-Z0-9])?$/;
const MAX_NAME = 63;

export function checkServiceSpec(spec: ServiceSpec): void {
  checkName(spec.Name, 'meta: name must be provided');
  checkMode(spec);
  checkTask(spec.TaskTemplate);
  if (isJob(spec)) checkJob(spec);
  checkUpdate(spec.UpdateConfig);
  checkUpdate(spec.RollbackConfig);
  checkEndpoint(spec.EndpointSpec);
}

export function checkName(name: string | undefined, missing: string): void {
  if (!name) throw invalid(missing);
  if (!NAME.test(name)) throw invalid('name must be valid as a DNS name component');
  if (name.length > MAX_NAME) throw invalid(`name must be ${MAX_NAME} characters or fewer`);
}

function checkMode({ Mode: mode }: ServiceSpec): void {
  const given = [mode?.Replicated, mode?.Global, mode?.ReplicatedJob, mode?.GlobalJob];
  if (given.filter((m) => m !== undefined).length !== 1)
    throw invalid('must specify only one service mode: replicated, global, replicated-job or global-job');
  const { MaxConcurrent: concurrent = 1, TotalCompletions: completions = 1 } = mode.ReplicatedJob ?? {};
  const isCount = (value: number) => Number.isSafeInteger(value) && value >= 0;
  if (!isCount(mode.Replicated?.Replicas ?? 1)) throw invalid('Number of replicas must be non-negative');
  if (!isCount(concurrent)) throw invalid('Maximum concurrent jobs must be non-negative');
  if (!isCount(completions)) throw invalid('Total completed jobs must be non-negative');
}

function checkJob({ UpdateConfig: update, RollbackConfig: rollback, TaskTemplate: task }: ServiceSpec): void {
  if (update || rollback) throw invalid('update and rollback configuration is not supported for jobs');
  if (task.RestartPolicy?.Condition === 'any')
    throw invalid(
      'restart condition "any" is not supported for jobs: a task that completed is not run again',
    );
}

function checkTask(task: TaskSpec | undefined): void {
  if (!task?.ContainerSpec) throw invalid('TaskSpec: missing runtime');
  if (task.Runtime && task.Runtime !== 'container')
    throw unimplemented(`runtime ${task.Runtime} is not served by Skein`);
  checkResources(task.Resources?.Limits);
  checkResources(task.Resources?.Reservations);
  checkGeneric(task.Resources?.Reservations?.GenericResources ?? []);
  checkRestart(task.RestartPolicy);
  for (const text of task.Placement?.Constraints ?? []) withPrefix(() => parseConstraint(text));
  if ((task.Placement?.MaxReplicas ?? 0) < 0) throw invalid('max replicas per node must be non-negative');
  checkContainer(task.ContainerSpec);
  checkServed(task);
}

/** Parsers throw plain words; a client gets them in the form of the other refusals. */
function withPrefix(check: () => void): void {
  try {
    check();
  } catch (error) {
    throw invalid(SkeinError.from(error).message);
  }
}

const MIN_NANO_CPUS = 1e6;
const MIN_MEMORY = 4 * 1024 * 1024;

function checkResources({ NanoCPUs: cpus = 0, MemoryBytes: memory = 0 }: ResourceSpec = {}): void {
  if (cpus !== 0 && cpus < MIN_NANO_CPUS)
    throw invalid(`invalid cpu value ${cpus / 1e9}: Must be at least ${MIN_NANO_CPUS / 1e9}`);
  if (memory !== 0 && memory < MIN_MEMORY)
    throw invalid(`invalid memory value ${memory}: Must be at least 4MiB`);
}

function checkGeneric(resources: readonly GenericResource[]): void {
  for (const resource of resources) {
    const { Kind, Value = -1 } = resource.DiscreteResourceSpec ?? { Kind: kindOf(resource) };
    if (Kind === '' || !Number.isSafeInteger(Value) || Value < 0)
      throw invalid(`invalid argument for resource ${Kind}: how many are reserved must be a whole number`);
  }
}

function checkRestart(policy: RestartPolicy | undefined): void {
  if (!policy) return;
  if (policy.Condition && !['none', 'on-failure', 'any'].includes(policy.Condition))
    throw invalid(`invalid RestartCondition: "${policy.Condition}"`);
  if ((policy.Delay ?? 0) < 0) throw invalid('TaskSpec: restart-delay cannot be negative');
  if ((policy.Window ?? 0) < 0) throw invalid('TaskSpec: restart-window cannot be negative');
  if ((policy.MaxAttempts ?? 0) < 0) throw invalid('TaskSpec: restart-max-attempts cannot be negative');
}

function checkUpdate(config: UpdateConfig | undefined): void {
  if (!config) return;
  if ((config.Delay ?? 0) < 0) throw invalid('TaskSpec: update-delay cannot be negative');
  if ((config.Monitor ?? 0) < 0) throw invalid('TaskSpec: update-monitor cannot be negative');
  if ((config.Parallelism ?? 0) < 0) throw invalid('TaskSpec: update-parallelism cannot be negative');
  const ratio = config.MaxFailureRatio ?? 0;
  if (ratio < 0 || ratio > 1)
    throw invalid('TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1');
  if (config.FailureAction && !['pause', 'continue', 'rollback'].includes(config.FailureAction))
    throw new SkeinError('invalid-argument', `unrecognized update failure action ${config.FailureAction}`);
  if (config.Order && !['stop-first', 'start-first'].includes(config.Order))
    throw new SkeinError('invalid-argument', `unrecognized update order ${config.Order}`);
}

const MAX_ENV = 1024 * 1024;

function checkContainer(container: ContainerSpec): void {
  if (!container.Image) throw invalid('ContainerSpec: image reference must be provided');
  if (/\s/.test(container.Image))
    throw invalid(`ContainerSpec: "${container.Image}" is not a valid repository/tag`);
  if ((container.StopGracePeriod ?? 0) < 0)
    throw invalid('ContainerSpec: stop grace period cannot be negative');
  if ((container.Env ?? []).reduce((size, env) => size + env.length, 0) > MAX_ENV)
    throw invalid('ContainerSpec: environment is too large');
  checkMounts(container.Mounts ?? []);
  for (const text of templatesOf(container)) withPrefix(() => checkTemplate(text));
  checkHealth(container);
  checkTargets(container);
}

/** Every text in which placeholders are expanded on the node. */
const templatesOf = ({ Hostname = '', Env = [], Mounts = [] }: ContainerSpec): string[] => [
  Hostname,
  ...Env,
  ...Mounts.flatMap(({ Target, Source = '', VolumeOptions: volume }) => [
    Target,
    Source,
    ...Object.values(volume?.Labels ?? {}),
    ...Object.values(volume?.DriverConfig?.Options ?? {}),
  ]),
];

function checkMounts(mounts: readonly MountSpec[]): void {
  const targets = new Set<string>();
  for (const mount of mounts) {
    if (!mount.Target) throw invalid('ContainerSpec: "mount" target must not be empty');
    if (targets.has(mount.Target)) throw invalid(`ContainerSpec: duplicate mount point: ${mount.Target}`);
    targets.add(mount.Target);
    checkMount(mount);
  }
}

function checkMount({ Type: type, Source: source = '', Target: target }: MountSpec): void {
  if (!['bind', 'volume', 'tmpfs'].includes(type)) throw invalid(`invalid mount type: "${String(type)}"`);
  if (!target.startsWith('/')) throw invalid(`invalid mount target, must be an absolute path: ${target}`);
  if (target === '/') throw invalid("invalid specification: destination can't be '/'");
  if (type === 'bind' && !source) throw invalid('invalid bind mount source, source path must not be empty');
  if (type === 'bind' && !source.startsWith('/'))
    throw invalid(`invalid bind mount source, must be an absolute path: ${source}`);
  if (type === 'tmpfs' && source) throw invalid('invalid tmpfs source, source must be empty');
  if (type === 'volume' && source.startsWith('/'))
    throw invalid(`invalid volume mount source, must not be an absolute path: ${source}`);
}

/** 1 ms in nanoseconds: less is a mistake in the unit. */
const MIN_HEALTH = 1e6;

function checkHealth({ Healthcheck: health }: ContainerSpec): void {
  if (!health) return;
  const { Interval, Timeout, StartPeriod, StartInterval } = health;
  const times = { Interval, Timeout, StartPeriod, StartInterval };
  for (const [name, value = 0] of Object.entries(times))
    if (value !== 0 && value < MIN_HEALTH)
      throw invalid(`ContainerSpec: ${name} in HealthConfig cannot be less than 1ms`);
  if ((health.Retries ?? 0) < 0) throw invalid('ContainerSpec: Retries in HealthConfig cannot be negative');
}

function checkTargets({ Secrets: secrets = [], Configs: configs = [] }: ContainerSpec): void {
  const seen = new Map<string, string>();
  const files = [
    ...secrets.map((s) => ({ name: s.SecretName, file: s.File?.Name, kind: 'secret' })),
    ...configs.filter((c) => c.File).map((c) => ({ name: c.ConfigName, file: c.File?.Name, kind: 'config' })),
  ];
  for (const { name, file, kind } of files) {
    if (!name || !file) throw invalid(`malformed ${kind} reference`);
    const other = seen.get(`${kind}/${file}`);
    if (other)
      throw invalid(`${kind} references '${other}' and '${name}' have a conflicting target: '${file}'`);
    seen.set(`${kind}/${file}`, name);
  }
}

function checkEndpoint(endpoint: EndpointSpec | undefined): void {
  if (!endpoint) return;
  const ports = endpoint.Ports ?? [];
  if (endpoint.Mode && !['vip', 'dnsrr'].includes(endpoint.Mode))
    throw new SkeinError('invalid-argument', `invalid resolution mode: ${String(endpoint.Mode)}`);
  if (endpoint.Mode === 'dnsrr' && ports.some((port) => port.PublishMode !== 'host'))
    throw invalid("EndpointSpec: port published with ingress mode can't be used with dnsrr mode");
  const published = new Set<string>();
  for (const port of ports) {
    checkPort(port);
    const key = `${port.PublishedPort}/${port.Protocol}/${port.PublishMode}`;
    if (port.PublishedPort && published.has(key))
      throw invalid('EndpointSpec: duplicate published ports provided');
    published.add(key);
  }
}

function checkPort({
  TargetPort: target,
  PublishedPort: published = 0,
  Protocol: protocol,
  PublishMode: mode,
}: PortSpec): void {
  const isPort = (port: number, least: number) => Number.isInteger(port) && port >= least && port <= 65_535;
  if (!isPort(target, 1) || !isPort(published, 0))
    throw invalid(`EndpointSpec: invalid port ${isPort(target, 1) ? published : target}`);
  if (protocol && !['tcp', 'udp', 'sctp'].includes(protocol))
    throw invalid(`invalid protocol value: ${String(protocol)}`);
  if (mode && !['ingress', 'host'].includes(mode)) throw invalid(`invalid publish mode: ${String(mode)}`);
}
