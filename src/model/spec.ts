/**
 * What a user says, in the words it is said in: the JSON of the Docker Engine API (v1.41 and later), field for
 * field. A spec is stored as it came (after validation at the API) and is never changed by the system, so it needs
 * no converter on its way in, out, or to the agent. Everything the system adds lives beside it, in objects.ts.
 *
 * Durations are integer nanoseconds; memory is bytes; CPU is 1e-9 of a core, all as in Docker.
 * Source: Docker Engine API reference, definitions ServiceSpec, TaskSpec, NodeSpec, SwarmSpec, Network.
 */
import type { Ipv4 } from './ids.ts';
export type Labels = Record<string, string>;

export type Protocol = 'tcp' | 'udp' | 'sctp';
export type PublishMode = 'ingress' | 'host';

export interface PortSpec {
  Name?: string;
  Protocol: Protocol;
  TargetPort: number;
  /** Absent or 0: chosen from the dynamic range 30000-32767 (ingress) or by the kernel (host). */
  PublishedPort?: number;
  PublishMode: PublishMode;
}

/** A port of one container, bound on its node. */
export interface HostPort extends PortSpec {
  /** The one address of the node that it is bound at; absent: all. */
  HostIp?: Ipv4;
}

export interface EndpointSpec {
  Mode?: 'vip' | 'dnsrr';
  Ports?: PortSpec[];
}

export interface NetworkAttachmentSpec {
  /** Network id; the API resolves names before it stores the spec. */
  Target: string;
  Aliases?: string[];
  DriverOpts?: Record<string, string>;
  /** Of a stand for a container of a user's own: the address that it must get. Services have none. */
  Addresses?: Ipv4[];
}

export interface MountSpec {
  Type: 'bind' | 'volume' | 'tmpfs';
  Source?: string;
  Target: string;
  ReadOnly?: boolean;
  Consistency?: string;
  BindOptions?: {
    Propagation?: string;
    NonRecursive?: boolean;
    CreateMountpoint?: boolean;
    /** What is mounted below keeps its own access; so it is here without being asked for. */
    ReadOnlyNonRecursive?: boolean;
    ReadOnlyForceRecursive?: boolean;
  };
  VolumeOptions?: {
    NoCopy?: boolean;
    Subpath?: string;
    Labels?: Labels;
    DriverConfig?: { Name?: string; Options?: Record<string, string> };
  };
  TmpfsOptions?: { SizeBytes?: number; Mode?: number; Options?: string[][] };
}

export interface HealthSpec {
  Test?: string[];
  Interval?: number;
  Timeout?: number;
  Retries?: number;
  StartPeriod?: number;
  StartInterval?: number;
}

export interface FileTarget {
  Name: string;
  UID: string;
  GID: string;
  /** Permission bits. */
  Mode: number;
}

export interface ContainerSpec {
  Image: string;
  Labels?: Labels;
  Command?: string[];
  Args?: string[];
  Hostname?: string;
  Env?: string[];
  Dir?: string;
  User?: string;
  Groups?: string[];
  TTY?: boolean;
  OpenStdin?: boolean;
  ReadOnly?: boolean;
  Mounts?: MountSpec[];
  StopSignal?: string;
  StopGracePeriod?: number;
  Healthcheck?: HealthSpec;
  Hosts?: string[];
  DNSConfig?: { Nameservers?: string[]; Search?: string[]; Options?: string[] };
  Secrets?: { File: FileTarget; SecretID: string; SecretName: string }[];
  Configs?: { File?: FileTarget; Runtime?: object; ConfigID: string; ConfigName: string }[];
  Isolation?: string;
  Init?: boolean | null;
  Sysctls?: Record<string, string>;
  CapabilityAdd?: string[];
  CapabilityDrop?: string[];
  Ulimits?: { Name: string; Soft: number; Hard: number }[];
  OomScoreAdj?: number;
  Privileges?: {
    CredentialSpec?: object;
    SELinuxContext?: object;
    Seccomp?: { Mode?: string; Profile?: string };
    AppArmor?: { Mode?: string };
    NoNewPrivileges?: boolean;
  };
}

export interface GenericResource {
  NamedResourceSpec?: { Kind: string; Value: string };
  DiscreteResourceSpec?: { Kind: string; Value: number };
}

export interface ResourceSpec {
  NanoCPUs?: number;
  MemoryBytes?: number;
}

/** Of one container, on its node. */
export interface ContainerLimits extends ResourceSpec {
  Pids?: number;
  /** Memory and swap together; -1: no bound. Absent: twice the memory, as in Docker. */
  MemoryAndSwap?: number;
}

