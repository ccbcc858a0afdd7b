import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerId } from '../model/ids.ts';
import type { ContainerSpec } from '../model/spec.ts';
import { CAPABILITIES, DEFAULT_CAPABILITIES } from './oci-defaults.ts';
import { capabilitiesOf, type HostLimits, type ImageRunConfig, ociSpec, type SpecInput } from './oci-spec.ts';
import type { ContainerConfig } from './runtime.ts';
import { findUser } from './user.ts';

const host: HostLimits = {
  arch: 'x64',
  cgroupVersion: 1,
  capabilities: new Set(CAPABILITIES.filter((name) => name !== 'CAP_SYS_RESOURCE')),
  hardLimits: { RLIMIT_NOFILE: 20000 },
  oomScoreAdj: 0,
  maxOpenFiles: 1048576,
  sysResource: false,
  swapAccounting: true,
  initPath: undefined,
};

const container = (spec: Partial<ContainerSpec>, more: Partial<ContainerConfig> = {}): ContainerConfig => ({
  id: 'c'.repeat(64) as ContainerId,
  name: 'web.1.x',
  image: 'web',
  spec: { Image: 'web', ...spec },
  limits: undefined,
  hostname: 'h1',
  netnsPath: '/run/n',
  files: {},
  labels: {},
  ...more,
});

interface Spec {
  process: {
    args: string[];
    env: string[];
    rlimits: object[];
    oomScoreAdj: number;
    cwd: string;
    terminal: boolean;
    noNewPrivileges: boolean;
    user: object;
  };
  root: { readonly: boolean };
  hostname: string;
  mounts: { destination: string; source: string; options: string[] }[];
  linux: {
    cgroupsPath: string;
    sysctl: Record<string, string>;
    rootfsPropagation?: string;
    resources: Record<string, unknown>;
    namespaces: { type: string; path?: string }[];
    seccomp?: { syscalls: { names: string[] }[] };
  };
}

const spec = (
  wish: Partial<ContainerSpec>,
  image: ImageRunConfig = { Cmd: ['/bin/web'] },
  more: Partial<SpecInput> = {},
): Spec =>
  ociSpec({
    config: container(wish),
    image,
    users: { passwd: '', group: '' },
    mounts: [],
    cgroupParent: 'skein',
    host,
    ...more,
  }) as Spec;

test('command and arguments: what the user says replaces what the image says, as in Docker', () => {
  const image = { Entrypoint: ['/entry'], Cmd: ['a', 'b'] };
  assert.deepEqual(spec({}, image).process.args, ['/entry', 'a', 'b']);
  assert.deepEqual(spec({ Args: ['c'] }, image).process.args, ['/entry', 'c']);
  assert.deepEqual(spec({ Command: ['/own'] }, image).process.args, ['/own']);
  assert.deepEqual(spec({ Command: ['/own'], Args: ['c'] }, image).process.args, ['/own', 'c']);
  assert.throws(() => spec({}, {}), { code: 'invalid-argument', message: 'no command specified' });
  assert.throws(() => spec({ Init: true }, image), {
    code: 'failed-precondition',
    message: /no init binary/,
  });
});

test('environment: PATH and HOSTNAME first, the image, then the user; a bare name removes', () => {
  const { env } = spec(
    { Env: ['A=2', 'B', 'C=x=y'] },
    { Cmd: ['x'], Env: ['A=1', 'B=1', 'PATH=/bin'] },
  ).process;
  assert.deepEqual(env, ['PATH=/bin', 'HOSTNAME=h1', 'A=2', 'C=x=y']);
});

test('what is not said is what the image or Docker says', () => {
  const { process, root, hostname, linux } = spec({});
  assert.deepEqual([process.cwd, process.terminal, process.noNewPrivileges], ['/', false, false]);
  assert.deepEqual([process.rlimits, process.oomScoreAdj, root.readonly, hostname], [[], 0, false, 'h1']);
  assert.deepEqual(linux.sysctl, {
    'net.ipv4.ip_unprivileged_port_start': '0',
    'net.ipv4.ping_group_range': '0 2147483647',
  });
  assert.deepEqual(Object.keys(linux.resources), ['devices']);
  assert.ok(linux.seccomp);
  const image = { Cmd: ['x'], WorkingDir: '/srv', User: '7:8' };
  assert.equal(spec({}, image).process.cwd, '/srv');
  assert.deepEqual(spec({}, image).process.user, { uid: 7, gid: 8, additionalGids: [8] });
});

