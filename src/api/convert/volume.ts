/** Volume in Docker's JSON. */
import type { VolumeInfo } from '../../containerd/runtime.ts';

export const volumeJson = ({ name, labels, options, createdAt, mountpoint }: VolumeInfo) => ({
  CreatedAt: createdAt.replace(/\.\d+Z$/, 'Z'),
  Driver: 'local',
  Labels: labels,
  Mountpoint: mountpoint,
  Name: name,
  Options: options,
  Scope: 'local',
});

/** As `system df` shows it. */
export const volumeUsageJson = (volume: VolumeInfo, bytes: number, containers: number): object => ({
  ...volumeJson(volume),
  UsageData: { RefCount: containers, Size: bytes },
});
