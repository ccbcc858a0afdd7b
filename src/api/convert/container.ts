/** Container in Docker's JSON: the line of a list, and inspected. */
import { sha256 } from '../../kit/sha256.ts';
import { mergedEnv } from '../../containerd/oci-spec.ts';
import type { ContainerInfo, ImageInfo, MountPoint } from '../../containerd/runtime.ts';
import type { HostPort } from '../../model/spec.ts';
import { exposedPorts, portList, portMap } from './container-ports.ts';
import type { HealthReport, RestartReport } from '../backend.ts';
import type { StandaloneSpec } from '../../model/standalone.ts';
import { humanDuration } from './duration.ts';
import { hostConfigJson, networkMode } from './host-config.ts';
import { isNamed, runConfig, unixSeconds } from './image.ts';
import { NO_TIME } from './meta.ts';

export interface ContainerNetwork {
  readonly networkId: string;
  readonly name: string;
  readonly address: string;
  readonly mac: string;
  readonly gateway: string;
  readonly aliases: readonly string[];
}

export const TASK_LABEL = 'com.docker.swarm.task.id';

/** Docker's word for the state. */
export type DockerState = 'created' | 'running' | 'paused' | 'restarting' | 'exited' | 'dead';
export function stateOf({ status }: Pick<ContainerInfo, 'status'>, restarts?: RestartReport): DockerState {
  if (restarts?.waiting) return 'restarting';
  return status === 'stopped' ? 'exited' : status === 'unknown' ? 'dead' : status;
}

/** Entry point and arguments as they run: the spec's, or else the image's. */
function argv(container: ContainerInfo, image: ImageInfo | undefined): readonly string[] {
  const { Command, Args } = container.config.spec;
  const { Entrypoint, Cmd } = runConfig(image);
  if (Command?.length) return [...Command, ...(Args ?? [])];
  return [...(Entrypoint ?? []), ...(Args?.length ? Args : (Cmd ?? []))];
}

