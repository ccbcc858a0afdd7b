/**
 * What a container uses, read from its cgroup (v1 or v2) and from its network namespace. The files are the kernel's
 * own interface, the same under every containerd; its Metrics call gives the same numbers in two forms.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { USER_HZ } from '../kit/user-hz.ts';

export interface Usage {
  readonly cpu: { readonly total: number; readonly user: number; readonly kernel: number };
  /** Of all processors since boot, ns: what a share is a share of. */
  readonly system: number;
  readonly memory: { readonly usage: number; readonly limit: number; readonly inactiveFile: number };
  readonly pids: number;
  readonly networks: Readonly<Record<string, Counters>>;
}

export interface Counters {
  readonly rxBytes: number;
  readonly rxPackets: number;
  readonly rxErrors: number;
  readonly rxDropped: number;
  readonly txBytes: number;
  readonly txPackets: number;
  readonly txErrors: number;
  readonly txDropped: number;
}

const ROOT = '/sys/fs/cgroup';
const NS_PER_TICK = 1e9 / USER_HZ;
const NS_PER_USEC = 1000;

export async function readUsage(
  cgroup: string,
  version: 1 | 2,
  pid: number,
  memoryTotal: number,
  root = ROOT,
): Promise<Usage> {
  const [own, stat, dev] = await Promise.all([
    version === 2 ? unified(join(root, cgroup)) : split(root, cgroup),
    readFile('/proc/stat', 'utf8'),
    readFile(`/proc/${pid}/net/dev`, 'utf8').catch(() => ''),
  ]);
  const { memory } = own;
  const limit = memory.limit > 0 && memory.limit < memoryTotal ? memory.limit : memoryTotal;
  return { ...own, memory: { ...memory, limit }, system: systemTime(stat), networks: networkCounters(dev) };
}

async function unified(folder: string): Promise<Pick<Usage, 'cpu' | 'memory' | 'pids'>> {
  const read = (name: string) => text(join(folder, name));
  const [cpu, current, max, stat, pids] = await Promise.all(
    ['cpu.stat', 'memory.current', 'memory.max', 'memory.stat', 'pids.current'].map(read),
  );
  return {
    cpu: {
      total: field(cpu!, 'usage_usec') * NS_PER_USEC,
      user: field(cpu!, 'user_usec') * NS_PER_USEC,
      kernel: field(cpu!, 'system_usec') * NS_PER_USEC,
    },
    memory: { usage: Number(current), limit: Number(max) || 0, inactiveFile: field(stat!, 'inactive_file') },
    pids: Number(pids),
  };
}

async function split(root: string, cgroup: string): Promise<Pick<Usage, 'cpu' | 'memory' | 'pids'>> {
  const read = (path: string) => {
    const [controller = '', name = ''] = path.split('/');
    return text(join(root, controller, cgroup, name));
  };
  const [total, ticks, usage, limit, stat, pids] = await Promise.all(
    [
      'cpuacct/cpuacct.usage',
      'cpuacct/cpuacct.stat',
      'memory/memory.usage_in_bytes',
      'memory/memory.limit_in_bytes',
      'memory/memory.stat',
      'pids/pids.current',
    ].map(read),
  );
  return {
    cpu: {
      total: Number(total),
      user: field(ticks!, 'user') * NS_PER_TICK,
      kernel: field(ticks!, 'system') * NS_PER_TICK,
    },
    memory: { usage: Number(usage), limit: Number(limit), inactiveFile: field(stat!, 'total_inactive_file') },
    pids: Number(pids),
  };
}

/** Empty where the kernel has no such file: the number is 0 then. */
const text = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '');

const field = (lines: string, name: string): number =>
  Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(lines)?.[1] ?? 0);

/** The first line: user nice system idle iowait irq softirq steal, in ticks. */
export const systemTime = (stat: string): number =>
  (/^cpu +(.*)$/m.exec(stat)?.[1] ?? '')
    .split(' ')
    .slice(0, 8)
    .reduce((sum, ticks) => sum + Number(ticks) * NS_PER_TICK, 0);

/** Of `/proc/PID/net/dev`; the loopback is nobody's traffic. */
export function networkCounters(dev: string): Record<string, Counters> {
  const networks: Record<string, Counters> = {};
  for (const line of dev.split('\n')) {
    const found = /^\s*([^:\s]+):\s*(.*)$/.exec(line);
    if (!found || found[1] === 'lo') continue;
    const n = found[2]!.trim().split(/\s+/).map(Number);
    networks[found[1]!] = {
      ...{ rxBytes: n[0]!, rxPackets: n[1]!, rxErrors: n[2]!, rxDropped: n[3]! },
      ...{ txBytes: n[8]!, txPackets: n[9]!, txErrors: n[10]!, txDropped: n[11]! },
    };
  }
  return networks;
}