test('directory, user, groups, terminal, read-only root, sysctls and privileges are as asked', () => {
  const { process, root, linux } = spec(
    {
      ...{ Dir: '/d', User: '5', Groups: ['6'], TTY: true, ReadOnly: true, Sysctls: { 'net.x': '1' } },
      Privileges: { NoNewPrivileges: true, Seccomp: { Mode: 'unconfined' } },
    },
    { Cmd: ['x'], WorkingDir: '/srv', User: '7' },
  );
  assert.deepEqual([process.cwd, process.terminal, process.noNewPrivileges], ['/d', true, true]);
  assert.deepEqual(process.user, { uid: 5, gid: 0, additionalGids: [0, 6] });
  assert.ok(process.env.includes('TERM=xterm'));
  assert.equal(root.readonly, true);
  assert.equal(linux.sysctl['net.x'], '1');
  assert.equal(linux.seccomp, undefined);
});

test('with an init the command runs below it', () => {
  const initPath = '/usr/bin/docker-init';
  const { process, mounts } = spec({ Init: true }, undefined, { host: { ...host, initPath } });
  assert.deepEqual(process.args, ['/sbin/docker-init', '--', '/bin/web']);
  const found = mounts.find((mount) => mount.source === initPath);
  assert.deepEqual([found?.destination, found?.options], ['/sbin/docker-init', ['bind', 'ro']]);
});

test('the container may change its own files unless its root is read-only, and never what it was given', () => {
  const files = { '/etc/hosts': '/a', '/run/secrets/key': '/b' };
  const access = (ReadOnly: boolean) =>
    spec({}, undefined, { config: container({ ReadOnly }, { files }) })
      .mounts.filter((mount) => mount.destination in files)
      .map((mount) => [mount.destination, mount.source, mount.options.at(-1)]);
  assert.deepEqual(access(false), [
    ['/etc/hosts', '/a', 'rw'],
    ['/run/secrets/key', '/b', 'ro'],
  ]);
  assert.deepEqual(access(true), [
    ['/etc/hosts', '/a', 'ro'],
    ['/run/secrets/key', '/b', 'ro'],
  ]);
});

test('mounts that are seen on the other side ask the same of the root', () => {
  const of = (option: string) =>
    spec({}, undefined, {
      mounts: [{ destination: '/b', type: 'bind', source: '/s', options: ['rbind', option] }],
    }).linux.rootfsPropagation;
  assert.deepEqual(['rprivate', 'rslave', 'slave', 'rshared', 'shared'].map(of), [
    ...[undefined, 'slave', 'slave', 'shared', 'shared'],
  ]);
});

test('ulimits: no limit is said by -1, and soft is never above hard; the OOM score within its bounds', () => {
  const free = { ...host, sysResource: true };
  const Ulimits = [
    { Name: 'core', Soft: -1, Hard: -1 },
    { Name: 'nproc', Soft: 9, Hard: 5 },
  ];
  const { rlimits, oomScoreAdj } = spec({ Ulimits, OomScoreAdj: -5000 }, undefined, { host: free }).process;
  assert.deepEqual(rlimits, [
    { type: 'RLIMIT_CORE', soft: 2 ** 53 - 1, hard: 2 ** 53 - 1 },
    { type: 'RLIMIT_NPROC', soft: 5, hard: 5 },
  ]);
  assert.equal(oomScoreAdj, -1000);
  assert.equal(spec({ OomScoreAdj: 321 }, undefined, { host: free }).process.oomScoreAdj, 321);
});

test('capabilities: defaults, additions, removals, ALL on either side, never more than the daemon has', () => {
  const of = (CapabilityAdd: string[], CapabilityDrop: string[]) =>
    capabilitiesOf({ Image: '', CapabilityAdd, CapabilityDrop }, host);
  assert.deepEqual(new Set(of([], [])), new Set(DEFAULT_CAPABILITIES));
  assert.deepEqual(of(['NET_ADMIN', 'cap_kill'], ['ALL']), ['CAP_KILL', 'CAP_NET_ADMIN']);
  assert.ok(!of([], ['CHOWN']).includes('CAP_CHOWN'));
  const all = of(['ALL'], ['CAP_MKNOD']);
  assert.equal(all.length, CAPABILITIES.length - 2);
  assert.throws(() => of(['FOO'], []), { message: /unknown capability: "FOO"/ });
  assert.throws(() => of(['SYS_RESOURCE'], []), { message: /not available in the current environment/ });
});

