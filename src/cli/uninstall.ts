/** `skein uninstall`: takes off a host what `skein install` and the daemon put there. What people made stays, unless told. */
import { existsSync, rmSync } from 'node:fs';
import type { Command } from 'commander';
import { clearNetwork } from '../daemon/clear-network.ts';
import { foldersOf } from '../daemon/folders.ts';
import { DEBIAN_PACKAGES, SETTINGS_FILE, UNIT_FILE } from '../daemon/install-plan.ts';
import { endAllContainers } from '../daemon/power-off.ts';
import { loadSettings, type Settings } from '../daemon/settings.ts';
import { planUninstall, type UninstallStep, whyNot } from '../daemon/uninstall-plan.ts';
import { stopDetached } from '../kit/detached.ts';
import { silentLog } from '../kit/log.ts';
import { runProcess } from '../kit/process.ts';
import { labNames } from '../lab/state.ts';
import { removeIfEmpty, removeShimFolders, takePower } from '../lab/sweep.ts';
import { SkeinError } from '../model/errors.ts';

const say = (text: string): void => void process.stdout.write(`${text}\n`);

interface UninstallOptions {
  readonly dryRun?: boolean;
  readonly data?: boolean;
  readonly force?: boolean;
}

export function registerUninstall(program: Command): void {
  program
    .command('uninstall')
    .description('take Skein off this host: service, processes, links, rules, files; the data stays')
    .option('--data', 'take images, containers, volumes and settings too')
    .option('--force', 'though this node is part of a cluster')
    .option('--dry-run', 'print the steps and change nothing')
    .action(uninstall);
}

async function uninstall({ dryRun, data = false, force = false }: UninstallOptions): Promise<void> {
  if (!dryRun && process.getuid?.() !== 0)
    throw new SkeinError('failed-precondition', 'a service and its files are removed: run it as root (sudo)');
  const settings = loadSettings(existsSync(SETTINGS_FILE) ? SETTINGS_FILE : undefined, {});
  const facts = {
    settings,
    hasUnit: existsSync('/run/systemd/system') && existsSync(UNIT_FILE),
    isMember: existsSync(foldersOf(settings).identity),
    data,
    force,
  };
  const reason = whyNot(facts);
  if (reason !== undefined) throw new SkeinError('failed-precondition', reason);
  const steps = planUninstall(facts);
  for (const [i, step] of steps.entries()) {
    say(`[${i + 1}/${steps.length}] ${describe(step, settings)}`);
    if (!dryRun) await execute(step, settings);
  }
  if (!dryRun) say(`\n${farewell(settings, data)}`);
}

function farewell({ dataRoot }: Settings, data: boolean): string {
  const kept = data
    ? []
    : [
        `  ${dataRoot} and ${SETTINGS_FILE}: images, containers, volumes, settings; skein install finds them again, --data takes them away`,
      ];
  return [
    'Skein is off this host. What stays:',
    ...kept,
    `  the Debian packages ${Object.keys(DEBIAN_PACKAGES).join(', ')}: others may use them`,
    '  net.ipv4.ip_forward = 1 until the next boot: others may need it',
  ].join('\n');
}

function describe(step: UninstallStep, { cgroupParent, dataRoot, runRoot }: Settings): string {
  switch (step.kind) {
    case 'systemctl':
      return `systemctl ${step.args.join(' ')}`;
    case 'stop-daemon':
      return 'end skeind, where it still runs';
    case 'end-containers':
      return 'ask the containers to end, and kill them after their grace';
    case 'clear-network':
      return "remove links, namespaces and the nftables table skein, and Skein's rules in the host's firewall";
    case 'take-power':
      return `end containerd, etcd, the resolver and all else that runs on ${dataRoot}; remove ${runRoot}, mounts, the cgroup ${cgroupParent}`;
    case 'remove':
      return `remove ${step.path}`;
    case 'remove-if-empty':
      return `remove ${step.path} if nothing else is in it`;
  }
}

type Executors = {
  [K in UninstallStep['kind']]: (step: Extract<UninstallStep, { kind: K }>, settings: Settings) => unknown;
};

const executors: Executors = {
  systemctl: ({ args }) => runProcess(['systemctl', ...args]),
  'stop-daemon': (_, settings) => stopDetached(foldersOf(settings).pidFile),
  // One that does not answer, or a containerd that does not, goes with its power.
  'end-containers': (_, settings) =>
    endAllContainers(settings, silentLog).catch((error: unknown) =>
      say(`  they could not all be asked: ${SkeinError.from(error).message}`),
    ),
  'clear-network': (_, { runRoot }) => clearNetwork(runRoot, silentLog),
  async 'take-power'(_, { cgroupParent, dataRoot, runRoot }) {
    await takePower({ folders: [dataRoot, runRoot], netns: [], cgroup: cgroupParent }, runRoot);
    if (labNames().length === 0) removeShimFolders();
  },
  remove: ({ path }) => rmSync(path, { recursive: true, force: true }),
  'remove-if-empty': ({ path }) => removeIfEmpty(path),
};

const execute = async (step: UninstallStep, settings: Settings): Promise<void> => {
  await (executors[step.kind] as (s: UninstallStep, settings: Settings) => unknown)(step, settings);
};
