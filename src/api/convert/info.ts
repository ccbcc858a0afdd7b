/** `GET /version` and `GET /info`. Flags that say what a kernel lacks are true: Skein checks the kernel at install. */
import type { EngineInfo } from '../backend.ts';

export const API_VERSION = '1.47';
export const MIN_API_VERSION = '1.24';

export function versionJson(info: EngineInfo): object {
  const { platform } = info.description;
  const arch = goArch(platform.architecture);
  return {
    Platform: { Name: 'Skein' },
    Components: [
      {
        Name: 'Engine',
        Version: info.skeinVersion,
        Details: {
          ApiVersion: API_VERSION,
          Arch: arch,
          Experimental: 'false',
          GitCommit: '',
          KernelVersion: info.kernelVersion,
          MinAPIVersion: MIN_API_VERSION,
          Os: platform.os,
        },
      },
      {
        Name: 'containerd',
        Version: info.containerd.version,
        Details: { GitCommit: info.containerd.revision },
      },
      { Name: 'runc', Version: info.runc, Details: { GitCommit: '' } },
    ],
    Version: info.skeinVersion,
    ApiVersion: API_VERSION,
    MinAPIVersion: MIN_API_VERSION,
    GitCommit: '',
    GoVersion: '',
    Os: platform.os,
    Arch: arch,
    KernelVersion: info.kernelVersion,
    BuildTime: '',
  };
}

const goArch = (machine: string): string => ({ x86_64: 'amd64', aarch64: 'arm64' })[machine] ?? machine;

export interface InfoCounts {
  readonly running: number;
  readonly paused: number;
  readonly stopped: number;
  readonly images: number;
}

export function infoJson(info: EngineInfo, counts: InfoCounts, now: string, swarm: object): object {
  const { description } = info;
  const plugins = (type: string) =>
    description.engine.plugins.filter((p) => p.type === type).map((p) => p.name);
  return {
    ID: info.id,
    Containers: counts.running + counts.paused + counts.stopped,
    ContainersRunning: counts.running,
    ContainersPaused: counts.paused,
    ContainersStopped: counts.stopped,
    Images: counts.images,
    Driver: 'overlayfs',
    DriverStatus: [['driver-type', 'io.containerd.snapshotter.v1']],
    Plugins: {
      Volume: plugins('Volume'),
      Network: plugins('Network'),
      Authorization: null,
      Log: plugins('Log'),
    },
    ...KERNEL_FLAGS,
    Debug: false,
    SystemTime: now,
    LoggingDriver: 'json-file',
    CgroupDriver: 'cgroupfs',
    CgroupVersion: info.cgroupVersion,
    NEventsListener: 0,
    KernelVersion: info.kernelVersion,
    OperatingSystem: info.operatingSystem,
    OSVersion: info.osVersion,
    OSType: description.platform.os,
    Architecture: description.platform.architecture,
    IndexServerAddress: 'https://index.docker.io/v1/',
    RegistryConfig: {
      AllowNondistributableArtifactsCIDRs: [],
      AllowNondistributableArtifactsHostnames: [],
      InsecureRegistryCIDRs: ['127.0.0.0/8'],
      IndexConfigs: { 'docker.io': { Name: 'docker.io', Mirrors: [], Secure: true, Official: true } },
      Mirrors: [],
    },
    NCPU: description.resources.nanoCpus / 1e9,
    MemTotal: description.resources.memoryBytes,
    GenericResources: description.resources.generic ?? null,
    DockerRootDir: info.dataRoot,
    HttpProxy: '',
    HttpsProxy: '',
    NoProxy: '',
    Name: description.hostname,
    Labels: Object.entries(description.engine.labels).map(([key, value]) => `${key}=${value}`),
    ExperimentalBuild: false,
    ServerVersion: info.skeinVersion,
    Runtimes: { 'io.containerd.runc.v2': { path: 'runc' }, runc: { path: 'runc' } },
    DefaultRuntime: 'runc',
    Swarm: swarm,
    LiveRestoreEnabled: true, // containers outlive the daemon, in a swarm too
    Isolation: '',
    InitBinary: '',
    ContainerdCommit: { ID: info.containerd.revision || info.containerd.version, Expected: '' },
    RuncCommit: { ID: info.runc, Expected: '' },
    InitCommit: { ID: '', Expected: '' },
    SecurityOptions: [],
    Warnings: info.warnings.length > 0 ? info.warnings.map((text) => `WARNING: ${text}`) : null,
  };
}

const KERNEL_FLAGS = {
  MemoryLimit: true,
  SwapLimit: true,
  CpuCfsPeriod: true,
  CpuCfsQuota: true,
  CPUShares: true,
  CPUSet: true,
  PidsLimit: true,
  IPv4Forwarding: true,
  BridgeNfIptables: true,
  BridgeNfIp6tables: true,
  OomKillDisable: true,
};
