/**
 * Finds and removes what belongs to a lab, or to one node, by looking at the machine: the namespaces a process
 * stands in, its cgroup, the folders it names. So a lab whose starter was killed half-way goes away like any other.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync, rmdirSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { SkeinError } from '../model/errors.ts';
import { loadLibc, MNT_DETACH } from '../kit/libc.ts';
import { procStat } from '../kit/proc-stat.ts';
import { send, suspend } from './signals.ts';

/** What to look for. Paths are folders; each matches what lies below it. */
export interface Traces {
  readonly folders: readonly string[];
  readonly netns: readonly string[];
  /** `/skein-lab/x`, `/skein-lab/x/node1`; `/skein` is a node's outside of labs. */
  readonly cgroup: string;
}

/** Programs that are ours when their arguments name a folder of the lab; an editor or a pager is not. */
const OURS = /^(node|containerd|containerd-shim.*|etcd|runc|nsenter)$/;

const isBelow = (path: string, folder: string): boolean => path === folder || path.startsWith(`${folder}/`);

/** Mount points below the folders, the deepest first. */
function mountsBelow(folders: readonly string[]): { readonly point: string; readonly root: string }[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter((fields) => fields.length > 5)
    .map((fields) => ({ root: fields[3]!, point: fields[4]!.replaceAll('\\040', ' ') }))
    .filter(({ point }) => folders.some((folder) => isBelow(point, folder)))
    .reverse();
}

/** `net:[4026531840]` of every namespace that the traces name or have bound below their folders. */
function netnsOf(traces: Traces): ReadonlySet<string> {
  const points = new Set(traces.netns);
  return new Set(
    mountsBelow([...traces.folders, ...points])
      .map(({ root }) => root)
      .filter((root) => root.startsWith('net:[')),
  );
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

function link(file: string): string {
  try {
    return readlinkSync(file);
  } catch {
    return '';
  }
}

/** This process and all above it: `lab exec client -- skein lab down` does not kill itself. */
function ancestors(): ReadonlySet<number> {
  const found = new Set<number>();
  for (let pid = process.pid; pid > 0 && !found.has(pid); pid = Number(procStat(`/proc/${pid}`)?.[1] ?? 0))
    found.add(pid);
  return found;
}

function processesOf(traces: Traces): readonly number[] {
  const spaces = netnsOf(traces);
  const own = ancestors();
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => !own.has(pid) && procStat(`/proc/${pid}`)?.[0] !== 'Z')
    .filter(
      (pid) =>
        spaces.has(link(`/proc/${pid}/ns/net`)) ||
        inCgroup(read(`/proc/${pid}/cgroup`), traces.cgroup) ||
        namesFolder(pid, traces.folders),
    );
}

const inCgroup = (text: string, cgroup: string): boolean =>
  text.split('\n').some((line) => isBelow(line.split(':').slice(2).join(':'), cgroup));

function namesFolder(pid: number, folders: readonly string[]): boolean {
  const argv = read(`/proc/${pid}/cmdline`).split('\0');
  if (!OURS.test(basename(argv[0] ?? ''))) return false;
  const cwd = link(`/proc/${pid}/cwd`); // etcd names its files relative to it
  return [...argv, cwd].some((arg) => folders.some((folder) => isBelow(arg.slice(arg.indexOf('/')), folder)));
}

/** Kills all of it, also what is started meanwhile, and waits until nothing is left. */
export async function killAll(traces: Traces, timeoutMs = 15_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (let left = processesOf(traces); left.length > 0; left = processesOf(traces)) {
    if (Date.now() > deadline)
      throw new SkeinError('deadline-exceeded', `processes do not end: ${left.map(describe).join(', ')}`);
    for (const pid of left) send(pid, 'SIGKILL');
    await delay(20);
  }
}

const describe = (pid: number): string =>
  `${pid} (${read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim() || read(`/proc/${pid}/comm`).trim()})`;

/** Signals all of it once: SIGSTOP for a machine that hangs, SIGCONT for one that goes on. */
export async function signalAll(traces: Traces, signal: NodeJS.Signals): Promise<void> {
  if (signal === 'SIGSTOP') return suspend(processesOf(traces));
  for (const pid of processesOf(traces)) send(pid, signal);
}

/** What a power cut takes of a node: everything but its data root. */
export async function takePower(traces: Traces, runRoot: string): Promise<void> {
  await killAll(traces);
  unmountBelow(traces.folders);
  removeRuntimeFiles(runRoot);
  rmSync(runRoot, { recursive: true, force: true });
  removeCgroups(traces.cgroup);
}

/** Throws when something stays mounted: whoever removes the folders next would remove what is mounted there. */
export function unmountBelow(folders: readonly string[]): void {
  // A folder itself may be a disk of its own.
  const points = () => mountsBelow(folders).flatMap(({ point }) => (folders.includes(point) ? [] : [point]));
  for (let round = 0; round < 3; round++) for (const point of points()) loadLibc().umount(point, MNT_DETACH);
  const left = points();
  if (left.length > 0) throw new SkeinError('internal', `can not be unmounted: ${left.join(', ')}`);
}

/**
 * Files that containerd and runc keep outside the folders they are given: each shim's socket and runc's state, named
 * by what lies in the shims' bundles. To be called before the folders are removed.
 */
export function removeRuntimeFiles(runFolder: string): void {
  for (const bundle of bundlesBelow(runFolder, 6)) {
    const socket = read(join(bundle, 'address'))
      .replace(/^unix:\/\//, '')
      .trim();
    if (socket.startsWith('/run/containerd/s/')) rmSync(socket, { force: true });
    const [id, namespace] = [basename(bundle), basename(dirname(bundle))];
    for (const root of ['/run/containerd/runc', '/run/runc'])
      rmSync(join(root, namespace, id), { recursive: true, force: true });
    removeIfEmpty(join('/run/containerd/runc', namespace));
  }
}

/** The shims' folder on this machine, once the last lab is gone; not where the machine has a containerd of its own. */
export function removeShimFolders(): void {
  if (existsSync('/run/containerd/containerd.sock')) return;
  for (const folder of ['/run/containerd/s', '/run/containerd/runc', '/run/containerd'])
    removeIfEmpty(folder);
}

/** Bundles: the folders `.../io.containerd.runtime.v2.task/NAMESPACE/ID`. */
function bundlesBelow(folder: string, depth: number): string[] {
  if (depth === 0) return [];
  return childFolders(folder).flatMap((child) =>
    child === 'io.containerd.runtime.v2.task'
      ? childFolders(join(folder, child)).flatMap((namespace) =>
          childFolders(join(folder, child, namespace)).map((id) => join(folder, child, namespace, id)),
        )
      : bundlesBelow(join(folder, child), depth - 1),
  );
}

function childFolders(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch {
    return [];
  }
}

/** Removes the cgroups of a lab or node in every hierarchy, and each parent that is empty then. */
export function removeCgroups(cgroup: string): void {
  const base = '/sys/fs/cgroup';
  for (const hierarchy of ['', ...childFolders(base)]) {
    const top = join(base, hierarchy);
    const folder = join(top, cgroup);
    if (!existsSync(join(top, cgroup.split('/')[1]!))) continue;
    removeTree(folder);
    for (let up = dirname(folder); up !== top; up = dirname(up)) removeIfEmpty(up);
  }
}

function removeTree(folder: string): void {
  for (const child of childFolders(folder)) removeTree(join(folder, child));
  removeIfEmpty(folder);
}

export function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // not there, or somebody else's
  }
}
