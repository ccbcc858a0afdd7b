/**
 * The stock docker CLI's commands for containers of a user's own, and what is around them, against the API with fake
 * containers behind it. Skipped, in words, without the CLI.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { NodeEvents } from '../../src/agent/node-events.ts';
import { systemClock } from '../../src/kit/clock.ts';
import { silentLog } from '../../src/kit/log.ts';
import type { ContainerId } from '../../src/model/ids.ts';
import { skipWithoutDocker as skip } from '../docker.ts';
import { fakeContainers, finished } from './fake-containers.ts';

const { api, backends, dir, docker, start } = fakeContainers();

test('docker run: input, outputs apart, the exit code, a name, and gone behind it', { skip }, async () => {
  backends.runtime.program = ({ config, print, exit, stdin }) => {
    if (!config.restartable) return;
    print('stdout', `${config.spec.Args!.join(' ')}\n`);
    stdin.on('data', (chunk: Buffer) => print('stdout', chunk.toString()));
    stdin.on('end', () => {
      print('stderr', 'to err\n');
      exit(4);
    });
  };
  const child = start(
    'docker',
    ...['run', '-i', '--rm', '--name', 'mine', '--network', 'net1', '-e', 'A=1', '--label', 'l=1'],
    ...[
      '-v',
      '/srv:/data:ro',
      '-p',
      '8080:80/udp',
      '--memory',
      '64m',
      '--dns',
      '192.0.2.9',
      'app:1',
      'sh',
      '-x',
    ],
  );
  const done = finished(child);
  child.stdin!.end('typed\n');
  const { code, stdout, stderr } = await done;
  assert.deepEqual([code, stdout, stderr], [4, 'sh -x\ntyped\n', 'to err\n']);
  const spec = backends.engine.control.created.at(-1)!;
  assert.deepEqual(spec.network, { mode: 'overlay', networks: [{ target: 'net1', aliases: [] }] });
  assert.deepEqual(spec.container.Mounts![0], {
    ...{
      Type: 'bind',
      Source: '/srv',
      Target: '/data',
      ReadOnly: true,
      BindOptions: { CreateMountpoint: true },
    },
  });
  assert.deepEqual(spec.ports, [
    { Protocol: 'udp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' },
  ]);
  assert.deepEqual(
    [spec.name, spec.autoRemove, spec.limits, spec.labels, spec.container.DNSConfig?.Nameservers],
    ['mine', true, { MemoryBytes: 64 * 1024 * 1024 }, { l: '1' }, ['192.0.2.9']],
  );
  assert.doesNotMatch((await docker('ps', '-a')).stdout, /mine/);
});

test('a container by hand: create, start, pause, top, wait, stop, start again, rm', { skip }, async () => {
  backends.runtime.program = () => {};
  const ok = async (...args: string[]) => {
    const { code, stdout, stderr } = await docker(...args);
    assert.equal(code, 0, `${args.join(' ')}: ${stderr}`);
    return stdout.trim();
  };
  const made = await ok('create', '--name', 'hand', 'app:1');
  assert.match(await ok('ps', '-a', '--filter', 'name=hand', '--format', '{{.Status}}'), /^Created/);
  await ok('start', 'hand');
  await ok('start', 'hand');
  await ok('pause', 'hand');
  assert.match(await ok('ps', '--filter', 'status=paused', '--format', '{{.Names}}'), /^hand$/);
  await ok('unpause', 'hand');
  assert.match(await ok('top', 'hand'), /^UID +PID +PPID/);
  assert.match(
    (await docker('rm', 'hand')).stderr,
    /container is running: stop the container before removing/,
  );
  const waiting = docker('wait', 'hand');
  await ok('kill', '--signal', 'TERM', 'hand');
  assert.equal((await waiting).stdout.trim(), '143');
  await ok('start', 'hand');
  await ok('stop', '-t', '1', 'hand');
  assert.equal(await ok('inspect', '--format', '{{.State.Status}} {{.Id}}', 'hand'), `exited ${made}`);
  await ok('rm', 'hand');
  assert.equal((await docker('inspect', 'hand')).code, 1);
});

test('docker container prune takes a user’s own that do not run, by label and age', { skip }, async () => {
  backends.runtime.program = () => {};
  for (const name of ['p1', 'p2', 'p3'])
    await docker('create', '--name', name, '--label', `of=${name}`, 'app:1');
  await docker('start', 'p3');
  const young = await docker('container', 'prune', '-f', '--filter', 'until=1h');
  assert.doesNotMatch(young.stdout, /Deleted Containers/);
  assert.equal((await docker('container', 'prune', '-f', '--filter', 'label=of=p1')).code, 0);
  const names = async () =>
    (await docker('ps', '-a', '--format', '{{.Names}}')).stdout.trim().split('\n').sort();
  assert.deepEqual(await names(), ['p2', 'p3', 'web']);
  await docker('container', 'prune', '-f');
  assert.deepEqual(await names(), ['p3', 'web'], 'what runs, and what is a task’s, stays');
  await docker('rm', '-f', 'p3');
});

test('docker volume: made, found, inspected, in use, removed, pruned', { skip }, async () => {
  const run = async (...args: string[]) => {
    const { code, stdout, stderr } = await docker(...args);
    return code === 0 ? stdout.trim() : stderr.trim();
  };
  assert.equal(await run('volume', 'create', '--label', 'a=1', 'v1'), 'v1');
  assert.equal(await run('volume', 'create', '--label', 'a=2', 'v1'), 'v1', 'it is there already');
  const options = ['-o', 'type=tmpfs', '-o', 'device=tmpfs', '-o', 'o=size=1m'];
  assert.equal(await run('volume', 'create', ...options, 'v2'), 'v2');
  const [volume] = JSON.parse(await run('volume', 'inspect', 'v1')) as [Record<string, unknown>];
  assert.deepEqual(
    [volume['Driver'], volume['Labels'], volume['Mountpoint'], volume['Options'], volume['Scope']],
    ['local', { a: '1' }, '/var/lib/skein/volumes/v1/_data', null, 'local'],
  );
  await run('create', '--name', 'user', '-v', 'v1:/one:ro', '-v', '/two', 'app:1');
  const mounts = '{{range .Mounts}}{{.Destination}} {{.RW}} {{.Driver}};{{end}}';
  assert.equal(await run('inspect', '-f', mounts, 'user'), '/two true local;/one false local;');
  const names = async (...args: string[]) =>
    (await run('volume', 'ls', '--format', '{{.Name}}', ...args)).split('\n').filter((n) => n.length < 64);
  assert.deepEqual(await names(), ['v1', 'v2']);
  assert.deepEqual(await names('--filter', 'dangling=true'), ['v2']);
  assert.deepEqual(await names('--filter', 'label=a=1'), ['v1']);
  assert.deepEqual(await names('--filter', 'name=2', '--filter', 'driver=local'), ['v2']);
  assert.match(await run('volume', 'ls', '--filter', 'x=1'), /invalid filter 'x'/);
  const { id: user } = (await backends.runtime.list()).find(({ name }) => name === 'user')!;
  assert.match(await run('volume', 'rm', 'v1'), new RegExp(`remove v1: volume is in use - \\[${user}\\]$`));
  backends.runtime.volumes.sizes.set('v1', 3_000_000);
  const row = /Local Volumes +3 +2 +3MB +0B/;
  assert.match(await run('system', 'df'), row);
  await run('rm', 'user');
  assert.equal((await backends.runtime.volumes.list()).length, 3, 'rm without -v keeps them all');
  assert.match(await run('volume', 'prune', '-f'), /^Deleted Volumes:\n[0-9a-f]{64}\n/);
  assert.deepEqual(await names(), ['v1', 'v2'], 'those that have a name stay');
  await run('run', '-d', '--name', 'user', '-v', '/two', 'app:1');
  await run('rm', '-f', '-v', 'user');
  // v2 has options, and may be of another disk or machine.
  assert.match(await run('volume', 'prune', '-f', '-a'), /v1\n\nTotal reclaimed space: 3MB$/);
  assert.match(await run('volume', 'rm', 'v1'), /get v1: no such volume/);
  assert.equal(await run('volume', 'rm', '-f', 'v1'), 'v1');
  for (const [words, ...args] of [
    [/plugin "nfs" not found/, '-d', 'nfs', 'x1'],
    [/invalid option: "y"/, '-o', 'y=1', 'x1'],
    [/missing required option: "device"/, '-o', 'type=nfs', 'x1'],
    [/no quota support/, '-o', 'size=1g', 'x1'],
    [/only "\[a-zA-Z0-9\]\[a-zA-Z0-9_.-\]" are allowed/, '.x'],
    [/names should be at least two alphanumeric characters/, 'x'],
  ] as const)
    assert.match(await run('volume', 'create', ...args), words);
});

test('docker events: a container’s life, commands in it, images; past ones by since', { skip }, async (t) => {
  backends.runtime.program = () => {};
  const own = { runtime: backends.runtime, tell: backends.events.tell, clock: systemClock, log: silentLog };
  const events = new NodeEvents({ ...own, networks: async () => [] });
  events.run();
  t.after(() => events.stop());
  const from = String(Math.floor(Date.now() / 1000) - 1);
  const before = backends.events.past.length;
  await docker('volume', 'create', 'ev');
  await docker('run', '-d', '--name', 'told', '--label', 'of=told', 'app:1');
  await docker('exec', 'told', 'both');
  await docker('stop', 'told');
  await docker('tag', 'app:1', 'app:2');
  await docker('rmi', 'app:2');
  await docker('rm', 'told');
  const told = backends.events.past.slice(before).map(({ type, action }) => `${type} ${action}`);
  assert.deepEqual(told, [
    ...['container create', 'container start', 'container exec_create: both '],
    ...[
      'container exec_start: both ',
      'container exec_die',
      'container kill',
      'container die',
      'container stop',
    ],
    ...['image tag', 'image untag', 'container destroy'],
  ]);
  const [tagged, untagged] = backends.events.past.slice(before).filter(({ type }) => type === 'image');
  assert.match(tagged!.id, /^sha256:/);
  assert.deepEqual([tagged!.attributes['name'], untagged!.id], ['app:2', tagged!.id]);
  const until = String(Math.floor(Date.now() / 1000) + 1);
  const format = '{{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}}';
  const args = ['--since', from, '--until', until, '--format', format, '--filter', 'event=die'];
  const { stdout } = await docker(
    'events',
    ...args,
    '--filter',
    'container=told',
    '--filter',
    'label=of=told',
  );
  assert.equal(stdout, 'die told 143\n');
  assert.match((await docker('events', '--filter', 'nosuch=1')).stderr, /invalid filter 'nosuch'/);
});

test('docker cp both ways, diff and export', { skip }, async () => {
  const local = join(dir, 'file');
  writeFileSync(local, 'copied');
  assert.equal((await docker('cp', local, 'web:/tmp/')).code, 0);
  assert.equal(backends.runtime.archives.files.get('/tmp/file'), 'copied');
  assert.equal((await docker('cp', local, 'web:/tmp/other')).code, 0);
  assert.equal((await docker('cp', 'web:/tmp/other', join(dir, 'back'))).code, 0);
  assert.equal(readFileSync(join(dir, 'back'), 'utf8'), 'copied');
  assert.match((await docker('cp', 'web:/tmp/file', '-')).stdout, /^file\0[^]*copied\0/);
  assert.match((await docker('cp', 'web:/no', dir)).stderr, /Could not find the file \/no in container/);
  assert.equal((await docker('diff', 'web')).stdout, 'A /tmp/file\nA /tmp/other\n');
  assert.match((await docker('export', 'web')).stdout, /^etc\0/);
});

test('docker rename and update; ps by volume and port, ports as bound', { skip }, async () => {
  backends.runtime.program = () => {};
  const ok = async (...args: string[]) => {
    const { code, stdout, stderr } = await docker(...args);
    assert.equal(code, 0, `${args.join(' ')}: ${stderr}`);
    return stdout.trim();
  };
  const made = await ok('run', '-d', '--name', 'old', '-p', '8080:80', '-v', 'vol:/v', 'app:1');
  await ok('rename', 'old', 'new');
  assert.equal(await ok('inspect', '-f', '{{.Name}}', made), '/new');
  assert.match((await docker('rename', 'new', 'a b')).stderr, /Invalid container name/);
  assert.match((await docker('rename', 'new', 'new')).stderr, /same name as its current name/);
  await ok('update', '--memory', '64m', '--memory-swap', '128m', '--cpus', '0.5', 'new');
  const limits = '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}';
  assert.equal(await ok('inspect', '-f', limits, 'new'), '67108864 500000000');
  assert.match(
    (await docker('update', '--cpu-shares', '5', 'new')).stderr,
    /does not serve HostConfig.CpuShares/,
  );
  const policy = '{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}';
  assert.equal(await ok('inspect', '-f', policy, 'new'), 'no 0');
  await ok('update', '--restart', 'on-failure:3', 'new');
  assert.equal(await ok('inspect', '-f', `${policy} ${limits}`, 'new'), 'on-failure 3 67108864 500000000');
  const bound = { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' } as const;
  backends.engine.bound.set(made as ContainerId, [bound]);
  assert.equal(await ok('port', 'new'), '80/tcp -> 0.0.0.0:8080');
  assert.equal(await ok('ps', '-f', 'name=new', '--format', '{{.Ports}}'), '0.0.0.0:8080->80/tcp');
  for (const [filter, found] of [
    ['volume=vol', true],
    ['volume=/v', true],
    ['volume=other', false],
    ['publish=8080', true],
    ['publish=8000-9000/tcp', true],
    ['publish=8080/udp', false],
    ['expose=80', true],
    ['expose=81', false],
    ['isolation=default', true],
  ] as const)
    assert.equal(
      await ok('ps', '-f', filter, '-f', 'name=new', '--format', '{{.Names}}'),
      found ? 'new' : '',
      filter,
    );
  assert.match((await docker('ps', '-f', 'publish=x')).stderr, /invalid filter 'publish=\[x\]'/);
  assert.match((await docker('ps', '-f', 'nosuch=x')).stderr, /invalid filter 'nosuch'/);
  await ok('rm', '-f', 'new');
});

test('docker stats: shares, memory, network, pids', { skip }, async () => {
  const { runtime } = backends;
  const link = { rxBytes: 3000, rxPackets: 3, rxErrors: 0, rxDropped: 0 };
  const sent = { txBytes: 5000, txPackets: 5, txErrors: 0, txDropped: 0 };
  runtime.used = {
    cpu: { total: 1e9, user: 5e8, kernel: 5e8 },
    system: 1e12,
    memory: { usage: 30 * 2 ** 20, limit: 2 ** 30, inactiveFile: 10 * 2 ** 20 },
    pids: 7,
    networks: { eth0: { ...link, ...sent } },
  };
  const format = '{{.Name}} {{.MemUsage}} {{.NetIO}} {{.PIDs}}';
  const { stdout, stderr } = await docker('stats', '--no-stream', '--format', format, 'web');
  assert.equal(stdout.trim(), 'web 20MiB / 1GiB 3kB / 5kB 7', stderr);
});

test('what docker run asks for and is not served is refused by name', { skip }, async () => {
  const refused: readonly (readonly [RegExp, ...string[]])[] = [
    [/does not serve HostConfig\.Privileged/, '--privileged'],
    [/does not serve HostConfig\.Devices/, '--device', '/dev/null'],
    [/does not serve HostConfig\.CpuShares/, '--cpu-shares', '5'],
    [/does not serve HostConfig\.PidMode/, '--pid', 'host'],
    [/does not serve --network host/, '--network', 'host'],
    [/skein has no IPv6 on networks/, '--network', 'n', '--ip6', '2001:db8::9'],
    [/user specified IP address is supported on user defined networks only/, '--ip', '10.0.0.9'],
    [/log driver "syslog" is not served/, '--log-driver', 'syslog'],
    [/compress cannot be true when max-file is less than 2/, '--log-opt', 'compress=true'],
    [/log option tag: "\.ImageID" is none of \.ID, /, '--log-opt', 'tag={{.ImageID}}'],
    [/invalid size: 'big'/, '--log-opt', 'max-size=big'],
    [/has no volume driver nfs/, '--volume-driver', 'nfs'],
    [/invalid mode: exec/, '-v', 'vol:/v:exec'],
    [/does not serve --publish-all/, '-P'],
    [/IPv4 addresses of the node; leave ::1 out/, '-p', '[::1]:80:80'],
  ];
  for (const [words, ...flags] of refused) {
    const { code, stderr } = await docker('create', ...flags, 'app:1');
    assert.equal(code, 1, flags.join(' '));
    assert.match(stderr, words, flags.join(' '));
  }
  const named = await api().inject({
    method: 'POST',
    url: '/containers/create?name=a b',
    payload: { Image: 'x' },
  });
  assert.equal(named.statusCode, 400);
});
