/** The Compose file of stack.test.ts: what a service may say in one, and what the service is then to be. */
import { IMAGE } from './stage.ts';

export const compose = (options: { readonly env: string; readonly extra: boolean }): string => `
version: "3.12"
services:
  web:
    image: ${IMAGE}
    environment: [ "WORD=${options.env}" ]
    networks: { front: { aliases: [ door ] } }
    ports: [ "8090:80" ]
    secrets: [ { source: key, target: key.txt, mode: 0400 } ]
    configs: [ { source: conf, target: /etc/conf } ]
    healthcheck: { test: [ "CMD", "true" ], interval: 300ms, retries: 2, start_period: 5s, start_interval: 200ms }
    stop_grace_period: 1s
    volumes: [ { type: tmpfs, target: /scratch } ]
    deploy:
      replicas: 2
      labels: { tier: front }
      update_config: { parallelism: 2, monitor: 500ms }
      restart_policy: { delay: 0s }
      placement: { preferences: [ { spread: node.hostname } ], max_replicas_per_node: 1 }
      resources: { limits: { memory: 64M }, reservations: { cpus: "0.01" } }
  back:
    image: ${IMAGE}
    networks: [ front ]
    stop_grace_period: 1s
    deploy: { mode: global, placement: { constraints: [ node.role == worker ] } }
${options.extra ? EVERYTHING : ''}
networks: { front: { driver: overlay, attachable: true }, outside: { external: true } }
secrets: { key: { file: ./key }, outside-key: { external: true } }
configs: { conf: { file: ./conf }, filled: { file: ./filled, template_driver: golang }, outside-conf: { external: true } }
volumes: { data: { labels: { a: b } } }
`;

/** The rest of what a file may say of a service, as far as it goes together. */
const EVERYTHING = `
  extra:
    image: ${IMAGE}
    entrypoint: [ sh, -c ]
    command: [ 'trap "exit 0" USR1; while :; do sleep 0.1; done' ]
    environment: { AT: "{{.Node.Hostname}}" }
    env_file: ./env
    hostname: "{{.Service.Name}}-{{.Task.Slot}}"
    user: nobody
    working_dir: /tmp
    init: false
    tty: true
    read_only: true
    cap_add: [ NET_ADMIN ]
    cap_drop: [ CHOWN ]
    sysctls: { net.core.somaxconn: 321 }
    ulimits: { nofile: { soft: 1000, hard: 2000 } }
    labels: { made: here }
    extra_hosts: [ "db:10.1.2.3" ]
    dns_search: example.test
    stop_signal: USR1
    stop_grace_period: 2s
    stdin_open: true
    dns: 192.0.2.53
    networks: { front: { aliases: [ side ] }, outside: {} }
    ports: [ { target: 80, published: 8091, protocol: tcp, mode: host } ]
    secrets: [ { source: outside-key, target: /etc/outside.key, uid: "65534", gid: "8", mode: 0400 } ]
    configs:
      - { source: filled, target: /etc/filled, mode: 0444 }
      - { source: outside-conf, target: /etc/outside, uid: "7", gid: "8", mode: 0440 }
    healthcheck: { disable: true }
    volumes:
      - { type: volume, source: data, target: /data, read_only: true, volume: { nocopy: true } }
      - { type: bind, source: /tmp, target: /shared, bind: { propagation: rslave } }
      - { type: tmpfs, target: /scratch, tmpfs: { size: 65536 } }
      - "./:/here:ro"
    logging: { driver: json-file, options: { max-size: 1m, max-file: "2" } }
    deploy:
      labels: { tier: back }
      endpoint_mode: dnsrr
      update_config: { order: start-first, failure_action: rollback, max_failure_ratio: 0.3, delay: 1s }
      rollback_config: { parallelism: 0, monitor: 500ms }
      restart_policy: { condition: on-failure, delay: 1s, max_attempts: 3, window: 9s }
      placement: { constraints: [ node.hostname == node2 ] }
      resources:
        limits: { cpus: "0.5", memory: 64M }
        reservations:
          memory: 8M
          generic_resources: [ { discrete_resource_spec: { kind: GPU, value: 1 } } ]
`;

/** Run in a container of it; each line of the answer is one thing that was asked for. */
export const LOOK = `
id -un; hostname; echo $AT $FILED $DOCKER_RESOURCE_GPU; pwd; cat /etc/filled /here/env
cat /proc/sys/net/core/somaxconn; grep -c example.test /etc/resolv.conf; grep -c db /etc/hosts; readlink /proc/1/fd/1
touch /tmp/x 2>&1; ls -d /data; grep 'open files' /proc/1/limits
cat /etc/outside.key; stat -c '%a %u %g' /etc/outside.key /etc/outside
awk '$2 ~ "^/(data|shared|scratch)$" { split($4, o, ","); print $2, $3 == "tmpfs", o[1] }' /proc/mounts | sort`;
export const SEEN = [
  ...['nobody', 'st_extra-1', 'node2 yes one', '/tmp', 'st_extra plover', 'FILED=yes', '321', '1', '1'],
  ...['/dev/pts/0', 'touch: /tmp/x: Read-only file system', '/data', /^Max open files\s+1000\s+2000\s/],
  ...['outer', '400 65534 8', '440 7 8'],
  ...['/data 0 ro', '/scratch 1 rw', '/shared 0 rw'],
];

const service = (name: string, labels: object): object => ({
  Name: `st_${name}`,
  Labels: { 'com.docker.stack.image': IMAGE, 'com.docker.stack.namespace': 'st', ...labels },
});
const file = (Name: string, Mode: number, UID = '0', GID = '0'): object => ({ Name, UID, GID, Mode });