export interface RestartPolicy {
  Condition?: 'none' | 'on-failure' | 'any';
  Delay?: number;
  /** 0 or absent: unlimited. */
  MaxAttempts?: number;
  Window?: number;
}

export interface PlacementSpec {
  Constraints?: string[];
  Preferences?: { Spread?: { SpreadDescriptor: string } }[];
  MaxReplicas?: number;
  Platforms?: { Architecture?: string; OS?: string }[];
}

export interface LogDriverSpec {
  Name?: string;
  Options?: Record<string, string>;
}

export interface TaskSpec {
  ContainerSpec: ContainerSpec;
  Resources?: {
    Limits?: ResourceSpec & { Pids?: number };
    /** Generic ones are asked for as counts, whatever the node calls them. */
    Reservations?: ResourceSpec & { GenericResources?: GenericResource[] };
  };
  RestartPolicy?: RestartPolicy;
  Placement?: PlacementSpec;
  Networks?: NetworkAttachmentSpec[];
  LogDriver?: LogDriverSpec;
  ForceUpdate?: number;
  /** `attachment`: no container, but a stand on networks for one that a user started on the task's node by hand. */
  Runtime?: string;
  NetworkAttachmentSpec?: { ContainerID: string; ContainerName: string };
}

export interface UpdateConfig {
  Parallelism: number;
  Delay?: number;
  FailureAction?: 'pause' | 'continue' | 'rollback';
  Monitor?: number;
  MaxFailureRatio?: number;
  Order?: 'stop-first' | 'start-first';
}

/** Exactly one member is present. */
export interface ServiceMode {
  Replicated?: { Replicas?: number };
  Global?: object;
  ReplicatedJob?: { MaxConcurrent?: number; TotalCompletions?: number };
  GlobalJob?: object;
}

export interface ServiceSpec {
  Name: string;
  Labels?: Labels;
  TaskTemplate: TaskSpec;
  Mode: ServiceMode;
  UpdateConfig?: UpdateConfig;
  RollbackConfig?: UpdateConfig;
  /** Deprecated place of TaskTemplate.Networks; old clients still send it. */
  Networks?: NetworkAttachmentSpec[];
  EndpointSpec?: EndpointSpec;
}

export type NodeRole = 'manager' | 'worker';
export type Availability = 'active' | 'pause' | 'drain';

export interface NodeSpec {
  Name?: string;
  Labels: Labels;
  Role: NodeRole;
  Availability: Availability;
}

export interface SwarmSpec {
  Name: string;
  Labels: Labels | null;
  Orchestration: { TaskHistoryRetentionLimit?: number };
  Raft: {
    SnapshotInterval?: number;
    KeepOldSnapshots?: number;
    LogEntriesForSlowFollowers?: number;
    ElectionTick?: number;
    HeartbeatTick?: number;
  };
  Dispatcher: { HeartbeatPeriod?: number };
  CAConfig: {
    NodeCertExpiry?: number;
    ForceRotate?: number;
    SigningCACert?: string;
    SigningCAKey?: string;
    ExternalCAs?: readonly unknown[];
  };
  TaskDefaults: { LogDriver?: LogDriverSpec };
  EncryptionConfig: { AutoLockManagers: boolean };
}

export interface IpamConfig {
  Subnet?: string;
  IPRange?: string;
  Gateway?: string;
  AuxiliaryAddresses?: Record<string, string>;
}

/** Body of `POST /networks/create`, as far as overlay networks go. */
export interface NetworkSpec {
  Name: string;
  Labels?: Labels;
  Driver: string;
  Internal?: boolean;
  Attachable?: boolean;
  Ingress?: boolean;
  EnableIPv6?: boolean;
  IPAM?: { Driver?: string; Options?: Record<string, string> | null; Config?: IpamConfig[] };
  Options?: Record<string, string>;
}

/** How the data is made into what a task sees: `golang`, or absent for as it is. */
export interface Templating {
  Name: string;
  Options?: Record<string, string>;
}

export interface SecretSpec {
  Name: string;
  Labels: Labels;
  Templating?: Templating;
  Driver?: { Name: string; Options?: Record<string, string> };
  /** Base64. Only on its way in: it is stored sealed (manager/secrets), and never in an answer of the API. */
  Data?: string;
}

export interface ConfigSpec {
  Name: string;
  Labels: Labels;
  Templating?: Templating;
  /** Base64. */
  Data: string;
}
