/** Every member of a service's spec goes through the API and comes back: none is lost on the way in. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerSpec, ServiceSpec, UpdateConfig } from '../model/spec.ts';
import { startingServers } from './server-under-test.ts';

const start = startingServers();

/** With every member said: one that is new in the model does not compile before it is said here too. */
type Whole<T> = T extends readonly (infer U)[]
  ? Whole<U>[]
  : T extends Record<string, string>
    ? T
    : T extends object
      ? { [K in keyof T]-?: Whole<NonNullable<T[K]>> }
      : T;

const update = (parallelism: number): Whole<UpdateConfig> => ({
  Parallelism: parallelism,
  Delay: 2,
  FailureAction: 'rollback',
  Monitor: 3,
  MaxFailureRatio: 0.4,
  Order: 'start-first',
});

const file = (name: string) => ({ Name: name, UID: '5', GID: '6', Mode: 0o400 });

const container: Whole<ContainerSpec> = {
  Image: 'web:1',
  Labels: { a: 'b' },
  Command: ['sh'],
  Args: ['-c', 'x'],
  Hostname: 'h',
  Env: ['A=1'],
  Dir: '/d',
  User: 'u',
  Groups: ['g'],
  TTY: true,
  OpenStdin: true,
  ReadOnly: true,
  Mounts: [
    {
      Type: 'bind',
      Source: '/s',
      Target: '/t',
      ReadOnly: true,
      Consistency: 'cached',
      BindOptions: {
        Propagation: 'rslave',
        NonRecursive: true,
        CreateMountpoint: true,
        ReadOnlyNonRecursive: true,
        ReadOnlyForceRecursive: true,
      },
      VolumeOptions: {
        NoCopy: true,
        Subpath: 'p',
        Labels: { c: 'd' },
        DriverConfig: { Name: 'local', Options: { o: 'ro' } },
      },
      TmpfsOptions: { SizeBytes: 7, Mode: 8, Options: [['exec']] },
    },
  ],
  StopSignal: 'USR1',
  StopGracePeriod: 9,
  Healthcheck: { Test: ['CMD', 'x'], Interval: 1, Timeout: 2, Retries: 3, StartPeriod: 4, StartInterval: 5 },
  Hosts: ['10.0.0.1 db'],
  DNSConfig: { Nameservers: ['192.0.2.1'], Search: ['example.test'], Options: ['timeout:3'] },
  Secrets: [{ File: file('key'), SecretID: 's1', SecretName: 'key' }],
  Configs: [{ File: file('conf'), Runtime: {}, ConfigID: 'c1', ConfigName: 'conf' }],
  Isolation: 'default',
  Init: true,
  Sysctls: { 'net.x': '1' },
  CapabilityAdd: ['CAP_NET_ADMIN'],
  CapabilityDrop: ['CAP_CHOWN'],
  Ulimits: [{ Name: 'nofile', Soft: 1, Hard: 2 }],
  OomScoreAdj: 3,
  Privileges: {
    CredentialSpec: { File: 'f' },
    SELinuxContext: { Level: 'l' },
    Seccomp: { Mode: 'custom', Profile: 'e30=' },
    AppArmor: { Mode: 'disabled' },
    NoNewPrivileges: true,
  },
};

type Task = Omit<ServiceSpec['TaskTemplate'], 'NetworkAttachmentSpec'>;

const task: Whole<Omit<Task, 'ContainerSpec' | 'Networks' | 'Resources'>> = {
  RestartPolicy: { Condition: 'on-failure', Delay: 1, MaxAttempts: 2, Window: 3 },
  Placement: {
    Constraints: ['node.role==worker'],
    Preferences: [{ Spread: { SpreadDescriptor: 'node.labels.zone' } }],
    MaxReplicas: 2,
    Platforms: [{ Architecture: 'amd64', OS: 'linux' }],
  },
  LogDriver: { Name: 'json-file', Options: { 'max-size': '1m' } },
  ForceUpdate: 4,
  Runtime: 'container',
};

const Resources: Required<NonNullable<Task['Resources']>> = {
  Limits: { NanoCPUs: 1, MemoryBytes: 2, Pids: 3 },
  Reservations: {
    NanoCPUs: 4,
    MemoryBytes: 5,
    GenericResources: [
      { DiscreteResourceSpec: { Kind: 'SSD', Value: 3 } },
      { NamedResourceSpec: { Kind: 'GPU', Value: 'one' } },
    ],
  },
};

const EndpointSpec: Whole<NonNullable<ServiceSpec['EndpointSpec']>> = {
  Mode: 'dnsrr',
  Ports: [{ Name: 'n', Protocol: 'udp', TargetPort: 80, PublishedPort: 81, PublishMode: 'host' }],
};

const MODES: ServiceSpec['Mode'][] = [
  { Replicated: { Replicas: 3 } },
  { Global: {} },
  { ReplicatedJob: { MaxConcurrent: 2, TotalCompletions: 5 } },
  { GlobalJob: {} },
];

for (const Mode of MODES)
  test(`all of a service, ${Object.keys(Mode)[0]}`, async () => {
    const { call } = await start('manager');
    const made = await call('POST', '/networks/create', { Name: 'net', Driver: 'overlay' });
    const Networks = [{ Target: made.json.Id, Aliases: ['alias'], DriverOpts: { a: 'b' } }];
    const whole: ServiceSpec = {
      Name: 'web',
      Labels: { tier: 'front' },
      TaskTemplate: { ...task, ContainerSpec: container, Resources, Networks },
      Mode,
      UpdateConfig: update(2),
      RollbackConfig: update(3),
      EndpointSpec,
    };
    const { status, json, text } = await call('POST', '/services/create', whole);
    assert.equal(status, 201, text);
    assert.deepEqual((await call('GET', `/services/${json.ID}`)).json.Spec, whole);
  });
