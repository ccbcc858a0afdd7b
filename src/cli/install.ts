/** `skein install`: puts Skein on a Debian host as a systemd service. Upgrading is the same command again. */
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import {
  APT_INSTALL,
  DEBIAN_PACKAGES,
  missingOf,
  NODE,
  type InstallStep,
  PARTS,
  planInstall,
  refusals,
  SETTINGS_FILE,
  UNFINISHED,
} from '../daemon/install-plan.ts';
import { loadSettings, socketPath } from '../daemon/settings.ts';
import { systemClock } from '../kit/clock.ts';
import { runProcess } from '../kit/process.ts';
import { replaceFolder } from '../kit/replace-folder.ts';
import { EngineClient } from '../lab/client.ts';
import { until } from '../lab/cluster.ts';
import { hasProgram } from '../lab/requirements.ts';
import { SkeinError } from '../model/errors.ts';
import { whenFree } from './when-free.ts';

const source = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
/** A first start on a slow machine compiles everything. */
const START_MS = 120_000;
const say = (text: string): void => void process.stdout.write(`${text}\n`);

const daemonSocket = (): string => socketPath(loadSettings(SETTINGS_FILE, {}));

export function registerInstall(program: Command): void {
  program
    .command('install')
    .description('set this Debian host up as a node: packages, files, systemd unit; again to upgrade')
    .option('--dry-run', 'print the steps and change nothing')
    .option('--root <dir>', 'write the files below this folder and start nothing (to build an image)', '')
    .action(async (options: { dryRun?: boolean; root: string }) => {
      const staging = options.root !== '';
      needWhole();
      if (!staging) needHost(options.dryRun ?? false);
      const facts = {
        source,
        root: options.root,
        missingPackages: staging ? [] : await missingPackages(),
        unfinished: staging ? [] : unfinished(),
        start: !staging,
      };
      const steps = planInstall(facts, runtimePackages());
      for (const [i, step] of steps.entries()) {
        say(`[${i + 1}/${steps.length}] ${describe(step)}`);
        if (!options.dryRun) await execute(step);
      }
      if (!options.dryRun && !staging)
        say(`\nSkein runs. Next:  docker -H unix://${daemonSocket()} swarm init`);
    });
}

/** Before anything of the host is changed. A dry run changes nothing, so anybody may ask for it. */
function needHost(dryRun: boolean): void {
  const lacks = refusals({
    isRoot: dryRun || process.getuid?.() === 0,
    hasSystemd: existsSync('/run/systemd/system'),
    hasApt: hasProgram('dpkg') && hasProgram('apt-get'),
  });
  if (lacks.length > 0)
    throw new SkeinError(
      'failed-precondition',
      ['this host can not be set up, and nothing was changed:', ...lacks].join('\n  '),
    );
}

function needWhole(): void {
  const missing = [...PARTS, NODE].filter((part) => !existsSync(join(source, part)));
  if (missing.length > 0)
    throw new SkeinError(
      'failed-precondition',
      `${source} lacks ${missing.join(', ')}: install from a checkout of Skein, after npm ci and npm run build`,
    );
}

async function missingPackages(): Promise<readonly string[]> {
  const { stdout } = await runProcess(['dpkg-query', '-W', '-f', '${db:Status-Status} ${Package}\\n']);
  const lines = stdout.split('\n').map((line) => line.split(' '));
  return missingOf(new Set(lines.filter(([status]) => status === 'installed').map(([, name]) => name!)));
}

/** Of a run that was killed. */
const unfinished = (): readonly string[] =>
  existsSync(UNFINISHED) ? (JSON.parse(readFileSync(UNFINISHED, 'utf8')) as string[]) : [];

/** Every npm package that the daemon needs at run time, dependencies of dependencies included, from the lock file. */
function runtimePackages(): string[] {
  const lockFile = join(source, 'package-lock.json');
  if (!existsSync(lockFile))
    throw new SkeinError('failed-precondition', `${lockFile} is missing: install from a checkout of Skein`);
  const lock = JSON.parse(readFileSync(lockFile, 'utf8')) as { packages: Record<string, { dev?: boolean }> };
  return Object.entries(lock.packages)
    .filter(([path, entry]) => /^node_modules\/(@[^/]+\/)?[^/]+$/.test(path) && !entry.dev)
    .map(([path]) => path.slice('node_modules/'.length))
    .filter((name) => existsSync(join(source, 'node_modules', name)));
}

const noQuestions = () => ({ ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' });

const patiently = (argv: readonly string[], timeoutMs: number): Promise<void> =>
  whenFree(() => runProcess(argv, { env: noQuestions(), timeoutMs }), systemClock, say);

function describe(step: InstallStep): string {
  switch (step.kind) {
    case 'finish-packages':
      return 'let dpkg finish what the last run had begun';
    case 'packages':
      return `install Debian packages: ${step.names.map((n) => `${n} (${DEBIAN_PACKAGES[n]})`).join(', ')}`;
    case 'disable-service':
      return `switch off the service ${step.name} that came with its package (Skein runs its own)`;
    case 'copy':
      return `copy ${step.what} to ${step.to}`;
    case 'sync':
      return 'wait until it is on the disk';
    case 'replace':
      return `put it in the place of ${step.to}`;
    case 'write':
      return `write ${step.path}${step.keep ? ' unless it is there' : ''}`;
    case 'remove':
      return `remove ${step.path}`;
    case 'systemctl':
      return `systemctl ${step.args.join(' ')}`;
    case 'await-daemon':
      return 'wait until it answers';
  }
}

const executors: { [K in InstallStep['kind']]: (step: Extract<InstallStep, { kind: K }>) => Promise<void> } =
  {
    async 'finish-packages'() {
      await patiently(['dpkg', '--configure', '-a'], 600_000);
    },
    async packages({ names }) {
      await patiently(['apt-get', 'update', '-qq'], 300_000);
      await patiently([...APT_INSTALL, ...names], 600_000);
    },
    async 'disable-service'({ name }) {
      await runProcess(['systemctl', 'disable', '--now', name]);
    },
    async copy({ from, to, names }) {
      // What an install that was broken off left there is no part of this one.
      rmSync(to, { recursive: true, force: true });
      for (const name of names) {
        mkdirSync(dirname(join(to, name)), { recursive: true });
        cpSync(join(from, name), join(to, name), { recursive: true, verbatimSymlinks: true });
      }
    },
    async sync({ path }) {
      await runProcess(['sync', '--file-system', path], { timeoutMs: 300_000 });
    },
    async replace({ from, to }) {
      replaceFolder(from, to);
    },
    async write({ path, mode, content, keep }) {
      if (keep && existsSync(path)) return;
      mkdirSync(dirname(path), { recursive: true });
      // Aside and renamed: whole or not at all, and never into what a link of that name leads to.
      const fresh = `${path}.new`;
      rmSync(fresh, { force: true });
      writeFileSync(fresh, content, { mode });
      chmodSync(fresh, mode);
      renameSync(fresh, path);
    },
    async remove({ path }) {
      rmSync(path, { force: true });
    },
    async systemctl({ args }) {
      await runProcess(['systemctl', ...args]);
    },
    async 'await-daemon'() {
      const socket = daemonSocket();
      const engine = new EngineClient(socket);
      const answers = async () => (await engine.ping()) || 'it does not: journalctl -u skein says why';
      await until(`skeind to answer on ${socket}`, answers, { timeoutMs: START_MS });
    },
  };

const execute = (step: InstallStep): Promise<void> =>
  (executors[step.kind] as (s: InstallStep) => Promise<void>)(step);
