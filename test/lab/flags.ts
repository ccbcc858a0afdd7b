/**
 * Every flag of `docker service create` that is honoured, each with what shows it: a command in the container, a Go
 * template over the container or the service, or over the task. Two services carry them all; spec.test.ts makes them.
 */
export interface Flag {
  readonly args: readonly string[];
  /** Where to look: a shell command in the container, or the format of an inspect. */
  readonly in: 'container' | 'inspect' | 'service' | 'task';
  readonly ask: string;
  readonly answer: RegExp;
}

const shell = (args: readonly string[], ask: string, answer: RegExp): Flag => ({
  args,
  in: 'container',
  ask,
  answer,
});
const inspect =
  (of: Exclude<Flag['in'], 'container'>) => (args: readonly string[], ask: string, answer: RegExp) => ({
    args,
    in: of,
    ask: `{{json ${ask}}}`,
    answer,
  });
const [container, service, task] = [inspect('inspect'), inspect('service'), inspect('task')];

const cgroup = (v1: string, v2: string): string =>
  `cat /sys/fs/cgroup/${v1} 2>/dev/null || cat /sys/fs/cgroup/${v2}`;

/** What the first service runs: it ends so only by the signal that it is to be stopped by. */
export const SCRIPT = 'trap "exit 42" USR1; while :; do sleep 0.1; done';

