/** Bodies of what a cluster has: services, nodes, networks, secrets and configs, and the swarm itself. */
import { z } from 'zod';
import type { NetworkSpec, NodeSpec, ServiceSpec, SwarmSpec } from '../../model/spec.ts';
import { health, int, mount, opt, text, textMap, texts, word } from './parts.ts';

/** Of a node's words, in which Docker does not care for case. */
const caseless = <T extends z.ZodType>(type: T) =>
  z.preprocess((given) => (typeof given === 'string' ? given.toLowerCase() : given), type);

const fileTarget = z.object({
  Name: text,
  UID: text.default('0'),
  GID: text.default('0'),
  Mode: int.default(0o444),
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
