/** What a container uses in Docker's JSON; the CLI works out shares from two looks. */
import type { ContainerInfo } from '../../containerd/runtime.ts';
import type { Counters, Usage } from '../../containerd/usage.ts';
import { NO_TIME } from './meta.ts';

export interface Sample {
  readonly time: string;
  /** Undefined while it does not run. */
  readonly usage: Usage | undefined;
}

export function statsJson(
  { id, name }: Pick<ContainerInfo, 'id' | 'name'>,
  before: Sample | undefined,
  now: Sample,
  processors: number,
): object {
  const { usage } = now;
  return {
    read: now.time,
    preread: before?.time ?? NO_TIME,
    pids_stats: usage ? { current: usage.pids } : {},
    blkio_stats: {},
    num_procs: 0,
    storage_stats: {},
    cpu_stats: cpuJson(usage, processors),
    precpu_stats: cpuJson(before?.usage, processors),
    memory_stats: usage
      ? {
          usage: usage.memory.usage,
          limit: usage.memory.limit,
          stats: { inactive_file: usage.memory.inactiveFile, total_inactive_file: usage.memory.inactiveFile },
        }
      : {},
    name: `/${name}`,
    id,
    ...(usage && {
      networks: Object.fromEntries(
        Object.entries(usage.networks).map(([link, counters]) => [link, countersJson(counters)]),
      ),
    }),
  };
}

const cpuJson = (usage: Usage | undefined, processors: number): object => ({
  cpu_usage: {
    total_usage: usage?.cpu.total ?? 0,
    usage_in_kernelmode: usage?.cpu.kernel ?? 0,
    usage_in_usermode: usage?.cpu.user ?? 0,
  },
  ...(usage && { system_cpu_usage: usage.system, online_cpus: processors }),
});

const countersJson = (c: Counters): object => ({
  ...{ rx_bytes: c.rxBytes, rx_packets: c.rxPackets, rx_errors: c.rxErrors, rx_dropped: c.rxDropped },
  ...{ tx_bytes: c.txBytes, tx_packets: c.txPackets, tx_errors: c.txErrors, tx_dropped: c.txDropped },
});