test('nobody opens more files than the kernel lets one process have, be it root', () => {
  const most = (Soft: number, Hard: number) =>
    spec({ Ulimits: [{ Name: 'nofile', Soft, Hard }] }, undefined, { host: { ...host, sysResource: true } })
      .process.rlimits[0];
  const all = { type: 'RLIMIT_NOFILE', soft: 1048576, hard: 1048576 };
  assert.deepEqual([most(2e6, 2e6), most(-1, -1)], [all, all]);
  assert.deepEqual(most(100, 200), { ...all, soft: 100, hard: 200 });
});

test('limits become cgroup values; ulimits and the OOM score stay within what the daemon may give', () => {
  const { linux, process } = spec(
    { Ulimits: [{ Name: 'nofile', Soft: 100, Hard: 1e6 }], OomScoreAdj: -500 },
    undefined,
    {
      config: container(
        { Ulimits: [{ Name: 'nofile', Soft: 100, Hard: 1e6 }], OomScoreAdj: -500 },
        { limits: { NanoCPUs: 500_000_000, MemoryBytes: 1 << 26, Pids: 64 } },
      ),
    },
  );
  assert.deepEqual(linux.resources.cpu, { period: 100_000, quota: 50_000 });
  assert.deepEqual(linux.resources.memory, { limit: 1 << 26, swap: 1 << 27 });
  assert.deepEqual(linux.resources.pids, { limit: 64 });
  assert.equal(linux.cgroupsPath, `/skein/${'c'.repeat(64)}`);
  assert.deepEqual(process.rlimits, [{ type: 'RLIMIT_NOFILE', soft: 100, hard: 20000 }]);
  assert.equal(process.oomScoreAdj, 0);
});

test('a mount over a default takes its place, and parents come before children', () => {
  const bind = (destination: string) => ({ destination, type: 'bind', source: '/s', options: ['rbind'] });
  const { mounts } = spec({}, undefined, { mounts: [bind('/data/a/b'), bind('/data'), bind('/dev/shm')] });
  const order = mounts.map((m) => m.destination);
  assert.equal(order.filter((d) => d === '/dev/shm').length, 1);
  assert.ok(order.indexOf('/data') < order.indexOf('/data/a/b'));
});

test('the cgroup namespace and the seccomp groups follow the host and the capabilities', () => {
  const types = (s: Spec) => s.linux.namespaces.map((n) => n.type);
  assert.ok(!types(spec({})).includes('cgroup'));
  assert.ok(types(spec({}, undefined, { host: { ...host, cgroupVersion: 2 } })).includes('cgroup'));
  const denied = (s: Spec) => new Set(s.linux.seccomp?.syscalls.flatMap((rule) => rule.names));
  assert.ok(denied(spec({})).has('mount') && denied(spec({})).has('clone3'));
  assert.ok(!denied(spec({ CapabilityAdd: ['SYS_ADMIN'] })).has('mount'));
  assert.ok(denied(spec({ CapabilityAdd: ['SYS_ADMIN'] })).has('keyctl'));
});

test('users by number and name, groups by membership, and the words for an unknown one', () => {
  const database = {
    passwd: 'root:x:0:0::/:/bin/sh\nweb:x:101:102::/:/bin/sh\n',
    group: 'root:x:0:\nweb:x:102:\nlog:x:4:web,other\nssl:x:33:\n',
  };
  assert.deepEqual(findUser('', [], database), { uid: 0, gid: 0, additionalGids: [0] });
  assert.deepEqual(findUser('web', [], database), { uid: 101, gid: 102, additionalGids: [102, 4] });
  assert.deepEqual(findUser('101', ['ssl', '7'], database), {
    uid: 101,
    gid: 102,
    additionalGids: [102, 4, 33, 7],
  });
  assert.deepEqual(findUser('55:log', [], database), { uid: 55, gid: 4, additionalGids: [4] });
  assert.throws(() => findUser('nobody', [], database), {
    message: 'unable to find user nobody: no matching entries in passwd file',
  });
});
