/** Docker's rules of the local volume driver: names, options, and what is mounted for them. Pure. */
import { SkeinError } from '../model/errors.ts';
import type { VolumeSpec } from './runtime.ts';

/** What Docker puts on volumes that nobody named. */
export const ANONYMOUS_LABEL = 'com.docker.volume.anonymous';

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
const OPTIONS = ['type', 'o', 'device', 'size'];
/** An option that says nothing without others. */
const NEEDS: Readonly<Record<string, readonly string[]>> = {
  device: ['type'],
  type: ['device'],
  o: ['device', 'type'],
};

export const isVolumeName = (name: string): boolean => name.length > 1 && NAME.test(name);

const invalid = (name: string, why: string): SkeinError =>
  new SkeinError('invalid-argument', `create ${name}: ${why}`);

export function checkVolumeName(name: string): void {
  if (name.length === 1)
    throw invalid(name, 'volume name is too short, names should be at least two alphanumeric characters');
  if (!NAME.test(name))
    throw invalid(
      name,
      `"${name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`,
    );
}

export function checkVolume({ name, options }: VolumeSpec): void {
  checkVolumeName(name);
  const given = Object.keys(options ?? {});
  for (const key of given) if (!OPTIONS.includes(key)) throw invalid(name, `invalid option: "${key}"`);
  if (given.includes('size')) throw invalid(name, 'quota size requested but no quota support');
  for (const key of given)
    for (const other of NEEDS[key] ?? [])
      if (!given.includes(other)) throw invalid(name, `missing required option: "${other}"`);
}

/** What a volume with options is while somebody uses it: a file system mounted on its folder. */
export interface VolumeMount {
  readonly type: string;
  readonly device: string;
  readonly options: string;
}

export function mountOf({ options }: Pick<VolumeSpec, 'options'>): VolumeMount | undefined {
  const { type, device, o = '' } = options ?? {};
  return type && device ? { type, device, options: o } : undefined;
}

/** Host that a network file system's `addr=` names, where it is no address: the kernel resolves no names. */
export function hostToResolve({ type, options }: VolumeMount): string | undefined {
  if (type !== 'nfs' && type !== 'nfs4' && type !== 'cifs') return undefined;
  const host = /(?:^|,)addr=([^,]*)/.exec(options)?.[1];
  return host && !/^[\d.]+$/.test(host) && !host.includes(':') ? host : undefined;
}

export const withAddress = (mount: VolumeMount, address: string): VolumeMount => ({
  ...mount,
  options: mount.options.replace(/(^|,)addr=[^,]*/, `$1addr=${address}`),
});

/** `-i`: no helper programs; what the option says goes to the kernel, as Docker does it. */
export const mountCommand = ({ type, device, options }: VolumeMount, path: string): readonly string[] => [
  ...['mount', '-i', '-t', type],
  ...(options === '' ? [] : ['-o', options]),
  ...['--', device, path],
];
