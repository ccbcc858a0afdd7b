/** Specs that can not work, and those that Skein does not serve: each is refused in the words of Docker. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MountSpec, ServiceSpec } from '../../model/spec.ts';
import { spec } from '../testing/builders.ts';
import { checkServiceSpec } from './service-spec.ts';

const code = (name: string, words: string) => ({ message: `rpc error: code = ${name} desc = ${words}` });

const container = (patch: object): Partial<ServiceSpec> => ({
  TaskTemplate: { ContainerSpec: { Image: 'web:1', ...patch } },
});
const mount = (patch: Partial<MountSpec>) =>
  container({ Mounts: [{ Type: 'bind', Source: '/a', Target: '/b', ...patch }] });
const template = (patch: object): Partial<ServiceSpec> => ({
  TaskTemplate: { ContainerSpec: { Image: 'web:1' }, ...patch },
});
const port = (patch: object) =>
  ({ Protocol: 'tcp', TargetPort: 80, PublishedPort: 80, PublishMode: 'ingress', ...patch }) as never;

const REFUSED: [string | RegExp, Partial<ServiceSpec>][] = [
  ['meta: name must be provided', { Name: '' }],
  ['name must be valid as a DNS name component', { Name: '-web' }],
  ['name must be 63 characters or fewer', { Name: 'w'.repeat(64) }],
  ['ContainerSpec: image reference must be provided', container({ Image: '' })],
  [
    'constraint expected one operator from ==, !=',
    template({ Placement: { Constraints: ['node.role=manager'] } }),
  ],
  ['ContainerSpec: "web 1" is not a valid repository/tag', container({ Image: 'web 1' })],
  ['ContainerSpec: environment is too large', container({ Env: [`A=${'x'.repeat(1024 * 1024)}`] })],
  ['ContainerSpec: stop grace period cannot be negative', container({ StopGracePeriod: -1 })],
  [
    'ContainerSpec: Timeout in HealthConfig cannot be less than 1ms',
    container({ Healthcheck: { Test: ['CMD', 'true'], Timeout: 1000 } }),
  ],
  ['ContainerSpec: Retries in HealthConfig cannot be negative', container({ Healthcheck: { Retries: -1 } })],
  ['Number of replicas must be non-negative', { Mode: { Replicated: { Replicas: -1 } } }],
  ['Maximum concurrent jobs must be non-negative', { Mode: { ReplicatedJob: { MaxConcurrent: -1 } } }],
  ['Total completed jobs must be non-negative', { Mode: { ReplicatedJob: { TotalCompletions: -1 } } }],
  ['max replicas per node must be non-negative', template({ Placement: { MaxReplicas: -1 } })],
  ['invalid RestartCondition: "always"', template({ RestartPolicy: { Condition: 'always' } })],
  ['TaskSpec: restart-window cannot be negative', template({ RestartPolicy: { Window: -1 } })],
  ['TaskSpec: restart-max-attempts cannot be negative', template({ RestartPolicy: { MaxAttempts: -1 } })],
  ['TaskSpec: update-delay cannot be negative', { UpdateConfig: { Parallelism: 1, Delay: -1 } }],
  ['TaskSpec: update-monitor cannot be negative', { RollbackConfig: { Parallelism: 1, Monitor: -1 } }],
  ['TaskSpec: update-parallelism cannot be negative', { UpdateConfig: { Parallelism: -1 } }],
  ["value '' is invalid", template({ Placement: { Constraints: ['node.role=='] } })],
  ['invalid cpu value 1e-9: Must be at least 0.001', template({ Resources: { Limits: { NanoCPUs: 1 } } })],
  [
    'invalid memory value 1: Must be at least 4MiB',
    template({ Resources: { Reservations: { MemoryBytes: 1 } } }),
  ],
  ['TaskSpec: restart-delay cannot be negative', template({ RestartPolicy: { Delay: -1 } })],
  [
    'TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1',
    { UpdateConfig: { Parallelism: 1, MaxFailureRatio: 2 } },
  ],
  ["invalid size: '1x'", template({ LogDriver: { Options: { 'max-size': '1x' } } })],
  ['invalid mount target, must be an absolute path: b', mount({ Target: 'b' })],
  ['invalid bind mount source, source path must not be empty', mount({ Source: '' })],
  ['invalid bind mount source, must be an absolute path: a', mount({ Source: 'a' })],
  ["invalid specification: destination can't be '/'", mount({ Target: '/' })],
  ['invalid tmpfs source, source must be empty', mount({ Type: 'tmpfs' })],
  ['invalid volume mount source, must not be an absolute path: /a', mount({ Type: 'volume' })],
  ['invalid mount type: "nfs"', mount({ Type: 'nfs' as never })],
  [
    'ContainerSpec: duplicate mount point: /b',
    container({
      Mounts: [
        { Type: 'bind', Source: '/a', Target: '/b' },
        { Type: 'tmpfs', Target: '/b' },
      ],
    }),
  ],
  [
    "secret references 'a' and 'b' have a conflicting target: 'f'",
    container({
      Secrets: ['a', 'b'].map((name) => ({ SecretID: name, SecretName: name, File: { Name: 'f' } })),
    }),
  ],
  ['EndpointSpec: invalid port 0', { EndpointSpec: { Ports: [port({ TargetPort: 0 })] } }],
  ['EndpointSpec: invalid port 65536', { EndpointSpec: { Ports: [port({ PublishedPort: 65_536 })] } }],
  ['invalid protocol value: icmp', { EndpointSpec: { Ports: [port({ Protocol: 'icmp' })] } }],
  ['invalid publish mode: mesh', { EndpointSpec: { Ports: [port({ PublishMode: 'mesh' })] } }],
  [
    "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
    { EndpointSpec: { Mode: 'dnsrr', Ports: [port({})] } },
  ],
  [
    'must specify only one service mode: replicated, global, replicated-job or global-job',
    { Mode: { Replicated: {}, GlobalJob: {} } },
  ],
  [
    'update and rollback configuration is not supported for jobs',
    { Mode: { ReplicatedJob: {} }, UpdateConfig: { Parallelism: 1 } },
  ],
  [
    'update and rollback configuration is not supported for jobs',
    { Mode: { GlobalJob: {} }, RollbackConfig: { Parallelism: 1 } },
  ],
  [
    'restart condition "any" is not supported for jobs: a task that completed is not run again',
    { Mode: { GlobalJob: {} }, ...template({ RestartPolicy: { Condition: 'any' } }) },
  ],
  ['must specify only one service mode: replicated, global, replicated-job or global-job', { Mode: {} }],
  [
    'TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1',
    { RollbackConfig: { Parallelism: 1, MaxFailureRatio: -0.1 } },
  ],
  [
    "config references 'a' and 'b' have a conflicting target: 'f'",
    container({
      Configs: ['a', 'b'].map((name) => ({ ConfigID: name, ConfigName: name, File: { Name: 'f' } })),
    }),
  ],
  [
    'malformed secret reference',
    container({ Secrets: [{ SecretID: 'a', SecretName: 'a', File: { Name: '' } }] }),
  ],
  [
    'malformed config reference',
    container({ Configs: [{ ConfigID: 'a', ConfigName: '', File: { Name: 'f' } }] }),
  ],
  [
    'invalid argument for resource GPU: how many are reserved must be a whole number',
    template({
      Resources: { Reservations: { GenericResources: [{ NamedResourceSpec: { Kind: 'GPU', Value: 'a' } }] } },
    }),
  ],
  ...[
    container({ Hostname: '{{.Task.Sort}}' }),
    container({ Env: ['A={{.Task.Sort}}'] }),
    mount({ Source: '/{{.Task.Sort}}' }),
    mount({ Type: 'volume', Source: 'v', VolumeOptions: { Labels: { a: '{{.Task.Sort}}' } } }),
  ].map((patch): [RegExp, Partial<ServiceSpec>] => [
    /expanding template "[^"]*{{\.Task\.Sort}}" failed: "\.Task\.Sort" is none of \.Service\.ID, /,
    patch,
  ]),
  [
    'EndpointSpec: duplicate published ports provided',
    { EndpointSpec: { Ports: [port({}), port({ TargetPort: 81 })] } },
  ],
];

/** Words that Docker's client reads as they are. */
const UNPREFIXED: [string, object][] = [
  ['unrecognized update order at-once', { UpdateConfig: { Parallelism: 1, Order: 'at-once' } }],
  ['unrecognized update failure action cry', { RollbackConfig: { Parallelism: 1, FailureAction: 'cry' } }],
  ['invalid resolution mode: nat', { EndpointSpec: { Mode: 'nat' } }],
];

