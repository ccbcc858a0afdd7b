// What the kernel must have, tried before anything is changed; the `skein` command tries it again with its own tools.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, say } from './node.mjs';

const GET = "modprobe its module, or boot a kernel that has it (Debian's linux-image-amd64)";
const GET_RIGHTS = 'in a container, run it privileged; else ';

const NAMESPACES = {
  what: 'network namespaces',
  why: 'each node and container has one of its own',
  how: `${GET_RIGHTS}boot a kernel that has them (Debian's linux-image-amd64)`,
};
const OVERLAY = { what: 'overlayfs', why: 'it stacks the layers of an image', how: GET };
const CGROUPS = {
  what: 'control groups at /sys/fs/cgroup',
  why: 'containers are limited and accounted by them',
  how: `${GET_RIGHTS}mount them, as systemd does`,
};
/** With what kernel.pl is asked for each. */
const IN_NETWORK = [
  {
    asked: ['link veth'],
    what: 'veth links',
    why: 'they join containers and nodes to networks',
    how: GET,
  },
  {
    asked: ['link bridge'],
    what: 'bridge links',
    why: "one is a network's segment on each node",
    how: GET,
  },
  {
    asked: ['link vxlan'],
    what: 'vxlan links',
    why: 'one carries a network between nodes',
    how: GET,
  },
  {
    asked: ['ip nat', ...['nat', 'masq', 'ct', 'fib', 'numgen', 'reject'].map((name) => `rule ${name}`)],
    what: 'nftables with NAT',
    why: 'the routing mesh is made of it',
    how: GET,
  },
  {
    asked: ['bridge filter'],
    what: 'nftables on bridges',
    why: 'the lab cuts nodes off with it',
    how: GET,
  },
];

export function needKernel() {
  const missing = missingInKernel();
  if (missing.length === 0) return;
  say('This machine can not run it, and nothing was changed:');
  for (const { what, why, how } of missing)
    say(`missing: the kernel feature ${what}\n  needed because ${why}\n  to get it: ${how}`);
  process.exit(1);
}

function missingInKernel() {
  if (spawnSync('unshare', ['--net', 'true']).status !== 0) return [NAMESPACES];
  const asked = IN_NETWORK.flatMap((feature) => feature.asked);
  const argv = ['--net', 'perl', join(root, 'scripts', 'kernel.pl'), ...asked];
  const lacks = spawnSync('unshare', argv, { encoding: 'utf8' }).stdout.split('\n');
  return [
    ...IN_NETWORK.filter((feature) => feature.asked.some((each) => lacks.includes(each))),
    ...(hasOverlay() ? [] : [OVERLAY]),
    ...(hasCgroups() ? [] : [CGROUPS]),
  ];
}

const hasOverlay = () =>
  /\boverlay\b/.test(readFileSync('/proc/filesystems', 'utf8')) ||
  spawnSync('modprobe', ['overlay']).status === 0;

/** Version 2, or version 1 with what limits memory. */
const hasCgroups = () =>
  ['cgroup.controllers', 'memory'].some((name) => existsSync(join('/sys/fs/cgroup', name)));
