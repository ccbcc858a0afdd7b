/** What the demo and the lab ask of the machine before they change it. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runProcess, type RunProcess } from '../../src/kit/process.ts';
import { missingOnHost, requireHost } from '../../src/lab/requirements.ts';
import { machineState } from './machine.ts';

/** A machine whose kernel refuses what the pattern names. */
const refusing =
  (pattern: RegExp): RunProcess =>
  (argv, options) =>
    pattern.test(argv.join(' ')) ? Promise.reject(new Error('not supported')) : runProcess(argv, options);

/** Programs of the test's own, to be found before the machine's. */
const standIn = (folder: string) => (name: string, script: string) =>
  writeFileSync(join(folder, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });

/** Of Debian: whether an installed service starts. */
const POLICY = '/usr/sbin/policy-rc.d';

test('this machine has everything', async () => {
  assert.deepEqual(await missingOnHost(), []);
});

test('the kernel is asked in namespaces that end with who asks: an interruption leaves none', async () => {
  const asked: string[] = [];
  const namespaces: string[] = [];
  await missingOnHost((argv, options) => {
    asked.push(argv.slice(0, 4).join(' '));
    namespaces.push(...(existsSync('/run/netns') ? readdirSync('/run/netns') : []));
    return runProcess(argv, options);
  });
  const programs = ['true', 'ip', 'ip', 'ip', 'nft'];
  assert.deepEqual(
    asked,
    programs.map((program) => `unshare --net -- ${program}`),
  );
  assert.deepEqual(
    namespaces.filter((name) => name.includes('probe')),
    [],
  );
});

test('a machine without namespaces is told so once', async () => {
  const missing = await missingOnHost(refusing(/unshare/));
  assert.deepEqual(
    missing.map(({ what, why }) => `${what}: ${why}`),
    ['the kernel feature network namespaces: each node has one of its own (not supported)'],
  );
});

test('a missing kernel feature is named, with why and how; nothing is changed', async () => {
  const before = await machineState('none');
  const vxlan = await missingOnHost(refusing(/vxlan/));
  assert.deepEqual(vxlan, [
    {
      what: 'the kernel feature vxlan links',
      why: 'one carries a network between nodes',
      how: "modprobe vxlan; or a kernel that has it (Debian's linux-image-amd64)",
    },
  ]);
  await assert.rejects(
    requireHost(refusing(/nft -f/)),
    /nothing was changed:\nmissing: the kernel feature nftables with NAT and maps\n {2}needed because/,
  );
  assert.deepEqual(await machineState('none'), before);
});

const RUN = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'scripts', 'run.mjs');

test('the kernel is asked for what it is needed for without any tool of the network', async () => {
  const script = join(dirname(RUN), 'kernel.pl');
  const lacks = async (...features: string[]) =>
    (await runProcess(['unshare', '--net', 'perl', script, ...features])).stdout;
  const rules = [
    'ip nat',
    'bridge filter',
    'rule nat',
    'rule masq',
    'rule fib',
    'rule numgen',
    'rule reject',
  ];
  assert.equal(await lacks('link veth', 'link bridge', 'link vxlan', ...rules), '');
  const nowhere = ['link nosuch', 'ip nosuch', 'bridge nat', 'rule nosuch'];
  assert.equal(await lacks('link veth', ...nowhere), `${nowhere.join('\n')}\n`);
  // Without a namespace of one's own and the right to it, the rules are refused.
  // The script is its input: nobody can not read where root may have cloned this to, in his own home.
  const asNobody = ['setpriv', '--reuid=65534', '--clear-groups', 'perl', '-', 'ip nat'];
  assert.equal((await runProcess(asNobody, { input: readFileSync(script, 'utf8') })).stdout, 'ip nat\n');
});