const quoted = (arg: string): string =>
  /[\s'"\\$;|&]/.test(arg) ? `'${arg.replaceAll("'", "'\\''")}'` : arg;

const startOf = (container: ContainerInfo): string => container.startedAt ?? container.createdAt;
export const isUp = ({ status }: Pick<ContainerInfo, 'status'>): boolean =>
  status === 'running' || status === 'paused';

const ownSpec = ({ config }: ContainerInfo) => config.notes as StandaloneSpec | undefined;

/** Docker's `(healthy)`, `(health: starting)` behind the time. */
const healthText = (health: HealthReport | undefined): string =>
  health === undefined ? '' : health.Status === 'starting' ? ' (health: starting)' : ` (${health.Status})`;

function statusText(
  container: ContainerInfo,
  { health, restarts }: Pick<ContainerState, 'health' | 'restarts'>,
  now: number,
): string {
  const since = (time: string) => humanDuration(Math.max(0, now - Date.parse(time)));
  switch (container.status) {
    case 'created':
      return 'Created';
    case 'running':
      return `Up ${since(startOf(container))}${healthText(health)}`;
    case 'paused':
      return `Up ${since(startOf(container))} (Paused)`;
    case 'stopped':
      return `${restarts?.waiting ? 'Restarting' : 'Exited'} (${container.exitCode}) ${since(container.exitedAt ?? container.createdAt)} ago`;
    case 'unknown':
      return 'Dead';
  }
}

/** What is known of a container beside its record, as it is at the moment. */
export interface ContainerState {
  readonly image: ImageInfo | undefined;
  readonly networks: readonly ContainerNetwork[];
  readonly health: HealthReport | undefined;
  /** Bound on this node. */
  readonly ports: readonly HostPort[];
  readonly restarts: RestartReport | undefined;
}

export function containerSummary(
  container: ContainerInfo,
  { image, networks, health, ports, restarts }: ContainerState,
  now: number,
): Record<string, unknown> {
  return {
    Id: container.id,
    Names: [`/${container.name}`],
    // A name that stands for another image by now, or for none, is not this one's.
    Image: image && isNamed(image, container.image) ? container.image : container.imageId,
    ImageID: container.imageId,
    Command: argv(container, image).map(quoted).join(' '),
    Created: unixSeconds(container.createdAt),
    Ports: portList(openPorts(container, image), ports),
    Labels: container.labels,
    State: stateOf(container, restarts),
    Status: statusText(container, { health, restarts }, now),
    HostConfig: { NetworkMode: networkMode(ownSpec(container)) },
    NetworkSettings: { Networks: networksJson(networks) },
    Mounts: mountsJson(container),
  };
}

/** What it wrote over its image, and that with the image. Docker leaves out a size of nothing, and so do we. */
export const sizeJson = (written: number, image: ImageInfo | undefined): object => ({
  ...(written > 0 && { SizeRw: written }),
  SizeRootFs: written + (image?.size ?? 0),
});

/** What its image, and what was asked for, expose; it is listed only while the container runs, as in Docker. */
export const exposedBy = (container: ContainerInfo, image: ImageInfo | undefined): readonly string[] => [
  ...Object.keys(runConfig(image).ExposedPorts ?? {}),
  ...(ownSpec(container)?.asked?.exposed ?? []),
];

const openPorts = (container: ContainerInfo, image: ImageInfo | undefined): readonly string[] =>
  isUp(container) ? exposedBy(container, image) : [];

/** Without what `--tmpfs` made: Docker shows that in HostConfig alone. */
function mountsJson(container: ContainerInfo): object[] {
  const tmpfs = Object.keys(ownSpec(container)?.asked?.hostConfig['Tmpfs'] ?? {});
  return container.mounts.filter(({ target }) => !tmpfs.includes(target)).map(mountJson);
}

const mountJson = ({ type, name, source, target, readOnly, propagation }: MountPoint): object => ({
  Type: type,
  ...(name !== undefined && { Name: name }),
  Source: source,
  Destination: target,
  ...(name !== undefined && { Driver: 'local' }),
  Mode: '',
  RW: !readOnly,
  Propagation: propagation,
});

const endpointId = ({ networkId, address }: ContainerNetwork): string =>
  sha256(`endpoint ${networkId} ${address}`);

/** Of a user's own container that does not run: where it will stand. */
export const networksToCome = (container: ContainerInfo): readonly ContainerNetwork[] =>
  (ownSpec(container)?.network.networks ?? []).map(({ target, aliases }) => ({
    ...{ name: target, aliases, networkId: '', address: '', mac: '', gateway: '' },
  }));

const networksJson = (networks: readonly ContainerNetwork[]): Record<string, object> =>
  Object.fromEntries(
    networks.map((network) => {
      const [address = '', length = '0'] = network.address.split('/');
      return [
        network.name,
        {
          IPAMConfig: address ? { IPv4Address: address } : null,
          Links: null,
          Aliases: network.aliases.length > 0 ? network.aliases : null,
          NetworkID: network.networkId,
          EndpointID: network.networkId && endpointId(network),
          Gateway: network.gateway,
          IPAddress: address,
          IPPrefixLen: Number(length),
          IPv6Gateway: '',
          GlobalIPv6Address: '',
          GlobalIPv6PrefixLen: 0,
          MacAddress: network.mac,
          DriverOpts: null,
        },
      ];
    }),
  );

/** What Docker says here of its default bridge network, which there is none of. */
const NO_BRIDGE = {
  ...{ Bridge: '', HairpinMode: false, LinkLocalIPv6Address: '', LinkLocalIPv6PrefixLen: 0 },
  ...{ SecondaryIPAddresses: null, SecondaryIPv6Addresses: null, EndpointID: '', Gateway: '' },
  ...{ GlobalIPv6Address: '', GlobalIPv6PrefixLen: 0, IPAddress: '', IPPrefixLen: 0, IPv6Gateway: '' },
  MacAddress: '',
};

export function containerJson(
  container: ContainerInfo,
  { image, networks, health, ports, restarts }: ContainerState,
): object {
  const [path = '', ...args] = argv(container, image);
  return {
    Id: container.id,
    Created: container.createdAt,
    Path: path,
    Args: args,
    State: stateJson(container, health, restarts),
    Image: container.imageId,
    ResolvConfPath: container.config.files['/etc/resolv.conf'] ?? '',
    HostnamePath: container.config.files['/etc/hostname'] ?? '',
    HostsPath: container.config.files['/etc/hosts'] ?? '',
    LogPath: '',
    Name: `/${container.name}`,
    RestartCount: restarts?.count ?? 0,
    Driver: 'overlayfs',
    Platform: 'linux',
    MountLabel: '',
    ProcessLabel: '',
    AppArmorProfile: '',
    ExecIDs: null,
    HostConfig: hostConfigJson(container),
    GraphDriver: { Data: null, Name: 'overlayfs' },
    Mounts: mountsJson(container),
    Config: configJson(container, image),
    NetworkSettings: {
      ...NO_BRIDGE,
      SandboxID: '',
      SandboxKey: container.config.netnsPath,
      Ports: portMap(openPorts(container, image), ports),
      Networks: networksJson(networks),
    },
  };
}

const stateJson = (
  container: ContainerInfo,
  health: HealthReport | undefined,
  restarts: RestartReport | undefined,
): object => ({
  Status: stateOf(container, restarts),
  Running: isUp(container) || (restarts?.waiting ?? false),
  Paused: container.status === 'paused',
  Restarting: restarts?.waiting ?? false,
  OOMKilled: container.oomKilled,
  Dead: container.status === 'unknown',
  Pid: container.pid,
  ExitCode: isUp(container) ? 0 : container.exitCode,
  Error: container.startError,
  StartedAt: container.status === 'created' ? NO_TIME : startOf(container),
  FinishedAt: container.exitedAt ?? NO_TIME,
  ...(health && { Health: health }),
});

function configJson(container: ContainerInfo, image: ImageInfo | undefined): object {
  const { config, image: name, labels } = container;
  const { spec } = config;
  const base = runConfig(image);
  const own = ownSpec(container);
  const [AttachStdin = false, AttachStdout = false, AttachStderr = false] = own?.asked?.attached ?? [];
  return {
    Hostname: config.hostname,
    Domainname: '',
    User: spec.User ?? base.User ?? '',
    ...{ AttachStdin, AttachStdout, AttachStderr },
    ExposedPorts: Object.fromEntries(
      exposedPorts(exposedBy(container, image), own?.ports ?? []).map((port) => [port, {}]),
    ),
    Tty: spec.TTY ?? false,
    OpenStdin: spec.OpenStdin ?? false,
    StdinOnce: own?.stdinOnce ?? false,
    Env: mergedEnv(spec.Env, base.Env ?? undefined),
    Cmd: spec.Args ?? base.Cmd ?? null,
    Image: name,
    Volumes: null,
    WorkingDir: spec.Dir ?? base.WorkingDir ?? '',
    Entrypoint: spec.Command ?? base.Entrypoint ?? null,
    OnBuild: null,
    ...(spec.Healthcheck && { Healthcheck: spec.Healthcheck }),
    ...(spec.StopSignal && { StopSignal: spec.StopSignal }),
    ...(own && spec.StopGracePeriod !== undefined && { StopTimeout: spec.StopGracePeriod / 1e9 }),
    Labels: labels,
  };
}