/** As the API shows it, ids as `<id>`. */
export const WEB_SPEC: object = {
  ...service('web', { tier: 'front' }),
  TaskTemplate: {
    ContainerSpec: {
      Image: IMAGE,
      Labels: { 'com.docker.stack.namespace': 'st' },
      Env: ['WORD=one'],
      Mounts: [{ Type: 'tmpfs', Target: '/scratch' }],
      StopGracePeriod: 1_000_000_000,
      Healthcheck: {
        ...{ Test: ['CMD', 'true'], Interval: 300_000_000 },
        ...{ Retries: 2, StartPeriod: 5_000_000_000, StartInterval: 200_000_000 },
      },
      Secrets: [{ File: file('key.txt', 0o400), SecretID: '<id>', SecretName: 'st_key' }],
      Configs: [{ File: file('/etc/conf', 0o444), ConfigID: '<id>', ConfigName: 'st_conf' }],
      Privileges: { NoNewPrivileges: false },
      Isolation: 'default',
    },
    Resources: { Limits: { MemoryBytes: 64 * 2 ** 20 }, Reservations: { NanoCPUs: 10_000_000 } },
    RestartPolicy: { Delay: 0 },
    Placement: { Preferences: [{ Spread: { SpreadDescriptor: 'node.hostname' } }], MaxReplicas: 1 },
    Networks: [{ Target: '<id>', Aliases: ['door', 'web'] }],
    ForceUpdate: 0,
    Runtime: 'container',
  },
  Mode: { Replicated: { Replicas: 2 } },
  UpdateConfig: {
    ...{ Parallelism: 2, Monitor: 500_000_000, FailureAction: 'pause' },
    ...{ MaxFailureRatio: 0, Order: 'stop-first' },
  },
  EndpointSpec: {
    Mode: 'vip',
    Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8090, PublishMode: 'ingress' }],
  },
};

export const extraSpec = (folder: string): object => ({
  ...service('extra', { tier: 'back' }),
  TaskTemplate: {
    ContainerSpec: {
      Image: IMAGE,
      Labels: { 'com.docker.stack.namespace': 'st', made: 'here' },
      Command: ['sh', '-c'],
      Args: ['trap "exit 0" USR1; while :; do sleep 0.1; done'],
      Hostname: '{{.Service.Name}}-{{.Task.Slot}}',
      Env: ['AT={{.Node.Hostname}}', 'FILED=yes'],
      Dir: '/tmp',
      User: 'nobody',
      TTY: true,
      OpenStdin: true,
      ReadOnly: true,
      Mounts: [
        {
          ...{ Type: 'volume', Source: 'st_data', Target: '/data', ReadOnly: true },
          VolumeOptions: { NoCopy: true, Labels: { a: 'b', 'com.docker.stack.namespace': 'st' } },
        },
        { Type: 'bind', Source: '/tmp', Target: '/shared', BindOptions: { Propagation: 'rslave' } },
        { Type: 'tmpfs', Target: '/scratch', TmpfsOptions: { SizeBytes: 65_536 } },
        { Type: 'bind', Source: folder, Target: '/here', ReadOnly: true },
      ],
      StopSignal: 'USR1',
      StopGracePeriod: 2_000_000_000,
      Healthcheck: { Test: ['NONE'] },
      Hosts: ['10.1.2.3 db'],
      DNSConfig: { Nameservers: ['192.0.2.53'], Search: ['example.test'] },
      Secrets: [
        {
          File: file('/etc/outside.key', 0o400, '65534', '8'),
          ...{ SecretID: '<id>', SecretName: 'outside-key' },
        },
      ],
      Configs: [
        { File: file('/etc/outside', 0o440, '7', '8'), ConfigID: '<id>', ConfigName: 'outside-conf' },
        { File: file('/etc/filled', 0o444), ConfigID: '<id>', ConfigName: 'st_filled' },
      ],
      Init: false,
      Sysctls: { 'net.core.somaxconn': '321' },
      CapabilityAdd: ['CAP_NET_ADMIN'],
      CapabilityDrop: ['CAP_CHOWN'],
      Ulimits: [{ Name: 'nofile', Soft: 1000, Hard: 2000 }],
      Privileges: { NoNewPrivileges: false },
      Isolation: 'default',
    },
    Resources: {
      Limits: { NanoCPUs: 500_000_000, MemoryBytes: 64 * 2 ** 20 },
      Reservations: {
        MemoryBytes: 8 * 2 ** 20,
        GenericResources: [{ DiscreteResourceSpec: { Kind: 'GPU', Value: 1 } }],
      },
    },
    RestartPolicy: { Condition: 'on-failure', Delay: 1_000_000_000, MaxAttempts: 3, Window: 9_000_000_000 },
    LogDriver: { Name: 'json-file', Options: { 'max-file': '2', 'max-size': '1m' } },
    Placement: { Constraints: ['node.hostname == node2'] },
    Networks: [
      { Target: '<id>', Aliases: ['extra'] },
      { Target: '<id>', Aliases: ['side', 'extra'] },
    ],
    ForceUpdate: 0,
    Runtime: 'container',
  },
  Mode: { Replicated: { Replicas: 1 } },
  UpdateConfig: {
    ...{ Parallelism: 1, Delay: 1_000_000_000, FailureAction: 'rollback' },
    ...{ MaxFailureRatio: 0.3, Order: 'start-first' },
  },
  RollbackConfig: {
    ...{ Parallelism: 0, Monitor: 500_000_000, FailureAction: 'pause' },
    ...{ MaxFailureRatio: 0, Order: 'stop-first' },
  },
  EndpointSpec: {
    Mode: 'dnsrr',
    Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8091, PublishMode: 'host' }],
  },
});