/** `folder` is on the node; there are a secret `flag-key`, a config `flag-conf` and a network `flag-net`. */
export const first = (folder: string): readonly Flag[] => [
  shell(['--entrypoint', 'sh -c'], 'cat /proc/1/cmdline | tr "\\0" " "', /^sh -c trap/),
  shell(['--hostname', '{{.Node.Hostname}}-{{.Task.Slot}}'], 'hostname', /^node2-1$/),
  shell(
    [
      '--label',
      'tier=front',
      '--env',
      'WHERE={{.Service.Name}} {{index .Service.Labels "tier"}} {{.Task.Slot}}',
    ],
    'echo $WHERE',
    /^flags front 1$/,
  ),
  shell(['--env-file', `${folder}/env`], 'echo $FILED', /^yes$/),
  shell(['--user', 'nobody'], 'id -u', /^65534$/),
  shell(['--group', '33'], 'id -G', /\b33\b/),
  shell(['--workdir', '/tmp'], 'readlink /proc/1/cwd', /^\/tmp$/),
  shell(['--tty'], 'readlink /proc/1/fd/1', /^\/dev\/pts\/0$/),
  shell(['--read-only'], 'touch /tmp/x 2>&1 || true', /Read-only file system/),
  shell(
    ['--cap-add', 'NET_ADMIN', '--cap-drop', 'CHOWN'],
    'grep CapBnd /proc/1/status',
    /[13579bdf][0-9a-f]{2}[02468ace]$/,
  ),
  shell(['--sysctl', 'net.core.somaxconn=321'], 'cat /proc/sys/net/core/somaxconn', /^321$/),
  shell(['--ulimit', 'nofile=1000:2000'], 'grep "open files" /proc/1/limits', /\s1000\s+2000\s/),
  shell(['--oom-score-adj', '321'], 'cat /proc/1/oom_score_adj', /^321$/),
  shell(['--limit-memory', '64M'], cgroup('memory/memory.limit_in_bytes', 'memory.max'), /^67108864$/),
  shell(['--limit-cpu', '0.5'], cgroup('cpu/cpu.cfs_quota_us', 'cpu.max'), /^50000\b/),
  shell(['--limit-pids', '77'], cgroup('pids/pids.max', 'pids.max'), /^77$/),
  service(
    ['--reserve-cpu', '0.01', '--reserve-memory', '8M'],
    '.Spec.TaskTemplate.Resources.Reservations',
    /"NanoCPUs":10000000,"MemoryBytes":8388608/,
  ),
  shell(['--generic-resource', 'GPU=2'], 'echo $DOCKER_RESOURCE_GPU', /^one,two$/),
  task(
    ['--generic-resource', 'SSD=1'],
    '.GenericResources',
    /"DiscreteResourceSpec":{"Kind":"SSD","Value":1}/,
  ),
  container(['--container-label', 'made=here'], '.Config.Labels', /"made":"here"/),
  container(['--stop-signal', 'USR1'], '.Config.StopSignal', /^"USR1"$/),
  service(['--stop-grace-period', '3s'], '.Spec.TaskTemplate.ContainerSpec.StopGracePeriod', /^3000000000$/),
  container(
    ['--health-cmd', 'true', '--health-interval', '1s', '--health-timeout', '20s', '--health-retries', '4'],
    '.Config.Healthcheck',
    /{"Test":\["CMD-SHELL","true"\],"Interval":1000000000,"Timeout":20000000000,.*"Retries":4}/,
  ),
  container(
    ['--health-start-period', '5s', '--health-start-interval', '100ms'],
    '.Config.Healthcheck',
    /"StartPeriod":5000000000,"StartInterval":100000000,/,
  ),
  shell(['--host', 'db:10.1.2.3'], 'grep db /etc/hosts', /^10\.1\.2\.3\s+db$/),
  shell(['--dns-search', 'example.test'], 'cat /etc/resolv.conf', /^search example\.test$/m),
  shell(['--dns-option', 'timeout:3'], 'cat /etc/resolv.conf', /^options timeout:3 ndots:0$/m),
  shell(
    ['--network', 'name=flag-net,alias=flagged', '--endpoint-mode', 'dnsrr'],
    'nslookup flagged 127.0.0.11; ip -4 -o addr show eth0',
    /Address[^\n]* (10\.66\.0\.\d+)\n[^]*inet \1\//,
  ),
  task(
    ['--publish', 'mode=host,target=80,published=8099'],
    '.Status.PortStatus.Ports',
    /"TargetPort":80,"PublishedPort":8099,"PublishMode":"host"/,
  ),
  shell(
    ['--mount', `type=bind,source=${folder},target=/bind,readonly`],
    'cat /bind/env; grep " /bind " /proc/mounts',
    /^FILED=yes\n.* \/bind \S+ ro[, ]/,
  ),
  shell(
    ['--mount', 'type=volume,source=vol-{{.Task.Slot}},target=/vol,volume-label=a=b,volume-nocopy'],
    'grep " /vol " /proc/self/mountinfo',
    /\/volumes\/vol-1\/_data /,
  ),
  shell(
    ['--mount', 'type=tmpfs,target=/scratch,tmpfs-size=64k,tmpfs-mode=0750'],
    'grep " /scratch " /proc/mounts; stat -c %a /scratch',
    /^tmpfs \/scratch tmpfs .*size=64k,mode=750[^]*\n750$/,
  ),
  shell(
    ['--secret', 'source=flag-key,target=key,uid=65534,mode=0400'],
    'stat -c "%a %u" /run/secrets/key; cat /run/secrets/key',
    /^400 65534\nxyzzy$/,
  ),
  shell(['--config', 'source=flag-conf,target=/etc/conf,mode=0444'], 'cat /etc/conf', /^plover$/),
  service(
    ['--constraint', 'node.hostname==node2', '--placement-pref', 'spread=node.labels.zone'],
    '.Spec.TaskTemplate.Placement',
    /{"Constraints":\["node.hostname==node2"\],"Preferences":\[{"Spread":{"SpreadDescriptor":"node.labels.zone"}}\]/,
  ),
  service(['--replicas-max-per-node', '2'], '.Spec.TaskTemplate.Placement.MaxReplicas', /^2$/),
  service(
    [
      '--restart-condition',
      'on-failure',
      '--restart-delay',
      '1s',
      '--restart-max-attempts',
      '3',
      '--restart-window',
      '9s',
    ],
    '.Spec.TaskTemplate.RestartPolicy',
    /^{"Condition":"on-failure","Delay":1000000000,"MaxAttempts":3,"Window":9000000000}$/,
  ),
  service(
    [
      ...[
        '--update-parallelism',
        '2',
        '--update-delay',
        '1s',
        '--update-monitor',
        '500ms',
        '--update-order',
        'start-first',
      ],
      ...['--update-failure-action', 'rollback', '--update-max-failure-ratio', '0.2'],
    ],
    '.Spec.UpdateConfig',
    /^{"Parallelism":2,"Delay":1000000000,"FailureAction":"rollback","Monitor":500000000,"MaxFailureRatio":0.2,"Order":"start-first"}$/,
  ),
  service(
    [
      ...['--rollback-parallelism', '3', '--rollback-delay', '2s', '--rollback-monitor', '600ms'],
      ...[
        '--rollback-failure-action',
        'continue',
        '--rollback-max-failure-ratio',
        '0.3',
        '--rollback-order',
        'stop-first',
      ],
    ],
    '.Spec.RollbackConfig',
    /^{"Parallelism":3,"Delay":2000000000,"FailureAction":"continue","Monitor":600000000,"MaxFailureRatio":0.3,"Order":"stop-first"}$/,
  ),
  service(['--log-driver', 'json-file'], '.Spec.TaskTemplate.LogDriver.Name', /^"json-file"$/),
  service(
    ['--with-registry-auth', '--no-resolve-image'],
    '.Spec.TaskTemplate.ContainerSpec.Image',
    /^"skein\/web:latest"$/,
  ),
];

/** What does not go together with the first ones. `init`: the node has an init binary. */
export const second = (init: boolean): readonly Flag[] => [
  ...(init ? [shell(['--init'], 'cat /proc/1/cmdline', /^\/sbin\/docker-init/)] : []),
  container(['--no-healthcheck'], '.Config.Healthcheck.Test', /^\["NONE"\]$/),
  shell(['--dns', '192.0.2.53'], 'cat /etc/resolv.conf', /^nameserver 192\.0\.2\.53$/m),
  service(['--mode', 'global', '--isolation', 'default'], '.Spec.Mode', /^{"Global":{}}$/),
  shell(['--hostname', '{{.Service.Name}}.{{.Node.ID}}'], 'hostname', /^plain\.[0-9a-z]{25}$/),
  shell(
    [
      '--mount',
      'type=volume,target=/anon',
      '--mount',
      'type=bind,source=/tmp,target=/host,bind-propagation=rslave',
    ],
    'grep -c -e " /anon " -e " /host " /proc/mounts',
    /^2$/,
  ),
];
