// The way into every npm script. Runs on the Node that came with npm (20 or later); installs what the machine lacks,
// says what that is, and hands over to Node 24.
//
//   check   types, lint, layers, unit tests: no root, no Debian packages
//   build   dist/: the JavaScript that `skein install` puts on a host
//   test    everything, unit to lab; ends with the line `N passed, N failed`
//   demo    two nodes, one service, the packets on paper
//   bench   ratios, side by side
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { installDebian, PEERS, RUNTIME } from './debian.mjs';
import { needKernel } from './kernel.mjs';
import { must, mustAll, node24, root, say, SIGNALS } from './node.mjs';

const [, , script = 'check', ...args] = process.argv;

/** Whether node_modules is what the lock file says, by what npm has noted there at the end of its last change. */
function isInstalled() {
  const noted = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(noted)) return false;
  const packagesOf = (file) => JSON.parse(readFileSync(file)).packages;
  const present = packagesOf(noted);
  const matches = ([path, { integrity, optional }]) =>
    path === '' || (present[path] ? present[path].integrity === integrity : optional);
  return Object.entries(packagesOf(join(root, 'package-lock.json'))).every(matches);
}

function installPackages() {
  if (isInstalled()) return;
  say('Installing npm packages from the lock file (Node 24 comes with them, 190 MB) ...');
  must('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
}

function needRoot(what) {
  if (process.getuid?.() === 0) return;
  say(`${what} makes network namespaces and runs containerd: run it as root.`);
  process.exit(1);
}

const bin = (name) => join(root, 'node_modules', '.bin', name);
/**
 * Node keeps what it compiled, and our TypeScript without its types, for its next start: half of the time that one takes
 * of a daemon, of which the tests start hundreds.
 */
const env = { ...process.env, NODE_COMPILE_CACHE: join(root, '.cache', 'compile') };

const PRETTIER_CACHE = [
  '--cache',
  '--cache-strategy=content',
  `--cache-location=${join('.cache', 'format')}`,
];
/** The longest first. Types and format are remembered by what a file holds; lint is not: its rules look into other files. */
const CHECKS = [
  [bin('eslint'), '--max-warnings=0', 'src', 'test'],
  [bin('tsc'), '-p', 'tsconfig.json', '--incremental', '--tsBuildInfoFile', join('.cache', 'types.json')],
  [bin('prettier'), '--check', '--log-level=warn', ...PRETTIER_CACHE, 'src', 'test', 'scripts'],
];

/** Without a look at the types, which is a check. */
async function build({ checks = [] } = {}) {
  say(checks.length > 0 ? 'Types, lint, format; compiling TypeScript ...' : 'Compiling TypeScript ...');
  rmSync(join(root, 'dist'), { recursive: true, force: true });
  await mustAll(node24(), [...checks, [bin('tsc'), '-p', 'tsconfig.build.json']], { env });
  must(node24(), [join(root, 'scripts', 'copy-gen.mjs')]);
}

/** Of a test or a group of them, nine times what the longest takes: one that hangs fails, by its name. */
const TEST_MS = 10 * 60_000;

/** Runs the node test runner; resolves to its counts, which it takes from the reporter's summary file. */
function runTests(patterns, { concurrency }) {
  const summary = join(root, '.cache', `summary-${process.pid}.json`);
  mkdirSync(join(root, '.cache'), { recursive: true });
  return new Promise((resolve) => {
    const child = spawn(
      node24(),
      [
        '--test',
        `--test-concurrency=${concurrency}`,
        `--test-timeout=${TEST_MS}`,
        '--test-reporter=spec',
        '--test-reporter-destination=stdout',
        `--test-reporter=${join(root, 'scripts', 'summary-reporter.mjs')}`,
        `--test-reporter-destination=${summary}`,
        ...patterns,
      ],
      { cwd: root, stdio: 'inherit', env },
    );
    child.on('close', (code) => {
      const counts = existsSync(summary)
        ? JSON.parse(readFileSync(summary, 'utf8'))
        : { passed: 0, failed: 1, skipped: 0, reasons: [] };
      rmSync(summary, { force: true });
      if (code !== 0 && counts.failed === 0) counts.failed = 1;
      resolve(counts);
    });
  });
}

function finish({ passed, failed, skipped, reasons }) {
  if (skipped > 0) console.log(`${skipped} tests or groups of tests skipped: ${reasons.join('; ')}`);
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed === 0 && passed > 0 ? 0 : 1);
}

const UNIT = ['src/**/*.test.ts', 'test/*.test.ts'];
const scripts = {
  async check() {
    installPackages();
    say('Types, lint, format ...');
    await mustAll(node24(), CHECKS, { env });
    finish(await runTests(args.length > 0 ? args : UNIT, { concurrency: 2 }));
  },
  async build() {
    installPackages();
    await build();
  },
  async test() {
    needRoot('npm test');
    needKernel();
    await installDebian({ ...RUNTIME, ...PEERS.test });
    installPackages();
    await build({ checks: CHECKS });
    if (args.length > 0) return finish(await runTests(args, { concurrency: 1 }));
    finish(await runTests([...UNIT, 'test/*/**/*.test.ts'], { concurrency: 2 }));
  },
  async demo() {
    needRoot('npm run demo');
    needKernel();
    await installDebian(RUNTIME);
    installPackages();
    await build();
    handOver(['demo', ...args]);
  },
  async bench() {
    needRoot('npm run bench');
    needKernel();
    await installDebian({ ...RUNTIME, ...PEERS.bench });
    installPackages();
    await build();
    handOver(['bench', ...args]);
  },
};

/** Becomes the skein command as far as signals and the exit code go. */
function handOver(command) {
  const child = spawn(node24(), [join(root, 'dist', 'cli', 'main.js'), ...command], {
    cwd: root,
    stdio: 'inherit',
  });
  for (const signal of SIGNALS) process.on(signal, () => child.kill(signal));
  child.on('close', (code) => process.exit(code ?? 1));
}

const chosen = scripts[script];
if (!chosen) {
  say(`unknown script ${script}; there are: ${Object.keys(scripts).join(', ')}`);
  process.exit(2);
}
await chosen();
