/** `skein doctor`: looks at this node and says what is well, what is not, and what to do. Changes nothing. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { dataRootFacts } from '../daemon/data-root-facts.ts';
import { isRunning } from '../kit/detached.ts';
import { runProcess } from '../kit/process.ts';
import { SkeinError } from '../model/errors.ts';
import { diagnose, type DoctorFacts, type Finding } from '../net/doctor-plan.ts';
import { HostFirewall } from '../net/firewall.ts';
import { describeChain, isInFront, mayDrop } from '../net/firewall-plan.ts';
import { NetworkStatusFile } from '../net/network-status.ts';

interface DoctorOptions {
  readonly json?: boolean;
  readonly runRoot: string;
  readonly dataRoot: string;
}

export function registerDoctor(program: Command): void {
  program
    .command('doctor')
    .description('what is well on this node and what is not, and what to do about it')
    .option('--json', 'print the findings as JSON')
    .option('--run-root <folder>', 'run root of the daemon', '/run/skein')
    .option('--data-root <folder>', 'data root of the daemon', '/var/lib/skein')
    .action(doctor);
}

async function doctor(options: DoctorOptions): Promise<void> {
  const findings = diagnose(await gather(options));
  const text = options.json ? JSON.stringify({ checks: findings }, null, 2) : findings.map(line).join('\n');
  process.stdout.write(`${text}\n`);
  if (findings.some((finding) => finding.level === 'fail')) process.exitCode = 1;
}

const line = ({ name, level, found, advice }: Finding): string =>
  `${level.padEnd(5)}${name.padEnd(20)}${found}${advice ? `\n${''.padEnd(25)}-> ${advice}` : ''}`;

async function gather({ runRoot, dataRoot }: DoctorOptions): Promise<DoctorFacts> {
  const firewall = new HostFirewall(runProcess);
  const chains = await firewall.look();
  return {
    running: isRunning(join(runRoot, 'skeind.pid')) !== undefined,
    status: new NetworkStatusFile(runRoot).status,
    kernel: await kernelFeatures(),
    forwarding: sysctl('net/ipv4/ip_forward') === '1',
    bridgeNetfilter: existsSync('/proc/sys/net/bridge')
      ? sysctl('net/bridge/bridge-nf-call-iptables') === '1'
      : undefined,
    links: await uplinks(),
    chains: chains.map((chain) => ({
      text: describeChain(chain),
      drops: mayDrop(chain),
      ours: isInFront(chain),
    })),
    unseenFirewall: await firewall.cannotSeeAll(),
    ...(await dataRootFacts(dataRoot)),
    clockSynchronized: await synchronized(),
    now: Date.now(),
  };
}

function sysctl(key: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/${key}`, 'utf8').trim();
  } catch {
    return undefined;
  }
}

/** Asks the kernel in a namespace that is gone with the question. */
async function kernelFeatures(): Promise<Record<string, string | undefined>> {
  const table =
    'add table ip skein-doctor\nadd chain ip skein-doctor c { type nat hook prerouting priority -100; }\n';
  const link = (...type: string[]) =>
    refusal(['unshare', '--net', 'ip', 'link', 'add', 'sk-doctor', 'type', ...type]);
  return {
    nftables: await refusal(['unshare', '--net', 'nft', '-f', '-'], table),
    bridge: await link('bridge'),
    veth: await link('veth'),
    vxlan: await link('vxlan', 'id', '4096', 'dstport', '4789'),
  };
}

async function refusal(argv: readonly string[], input = ''): Promise<string | undefined> {
  try {
    await runProcess(argv, { input, timeoutMs: 5_000 });
    return undefined;
  } catch (error) {
    return SkeinError.from(error).message;
  }
}

/** Links that are up; `ip` leaves an empty object for one that is not. */
async function uplinks(): Promise<DoctorFacts['links']> {
  const { stdout } = await runProcess(['ip', '-j', 'link', 'show', 'up']);
  const links = JSON.parse(stdout) as { readonly ifname?: string; readonly mtu: number }[];
  return links
    .filter(({ ifname }) => ifname !== undefined && ifname !== 'lo')
    .map(({ ifname, mtu }) => ({ name: ifname!, mtu }));
}

async function synchronized(): Promise<boolean | undefined> {
  try {
    const { stdout } = await runProcess(['timedatectl', 'show', '-p', 'NTPSynchronized', '--value'], {
      timeoutMs: 3_000,
    });
    return stdout.trim() === 'yes';
  } catch {
    return undefined;
  }
}
