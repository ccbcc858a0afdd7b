/** What of a lab can be seen on the machine: compared before and after, so that nothing is left behind unseen. */
import { existsSync, globSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { runProcess } from '../../src/kit/process.ts';

const list = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder).sort() : []);

/** Empty for a process that has ended, reaped or not, and for a moment while a program takes another's place. */
export function argvOf(pid: number | string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
  } catch {
    return [];
  }
}

export function openFiles(pid: number): string[] {
  const folder = `/proc/${pid}/fd`;
  return list(folder).flatMap((fd) => {
    try {
      return [readlinkSync(join(folder, fd))];
    } catch {
      return []; // closed meanwhile
    }
  });
}

export function processesNaming(text: string): string[] {
  return list('/proc')
    .filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid)
    .map((pid) => argvOf(pid).join(' '))
    .filter((line) => line.includes(text));
}

export async function machineState(lab: string): Promise<Readonly<Record<string, readonly string[]>>> {
  const lines = async (argv: string[]) => (await runProcess(argv)).stdout.split('\n').filter((l) => l !== '');
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  return {
    namespaces: list('/run/netns').filter((name) => name.startsWith(`skein-${lab}-`)),
    mounts: mounts.filter((line) => line.includes(`skein-lab/${lab}`) || line.includes(`skein-${lab}-`)),
    processes: processesNaming(`skein-lab/${lab}/`),
    cgroups: globSync(`/sys/fs/cgroup/{,*/}skein-lab/${lab}`),
    links: (await lines(['ip', '-o', 'link'])).map((line) => line.split(':')[1]!.trim()),
    tables: await lines(['nft', 'list', 'tables']),
    routes: await lines(['ip', 'route']),
    files: ['/var/lib/skein-lab', '/run/skein-lab'].map((f) => `${f}/${lab}`).filter((f) => existsSync(f)),
  };
}

/** The sockets of a lab's shims lie outside its folders under names that do not tell whose they are; their bundles do. */
export const shimSockets = (lab: string): string[] =>
  globSync(`/run/skein-lab/${lab}/*/containerd/state/io.containerd.runtime.v2.task/skein/*/address`).map(
    (file) => readFileSync(file, 'utf8').replace(/^unix:\/\//, ''),
  );
