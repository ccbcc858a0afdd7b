/** Docker's defaults of a container: capabilities, paths, mounts, devices and system calls. Data only. */

/** All capabilities of Linux, by number: bit N of CapBnd is entry N. */
export const CAPABILITIES = (
  'CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE ' +
  'NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT ' +
  'SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP ' +
  'MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE'
)
  .split(' ')
  .map((name) => `CAP_${name}`);

export const DEFAULT_CAPABILITIES = (
  'CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL ' +
  'AUDIT_WRITE'
)
  .split(' ')
  .map((name) => `CAP_${name}`);

export const MASKED_PATHS = [
  '/proc/asound',
  '/proc/acpi',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
];

export const READONLY_PATHS = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

export interface OciMount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

const mount = (destination: string, type: string, source: string, options: string): OciMount => ({
  destination,
  type,
  source,
  options: options.split(','),
});

export const DEFAULT_MOUNTS: readonly OciMount[] = [
  mount('/proc', 'proc', 'proc', 'nosuid,noexec,nodev'),
  mount('/dev', 'tmpfs', 'tmpfs', 'nosuid,strictatime,mode=755,size=65536k'),
  mount('/dev/pts', 'devpts', 'devpts', 'nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5'),
  mount('/sys', 'sysfs', 'sysfs', 'nosuid,noexec,nodev,ro'),
  mount('/sys/fs/cgroup', 'cgroup', 'cgroup', 'ro,nosuid,noexec,nodev'),
  mount('/dev/mqueue', 'mqueue', 'mqueue', 'nosuid,noexec,nodev'),
  mount('/dev/shm', 'tmpfs', 'shm', 'nosuid,noexec,nodev,mode=1777,size=67108864'),
];

const device = (type: string, major: number | undefined, minor: number | undefined, access: string) => ({
  allow: true,
  type,
  ...(major !== undefined && { major }),
  ...(minor !== undefined && { minor }),
  access,
});

/** Nothing but making nodes, and null, zero, full, random, urandom, tty, console, ptmx and the pseudo terminals. */
export const DEVICE_RULES = [
  { allow: false, access: 'rwm' },
  device('c', undefined, undefined, 'm'),
  device('b', undefined, undefined, 'm'),
  ...[3, 5, 7, 8, 9].map((minor) => device('c', 1, minor, 'rwm')),
  ...[0, 1, 2].map((minor) => device('c', 5, minor, 'rwm')),
  device('c', 136, undefined, 'rwm'),
];

const EPERM = 1;
const ENOSYS = 38;
const CLONE_NAMESPACES = 0x7e020000; // CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET

/**
 * Why a deny list and not Docker's allow list: the allow list names some 360 calls and must grow with every kernel, or
 * programs break in ways that nobody connects with it. This list has the calls which Docker's profile withholds and
 * which reach the kernel as a whole: modules, kexec, reboot, mounts, namespaces, bpf, perf, keyrings, clocks, swap,
 * quota, raw memory policy, userfaultfd, io_uring, open_by_handle_at. What it gives up against Docker's: obsolete and
 * unknown calls are not refused. A group is left out where the container was given the capability that guards it.
 */
const DENIED: readonly { readonly unless: readonly string[]; readonly names: string }[] = [
  {
    unless: ['CAP_SYS_ADMIN'],
    names:
      'mount umount umount2 pivot_root setns unshare mount_setattr move_mount open_tree fsopen fsconfig fsmount ' +
      'fspick quotactl quotactl_fd fanotify_init lookup_dcookie sethostname setdomainname swapon swapoff',
  },
  { unless: ['CAP_SYS_ADMIN', 'CAP_BPF'], names: 'bpf' },
  { unless: ['CAP_SYS_ADMIN', 'CAP_PERFMON'], names: 'perf_event_open' },
  { unless: ['CAP_SYS_ADMIN', 'CAP_SYSLOG'], names: 'syslog' },
  { unless: ['CAP_SYS_MODULE'], names: 'init_module finit_module delete_module create_module query_module' },
  { unless: ['CAP_SYS_BOOT'], names: 'reboot kexec_load kexec_file_load' },
  {
    unless: ['CAP_SYS_TIME'],
    names: 'settimeofday stime clock_settime clock_settime64 clock_adjtime clock_adjtime64 adjtimex',
  },
  { unless: ['CAP_SYS_RAWIO'], names: 'iopl ioperm' },
  {
    unless: ['CAP_SYS_NICE'],
    names: 'get_mempolicy mbind set_mempolicy set_mempolicy_home_node migrate_pages move_pages',
  },
  { unless: ['CAP_DAC_READ_SEARCH'], names: 'open_by_handle_at' },
  { unless: ['CAP_SYS_PACCT'], names: 'acct' },
  { unless: ['CAP_SYS_TTY_CONFIG'], names: 'vhangup' },
  {
    unless: [],
    names:
      'add_key request_key keyctl userfaultfd io_uring_setup io_uring_enter io_uring_register nfsservctl _sysctl ' +
      'sysfs uselib ustat vm86 vm86old get_kernel_syms',
  },
];

const ARCHITECTURES: Readonly<Record<string, readonly string[]>> = {
  x64: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
  arm64: ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'],
};

/** The filter for a container with these capabilities on a machine of this architecture (Node's name for it). */
export function seccomp(capabilities: ReadonlySet<string>, arch: string): object {
  const deny = (names: string[], more: object = {}) => ({
    names,
    action: 'SCMP_ACT_ERRNO',
    errnoRet: EPERM,
    ...more,
  });
  const syscalls: object[] = DENIED.filter((group) => !group.unless.some((c) => capabilities.has(c))).map(
    (g) => deny(g.names.split(' ')),
  );
  if (!capabilities.has('CAP_SYS_ADMIN')) {
    // A seccomp filter cannot look into clone3's arguments; without it libc falls back to clone, whose flags it can.
    syscalls.push({ names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS });
    for (let bit = 1; bit > 0 && bit <= CLONE_NAMESPACES; bit *= 2) {
      if ((CLONE_NAMESPACES & bit) === 0) continue;
      const args = [{ index: 0, value: bit, valueTwo: bit, op: 'SCMP_CMP_MASKED_EQ' }];
      syscalls.push(deny(['clone'], { args }));
    }
  }
  return { defaultAction: 'SCMP_ACT_ALLOW', architectures: ARCHITECTURES[arch] ?? [], syscalls };
}
