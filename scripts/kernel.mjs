// What the kernel must have, tried before anything is changed; the `skein` command tries all of it again, and more.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { root, say } from './node.mjs';

const NAMESPACES = 'network namespaces';
/** By the words of kernel.pl, what each is and why it must be there. */
const FEATURES = {
  'link veth': ['veth links', 'they join containers and nodes to networks'],
  'link bridge': ['bridge links', "one is a network's segment on each node"],
  'link vxlan': ['vxlan links', 'one carries a network between nodes'],
  nat: ['nftables with NAT', 'the routing mesh is made of it'],
};

export function needKernel() {
  const missing = missingInKernel();
  if (missing.length === 0) return;
  say('This machine can not run it, and nothing was changed:');
  for (const [what, why] of missing)
    say(
      `missing: the kernel feature ${what}\n  needed because ${why}\n` +
        "  to get it: modprobe its module, or boot a kernel that has it (Debian's linux-image-amd64)",
    );
  process.exit(1);
}

function missingInKernel() {
  if (spawnSync('unshare', ['--net', 'true']).status !== 0)
    return [[NAMESPACES, 'each node and container has one of its own']];
  const asked = ['--net', 'perl', join(root, 'scripts', 'kernel.pl'), ...Object.keys(FEATURES)];
  const { stdout } = spawnSync('unshare', asked, { encoding: 'utf8' });
  return stdout
    .split('\n')
    .filter(Boolean)
    .map((feature) => FEATURES[feature]);
}
