/** What this machine and this daemon can give a container, read once from /proc and /sys. */
import { existsSync, readFileSync } from 'node:fs';
import { CAPABILITIES } from './oci-defaults.ts';
import type { HostLimits } from './oci-spec.ts';

const LIMITS: Readonly<Record<string, string>> = {
  'Max cpu time': 'RLIMIT_CPU',
  'Max file size': 'RLIMIT_FSIZE',
  'Max data size': 'RLIMIT_DATA',
  'Max stack size': 'RLIMIT_STACK',
  'Max core file size': 'RLIMIT_CORE',
  'Max resident set': 'RLIMIT_RSS',
  'Max processes': 'RLIMIT_NPROC',
  'Max open files': 'RLIMIT_NOFILE',
  'Max locked memory': 'RLIMIT_MEMLOCK',
  'Max address space': 'RLIMIT_AS',
  'Max file locks': 'RLIMIT_LOCKS',
  'Max pending signals': 'RLIMIT_SIGPENDING',
  'Max msgqueue size': 'RLIMIT_MSGQUEUE',
  'Max nice priority': 'RLIMIT_NICE',
  'Max realtime priority': 'RLIMIT_RTPRIO',
  'Max realtime timeout': 'RLIMIT_RTTIME',
};

const INIT_PATHS = [
  '/usr/bin/docker-init',
  '/usr/libexec/docker/docker-init',
  '/usr/bin/tini-static',
  '/sbin/tini',
];

/** `Max open files   1024   20000   files`: hard limits by OCI name; "unlimited" is left out. */
function hardLimits(text: string): Record<string, number> {
  const limits: Record<string, number> = {};
  for (const line of text.split('\n')) {
    const [name = '', , hard = ''] = line.split(/\s{2,}/);
    const type = LIMITS[name];
    if (type && /^\d+$/.test(hard)) limits[type] = Number(hard);
  }
  return limits;
}

function boundingSet(status: string): Set<string> {
  const bits = BigInt(`0x${/^CapBnd:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  return new Set(CAPABILITIES.filter((_, bit) => ((bits >> BigInt(bit)) & 1n) === 1n));
}

export function readHostLimits(): HostLimits {
  const capabilities = boundingSet(readFileSync('/proc/self/status', 'utf8'));
  return {
    arch: process.arch,
    cgroupVersion: existsSync('/sys/fs/cgroup/cgroup.controllers') ? 2 : 1,
    capabilities,
    hardLimits: hardLimits(readFileSync('/proc/self/limits', 'utf8')),
    oomScoreAdj: Number(readFileSync('/proc/self/oom_score_adj', 'utf8')),
    maxOpenFiles: Number(readFileSync('/proc/sys/fs/nr_open', 'utf8')),
    sysResource: capabilities.has('CAP_SYS_RESOURCE'),
    swapAccounting:
      existsSync('/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes') ||
      existsSync('/sys/fs/cgroup/cgroup.controllers'),
    initPath: INIT_PATHS.find((path) => existsSync(path)),
  };
}
