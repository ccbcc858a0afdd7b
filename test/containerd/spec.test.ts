/** The OCI spec as the kernel sees it: users, limits, mounts, terminals, capabilities. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Containerd } from '../../src/containerd/containerd.ts';
import { ALL_OUTPUT, type ContainerConfig } from '../../src/containerd/runtime.ts';
import { runProcess } from '../../src/kit/process.ts';
import type { ContainerId } from '../../src/model/ids.ts';
import type { ContainerSpec } from '../../src/model/spec.ts';
import { containerConfig, eventually, type Scratch, scratch, stream, testImage } from './scratch.ts';

let own: Scratch;
let runtime: Containerd;

before(async () => {
  own = await scratch();
  runtime = await own.open();
  await runtime.images.load(stream(await (await testImage()).layout('app:1')));
});

after(async () => {
  await runtime.close();
  await own.close();
});

/** Runs a script in a container to its end; what it printed. */
async function run(script: string, spec: Partial<ContainerSpec> = {}, more: Partial<ContainerConfig> = {}) {
  const config = containerConfig(own.netns, { Command: ['/bin/sh', '-c', script], ...spec }, more);
  await runtime.create(config);
  return output(config.id);
}

async function output(id: ContainerId): Promise<string> {
  await runtime.start(id);
  const query = { ...ALL_OUTPUT, follow: true };
  let text = '';
  for await (const line of runtime.logs(id, query, AbortSignal.timeout(60_000)))
    text += Buffer.from(line.data).toString();
  await runtime.remove(id);
  return text;
}

test('users by name with their groups, files of the agent, environment and host name', async () => {
  const hosts = join(own.root, 'hosts');
  writeFileSync(hosts, '10.0.0.1 peer\n');
  assert.equal(await run('id -u; id -G', { User: 'web', Groups: ['33'] }), '101\n102 4 33\n');
  assert.equal(
    await run(
      'cat /etc/hosts; hostname; echo $A $IMAGE',
      { Env: ['A=b'] },
      { files: { '/etc/hosts': hosts } },
    ),
    '10.0.0.1 peer\nh1\nb 1\n',
  );
  await assert.rejects(run('true', { User: 'nobody' }), { message: /unable to find user nobody/ });
});

test('mounts: a missing source is refused; bind, tmpfs and volumes are as asked', async () => {
  const Source = join(own.root, 'shared');
  await assert.rejects(run('true', { Mounts: [{ Type: 'bind', Source, Target: '/x' }] }), {
    code: 'invalid-argument',
    message: `invalid mount config for type "bind": bind source path does not exist: ${Source}`,
  });
  mkdirSync(Source);
  writeFileSync(join(Source, 'f'), 'shared\n');
  // The two streams have no order between them: one stream.
  const text = await run(
    'exec 2>&1; cat /x/f; touch /x/g || echo refused; stat -c %a /t; mount | grep " /t "',
    {
      Mounts: [
        { Type: 'bind', Source, Target: '/x', ReadOnly: true },
        { Type: 'tmpfs', Target: '/t', TmpfsOptions: { SizeBytes: 65536, Mode: 0o750 } },
      ],
    },
  );
  assert.match(
    text,
    /^shared\n.*Read-only file system\nrefused\n750\ntmpfs on \/t type tmpfs .*size=64k,mode=750/,
  );
  const Mounts: ContainerSpec['Mounts'] = [{ Type: 'volume', Source: 'db', Target: '/data' }];
  assert.equal(await run('cat /data/seed; echo more > /data/new', { Mounts }), 'seed ');
  assert.equal(await run('cat /data/new', { Mounts }), 'more\n');
  assert.equal(readFileSync(join(own.root, 'data/volumes/db/_data/new'), 'utf8'), 'more\n');
});

