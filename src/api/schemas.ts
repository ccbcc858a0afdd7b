/**
 * What enters: the bodies of the Engine API as far as Skein reads them. Tolerant as Docker is (normalize.ts), strict
 * about types. Their output is the model's spec types; what they do not name is dropped, as Docker does.
 */
import { z } from 'zod';
import type { NetworkSpec, NodeSpec, ServiceSpec, SwarmSpec } from '../model/spec.ts';

const text = z.string();
const int = z.number().int();
const texts = z.array(text);
const textMap = z.record(text, text);
const opt = <T extends z.ZodType>(type: T) => type.optional();

/** One of a few words; any other is refused as Docker words it. */
const word = <const T extends readonly string[]>(known: T, refusal: (given: string) => string) =>
  z.enum(known, { error: ({ input }) => refusal(String(input)) });

/** Of a node's words, in which Docker does not care for case. */
const caseless = <T extends z.ZodType>(type: T) =>
  z.preprocess((given) => (typeof given === 'string' ? given.toLowerCase() : given), type);

const fileTarget = z.object({
  Name: text,
  UID: text.default('0'),
  GID: text.default('0'),
  Mode: int.default(0o444),
});

const mount = z.object({
  Type: word(['bind', 'volume', 'tmpfs'], (given) =>
    ['npipe', 'cluster', 'image'].includes(given)
      ? `mount type "${given}" is not served by Skein: bind, volume and tmpfs are`
      : `invalid MountType: "${given}"`,
  ).default('volume'),
  Source: opt(text),
  Target: text.default(''),
  ReadOnly: opt(z.boolean()),
  Consistency: opt(text),
  BindOptions: opt(
    z.object({
      Propagation: opt(text),
      NonRecursive: opt(z.boolean()),
      CreateMountpoint: opt(z.boolean()),
      ReadOnlyNonRecursive: opt(z.boolean()),
      ReadOnlyForceRecursive: opt(z.boolean()),
    }),
  ),
  VolumeOptions: opt(
    z.object({
      NoCopy: opt(z.boolean()),
      Subpath: opt(text),
      Labels: opt(textMap),
      DriverConfig: opt(z.object({ Name: opt(text), Options: opt(textMap) })),
    }),
  ),
  TmpfsOptions: opt(z.object({ SizeBytes: opt(int), Mode: opt(int), Options: opt(z.array(texts)) })),
});

const health = z.object({
  Test: opt(texts),
  Interval: opt(int),
  Timeout: opt(int),
  Retries: opt(int),
  StartPeriod: opt(int),
  StartInterval: opt(int),
});

const privileges = z.object({
  CredentialSpec: opt(z.object({ Config: opt(text), File: opt(text), Registry: opt(text) })),
  SELinuxContext: opt(
    z.object({
      Disable: opt(z.boolean()),
      User: opt(text),
      Role: opt(text),
      Type: opt(text),
      Level: opt(text),
    }),
  ),
  Seccomp: opt(z.object({ Mode: opt(text), Profile: opt(text) })),
  AppArmor: opt(z.object({ Mode: opt(text) })),
  NoNewPrivileges: opt(z.boolean()),
});

const containerSpec = z.object({
  Image: text.default(''),
  Labels: opt(textMap),
  Command: opt(texts),
  Args: opt(texts),
  Hostname: opt(text),
  Env: opt(texts),
  Dir: opt(text),
  User: opt(text),
  Groups: opt(texts),
  TTY: opt(z.boolean()),
  OpenStdin: opt(z.boolean()),
  ReadOnly: opt(z.boolean()),
  Mounts: opt(z.array(mount)),
  StopSignal: opt(text),
  StopGracePeriod: opt(int),
  Healthcheck: opt(health),
  Hosts: opt(texts),
  DNSConfig: opt(z.object({ Nameservers: opt(texts), Search: opt(texts), Options: opt(texts) })),
  Secrets: opt(z.array(z.object({ File: fileTarget, SecretID: text, SecretName: text }))),
  Configs: opt(
    z.array(
      z.object({ File: opt(fileTarget), Runtime: opt(z.object({})), ConfigID: text, ConfigName: text }),
    ),
  ),
  Isolation: opt(text),
  Init: opt(z.boolean()),
  Sysctls: opt(textMap),
  CapabilityAdd: opt(texts),
  CapabilityDrop: opt(texts),
  Ulimits: opt(z.array(z.object({ Name: text, Soft: int.default(0), Hard: int.default(0) }))),
  OomScoreAdj: opt(int),
  Privileges: opt(privileges),
});

