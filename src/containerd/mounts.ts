/**
 * The mounts of a container: what it asks for and what its image declares, resolved to sources on this node (pure),
 * then looked up and made where they are missing. Anonymous volumes (the image's VOLUME, a volume mount without a
 * source) are named by container and target, so that making them twice makes one.
 */
import { existsSync } from 'node:fs';
import { chmod, lstat, mkdir, readdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import type { RunProcess } from '../kit/process.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import type { MountSpec } from '../model/spec.ts';
import { sha256 } from './image-format.ts';
import type { OciMount } from './oci-defaults.ts';
import type { MountPoint } from './runtime.ts';
import { ANONYMOUS_LABEL, checkVolumeName } from './volume-plan.ts';
import type { LocalVolumes } from './volumes.ts';

export interface PlannedMount {
  readonly spec: MountSpec;
  readonly point: MountPoint;
}

export interface Fill {
  readonly volume: string;
  readonly target: string;
  /** Its options say what the folder is like: it is not made like the image's. */
  readonly asMounted: boolean;
}

export interface ReadyMounts {
  readonly mounts: readonly OciMount[];
  /** Volumes that are empty and take the image's content at their target, as Docker's do. */
  readonly fill: readonly Fill[];
  readonly points: readonly MountPoint[];
}

const PROPAGATION = ['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave'];

const invalid = (type: string, why: string): SkeinError =>
  new SkeinError('invalid-argument', `invalid mount config for type "${type}": ${why}`);

export function planMounts(
  id: ContainerId,
  specs: readonly MountSpec[],
  imageVolumes: readonly string[],
  volumePath: (name: string) => string,
): readonly PlannedMount[] {
  const taken = new Set(specs.map((spec) => spec.Target));
  const implicit = imageVolumes
    .filter((target) => !taken.has(target))
    .map((Target): MountSpec => ({ Type: 'volume', Target }));
  return [...specs, ...implicit].map((spec) => ({ spec, point: mountPoint(id, spec, volumePath) }));
}

function mountPoint(id: ContainerId, spec: MountSpec, volumePath: (name: string) => string): MountPoint {
  const { Type, Source = '', Target, ReadOnly = false } = spec;
  if (!Target.startsWith('/'))
    throw invalid(Type, `invalid mount path: '${Target}' mount path must be absolute`);
  if (Target === '/') throw invalid(Type, "invalid specification: destination can't be '/'");
  const point = { type: Type, target: Target, readOnly: ReadOnly };
  if (Type === 'tmpfs') {
    if (Source !== '') throw invalid(Type, 'field Source must not be specified');
    return { ...point, source: '', propagation: '' };
  }
  const propagation = spec.BindOptions?.Propagation || 'rprivate';
  if (!PROPAGATION.includes(propagation)) throw invalid(Type, `invalid propagation: ${propagation}`);
  if (Type === 'bind') {
    if (Source === '') throw invalid('bind', 'field Source must not be empty');
    if (!Source.startsWith('/'))
      throw invalid('bind', `invalid mount path: '${Source}' mount path must be absolute`);
    return { ...point, source: Source, propagation };
  }
  const name = Source || sha256(`${id} ${Target}`).slice('sha256:'.length);
  checkVolumeName(name);
  return { ...point, name, source: volumePath(name), propagation: '', ...(!Source && { anonymous: true }) };
}

/** Everything the plan names is there, its volumes held by the container, when this resolves. */
export async function readyMounts(
  id: ContainerId,
  plan: readonly PlannedMount[],
  volumes: LocalVolumes,
): Promise<ReadyMounts> {
  const points = plan.map(({ point }) => point);
  const result = { mounts: [] as OciMount[], fill: [] as Fill[], points };
  for (const { spec, point } of plan) {
    if (spec.Type === 'tmpfs') result.mounts.push(tmpfs(spec));
    else if (spec.Type === 'bind') {
      await readyBind(spec, point.source);
      result.mounts.push(bindMount(spec, point.source));
    } else {
      const { options } = await volumes.hold(volumeSpec(spec, point), id);
      if (!spec.VolumeOptions?.NoCopy && (await readdir(point.source)).length === 0)
        result.fill.push({ volume: point.source, target: spec.Target, asMounted: options !== null });
      result.mounts.push(bindMount(spec, await volumeFolder(spec, point.source)));
    }
  }
  return result;
}

export function volumeSpec({ VolumeOptions: options }: MountSpec, { name = '', anonymous }: MountPoint) {
  const driver = options?.DriverConfig?.Name;
  if (driver && driver !== 'local')
    throw new SkeinError(
      'unimplemented',
      `volume driver "${driver}" is not there: volumes are local to a node`,
    );
  const labels = { ...options?.Labels, ...(anonymous && { [ANONYMOUS_LABEL]: '' }) };
  const given = options?.DriverConfig?.Options ?? {};
  return {
    name,
    labels: Object.keys(labels).length > 0 ? labels : null,
    options: Object.keys(given).length > 0 ? given : null,
  };
}

async function readyBind(spec: MountSpec, source: string): Promise<void> {
  if (existsSync(source)) return;
  if (!spec.BindOptions?.CreateMountpoint)
    throw invalid('bind', `bind source path does not exist: ${source}`);
  await mkdir(source, { recursive: true });
}

function bindMount(spec: MountSpec, source: string): OciMount {
  const propagation = spec.BindOptions?.Propagation || 'rprivate';
  const recursive = spec.BindOptions?.NonRecursive ? 'bind' : 'rbind';
  return {
    destination: spec.Target,
    type: 'bind',
    source,
    options: [recursive, propagation, spec.ReadOnly ? 'ro' : 'rw'],
  };
}

function tmpfs(spec: MountSpec): OciMount {
  const { SizeBytes, Mode, Options = [] } = spec.TmpfsOptions ?? {};
  const asked = Options.map((option) => option.join('='));
  const defaults = ['noexec', 'nosuid', 'nodev', 'rprivate', spec.ReadOnly ? 'ro' : 'rw'];
  return {
    destination: spec.Target,
    type: 'tmpfs',
    source: 'tmpfs',
    options: [
      ...defaults.filter((word) => !asked.includes(OPPOSITE[word] ?? '')),
      ...asked.filter((word) => !defaults.includes(word)),
      ...(SizeBytes ? [`size=${SizeBytes}`] : []),
      ...(Mode === undefined ? [] : [`mode=${Mode.toString(8)}`]),
    ],
  };
}

/** What takes back a default when it is asked for. */
const OPPOSITE: Readonly<Record<string, string>> = {
  ...{ noexec: 'exec', nosuid: 'suid', nodev: 'dev', rw: 'ro', ro: 'rw' },
};

/** The volume, or the part of it that was asked for; a link in it that leads out of it leads nowhere. */
async function volumeFolder({ VolumeOptions }: MountSpec, volume: string): Promise<string> {
  const { Subpath } = VolumeOptions ?? {};
  if (!Subpath) return volume;
  const root = await realpath(volume);
  const found = await realpath(join(root, Subpath)).catch(() => undefined);
  if (found === undefined || !`${found}/`.startsWith(`${root}/`))
    throw invalid('volume', `cannot access path ${Subpath} of the volume: no such file or directory`);
  return found;
}

/**
 * Copies what the image has at the target into an empty volume, ownership and all. The target is resolved inside the
 * root file system: an image whose path is a link to the outside gives nothing of the host away.
 */
export async function fillVolume(
  run: RunProcess,
  rootfs: string,
  { target, volume, asMounted }: Fill,
): Promise<void> {
  const root = await realpath(rootfs);
  const source = await realpath(join(root, target)).catch(() => undefined);
  if (source === undefined || !source.startsWith(`${root}/`)) return;
  const stat = await lstat(source);
  if (!stat.isDirectory()) return;
  // `.` takes the folder's own owner and mode along.
  const from = asMounted ? (await readdir(source)).map((name) => join(source, name)) : [`${source}/.`];
  if (from.length > 0) await run(['cp', '-a', '-t', volume, '--', ...from], { timeoutMs: 600_000 });
  if (!asMounted) await chmod(volume, stat.mode & 0o7777);
}