test('npm run demo says what the kernel lacks before it installs anything', async () => {
  const before = await machineState('none');
  const folder = mkdtempSync(join(tmpdir(), 'skein-no-vxlan-'));
  try {
    // The kernel is asked for a kind of link that it does not have, in the place of vxlan.
    standIn(folder)('perl', `/usr/bin/perl "$1" 'link nosuch' | sed s/nosuch/vxlan/`);
    const { code, stdout, stderr } = await runProcess([process.execPath, RUN, 'demo'], {
      env: { ...process.env, PATH: `${folder}:${process.env.PATH ?? ''}` },
      accept: [0, 1],
    });
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(
      stderr,
      /^This machine can not run it, and nothing was changed:\nmissing: the kernel feature vxlan links\n {2}needed because one carries a network between nodes\n {2}to get it: modprobe .*\n$/,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
  assert.deepEqual(await machineState('none'), before);
});

test('npm run demo asks for what containers stand on too, before it installs anything', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-no-overlay-'));
  try {
    standIn(folder)('modprobe', 'exit 1');
    standIn(folder)('apt-get', 'echo asked > "$0.asked"');
    const hidden = [
      'mount --bind /dev/null /proc/filesystems',
      'mount -t tmpfs none /sys/fs/cgroup',
      'exec "$@"',
    ];
    const argv = ['unshare', '--mount', 'sh', '-c', hidden.join(' && '), 'sh', process.execPath, RUN, 'demo'];
    const { code, stderr } = await runProcess(argv, {
      env: { ...process.env, PATH: `${folder}:${process.env.PATH ?? ''}` },
      accept: [0, 1],
    });
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^This machine can not run it, and nothing was changed:\nmissing: the kernel feature overlayfs\n {2}needed because it stacks the layers of an image\n {2}to get it: modprobe .*\nmissing: the kernel feature control groups at \/sys\/fs\/cgroup\n {2}needed because .*\n {2}to get it: in a container, run it privileged; .*\n$/,
    );
    assert.ok(!existsSync(join(folder, 'apt-get.asked')));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

for (const [whose, file, after] of [
  ['of its own', `rm -f ${POLICY}`, ''],
  ['that the host has', `echo exit 101 > ${POLICY}`, 'services are held\n'],
] as const)
  test(`an installation that fails, or is interrupted, leaves the host as it was: services held by a file ${whose}`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'skein-no-apt-'));
    try {
      const program = standIn(folder);
      program('dpkg', 'exit 1');
      const held = `test -e ${POLICY} && echo services are held >&2`;
      program('apt-get', `[ "$1" = --version ] && exit\n${held}\nkill -INT $PPID\nexit 100`);
      // In a folder of programs that nobody else sees.
      const layers = 'lowerdir=/usr/sbin,upperdir=/mnt/upper,workdir=/mnt/work';
      const script = [
        'mount -t tmpfs none /mnt && mkdir /mnt/upper /mnt/work || exit 2',
        `mount -t overlay none -o ${layers} /usr/sbin || exit 2`,
        `${file}\n"$@"\ncode=$?\n${held}\nexit $code`,
      ].join('\n');
      const argv = ['unshare', '--mount', 'sh', '-c', script, 'sh', process.execPath, RUN, 'demo'];
      const { code, stderr } = await runProcess(argv, {
        env: { ...process.env, PATH: `${folder}:${process.env.PATH ?? ''}` },
        accept: [0, 1],
      });
      assert.equal(code, 1);
      assert.match(stderr, /^Installing Debian packages:\n {2}containerd +runs the containers\n/);
      const end = `services are held\napt-get update -qq failed (exit 100)\n${after}`;
      assert.equal(stderr.slice(-end.length), end);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

test('an installation waits for another at work on the packages, says so once, and can be interrupted', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-busy-apt-'));
  try {
    const program = standIn(folder);
    program('dpkg', 'exit 1');
    const lock = 'E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)';
    const update = (after: number, then: string) =>
      [
        '[ "$1" = update ] || exit 100',
        `echo >> "$0.asked"; [ $(wc -l < "$0.asked") -gt ${after} ] && ${then}`,
        `echo "${lock}" >&2; exit 100`,
      ].join('\n');
    const run = () =>
      runProcess([process.execPath, RUN, 'demo'], {
        env: { ...process.env, PATH: `${folder}:${process.env.PATH ?? ''}` },
        accept: [0, 1],
      });
    const busy = "  another program is at work on this machine's packages; waiting for it to end\n";
    program('apt-get', update(2, 'exit 0'));
    const { code, stderr } = await run();
    assert.equal(code, 1);
    const words = /Reading the lists of packages \.\.\.\n([^]*)apt-get install .* failed \(exit 100\)\n$/;
    assert.equal(words.exec(stderr)?.[1], busy);
    rmSync(join(folder, 'apt-get.asked'));
    program('apt-get', update(1, 'kill -INT $PPID'));
    const interrupted = await run();
    assert.equal(interrupted.code, 1);
    const end = `${busy}${lock}\napt-get update -qq failed (exit 100)\n`;
    assert.equal(interrupted.stderr.slice(-end.length), end);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('an installation tells what comes, what comes with it, and how far it is', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-apt-'));
  try {
    const program = standIn(folder);
    program('dpkg', 'exit 1');
    const apt = [
      'case "$*" in',
      '*" -s "*) echo "Inst runc (1.1)"; echo "Inst libnftables1 (1.0)" ;;',
      '*Status-Fd*) for i in 41.7 41.8; do echo "pmstatus:runc:$i:Unpacking runc" >&3; done; exit 100 ;;',
      'esac',
    ];
    program('apt-get', apt.join('\n'));
    const { code, stderr } = await runProcess([process.execPath, RUN, 'demo'], {
      env: { ...process.env, PATH: `${folder}:${process.env.PATH ?? ''}` },
      accept: [0, 1],
    });
    assert.equal(code, 1);
    const end =
      / {2}busybox-static +content of the demo image\nReading the lists of packages \.\.\.\n {2}what they need +libnftables1\n {3}41 % {2}Unpacking runc\napt-get install containerd .* failed \(exit 100\)\n$/;
    assert.match(stderr, end);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a host with Docker's own packages keeps them: what they bring is there, and nothing is removed", async () => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-docker-ce-'));
  const program = standIn(folder);
  try {
    program('dpkg', '[ "$2" = containerd.io ] && echo "Status: install ok installed"');
    program('apt-get', 'echo "$@" >> "$0.asked"');
    program('systemctl', 'exit 0');
    const packages = "{ containerd: 'runs', runc: 'starts', nftables: 'mesh' }";
    const script = `import { installDebian } from '${join(dirname(RUN), 'debian.mjs')}'; await installDebian(${packages});`;
    await runProcess([process.execPath, '--input-type=module', '-e', script], {
      env: { ...process.env, PATH: `${folder}:${process.env.PATH ?? ''}` },
    });
    const asked = readFileSync(join(folder, 'apt-get.asked'), 'utf8').trimEnd().split('\n');
    const installs = asked.filter((line) => /^install\b/.test(line));
    assert.ok(installs.length > 0);
    for (const line of installs) assert.match(line, / --no-remove( -s| -o \S+)* nftables$/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a host that is no Debian is told what is needed, and left alone', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-no-debian-'));
  try {
    for (const program of ['unshare', 'perl', 'true'])
      symlinkSync(`/usr/bin/${program}`, join(folder, program));
    const argv = [process.execPath, RUN, 'demo'];
    const { code, stdout, stderr } = await runProcess(argv, { env: { PATH: folder }, accept: [0, 1] });
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(
      stderr,
      /^This is no Debian: there is no apt-get\. Nothing was changed\. Needed: containerd runc /,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

for (const script of ['demo', 'test', 'bench'])
  test(`npm run ${script} says first that it needs root, and why`, async () => {
    const nobody = 'data:text/javascript,process.getuid=()=>65534';
    const argv = [process.execPath, '--import', nobody, RUN, script];
    const { code, stdout, stderr } = await runProcess(argv, { accept: [0, 1] });
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(stderr, /^npm .* makes network namespaces and runs containerd: run it as root\.\n$/);
  });

test('a missing program is named with its Debian package', async () => {
  const path = process.env.PATH;
  process.env.PATH = '/nowhere';
  try {
    const missing = await missingOnHost();
    const containerd = missing.find(({ what }) => what === 'the program containerd');
    assert.equal(containerd?.how, 'apt-get install containerd');
  } finally {
    process.env.PATH = path;
  }
});

test('the services of what was installed are off at the next boot too', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-off-'));
  const program = standIn(folder);
  try {
    program('dpkg', '[ "$1" = -L ] && cat "$0.files"');
    const paths = ['etcd.service', 'etcd@.service', 'extra/docker.socket', 'docker.socket'];
    const listed = paths.map((path) => `/lib/systemd/system/${path}\n`).join('');
    writeFileSync(join(folder, 'dpkg.files'), `/usr/bin/etcd\n${listed}/etc/init.d/etcd\n`);
    program('apt-get', 'exit 0');
    program('systemctl', '[ "$1" = --version ] || echo "$@" > "$0.asked"');
    const script = `import { installDebian } from '${join(dirname(RUN), 'debian.mjs')}'; await installDebian({ etcd: 'store' });`;
    await runProcess([process.execPath, '--input-type=module', '-e', script], {
      env: { ...process.env, PATH: `${folder}:${process.env.PATH ?? ''}` },
    });
    const asked = readFileSync(join(folder, 'systemctl.asked'), 'utf8');
    assert.equal(asked, 'disable --quiet etcd.service docker.socket\n');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