for (const [message, patch] of UNPREFIXED)
  test(`refused: ${message}`, () => {
    assert.throws(() => checkServiceSpec(spec(patch)), { code: 'invalid-argument', message });
  });

for (const [words, patch] of REFUSED)
  test(`refused: ${String(words)}`, () => {
    const refusal = typeof words === 'string' ? code('InvalidArgument', words) : { message: words };
    assert.throws(() => checkServiceSpec(spec(patch)), refusal);
  });

const UNSERVED: [string, Partial<ServiceSpec>][] = [
  [
    'log driver "syslog" is not served by Skein: output is kept on the node (json-file), or not at all (none)',
    template({ LogDriver: { Name: 'syslog' } }),
  ],
  ['isolation "hyperv" is of Windows: Skein runs Linux containers', container({ Isolation: 'hyperv' })],
  [
    'volume driver "nfs" of mount /b is a plugin, and Skein has none: its volumes are local to a node',
    mount({ Type: 'volume', Source: 'v', VolumeOptions: { DriverConfig: { Name: 'nfs' } } }),
  ],
  [
    'bind-recursive=readonly of mount /b is not served by Skein: what is mounted below it keeps its own access',
    mount({ ReadOnly: true, BindOptions: { ReadOnlyForceRecursive: true } }),
  ],
  [
    'options of tmpfs mount /b other than size and mode are not served by Skein',
    mount({ Type: 'tmpfs', Source: undefined, TmpfsOptions: { Options: [['exec']] } }),
  ],
  [
    'driver options of network net are not served by Skein: a',
    template({ Networks: [{ Target: 'net', DriverOpts: { a: 'b' } }] }),
  ],
  [
    'seccomp mode "custom" is not served by Skein: default and unconfined are',
    container({ Privileges: { Seccomp: { Mode: 'custom', Profile: 'e30=' } } }),
  ],
  [
    'Privileges.SELinuxContext is not served by Skein',
    container({ Privileges: { CredentialSpec: {}, SELinuxContext: { Disable: true } } }),
  ],
];

for (const [words, patch] of UNSERVED)
  test(`not served: ${words}`, () => {
    assert.throws(() => checkServiceSpec(spec(patch)), code('Unimplemented', words));
  });
