/**
 * HostConfig in Docker's JSON: what a user asked for, Docker's defaults for the rest, and over both what holds by now.
 * Of a task's container nobody sent one: there it is told from its spec. Pure.
 */
import { MASKED_PATHS, READONLY_PATHS } from '../../containerd/oci-defaults.ts';
import type { ContainerInfo } from '../../containerd/runtime.ts';
import type { HostPort } from '../../model/spec.ts';
import type { StandaloneSpec } from '../../model/standalone.ts';

/** As Docker shows them where nothing was said. */
const DEFAULTS = {
  ...{ Binds: null, ContainerIDFile: '', VolumeDriver: '', VolumesFrom: null, ConsoleSize: [0, 0] },
  ...{
    CgroupnsMode: '',
    DnsOptions: [],
    DnsSearch: [],
    ExtraHosts: null,
    GroupAdd: null,
    IpcMode: 'private',
  },
  ...{ Cgroup: '', Links: null, OomScoreAdj: 0, PidMode: '', PublishAllPorts: false, SecurityOpt: null },
  ...{
    UTSMode: '',
    UsernsMode: '',
    ShmSize: 64 * 1024 * 1024,
    Runtime: 'runc',
    CpuShares: 0,
    CgroupParent: '',
  },
  ...{ BlkioWeight: 0, BlkioWeightDevice: [], BlkioDeviceReadBps: [], BlkioDeviceWriteBps: [] },
  ...{ BlkioDeviceReadIOps: [], BlkioDeviceWriteIOps: [], CpuPeriod: 0, CpuQuota: 0, CpuRealtimePeriod: 0 },
  ...{ CpuRealtimeRuntime: 0, CpusetCpus: '', CpusetMems: '', Devices: [], DeviceCgroupRules: null },
  ...{ DeviceRequests: null, MemoryReservation: 0, MemorySwappiness: null, OomKillDisable: false },
  ...{ CpuCount: 0, CpuPercent: 0, IOMaximumIOps: 0, IOMaximumBandwidth: 0 },
};

/** Whatever the client sent for these, Docker shows what it makes of it. */
const RESOLVED = ['MemorySwappiness', 'IpcMode'];

export function hostConfigJson({ config }: ContainerInfo): object {
  const { spec, limits, logging } = config;
  const own = config.notes as StandaloneSpec | undefined;
  const sent = Object.entries(own?.asked?.hostConfig ?? {}).filter(([key]) => !RESOLVED.includes(key));
  const memory = limits?.MemoryBytes ?? 0;
  return {
    ...DEFAULTS,
    Isolation: own ? '' : (spec.Isolation ?? 'default'),
    Ulimits: spec.Ulimits ?? [],
    OomScoreAdj: spec.OomScoreAdj ?? 0,
    ...(spec.Sysctls && Object.keys(spec.Sysctls).length > 0 && { Sysctls: spec.Sysctls }),
    ...(!own?.asked && typeof spec.Init === 'boolean' && { Init: spec.Init }),
    ...Object.fromEntries(sent),
    LogConfig: { Type: logging?.Name || 'json-file', Config: logging?.Options ?? {} },
    NetworkMode: networkMode(own),
    PortBindings: portBindings(own?.ports ?? []),
    RestartPolicy: { Name: own?.restart?.name ?? 'no', MaximumRetryCount: own?.restart?.maxRetries ?? 0 },
    AutoRemove: own?.autoRemove ?? false,
    CapAdd: spec.CapabilityAdd?.length ? spec.CapabilityAdd : null,
    CapDrop: spec.CapabilityDrop?.length ? spec.CapabilityDrop : null,
    Dns: spec.DNSConfig?.Nameservers ?? [],
    Privileged: false,
    ReadonlyRootfs: spec.ReadOnly ?? false,
    NanoCpus: limits?.NanoCPUs ?? 0,
    Memory: memory,
    MemorySwap: limits?.MemoryAndSwap ?? memory * 2,
    PidsLimit: limits?.Pids ?? null,
    MaskedPaths: MASKED_PATHS,
    ReadonlyPaths: READONLY_PATHS,
  };
}

export function networkMode(own: StandaloneSpec | undefined): string {
  if (!own) return 'default';
  return own.network.mode === 'overlay' ? (own.network.networks[0]?.target ?? 'default') : own.network.mode;
}

const portBindings = (ports: readonly HostPort[]): object =>
  Object.fromEntries(
    Object.entries(Object.groupBy(ports, (p) => `${p.TargetPort}/${p.Protocol}`)).map(([key, of]) => [
      key,
      of!.map((p) => ({ HostIp: p.HostIp ?? '', HostPort: p.PublishedPort ? String(p.PublishedPort) : '' })),
    ]),
  );
