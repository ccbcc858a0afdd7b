/** The mounts of `docker run`, said in four ways (-v, --mount, --tmpfs, an image's own form), as those of a service. Pure. */
import type { z } from 'zod';
import type { MountSpec } from '../../model/spec.ts';
import { invalid, refused } from '../http-error.ts';
import type { containerCreateBody, hostConfig } from '../schemas/host.ts';

type Body = Pick<z.infer<typeof containerCreateBody>, 'Volumes'>;
type Host = Pick<z.infer<typeof hostConfig>, 'Binds' | 'Mounts' | 'Tmpfs' | 'VolumeDriver'>;

export function mountsOf({ Volumes }: Body, { Binds, Mounts, Tmpfs, VolumeDriver }: Host): MountSpec[] {
  if (VolumeDriver && VolumeDriver !== 'local')
    throw refused(`skein has no volume driver ${VolumeDriver}: volumes are local to a node`);
  const mounts = [
    ...(Binds ?? []).map(bindEntry),
    ...(Mounts ?? []),
    ...Object.entries(Tmpfs ?? {}).map(([target, options]) => tmpfsEntry(target, options)),
  ];
  const taken = new Set<string>();
  for (const { Target } of mounts) {
    if (taken.has(Target)) throw invalid(`Duplicate mount point: ${Target}`);
    taken.add(Target);
  }
  // A volume without a name gives way to whatever else is mounted there, as in Docker.
  const unnamed = Object.keys(Volumes ?? {}).filter((target) => !taken.has(target));
  return [...unnamed.map((Target): MountSpec => ({ Type: 'volume', Target })), ...mounts];
}

const PROPAGATION = ['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave'];
/** Docker ignores these too: labels where there is no SELinux, consistency where there is no virtual machine. */
const WITHOUT_EFFECT = ['z', 'Z', 'consistent', 'cached', 'delegated'];

/** `SOURCE:TARGET[:OPTIONS]`; a source without a slash is a volume, a folder that is not there is made. */
function bindEntry(bind: string): MountSpec {
  const [source = '', target = '', options = '', ...more] = bind.split(':');
  const words = options.split(',').filter((word) => word !== '');
  const bad = (why: string) => invalid(`invalid volume specification: '${bind}'${why}`);
  const volume = !source.startsWith('/');
  const unusable = (why: string) =>
    bad(`: invalid mount config for type "${volume ? 'volume' : 'bind'}": ${why}`);
  if (!source || !target || more.length > 0) throw bad('');
  if (!target.startsWith('/')) throw unusable(`invalid mount path: '${target}' mount path must be absolute`);
  if (target === '/') throw unusable("invalid specification: destination can't be '/'");
  const known = ['ro', 'rw', ...WITHOUT_EFFECT, ...(volume ? ['nocopy'] : PROPAGATION)];
  if (words.some((word) => !known.includes(word))) throw invalid(`invalid mode: ${options}`);
  const common = { Source: source, Target: target, ReadOnly: words.includes('ro') };
  if (volume) {
    const NoCopy = words.includes('nocopy');
    return { Type: 'volume', ...common, ...(NoCopy && { VolumeOptions: { NoCopy } }) };
  }
  const Propagation = words.find((word) => PROPAGATION.includes(word));
  const BindOptions = { CreateMountpoint: true, ...(Propagation && { Propagation }) };
  return { Type: 'bind', ...common, BindOptions };
}

/** What the kernel takes for a tmpfs: bare words, and words with a value. */
const TMPFS_WORDS =
  'ro rw exec noexec suid nosuid dev nodev atime noatime diratime nodiratime relatime norelatime strictatime nostrictatime sync async dirsync mand nomand'.split(
    ' ',
  );
const TMPFS_VALUES = ['size', 'mode', 'uid', 'gid', 'nr_inodes', 'nr_blocks'];

function tmpfsEntry(target: string, text: string): MountSpec {
  if (!target.startsWith('/')) throw invalid(`invalid mount path: '${target}' mount path must be absolute`);
  const options = text.split(',').filter((word) => word !== '');
  const parsed = options.map((option) => {
    const [name = '', value] = option.split('=');
    const known = value === undefined ? TMPFS_WORDS : TMPFS_VALUES;
    if (!known.includes(name)) throw invalid(`invalid tmpfs option ["${option}"]`);
    return value === undefined ? [name] : [name, value];
  });
  return {
    Type: 'tmpfs',
    Target: target,
    ...(parsed.length > 0 && { TmpfsOptions: { Options: parsed } }),
  };
}