test('a volume with driver options is mounted while a container with a process uses it, and no longer', async () => {
  const mountpoint = join(own.root, 'data/volumes/ram/_data');
  const isMounted = () => readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${mountpoint} `);
  const Options = { type: 'tmpfs', device: 'tmpfs', o: 'size=128k,mode=0750' };
  const Mounts: ContainerSpec['Mounts'] = [
    { Type: 'volume', Source: 'ram', Target: '/ram', VolumeOptions: { DriverConfig: { Options } } },
  ];
  const first = containerConfig(own.netns, { Mounts });
  await runtime.create(first);
  await runtime.start(first.id);
  assert.ok(isMounted());
  assert.match(await run('stat -c %a /ram; mount | grep " /ram "', { Mounts }), /^750\ntmpfs .*size=128k/);
  assert.ok(isMounted(), 'another holds it');
  await runtime.close();
  runtime = await own.open();
  assert.ok(isMounted(), 'it is held over a restart of skeind');
  await runtime.remove(first.id);
  assert.ok(!isMounted());
  const options = { type: 'none', device: join(own.root, 'nowhere'), o: 'bind' };
  await runtime.volumes.create({ name: 'lost', labels: null, options });
  const lost = run('true', { Mounts: [{ Type: 'volume', Source: 'lost', Target: '/x' }] });
  await assert.rejects(lost, { message: /^error while mounting volume .*: failed to mount local volume: / });
  for (const name of ['ram', 'lost']) await runtime.volumes.remove(name);
});

test('a part of a volume is mounted, and no link leads out of it', async () => {
  const { mountpoint } = await runtime.volumes.create({ name: 'parts', labels: null, options: null });
  mkdirSync(join(mountpoint, 'in'));
  writeFileSync(join(mountpoint, 'in/f'), 'part\n');
  symlinkSync(own.root, join(mountpoint, 'out'));
  const part = (Subpath: string): Partial<ContainerSpec> => ({
    Mounts: [{ Type: 'volume', Source: 'parts', Target: '/p', VolumeOptions: { Subpath } }],
  });
  assert.equal(await run('cat /p/f', part('in')), 'part\n');
  for (const away of ['out', '../..', 'none'])
    await assert.rejects(run('true', part(away)), { message: /cannot access path/ });
  await runtime.volumes.remove('parts');
});

test('limits reach the cgroup, ulimits are clipped to what the daemon has, ALL capabilities to those it has', async () => {
  const config = containerConfig(
    own.netns,
    {},
    {
      limits: { MemoryBytes: 64 * 1024 * 1024, NanoCPUs: 500_000_000, Pids: 50 },
    },
  );
  await runtime.create(config);
  const pid = await runtime.start(config.id);
  const v2 = existsSync('/sys/fs/cgroup/cgroup.controllers');
  const path = (controller: string) => {
    const line = readFileSync(`/proc/${pid}/cgroup`, 'utf8')
      .split('\n')
      .find((l) => (v2 ? l.startsWith('0::') : l.split(':')[1]?.split(',').includes(controller)));
    return join('/sys/fs/cgroup', v2 ? '' : controller, line!.split(':')[2]!);
  };
  assert.match(path('memory'), new RegExp(`/skein-ctrd-[0-9a-f]+/${config.id}$`));
  const value = (controller: string, v1: string, unified: string) =>
    readFileSync(join(path(controller), v2 ? unified : v1), 'utf8').trim();
  assert.equal(value('memory', 'memory.limit_in_bytes', 'memory.max'), '67108864');
  assert.equal(value('pids', 'pids.max', 'pids.max'), '50');
  assert.ok(['50000', '50000 100000'].includes(value('cpu', 'cpu.cfs_quota_us', 'cpu.max')));
  await runtime.update(config.id, { name: 'other', limits: { MemoryBytes: 128 * 1024 * 1024 } });
  assert.equal(value('memory', 'memory.limit_in_bytes', 'memory.max'), '134217728');
  assert.equal(value('pids', 'pids.max', 'pids.max'), '50', 'what was not named stays');
  const { name, config: changed } = (await runtime.get(config.id))!;
  assert.deepEqual([name, changed.limits?.MemoryBytes, changed.limits?.Pids], ['other', 134217728, 50]);
  await runtime.remove(config.id);
  const limit = await run('ulimit -n', { Ulimits: [{ Name: 'nofile', Soft: 2000000, Hard: 2000000 }] });
  assert.ok(Number(limit) > 0 && Number(limit) <= 2000000);
  const caps = await run('cat /proc/self/status', { CapabilityAdd: ['ALL'] });
  const daemon = /^CapBnd:.*$/m.exec(readFileSync('/proc/self/status', 'utf8'))![0];
  assert.ok(caps.includes(daemon));
});

test('a terminal is one stream', async () => {
  const text = await run('echo out; echo err >&2; stty size || true; echo $TERM', { TTY: true });
  assert.match(text, /^out\r\nerr\r\n/);
  assert.match(text, /xterm\r\n$/);
});

test('a command that is not there is told in words', async () => {
  await assert.rejects(run('', { Command: ['/nope'] }), {
    message: /^failed to create task for container: .*"\/nope".*no such file or directory/,
  });
  assert.deepEqual(await runtime.list(), []);
});

test('what was killed because its memory was used up says so, until it is started again', async () => {
  const spec = { Command: ['/bin/sh', '-c', 'test -e /again || { touch /again; exec tail /dev/zero; }'] };
  const limits = { MemoryBytes: 24 * 1024 * 1024 };
  const config = containerConfig(own.netns, spec, { limits, restartable: true });
  const { id } = config;
  const end = () =>
    eventually('its end', async () => {
      const info = await runtime.get(id);
      return info?.status === 'stopped' && (info.exitCode === 0 || info.oomKilled) && info;
    });
  await runtime.create(config);
  await runtime.start(id);
  const killed = await end();
  assert.deepEqual([killed.exitCode, killed.oomKilled], [137, true]);
  await runtime.start(id);
  const { exitCode, oomKilled } = await end();
  assert.deepEqual([exitCode, oomKilled], [0, false]);
  await runtime.remove(id);
});

test('what has just ended starts again, however soon it is asked', async () => {
  const config = containerConfig(own.netns, { Command: ['/bin/true'] }, { restartable: true });
  await runtime.create(config);
  for (let n = 0; n < 5; n++) {
    await runtime.start(config.id);
    while ((await runtime.get(config.id))?.status !== 'stopped');
  }
  await runtime.remove(config.id);
});

test('what a user sets of the network holds, and can be about links that come after the namespace', async () => {
  const link = 'net.ipv4.conf.eth9.forwarding';
  const config = containerConfig(own.netns, {
    Command: [
      '/bin/sh',
      '-c',
      'cat /proc/sys/net/ipv4/conf/eth9/forwarding /proc/sys/net/ipv4/ip_default_ttl',
    ],
    Sysctls: { [link]: '1', 'net.ipv4.ip_default_ttl': '77' },
  });
  const inside = (...argv: string[]) => runProcess(['nsenter', `--net=${own.netns}`, ...argv]);
  await runtime.create(config, {
    async surroundings() {
      await new Promise((resolve) => setTimeout(resolve, 500)); // others are furnished before
      await inside('ip', 'link', 'add', 'eth9', 'type', 'veth', 'peer', 'name', 'other');
      await inside('sh', '-c', `echo 0 > /proc/sys/net/ipv4/conf/eth9/forwarding`);
      await inside('sh', '-c', `echo 64 > /proc/sys/net/ipv4/ip_default_ttl`);
    },
  });
  assert.equal(await output(config.id), '1\n77\n');
});
