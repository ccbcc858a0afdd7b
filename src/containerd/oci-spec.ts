/**
 * From what a user asked for and what the image says to the OCI runtime spec. Pure: what must be looked up on the
 * machine (user files, mount sources, its own limits) is given.
 */
import { SkeinError } from '../model/errors.ts';
import type { ContainerSpec } from '../model/spec.ts';
import {
  CAPABILITIES,
  DEFAULT_CAPABILITIES,
  DEFAULT_MOUNTS,
  DEVICE_RULES,
  MASKED_PATHS,
  type OciMount,
  READONLY_PATHS,
  seccomp,
} from './oci-defaults.ts';
import type { ContainerConfig } from './runtime.ts';
import { findUser, type UserDatabase } from './user.ts';

/** The `config` member of an OCI image configuration, as far as it matters for running it. */
export interface ImageRunConfig {
  readonly User?: string;
  readonly Env?: readonly string[] | null;
  readonly Entrypoint?: readonly string[] | null;
  readonly Cmd?: readonly string[] | null;
  readonly WorkingDir?: string;
  readonly Volumes?: Readonly<Record<string, object>> | null;
}

/** What this machine and this daemon can give; a container cannot have more. */
export interface HostLimits {
  /** Node's name of the architecture. */
  readonly arch: string;
  readonly cgroupVersion: 1 | 2;
  /** Capability names in the daemon's bounding set. */
  readonly capabilities: ReadonlySet<string>;
  /** Hard limits by OCI name (`RLIMIT_NOFILE`); absent means unlimited. */
  readonly hardLimits: Readonly<Record<string, number>>;
  /** The daemon may set any ulimit and OOM score (CAP_SYS_RESOURCE). */
  readonly oomScoreAdj: number;
  readonly sysResource: boolean;
  /** Of one process; the kernel refuses more to everybody. */
  readonly maxOpenFiles: number;
  /** The kernel counts swap against a limit. */
  readonly swapAccounting: boolean;
  /** docker-init or tini, for `Init: true`. */
  readonly initPath: string | undefined;
}

export interface SpecInput {
  readonly config: ContainerConfig;
  readonly image: ImageRunConfig;
  readonly users: UserDatabase;
  readonly mounts: readonly OciMount[];
  readonly cgroupParent: string;
  readonly host: HostLimits;
}

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const INIT_TARGET = '/sbin/docker-init';
const CPU_PERIOD = 100_000;

export function ociSpec(input: SpecInput): object {
  const { config, image, host } = input;
  const spec = config.spec;
  const capabilities = capabilitiesOf(spec, host);
  const privileges = spec.Privileges ?? {};
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: spec.TTY ?? false,
      user: findUser(spec.User ?? image.User ?? '', spec.Groups ?? [], input.users),
      args: argsOf(spec, image, host),
      env: envOf(config, image),
      cwd: spec.Dir || image.WorkingDir || '/',
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      rlimits: rlimitsOf(spec, host),
      noNewPrivileges: privileges.NoNewPrivileges ?? false,
      oomScoreAdj: oomScoreOf(spec, host),
    },
    root: { path: 'rootfs', readonly: spec.ReadOnly ?? false },
    hostname: config.hostname,
    mounts: mountsOf(input),
    linux: {
      cgroupsPath: `/${input.cgroupParent.replace(/^\/+|\/+$/g, '')}/${config.id}`,
      namespaces: namespacesOf(config, host),
      resources: resourcesOf(config, host),
      sysctl: sysctlsOf(spec),
      maskedPaths: MASKED_PATHS,
      readonlyPaths: READONLY_PATHS,
      ...propagationOf(input.mounts),
      ...(privileges.Seccomp?.Mode !== 'unconfined' && {
        seccomp: seccomp(new Set(capabilities), host.arch),
      }),
    },
  };
}

function argsOf(spec: ContainerSpec, image: ImageRunConfig, host: HostLimits): string[] {
  const own = spec.Command && spec.Command.length > 0;
  const entrypoint = own ? spec.Command! : (image.Entrypoint ?? []);
  const command = spec.Args && spec.Args.length > 0 ? spec.Args : own ? [] : (image.Cmd ?? []);
  const args = [...entrypoint, ...command];
  if (args.length === 0) throw new SkeinError('invalid-argument', 'no command specified');
  if (!spec.Init) return args;
  if (host.initPath === undefined)
    throw new SkeinError(
      'failed-precondition',
      'init was asked for, and this node has no init binary (docker-init or tini)',
    );
  return [INIT_TARGET, '--', ...args];
}

/** What was asked for, then what only the image says. */
export function mergedEnv(
  asked: readonly string[] | undefined,
  image: readonly string[] | undefined,
): readonly string[] {
  const nameOf = (entry: string) => entry.split('=')[0];
  const names = new Set(asked?.map(nameOf));
  return [...(asked ?? []), ...(image ?? []).filter((entry) => !names.has(nameOf(entry)))];
}

/** Later entries win; a name without `=` takes the variable away. */
function envOf(config: ContainerConfig, image: ImageRunConfig): string[] {
  const env = new Map<string, string>([
    ['PATH', PATH],
    ['HOSTNAME', config.hostname],
  ]);
  if (config.spec.TTY) env.set('TERM', 'xterm');
  for (const entry of mergedEnv(config.spec.Env, image.Env ?? undefined)) {
    const equals = entry.indexOf('=');
    if (equals < 0) env.delete(entry);
    else env.set(entry.slice(0, equals), entry.slice(equals + 1));
  }
  return [...env].map(([name, value]) => `${name}=${value}`);
}

