/** What the demo and the lab ask of the machine before they change it. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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

test('this machine has everything', async () => {
  assert.deepEqual(await missingOnHost(), []);
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

test('npm run demo says what the kernel lacks before it installs anything', async () => {
  const before = await machineState('none');
  const folder = mkdtempSync(join(tmpdir(), 'skein-no-vxlan-'));
  try {
    const ip = '#!/bin/sh\ncase "$*" in *vxlan*) exit 2;; esac\nexec /sbin/ip "$@"\n';
    writeFileSync(join(folder, 'ip'), ip, { mode: 0o755 });
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

test('an installation that fails, or is interrupted, leaves the host as it was', async () => {
  const policy = '/usr/sbin/policy-rc.d';
  const before = existsSync(policy);
  const folder = mkdtempSync(join(tmpdir(), 'skein-no-apt-'));
  try {
    writeFileSync(join(folder, 'dpkg'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
    const apt = `#!/bin/sh\ntest -e ${policy} && echo services are held >&2\nkill -INT $PPID\nexit 100\n`;
    writeFileSync(join(folder, 'apt-get'), apt, { mode: 0o755 });
    const { code, stderr } = await runProcess([process.execPath, RUN, 'demo'], {
      env: { ...process.env, PATH: `${folder}:${process.env.PATH ?? ''}` },
      accept: [0, 1],
    });
    assert.equal(code, 1);
    assert.match(stderr, /^Installing Debian packages:\n {2}containerd +runs the containers\n/);
    assert.match(stderr, /services are held\napt-get update -qq failed \(exit 100\)\n$/);
    assert.equal(existsSync(policy), before);
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
