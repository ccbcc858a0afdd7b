/**
 * What the machine must offer before anything is changed on it. Each requirement is tried, not guessed from a version:
 * the error says which is missing, why it is needed and how to get it.
 */
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { delimiter, join } from 'node:path';
import { type RunProcess, runProcess } from '../kit/process.ts';
import { SkeinError } from '../model/errors.ts';
import { createNetns, removeNetns } from '../kit/netns.ts';

export interface Missing {
  readonly what: string;
  readonly why: string;
  readonly how: string;
}

const PROGRAMS: readonly (readonly [program: string, debianPackage: string, why: string])[] = [
  ['containerd', 'containerd', 'runs the containers'],
  ['runc', 'runc', 'starts the containers'],
  ['etcd', 'etcd-server', 'is the replicated store'],
  ['nft', 'nftables', 'holds the routing mesh'],
  ['ip', 'iproute2', 'makes links, addresses and routes'],
  ['nsenter', 'util-linux', 'starts each node in its namespace'],
  ['busybox', 'busybox-static', 'is the content of the demo image'],
];

const LINKS: readonly (readonly [kind: string, spec: readonly string[], module: string, why: string])[] = [
  [
    'veth',
    ['type', 'veth', 'peer', 'name', 'probe1'],
    'veth',
    'joins containers and nodes to their networks',
  ],
  ['bridge', ['type', 'bridge'], 'bridge', "is a network's segment on each node"],
  ['vxlan', ['type', 'vxlan', 'id', '1', 'dstport', '4789'], 'vxlan', 'carries a network between nodes'],
];

/** What the routing mesh and the lab load into nftables, small. */
const RULES = `table ip probe {
  map backends { type ipv4_addr . inet_service : ipv4_addr . inet_service; }
  chain prerouting {
    type nat hook prerouting priority -100;
    dnat ip to ip daddr . tcp dport map @backends
  }
  chain postrouting { type nat hook postrouting priority 100; masquerade; }
}
table bridge probe {
  chain forward { type filter hook forward priority 0; iifname "probe0" drop; }
}
`;

/** Whether the program is on the path, or where root's programs are. */
export function hasProgram(name: string): boolean {
  const path = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`;
  return path.split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

export async function missingOnHost(run: RunProcess = runProcess): Promise<readonly Missing[]> {
  if (process.getuid?.() !== 0)
    return [
      {
        what: 'root',
        why: 'network namespaces, links and containers are made',
        how: 'run the command as root (sudo)',
      },
    ];
  const missing: Missing[] = PROGRAMS.filter(([program]) => !hasProgram(program)).map(
    ([program, pkg, why]) => ({
      what: `the program ${program}`,
      why: `it ${why}`,
      how: `apt-get install ${pkg}`,
    }),
  );
  if (!/\boverlay\b/.test(readFileSync('/proc/filesystems', 'utf8')) && !(await loads('overlay', run)))
    missing.push(kernel('overlayfs', 'it stacks the layers of an image', 'overlay'));
  if (!existsSync('/sys/fs/cgroup/memory') && !existsSync('/sys/fs/cgroup/cgroup.controllers'))
    missing.push({
      what: 'the cgroup file system at /sys/fs/cgroup',
      why: 'runc limits and accounts containers with it',
      how: 'mount it: systemd does so on a Debian host; in a container, run it privileged',
    });
  if (missing.length === 0) missing.push(...(await missingInNetwork(run)));
  return missing;
}

const kernel = (what: string, why: string, module: string): Missing => ({
  what: `the kernel feature ${what}`,
  why,
  how: `modprobe ${module}; or a kernel that has it (Debian's linux-image-amd64)`,
});

async function loads(module: string, run: RunProcess): Promise<boolean> {
  try {
    await run(['modprobe', module]);
    return true;
  } catch {
    return false;
  }
}

/** Tries every kind of link and rule in a namespace that is gone afterwards. */
async function missingInNetwork(run: RunProcess): Promise<readonly Missing[]> {
  const name = `skein-probe-${randomBytes(4).toString('hex')}`;
  const path = `/run/netns/${name}`;
  const missing: Missing[] = [];
  try {
    createNetns(path);
  } catch (error) {
    const why = `each node has one of its own (${SkeinError.from(error).message})`;
    return [kernel('network namespaces', why, 'nothing to load')];
  }
  try {
    for (const [kind, spec, module, why] of LINKS) {
      const argv = ['ip', '-n', name, 'link', 'add', `probe-${kind}`, ...spec];
      if (!(await works(argv, run))) missing.push(kernel(`${kind} links`, `one ${why}`, module));
    }
    if (!(await works(['nsenter', `--net=${path}`, 'nft', '-f', '-'], run, RULES)))
      missing.push(
        kernel('nftables with NAT and maps', 'the routing mesh is made of it', 'nft_nat nft_masq'),
      );
  } finally {
    removeNetns(path);
  }
  return missing;
}

async function works(argv: readonly string[], run: RunProcess, input = ''): Promise<boolean> {
  try {
    await run(argv, { input });
    return true;
  } catch {
    return false;
  }
}

export const renderMissing = (missing: readonly Missing[]): string =>
  missing
    .map(({ what, why, how }) => `missing: ${what}\n  needed because ${why}\n  to get it: ${how}`)
    .join('\n');

/** Throws with everything that is missing; changes nothing. */
export async function requireHost(run: RunProcess = runProcess): Promise<void> {
  const missing = await missingOnHost(run);
  if (missing.length > 0)
    throw new SkeinError(
      'failed-precondition',
      `this machine can not run it, and nothing was changed:\n${renderMissing(missing)}`,
    );
}
