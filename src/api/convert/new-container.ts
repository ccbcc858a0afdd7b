/**
 * The body of `containers/create` as what Skein makes of it. Pure. What it does not serve is refused by name as soon
 * as it says anything but its default: nothing a user asked for is silently left out.
 */
import type { z } from 'zod';
import { isIpv4, parseIpv4 } from '../../kit/cidr.ts';
import type { Ipv4 } from '../../model/ids.ts';
import { logPolicy } from '../../model/log-driver.ts';
import type { ContainerLimits, HostPort, LogDriverSpec, Protocol } from '../../model/spec.ts';
import type {
  RestartPolicy,
  StandaloneNetwork,
  StandaloneSpec,
  WantedStand,
} from '../../model/standalone.ts';
import { invalid, refused } from '../http-error.ts';
import { type containerCreateBody, type endpointSettings, hostConfig } from '../schemas/host.ts';
import { checkLimits, checkRestart, checkSettings } from './check-container.ts';
import { mountsOf } from './new-mounts.ts';

type Body = z.infer<typeof containerCreateBody>;
type Host = z.infer<typeof hostConfig>;

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

/** Values that say nothing, beside empty ones: what the docker CLI sends unasked. */
const SILENT: Readonly<Record<string, readonly unknown[]>> = {
  CgroupnsMode: ['private'],
  ConsoleSize: ['any'],
  IpcMode: ['private'],
  MemorySwappiness: [-1],
  MaskedPaths: ['any'],
  ReadonlyPaths: ['any'],
};

/** `shown`: as a person is told of it. */
export function checkName(name: string, shown = name): void {
  if (!NAME.test(name))
    throw invalid(`Invalid container name (${shown}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`);
}

const CHANGEABLE = ['Memory', 'MemorySwap', 'NanoCpus', 'PidsLimit'];

/** What `docker update` changes of the limits. */
export function changedLimits(
  raw: Readonly<Record<string, unknown>>,
  host: Host,
  processors: number,
): ContainerLimits {
  checkLimits(host, processors, false);
  checkRestart(host.RestartPolicy);
  refuseUnknown(raw, CHANGEABLE);
  refuseHost(host);
  return limitsOf(host);
}

/** Undefined: none was named. The name was checked. */
export function restartPolicy({ RestartPolicy: asked }: Host): RestartPolicy | undefined {
  if (!asked?.Name) return undefined;
  return { name: asked.Name as RestartPolicy['name'], maxRetries: asked.MaximumRetryCount ?? 0 };
}

const limitsOf = ({ Memory, MemorySwap, NanoCpus, PidsLimit }: Host): ContainerLimits => ({
  ...(Memory && { MemoryBytes: Memory }),
  ...(MemorySwap && { MemoryAndSwap: MemorySwap }),
  ...(NanoCpus && { NanoCPUs: NanoCpus }),
  ...(PidsLimit && PidsLimit > 0 && { Pids: PidsLimit }),
});

export function newContainer(
  name: string,
  body: Body,
  raw: Readonly<Record<string, unknown>>,
  host: Host,
  processors: number,
): StandaloneSpec {
  if (name !== '') checkName(name);
  if (!body.Image) throw invalid('no image specified');
  checkSettings(body, host);
  checkLimits(host, processors, true);
  refuseUnknown(raw, Object.keys(hostConfig.shape));
  refuseBody(body);
  refuseHost(host);
  const init = host.Init === true;
  return {
    name,
    container: {
      Image: body.Image,
      ...(body.Entrypoint?.length && { Command: list(body.Entrypoint) }),
      ...(body.Cmd?.length && { Args: list(body.Cmd) }),
      ...(body.Env && { Env: body.Env }),
      ...(body.WorkingDir && { Dir: body.WorkingDir }),
      ...(body.User && { User: body.User }),
      ...(host.GroupAdd?.length && { Groups: host.GroupAdd }),
      TTY: body.Tty ?? false,
      OpenStdin: body.OpenStdin ?? false,
      ReadOnly: host.ReadonlyRootfs ?? false,
      Mounts: mountsOf(body, host),
      ...(body.Healthcheck && { Healthcheck: body.Healthcheck }),
      ...(body.StopSignal && { StopSignal: body.StopSignal }),
      ...(body.StopTimeout !== undefined && { StopGracePeriod: body.StopTimeout * 1e9 }),
      ...(host.ExtraHosts?.length && { Hosts: host.ExtraHosts.map(hostEntry) }),
      DNSConfig: {
        Nameservers: host.Dns ?? [],
        Search: host.DnsSearch ?? [],
        Options: host.DnsOptions ?? [],
      },
      Init: init,
      ...(host.Sysctls && { Sysctls: host.Sysctls }),
      ...(host.CapAdd && { CapabilityAdd: host.CapAdd }),
      ...(host.CapDrop && { CapabilityDrop: host.CapDrop }),
      ...(host.Ulimits && { Ulimits: host.Ulimits }),
      ...(host.OomScoreAdj && { OomScoreAdj: host.OomScoreAdj }),
    },
    limits: limitsOf(host),
    ...(host.LogConfig && { logging: loggingOf(host.LogConfig) }),
    hostname: body.Hostname ?? '',
    labels: body.Labels ?? {},
    network: networkOf(body, host),
    ports: portsOf(host),
    autoRemove: host.AutoRemove ?? false,
    restart: restartPolicy(host) ?? { name: 'no', maxRetries: 0 },
    stdinOnce: body.StdinOnce ?? false,
    asked: {
      hostConfig: raw,
      exposed: Object.keys(body.ExposedPorts ?? {}),
      attached: [body.AttachStdin, body.AttachStdout, body.AttachStderr].map((on) => on ?? false),
    },
  };
}

