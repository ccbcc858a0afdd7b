/** A stack through the stock CLI: deployed, deployed again, pruned, removed and deployed at once. */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { downLab, Lab } from '../../src/lab/lab.ts';
import { skipWithoutDocker } from '../docker.ts';
import { IMAGE, Stage } from './stage.ts';

const NAME = 'svc-stack';

const compose = (options: { readonly env: string; readonly extra: boolean }): string => `
version: "3.8"
services:
  web:
    image: ${IMAGE}
    environment: [ "WORD=${options.env}" ]
    networks: { front: { aliases: [ door ] } }
    ports: [ "8090:80" ]
    secrets: [ { source: key, target: key.txt, mode: 0400 } ]
    configs: [ { source: conf, target: /etc/conf } ]
    healthcheck: { test: [ "CMD", "true" ], interval: 300ms, retries: 2, start_period: 5s }
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
networks: { front: { driver: overlay, attachable: true } }
secrets: { key: { file: ./key } }
configs: { conf: { file: ./conf }, filled: { file: ./filled, template_driver: golang } }
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
    networks: [ front ]
    ports: [ { target: 80, published: 8091, mode: host } ]
    configs: [ { source: filled, target: /etc/filled, mode: 0444 } ]
    healthcheck: { disable: true }
    volumes: [ { type: volume, source: data, target: /data }, "./:/here:ro" ]
    logging: { driver: json-file }
    deploy:
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
const LOOK = `
id -un; hostname; echo $AT $FILED $DOCKER_RESOURCE_GPU; pwd; cat /etc/filled /here/env
cat /proc/sys/net/core/somaxconn; grep -c example.test /etc/resolv.conf; grep -c db /etc/hosts; readlink /proc/1/fd/1
touch /tmp/x 2>&1; ls -d /data; grep 'open files' /proc/1/limits`;
const SEEN = [
  ...['nobody', 'st_extra-1', 'node2 yes one', '/tmp', 'st_extra plover', 'FILED=yes', '321', '1', '1'],
  ...['/dev/pts/0', 'touch: /tmp/x: Read-only file system', '/data', /^Max open files\s+1000\s+2000\s/],
];

describe('stacks', { skip: skipWithoutDocker, timeout: 200_000 }, () => {
  let stage: Stage;
  const folder = mkdtempSync(join(tmpdir(), 'skein-stack-'));
  const file = join(folder, 'compose.yml');
  const docker = (...args: string[]) => stage.docker('node1').ok(...args);
  const deploy = (options: { env: string; extra: boolean }, ...args: string[]) => {
    writeFileSync(file, compose(options));
    return docker(
      ...['stack', 'deploy', '--resolve-image', 'never', '--detach=true', '-c', file, ...args, 'st'],
    );
  };
  const ids = async (service: string) => (await stage.running(service)).map((t) => t.id).sort();

  before(async () => {
    const settings = { nodeGenericResources: ['GPU=one'] };
    stage = new Stage(await Lab.up({ name: NAME, nodes: 2, settings }));
    await stage.loadImage();
    writeFileSync(join(folder, 'key'), 'xyzzy');
    writeFileSync(join(folder, 'conf'), 'plover');
    writeFileSync(join(folder, 'filled'), '{{ .Service.Name }} plover\n');
    writeFileSync(join(folder, 'env'), 'FILED=yes\n');
    chmodSync(folder, 0o755); // a container's user is to read it
  });
  after(async () => {
    rmSync(folder, { recursive: true });
    stage.close();
    await downLab(NAME);
  });

  test('deploy makes everything the file names', async () => {
    await deploy({ env: 'one', extra: true });
    await Promise.all([
      stage.converged('st_web', 2),
      stage.converged('st_back', 1),
      stage.converged('st_extra', 1),
    ]);
    assert.match(await docker('stack', 'ls'), /^st\s+3/m);
    const services = await docker('stack', 'services', 'st');
    assert.match(
      services,
      /st_web\s+replicated\s+2\/2 \(max 1 per node\)\s+skein\/web:latest\s+\*:8090->80\/tcp/,
    );
    assert.match(services, /st_back\s+global\s+1\/1/);
    assert.match(await docker('stack', 'ps', 'st'), /st_web\.1[^\n]*Running/);
    for (const kind of ['secret', 'config', 'network'])
      assert.match(
        await docker(kind, 'ls', '--filter', 'label=com.docker.stack.namespace=st'),
        /st_(key|conf|front)/,
      );
    const [task] = (await stage.running('st_web')).filter((t) => t.node === 'node2');
    assert.ok(task);
    const cli = stage.docker('node2');
    const id = (await cli.ok('ps', '-q', '--filter', 'name=st_web')).trim();
    assert.equal(await cli.ok('exec', id, 'cat', '/run/secrets/key.txt', '/etc/conf'), 'xyzzyplover');
    assert.match(await cli.ok('exec', id, 'cat', '/proc/mounts'), / \/scratch tmpfs /);
    assert.ok(await stage.ask('client', '192.0.2.11', 8090));
    assert.match(await docker('stack', 'config', '-c', file), /max_replicas_per_node: 1/);
  });

  test('everything that a file says of a service is there in its container', async () => {
    const cli = stage.docker('node2');
    const id = (await cli.ok('ps', '-q', '--filter', 'name=st_extra')).trim();
    const lines = (await cli.ok('exec', id, 'sh', '-c', LOOK)).trim().split(/\r?\n/);
    for (const [i, line] of SEEN.entries())
      if (typeof line === 'string') assert.equal(lines[i], line);
      else assert.match(lines[i]!, line);
    const { Spec } = await stage.lab
      .engine('node1')
      .get<{ Spec: Record<string, unknown> }>('/services/st_extra');
    assert.deepEqual(Spec['RollbackConfig'], {
      ...{ Parallelism: 0, Monitor: 500_000_000, FailureAction: 'pause' },
      ...{ MaxFailureRatio: 0, Order: 'stop-first' },
    });
    assert.deepEqual(Spec['UpdateConfig'], {
      ...{ Parallelism: 1, Delay: 1_000_000_000, FailureAction: 'rollback' },
      ...{ MaxFailureRatio: 0.3, Order: 'start-first' },
    });
  });

  test('the same again replaces nothing; a change replaces what it concerns', async () => {
    const [web, back] = [await ids('st_web'), await ids('st_back')];
    await deploy({ env: 'one', extra: true });
    await stage.converged('st_web', 2);
    assert.deepEqual([await ids('st_web'), await ids('st_back')], [web, back]);
    await deploy({ env: 'two', extra: false });
    await stage.converged('st_web', 2);
    assert.ok((await ids('st_web')).every((id) => !web.includes(id)));
    assert.deepEqual(await ids('st_back'), back);
    assert.match(await docker('stack', 'ls'), /^st\s+3/m, 'nothing goes unasked');
    await deploy({ env: 'two', extra: false }, '--prune');
    assert.match(await docker('stack', 'ls'), /^st\s+2/m);
  });

  test('removed and deployed at once does not collide', async () => {
    for (let round = 0; round < 2; round++) {
      await docker('stack', 'rm', 'st');
      await deploy({ env: 'three', extra: false });
      await stage.converged('st_web', 2);
    }
    await docker('stack', 'rm', 'st');
    for (const kind of ['service', 'secret', 'config'])
      assert.equal(await docker(kind, 'ls', '-q'), '', `no ${kind} is left`);
    assert.doesNotMatch(await docker('network', 'ls'), /st_front/);
  });
});
