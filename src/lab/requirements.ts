/**
 * What the machine must offer before anything is changed on it. Each requirement is tried, not guessed from a version:
 * the error says which is missing, why it is needed and how to get it.
 */
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { type RunProcess, runProcess } from '../kit/process.ts';
import { SkeinError } from '../model/errors.ts';

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
  map slots { typeof tcp dport . numgen inc mod 2 : ip daddr . tcp dport; }
  map published { type inet_proto . inet_service . classid : verdict; }
  map counts { type inet_proto . inet_service : classid; }
  chain choose {
    meta l4proto tcp ct mark set ct mark or 0x1 dnat ip to tcp dport . numgen inc mod 2 map @slots
  }
  chain balance {
    meta l4proto . th dport . meta priority vmap @published
    meta l4proto tcp reject with tcp reset
  }
  chain clamp {
    type filter hook prerouting priority -150;
    tcp flags & (syn | rst) == syn tcp option maxseg size set 1410
  }
  chain prerouting {
    type nat hook prerouting priority -100;
    fib daddr type local meta priority set meta l4proto . th dport map @counts goto balance
  }
  chain postrouting { type nat hook postrouting priority 100; ct status dnat masquerade; }
}
table bridge probe {
  chain forward { type filter hook forward priority 0; iifname "probe0" drop; }
}
`;
const RULES_MODULES = 'nft_nat nft_masq nft_ct nft_fib_ipv4 nft_numgen nft_reject_ipv4';

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

/** A namespace that ends with the one program in it: nothing can be left of it, however this ends. */
const APART = ['unshare', '--net', '--'];

/** Tries a namespace, then every kind of link and rule, each in one of its own. */
async function missingInNetwork(run: RunProcess): Promise<readonly Missing[]> {
  const refused = await whyNot([...APART, 'true'], run);
  if (refused !== undefined)
    return [
      {
        what: 'the kernel feature network namespaces',
        why: `each node has one of its own (${refused})`,
        how: "in a container, run it privileged; else boot a kernel that has it (Debian's linux-image-amd64)",
      },
    ];
  const missing: Missing[] = [];
  for (const [kind, spec, module, why] of LINKS) {
    const argv = [...APART, 'ip', 'link', 'add', `probe-${kind}`, ...spec];
    if (await whyNot(argv, run)) missing.push(kernel(`${kind} links`, `one ${why}`, module));
  }
  if (await whyNot([...APART, 'nft', '-f', '-'], run, RULES))
    missing.push(
      kernel('nftables with NAT and maps', 'the routing mesh is made of it', `-a ${RULES_MODULES}`),
    );
  return missing;
}

async function whyNot(argv: readonly string[], run: RunProcess, input = ''): Promise<string | undefined> {
  try {
    await run(argv, { input });
    return undefined;
  } catch (error) {
    return SkeinError.from(error).message;
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