const genericResource = z.object({
  NamedResourceSpec: opt(z.object({ Kind: text, Value: text })),
  DiscreteResourceSpec: opt(z.object({ Kind: text, Value: int })),
});
const resources = { NanoCPUs: opt(int), MemoryBytes: opt(int) };

const attachment = z.object({ Target: text.default(''), Aliases: opt(texts), DriverOpts: opt(textMap) });

const taskSpec = z.object({
  ContainerSpec: opt(containerSpec).default({ Image: '' }),
  Resources: opt(
    z.object({
      Limits: opt(z.object({ ...resources, Pids: opt(int) })),
      Reservations: opt(z.object({ ...resources, GenericResources: opt(z.array(genericResource)) })),
    }),
  ),
  RestartPolicy: opt(
    z.object({
      Condition: opt(word(['none', 'on-failure', 'any'], (given) => `invalid RestartCondition: "${given}"`)),
      Delay: opt(int),
      MaxAttempts: opt(int),
      Window: opt(int),
    }),
  ),
  Placement: opt(
    z.object({
      Constraints: opt(texts),
      Preferences: opt(z.array(z.object({ Spread: opt(z.object({ SpreadDescriptor: text })) }))),
      MaxReplicas: opt(int),
      Platforms: opt(z.array(z.object({ Architecture: opt(text), OS: opt(text) }))),
    }),
  ),
  Networks: opt(z.array(attachment)),
  LogDriver: opt(z.object({ Name: opt(text), Options: opt(textMap) })),
  ForceUpdate: int.default(0),
  Runtime: opt(text),
});

const updateConfig = z.object({
  Parallelism: int.min(0).default(0),
  Delay: opt(int),
  FailureAction: opt(
    word(['pause', 'continue', 'rollback'], (given) => `unrecognized update failure action ${given}`),
  ),
  Monitor: opt(int),
  MaxFailureRatio: opt(z.number()),
  Order: opt(word(['stop-first', 'start-first'], (given) => `unrecognized update order ${given}`)),
});

const port = z.object({
  Name: opt(text),
  Protocol: word(['tcp', 'udp', 'sctp'], (given) => `invalid protocol value: ${given}`).default('tcp'),
  TargetPort: int.min(0).max(65535).default(0),
  PublishedPort: opt(int.min(0).max(65535)),
  PublishMode: word(['ingress', 'host'], (given) => `invalid publish mode: ${given}`).default('ingress'),
});

export const serviceSpec: z.ZodType<ServiceSpec> = z.object({
  Name: text.default(''),
  Labels: opt(textMap),
  TaskTemplate: taskSpec.default({ ContainerSpec: { Image: '' }, ForceUpdate: 0 }),
  Mode: z
    .object({
      Replicated: opt(z.object({ Replicas: opt(int.min(0)) })),
      Global: opt(z.object({})),
      ReplicatedJob: opt(z.object({ MaxConcurrent: opt(int.min(0)), TotalCompletions: opt(int.min(0)) })),
      GlobalJob: opt(z.object({})),
    })
    .default({}),
  UpdateConfig: opt(updateConfig),
  RollbackConfig: opt(updateConfig),
  Networks: opt(z.array(attachment)),
  EndpointSpec: opt(
    z.object({
      Mode: opt(word(['vip', 'dnsrr'], (given) => `invalid resolution mode: ${given}`)),
      Ports: opt(z.array(port)),
    }),
  ),
});

