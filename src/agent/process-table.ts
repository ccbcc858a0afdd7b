/** Processes as `ps -ef` shows them, read from /proc. */
import { readFile } from 'node:fs/promises';
import { USER_HZ } from '../kit/user-hz.ts';

export interface ProcessTable {
  readonly Titles: readonly string[];
  readonly Processes: readonly (readonly string[])[];
}

const TITLES = ['UID', 'PID', 'PPID', 'C', 'STIME', 'TTY', 'TIME', 'CMD'];

/** Those that are gone by the time they are looked at are left out. `now` in ms. */
export async function processTable(pids: readonly number[], now: number): Promise<ProcessTable> {
  const uptime = Number((await readFile('/proc/uptime', 'utf8')).split(' ')[0]);
  const bootAt = now - uptime * 1000;
  const users = userNames(await readFile('/etc/passwd', 'utf8').catch(() => ''));
  const rows = await Promise.all(
    [...pids].sort((a, b) => a - b).map((pid) => row(pid, bootAt, now, users).catch(() => undefined)),
  );
  return { Titles: TITLES, Processes: rows.filter((entry) => entry !== undefined) };
}

/** As ps does: by the names of this node, whatever the container calls them. */
const userNames = (passwd: string): ReadonlyMap<string, string> =>
  new Map(
    passwd.split('\n').map((line) => {
      const [name = '', , uid = ''] = line.split(':');
      return [uid, name];
    }),
  );

async function row(
  pid: number,
  bootAt: number,
  now: number,
  users: ReadonlyMap<string, string>,
): Promise<string[]> {
  const [stat, status, cmdline] = await Promise.all(
    ['stat', 'status', 'cmdline'].map((name) => readFile(`/proc/${pid}/${name}`, 'utf8')),
  );
  const name = /\((.*)\)/s.exec(stat!)?.[1] ?? '';
  // Behind the name, which may hold anything: state, ppid, pgrp, session, tty, ...
  const field = stat!.slice(stat!.lastIndexOf(')') + 2).split(' ');
  const cpu = (Number(field[11]) + Number(field[12])) / USER_HZ;
  const started = bootAt + (Number(field[19]) / USER_HZ) * 1000;
  const share = Math.min(99, Math.floor((cpu * 100_000) / Math.max(1, now - started)));
  const uid = /^Uid:\s+(\d+)/m.exec(status!)?.[1] ?? '';
  return [
    users.get(uid) ?? uid,
    String(pid),
    field[1] ?? '',
    String(share),
    new Date(started).toISOString().slice(11, 16),
    ttyName(Number(field[4])),
    clockText(cpu),
    cmdline!.replaceAll('\0', ' ').trim() || `[${name}]`,
  ];
}

/** Major 136 to 143 are the pseudo terminals. */
function ttyName(device: number): string {
  const major = (device >> 8) & 0xfff;
  return major >= 136 && major <= 143 ? `pts/${(major - 136) * 256 + (device & 0xff)}` : '?';
}

const clockText = (seconds: number): string =>
  [seconds / 3600, (seconds / 60) % 60, seconds % 60]
    .map((n) => String(Math.floor(n)).padStart(2, '0'))
    .join(':');