/** Docker takes a string for a list of one. */
const list = (value: string | readonly string[]): string[] =>
  typeof value === 'string' ? [value] : [...value];

const says = (key: string, value: unknown): boolean => {
  const silent = Object.hasOwn(SILENT, key) ? SILENT[key]! : [];
  if (silent.includes('any') || silent.includes(value)) return false;
  if (Array.isArray(value)) return value.length > 0;
  if (typeof value === 'object' && value !== null) return Object.keys(value).length > 0;
  return Boolean(value);
};

function refuseUnknown(raw: Readonly<Record<string, unknown>>, known: readonly string[]): void {
  const lower = new Set(
    [...known, 'LogConfig', 'RestartPolicy', 'ContainerIDFile'].map((key) => key.toLowerCase()),
  );
  for (const [key, value] of Object.entries(raw))
    if (!lower.has(key.toLowerCase()) && says(key, value))
      throw refused(
        `skein does not serve HostConfig.${key} for containers (${JSON.stringify(value)} was asked for)`,
      );
}

function refuseBody(body: Body): void {
  const { MacAddress, Domainname, Shell } = body;
  const asked = { MacAddress, Domainname, Shell };
  for (const [key, value] of Object.entries(asked))
    if (says(key, value)) throw refused(`skein does not serve ${key} for containers`);
}

function refuseHost(host: Host): void {
  if (host.ShmSize && host.ShmSize !== 64 * 1024 * 1024)
    throw refused('skein does not serve --shm-size; mount a tmpfs on /dev/shm');
}

function loggingOf({ Type, Config }: NonNullable<Host['LogConfig']>): LogDriverSpec {
  const driver = { Name: Type ?? '', Options: Config ?? {} };
  logPolicy(driver);
  return driver;
}

function networkOf({ NetworkingConfig }: Body, { NetworkMode }: Host): StandaloneNetwork {
  const endpoints = NetworkingConfig?.EndpointsConfig ?? {};
  const mode = NetworkMode ?? '';
  if (mode === 'none') return { mode: 'none', networks: [] };
  if (mode === 'host' || mode.startsWith('container:'))
    throw refused(`skein does not serve --network ${mode}: containers have a network of their own`);
  const first = ['', 'default', 'bridge'].includes(mode) ? [] : [mode];
  const others = Object.keys(endpoints).filter((name) => !['default', 'bridge', ...first].includes(name));
  const targets = [...first, ...others];
  for (const [name, endpoint] of Object.entries(endpoints)) {
    if (['default', 'bridge'].includes(name) && endpoint?.IPAMConfig?.IPv4Address)
      throw invalid('user specified IP address is supported on user defined networks only');
  }
  if (targets.length === 0) return { mode: 'bridge', networks: [] };
  return { mode: 'overlay', networks: targets.map((target) => wantedStand(target, endpoints[target])) };
}

type Endpoint = z.infer<typeof endpointSettings>;

/** Of `docker run --network` and `docker network connect`. */
export function wantedStand(target: string, endpoint: Endpoint | null | undefined): WantedStand {
  const { IPAMConfig, MacAddress, Links, Aliases } = endpoint ?? {};
  if (IPAMConfig?.IPv6Address) throw refused('skein has no IPv6 on networks; leave --ip6 out');
  if (IPAMConfig?.LinkLocalIPs?.length) throw refused('skein does not serve --link-local-ip');
  if (MacAddress) throw refused(`skein chooses MAC addresses itself (network ${target})`);
  if (Links?.length) throw refused('skein does not serve --link; use the name of the other container');
  const address = IPAMConfig?.IPv4Address;
  return { target, aliases: Aliases ?? [], ...(address && { address: parseIpv4(address) }) };
}

function portsOf({ PortBindings, PublishAllPorts }: Host): HostPort[] {
  if (PublishAllPorts) throw refused('skein does not serve --publish-all; publish each port with -p');
  return Object.entries(PortBindings ?? {}).flatMap(([port, bindings]) => {
    const [target = '', protocol = 'tcp'] = port.split('/');
    if (!isPort(target) || Number(target) === 0 || !['tcp', 'udp', 'sctp'].includes(protocol))
      throw invalid(`invalid port specification: "${port}"`);
    return (bindings ?? []).map(({ HostIp = '', HostPort }): HostPort => {
      const address = bindAddress(HostIp);
      if (HostPort && !isPort(HostPort)) throw invalid(`invalid port specification: "${HostPort}"`);
      return {
        Protocol: protocol as Protocol,
        TargetPort: Number(target),
        PublishedPort: Number(HostPort ?? 0),
        PublishMode: 'host',
        ...(address && { HostIp: address }),
      };
    });
  });
}

/** Undefined: all of the node's. */
function bindAddress(text: string): Ipv4 | undefined {
  if (['', '0.0.0.0', '::'].includes(text)) return undefined;
  if (!isIpv4(text)) throw refused(`skein publishes at IPv4 addresses of the node; leave ${text} out`);
  return text;
}

const isPort = (text: string): boolean => /^\d{1,5}$/.test(text) && Number(text) <= 65_535;

/** "HOST:ADDRESS" of the CLI as "ADDRESS HOST" of a service. */
function hostEntry(entry: string): string {
  const at = entry.indexOf(':');
  if (at < 1) throw invalid(`bad format for add-host: "${entry}"`);
  return `${entry.slice(at + 1)} ${entry.slice(0, at)}`;
}