export const nodeSpec: z.ZodType<NodeSpec> = z.object({
  Name: opt(text),
  Labels: textMap.default({}),
  Role: caseless(word(['manager', 'worker'], (given) => `invalid Role: "${given}"`)),
  Availability: caseless(word(['active', 'pause', 'drain'], (given) => `invalid Availability: "${given}"`)),
});

const logDriver = z.object({ Name: opt(text), Options: opt(textMap) });

const swarmSpecObject = z.object({
  Name: text.default('default'),
  Labels: textMap.default({}),
  Orchestration: z.object({ TaskHistoryRetentionLimit: opt(int) }).default({}),
  Raft: z
    .object({
      SnapshotInterval: opt(int),
      KeepOldSnapshots: opt(int),
      LogEntriesForSlowFollowers: opt(int),
      ElectionTick: opt(int),
      HeartbeatTick: opt(int),
    })
    .default({}),
  Dispatcher: z.object({ HeartbeatPeriod: opt(int) }).default({}),
  CAConfig: z
    .object({
      NodeCertExpiry: opt(int),
      ForceRotate: opt(int),
      SigningCACert: opt(text),
      SigningCAKey: opt(text),
      ExternalCAs: opt(z.array(z.unknown())),
    })
    .default({}),
  TaskDefaults: z.object({ LogDriver: opt(logDriver) }).default({}),
  EncryptionConfig: z
    .object({ AutoLockManagers: z.boolean().default(false) })
    .default({ AutoLockManagers: false }),
});
export const swarmSpec: z.ZodType<SwarmSpec> = swarmSpecObject;

export const swarmInit = z.object({
  ListenAddr: text.default(''),
  AdvertiseAddr: text.default(''),
  DataPathAddr: text.default(''),
  DataPathPort: int.default(0),
  DefaultAddrPool: texts.default([]),
  SubnetSize: int.default(0),
  ForceNewCluster: z.boolean().default(false),
  AutoLockManagers: z.boolean().default(false),
  Availability: text.default(''),
  Spec: swarmSpecObject.default(swarmSpecObject.parse({})),
});

export const swarmJoin = z.object({
  ListenAddr: text.default(''),
  AdvertiseAddr: text.default(''),
  DataPathAddr: text.default(''),
  RemoteAddrs: texts.default([]),
  JoinToken: text.default(''),
  Availability: text.default(''),
});

const networkObject = z.object({
  Name: text.default(''),
  Labels: opt(textMap),
  Driver: text.default(''),
  Internal: opt(z.boolean()),
  Attachable: opt(z.boolean()),
  Ingress: opt(z.boolean()),
  EnableIPv6: opt(z.boolean()),
  IPAM: opt(
    z.object({
      Driver: opt(text),
      Options: opt(textMap),
      Config: opt(
        z.array(
          z.object({
            Subnet: opt(text),
            IPRange: opt(text),
            Gateway: opt(text),
            AuxiliaryAddresses: opt(textMap),
          }),
        ),
      ),
    }),
  ),
  Options: opt(textMap),
});

export const networkSpec: z.ZodType<NetworkSpec> = networkObject;
/** With what a client may ask for and Skein must refuse instead of ignoring it. */
export const networkRequest = networkObject.extend({
  Scope: text.default(''),
  ConfigOnly: z.boolean().default(false),
});

const driver = z.object({ Name: text.default(''), Options: opt(textMap) });

/** Of a secret or a config: the same body but for the driver, which only a secret may name. */
export const payloadSpec = z.object({
  Name: text.default(''),
  Labels: textMap.default({}),
  Data: text.default(''),
  Driver: opt(driver),
  Templating: opt(driver),
});

export const authConfig = z.object({
  username: opt(text),
  password: opt(text),
  identitytoken: opt(text),
  registrytoken: opt(text),
  serveraddress: opt(text),
});

const consoleSize = opt(z.array(int));

export const execCreateBody = z.object({
  Cmd: texts.default([]),
  Env: opt(texts),
  WorkingDir: opt(text),
  User: opt(text),
  Tty: opt(z.boolean()),
  Privileged: opt(z.boolean()),
  AttachStdin: opt(z.boolean()),
  AttachStdout: opt(z.boolean()),
  AttachStderr: opt(z.boolean()),
  DetachKeys: opt(text),
  ConsoleSize: consoleSize,
});

