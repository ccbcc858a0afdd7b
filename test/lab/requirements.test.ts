/** What the demo and the lab ask of the machine before they change it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
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