function capabilityName(text: string, what: string): string {
  const upper = text.toUpperCase();
  const name = upper === 'ALL' || upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
  if (name !== 'ALL' && !CAPABILITIES.includes(name))
    throw new SkeinError('invalid-argument', `invalid ${what}: unknown capability: "${text}"`);
  return name;
}

export function capabilitiesOf(spec: ContainerSpec, host: HostLimits): string[] {
  const add = (spec.CapabilityAdd ?? []).map((name) => capabilityName(name, 'CapAdd'));
  const drop = (spec.CapabilityDrop ?? []).map((name) => capabilityName(name, 'CapDrop'));
  for (const name of add)
    if (name !== 'ALL' && !host.capabilities.has(name))
      throw new SkeinError(
        'invalid-argument',
        `invalid CapAdd: capability not supported by your kernel or not available in the current environment: "${name}"`,
      );
  // Docker's order: ALL on either side replaces the base, single names then correct it.
  const base = add.includes('ALL') ? CAPABILITIES : drop.includes('ALL') ? [] : DEFAULT_CAPABILITIES;
  const chosen = new Set([...base, ...add.filter((name) => name !== 'ALL')]);
  for (const name of drop) chosen.delete(name);
  return CAPABILITIES.filter((name) => chosen.has(name) && host.capabilities.has(name));
}

function rlimitsOf(spec: ContainerSpec, host: HostLimits): object[] {
  return (spec.Ulimits ?? []).map(({ Name, Soft, Hard }) => {
    const type = `RLIMIT_${Name.toUpperCase()}`;
    const own = host.sysResource ? Infinity : (host.hardLimits[type] ?? Infinity);
    const ceiling = type === 'RLIMIT_NOFILE' ? Math.min(own, host.maxOpenFiles) : own;
    const clip = (value: number) => (value < 0 ? unlimited(ceiling) : Math.min(value, ceiling));
    const hard = clip(Hard);
    return { type, soft: Math.min(clip(Soft), hard), hard };
  });
}

/** RLIM_INFINITY is 2^64 - 1, which no JSON number of JavaScript can be; 2^63 is as endless for every limit there is. */
const unlimited = (ceiling: number): number => (ceiling === Infinity ? 2 ** 53 - 1 : ceiling);

function oomScoreOf(spec: ContainerSpec, host: HostLimits): number {
  const wanted = Math.max(-1000, Math.min(1000, spec.OomScoreAdj ?? 0));
  return host.sysResource ? wanted : Math.max(wanted, host.oomScoreAdj);
}

function namespacesOf(config: ContainerConfig, host: HostLimits): object[] {
  return [
    { type: 'mount' },
    { type: 'pid' },
    { type: 'ipc' },
    { type: 'uts' },
    { type: 'network', path: config.netnsPath },
    // Docker's default: a cgroup namespace of its own where cgroups are v2.
    ...(host.cgroupVersion === 2 ? [{ type: 'cgroup' }] : []),
  ];
}

export function resourcesOf({ limits }: Pick<ContainerConfig, 'limits'>, host: HostLimits): object {
  const memory = limits?.MemoryBytes ?? 0;
  const swap = limits?.MemoryAndSwap ?? memory * 2;
  const cpus = limits?.NanoCPUs ?? 0;
  const pids = limits?.Pids ?? 0;
  return {
    devices: DEVICE_RULES,
    ...(memory > 0 && { memory: { limit: memory, ...(host.swapAccounting && { swap }) } }),
    ...(cpus > 0 && {
      cpu: { period: CPU_PERIOD, quota: Math.max(1000, Math.round((cpus * CPU_PERIOD) / 1e9)) },
    }),
    ...(pids > 0 && { pids: { limit: pids } }),
  };
}

/** The container has a network namespace of its own, so any user in it may ping and bind low ports, as in Docker. */
const sysctlsOf = (spec: ContainerSpec): Record<string, string> => ({
  'net.ipv4.ip_unprivileged_port_start': '0',
  'net.ipv4.ping_group_range': '0 2147483647',
  ...spec.Sysctls,
});

const OWN_FILES = new Set(['/etc/hosts', '/etc/hostname', '/etc/resolv.conf']);

const depth = (path: string): number => path.split('/').filter((part) => part !== '').length;

/** Defaults that nobody mounts over, then the rest from the root down, so that nothing hides what is below it. */
function mountsOf({ config, mounts, host }: SpecInput): OciMount[] {
  const own = [...mounts];
  if (config.spec.Init && host.initPath)
    own.push({ destination: INIT_TARGET, type: 'bind', source: host.initPath, options: ['bind', 'ro'] });
  for (const [destination, source] of Object.entries(config.files)) {
    // These are the container's to change, as in Docker; secrets and configs are not.
    const access = OWN_FILES.has(destination) && !config.spec.ReadOnly ? 'rw' : 'ro';
    own.push({ destination, type: 'bind', source, options: ['rbind', 'rprivate', access] });
  }
  const taken = new Set(own.map((mount) => mount.destination));
  const defaults = DEFAULT_MOUNTS.filter((mount) => !taken.has(mount.destination));
  return [...defaults, ...own.sort((a, b) => depth(a.destination) - depth(b.destination))];
}

/** Mounts that are to be seen on the other side need a root that lets them through. */
function propagationOf(mounts: readonly OciMount[]): object {
  const has = (...names: string[]) => mounts.some((m) => m.options.some((o) => names.includes(o)));
  if (has('shared', 'rshared')) return { rootfsPropagation: 'shared' };
  if (has('slave', 'rslave')) return { rootfsPropagation: 'slave' };
  return {};
}