export const execStartBody = z.object({
  Detach: opt(z.boolean()),
  Tty: opt(z.boolean()),
  ConsoleSize: consoleSize,
});

export const volumeCreateBody = z.object({
  Name: text.default(''),
  Driver: text.default(''),
  DriverOpts: opt(textMap),
  Labels: opt(textMap),
  ClusterVolumeSpec: opt(z.looseObject({})),
});

const words = opt(z.union([text, texts]));

export const endpointSettings = z.object({
  Aliases: opt(texts),
  Links: opt(texts),
  MacAddress: opt(text),
  IPAMConfig: opt(z.object({ IPv4Address: opt(text), IPv6Address: opt(text), LinkLocalIPs: opt(texts) })),
});

export const connectBody = z.object({ Container: text.default(''), EndpointConfig: opt(endpointSettings) });
export const disconnectBody = z.object({ Container: text.default(''), Force: opt(z.boolean()) });

export const containerCreateBody = z.object({
  Image: text.default(''),
  Hostname: opt(text),
  Domainname: opt(text),
  User: opt(text),
  Tty: opt(z.boolean()),
  OpenStdin: opt(z.boolean()),
  StdinOnce: opt(z.boolean()),
  Env: opt(texts),
  Cmd: words,
  Entrypoint: words,
  WorkingDir: opt(text),
  Labels: opt(textMap),
  StopSignal: opt(text),
  StopTimeout: opt(int),
  MacAddress: opt(text),
  Shell: opt(texts),
  Volumes: opt(z.record(text, z.unknown())),
  Healthcheck: opt(health),
  ExposedPorts: opt(z.record(text, z.unknown())),
  AttachStdin: opt(z.boolean()),
  AttachStdout: opt(z.boolean()),
  AttachStderr: opt(z.boolean()),
  HostConfig: opt(z.record(text, z.unknown())),
  NetworkingConfig: opt(
    z.object({
      EndpointsConfig: opt(z.record(text, z.nullable(endpointSettings))),
    }),
  ),
});

/** A HostConfig, of which the converter reads what is served and refuses what else says anything. */
export const containerUpdateBody = z.record(text, z.unknown());

/** Of `docker run`; the words for a type that there is not are others than for a service. */
const containerMount = mount.extend({
  Type: word(
    ['bind', 'volume', 'tmpfs'],
    (given) => `invalid mount config for type "${given}": mount type unknown`,
  ).default('volume'),
});

/** What is served of a HostConfig; the converter refuses what else says anything. */
export const hostConfig = z.object({
  AutoRemove: opt(z.boolean()),
  Binds: opt(texts),
  CapAdd: opt(texts),
  CapDrop: opt(texts),
  Dns: opt(texts),
  DnsOptions: opt(texts),
  DnsSearch: opt(texts),
  ExtraHosts: opt(texts),
  GroupAdd: opt(texts),
  Init: opt(z.boolean()),
  LogConfig: opt(z.object({ Type: opt(text), Config: opt(textMap) })),
  Memory: int.default(0),
  MemorySwap: int.default(0),
  Isolation: opt(text),
  Mounts: opt(z.array(containerMount)),
  NanoCpus: opt(int),
  NetworkMode: opt(text),
  OomScoreAdj: opt(int),
  PidsLimit: opt(int),
  PortBindings: opt(
    z.record(text, z.nullable(z.array(z.object({ HostIp: opt(text), HostPort: opt(text) })))),
  ),
  PublishAllPorts: opt(z.boolean()),
  ReadonlyRootfs: opt(z.boolean()),
  RestartPolicy: opt(z.object({ Name: opt(text), MaximumRetryCount: opt(int) })),
  ShmSize: opt(int),
  Sysctls: opt(textMap),
  Tmpfs: opt(textMap),
  Ulimits: opt(z.array(z.object({ Name: text, Soft: int, Hard: int }))),
  VolumeDriver: opt(text),
});
