/**
 * The mounts of a container: sources looked up, volumes of the local driver made where they are missing. A volume is
 * `<dataRoot>/volumes/NAME/_data`; anonymous ones (the image's VOLUME, a volume mount without a source) are named by
 * container and target, so that making them twice makes one, and go with the container.
 */
import { existsSync } from 'node:fs';
import { chmod, lstat, mkdir, readdir, realpath, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { RunProcess } from '../kit/process.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import type { MountSpec } from '../model/spec.ts';
import { sha256 } from './image-format.ts';
import type { OciMount } from './oci-defaults.ts';

export interface ResolvedMounts {
  readonly mounts: readonly OciMount[];
  /** Volumes that are empty and take the image's content at their target, as Docker's do. */
  readonly fill: readonly { readonly volume: string; readonly target: string }[];
  /** Names of the volumes that go with the container. */
  readonly anonymous: readonly string[];
}

const VOLUME_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;
const PROPAGATION = ['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave'];

const invalid = (type: string, why: string): SkeinError =>
  new SkeinError('invalid-argument', `invalid mount config for type "${type}": ${why}`);

export async function resolveMounts(
  id: ContainerId,
  specs: readonly MountSpec[],
  imageVolumes: readonly string[],
  volumesRoot: string,
): Promise<ResolvedMounts> {
  const taken = new Set(specs.map((spec) => spec.Target));
  const implicit = imageVolumes
    .filter((target) => !taken.has(target))
    .map((Target): MountSpec => ({ Type: 'volume', Target }));
  const result = {
    mounts: [] as OciMount[],
    fill: [] as ResolvedMounts['fill'][number][],
    anonymous: [] as string[],
  };
  for (const spec of [...specs, ...implicit]) {
    if (!spec.Target.startsWith('/'))
      throw invalid(spec.Type, `invalid mount path: '${spec.Target}' mount path must be absolute`);
    if (spec.Type === 'bind') result.mounts.push(await bind(spec));
    else if (spec.Type === 'tmpfs') result.mounts.push(tmpfs(spec));
    else {
      const name = spec.Source || sha256(`${id} ${spec.Target}`).slice('sha256:'.length);
      if (!spec.Source) result.anonymous.push(name);
      const volume = await localVolume(name, spec, volumesRoot);
      if (!spec.VolumeOptions?.NoCopy && (await readdir(volume)).length === 0)
        result.fill.push({ volume, target: spec.Target });
      result.mounts.push(bindMount(spec, volume));
    }
  }
  return result;
}

async function bind(spec: MountSpec): Promise<OciMount> {
  const source = spec.Source ?? '';
  if (!source.startsWith('/'))
    throw invalid('bind', `invalid mount path: '${source}' mount path must be absolute`);
  if (!existsSync(source)) {
    if (!spec.BindOptions?.CreateMountpoint)
      throw invalid('bind', `bind source path does not exist: ${source}`);
    await mkdir(source, { recursive: true });
  }
  return bindMount(spec, source);
}

function bindMount(spec: MountSpec, source: string): OciMount {
  const propagation = spec.BindOptions?.Propagation || 'rprivate';
  if (!PROPAGATION.includes(propagation)) throw invalid(spec.Type, `invalid propagation: ${propagation}`);
  const recursive = spec.BindOptions?.NonRecursive ? 'bind' : 'rbind';
  return {
    destination: spec.Target,
    type: 'bind',
    source,
    options: [recursive, propagation, spec.ReadOnly ? 'ro' : 'rw'],
  };
}

function tmpfs(spec: MountSpec): OciMount {
  const { SizeBytes, Mode } = spec.TmpfsOptions ?? {};
  return {
    destination: spec.Target,
    type: 'tmpfs',
    source: 'tmpfs',
    options: [
      'noexec,nosuid,nodev,rprivate',
      spec.ReadOnly ? 'ro' : 'rw',
      ...(SizeBytes ? [`size=${SizeBytes}`] : []),
      ...(Mode === undefined ? [] : [`mode=${Mode.toString(8)}`]),
    ].flatMap((option) => option.split(',')),
  };
}

async function localVolume(name: string, spec: MountSpec, root: string): Promise<string> {
  const driver = spec.VolumeOptions?.DriverConfig?.Name;
  if (driver && driver !== 'local')
    throw new SkeinError(
      'unimplemented',
      `volume driver "${driver}" is not there: volumes are local to a node`,
    );
  if (Object.keys(spec.VolumeOptions?.DriverConfig?.Options ?? {}).length > 0)
    throw new SkeinError('unimplemented', 'options of the local volume driver are not served yet');
  if (!VOLUME_NAME.test(name))
    throw invalid(
      'volume',
      `"${name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed`,
    );
  const path = join(root, name, '_data');
  await mkdir(path, { recursive: true, mode: 0o755 });
  return path;
}

/**
 * Copies what the image has at the target into an empty volume, ownership and all. The target is resolved inside the
 * root file system: an image whose path is a link to the outside gives nothing of the host away.
 */
export async function fillVolume(
  run: RunProcess,
  rootfs: string,
  target: string,
  volume: string,
): Promise<void> {
  const root = await realpath(rootfs);
  const source = await realpath(join(root, target)).catch(() => undefined);
  if (source === undefined || !source.startsWith(`${root}/`)) return;
  const stat = await lstat(source);
  if (!stat.isDirectory()) return;
  await run(['cp', '-a', '--', `${source}/.`, volume], { timeoutMs: 600_000 });
  await chmod(volume, stat.mode & 0o7777);
}

export async function removeVolume(root: string, name: string): Promise<void> {
  if (VOLUME_NAME.test(name)) await rm(join(root, name), { recursive: true, force: true });
}
