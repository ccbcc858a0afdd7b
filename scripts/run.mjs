// The way into every npm script. Runs on the Node that came with npm (20 or later); installs what the machine lacks,
// says what that is, and hands over to Node 24.
//
//   check   types, lint, layers, unit tests: no root, no Debian packages
//   build   dist/: the JavaScript that `skein install` puts on a host
//   test    everything, unit to lab; ends with the line `N passed, N failed`
//   demo    two nodes, one service, the packets on paper
//   bench   ratios, side by side
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { node24, root } from './node.mjs';

const [, , script = 'check', ...args] = process.argv;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** Debian packages by what they are for. Nothing else is installed. */
const RUNTIME = {
  containerd: 'runs the containers',
  runc: 'starts them',
  'etcd-server': 'the replicated store',
  nftables: 'the routing mesh',
  iproute2: 'links, addresses and routes',
  'busybox-static': 'content of the demo image',
};
const PEERS = {
  test: {
    'docker-registry': 'a real registry to pull from',
    'etcd-client': 'looks into the store in tests',
    'python3-docker': 'the second client of the API',
  },
  bench: {
    wrk: 'makes the load',
    'nginx-light': 'answers it, in the tasks',
    haproxy: 'the peer in bench mesh',
    iptables: 'docker.io needs it',
    'docker.io': 'the peer in bench deploy',
  },
};

function say(text) {
  process.stderr.write(`${text}\n`);
}

function must(command, commandArgs, options = {}) {
  const result = spawnSync(command, commandArgs, { cwd: root, stdio: 'inherit', ...options });
  if (result.error) throw result.error;
  if (result.status !== 0) {
    say(`${command} ${commandArgs.join(' ')} failed (exit ${result.status ?? result.signal})`);
    process.exit(1);
  }
}

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

const installed = (name) =>
  spawnSync('dpkg', ['-s', name], { encoding: 'utf8' }).stdout?.includes('Status: install ok installed');

function installDebian(packages) {
  const missing = Object.keys(packages).filter((name) => !installed(name));
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0) {
    say(
      `Needed, and not installed: ${missing.join(' ')}. Run this as root, or: apt-get install ${missing.join(' ')}`,
    );
    process.exit(1);
  }
  say('Installing Debian packages:');
  for (const name of missing) say(`  ${name.padEnd(18)} ${packages[name]}`);
  const letServicesStart = keepServicesFromStarting();
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  must('apt-get', ['update', '-qq'], { env });
  must('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], {
    env,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  letServicesStart();
}

/**
 * Services of new packages must not start here: Skein runs its own instances, and the machine may have others. The
 * file goes however this ends: a failure exits, Ctrl-C ends apt-get and must not end us before it has gone.
 */
function keepServicesFromStarting() {
  const policy = '/usr/sbin/policy-rc.d';
  if (existsSync(policy)) return () => {};
  const remove = () => rmSync(policy, { force: true });
  const stay = () => {};
  process.on('exit', remove);
  for (const signal of SIGNALS) process.on(signal, stay);
  writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  return () => {
    remove();
    process.off('exit', remove);
    for (const signal of SIGNALS) process.off(signal, stay);
  };
}

function needRoot(what) {
  if (process.getuid?.() === 0) return;
  say(`${what} makes network namespaces and runs containerd: run it as root.`);
  process.exit(1);
}

/** What the kernel must have, and how a namespace that is gone with the question tries it. */
const KERNEL = {
  'network namespaces': { try: ['true'], why: 'each node and container has one of its own' },
  'veth links': {
    try: link('veth', 'peer', 'name', 'probe1'),
    why: 'they join containers and nodes to networks',
  },
  'bridge links': { try: link('bridge'), why: "one is a network's segment on each node" },
  'vxlan links': {
    try: link('vxlan', 'id', '1', 'dstport', '4789'),
    why: 'one carries a network between nodes',
  },
  'nftables with NAT': {
    try: ['nft', 'add table ip probe; add chain ip probe c { type nat hook prerouting priority -100; }'],
    why: 'the routing mesh is made of it',
  },
};

function link(...type) {
  return ['ip', 'link', 'add', 'probe0', 'type', ...type];
}

/** Before anything is installed, as far as the tools to try it are there; `skein` tries all of it again, and more. */
function needKernel() {
  const missing = Object.entries(KERNEL).filter(
    ([
      ,
      {
        try: [program, ...rest],
      },
    ]) => {
      if (spawnSync(program, ['-V']).error) return false;
      return spawnSync('unshare', ['--net', program, ...rest]).status !== 0;
    },
  );
  if (missing.length === 0) return;
  say('This machine can not run it, and nothing was changed:');
  for (const [what, { why }] of missing)
    say(
      `missing: the kernel feature ${what}\n  needed because ${why}\n` +
        "  to get it: modprobe its module, or boot a kernel that has it (Debian's linux-image-amd64)",
    );
  process.exit(1);
}

const bin = (name) => join(root, 'node_modules', '.bin', name);
const node = (nodeArgs, options) => must(node24(), nodeArgs, options);

function build() {
  rmSync(join(root, 'dist'), { recursive: true, force: true });
  node([bin('tsc'), '-p', 'tsconfig.build.json']);
  node([join(root, 'scripts', 'copy-gen.mjs')]);
}

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
        '--test-reporter=spec',
        '--test-reporter-destination=stdout',
        `--test-reporter=${join(root, 'scripts', 'summary-reporter.mjs')}`,
        `--test-reporter-destination=${summary}`,
        ...patterns,
      ],
      { cwd: root, stdio: 'inherit' },
    );
    child.on('close', (code) => {
      const counts = existsSync(summary)
        ? JSON.parse(readFileSync(summary, 'utf8'))
        : { passed: 0, failed: 1, skipped: 0 };
      rmSync(summary, { force: true });
      if (code !== 0 && counts.failed === 0) counts.failed = 1;
      resolve(counts);
    });
  });
}

const sum = (a, b) => ({
  passed: a.passed + b.passed,
  failed: a.failed + b.failed,
  skipped: a.skipped + b.skipped,
});

function finish({ passed, failed, skipped }) {
  console.log(`${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ''}`);
  process.exit(failed === 0 && passed > 0 ? 0 : 1);
}

function staticChecks() {
  node([bin('tsc'), '-p', 'tsconfig.json']);
  node([bin('eslint'), '--max-warnings=0', 'src', 'test']);
  node([bin('prettier'), '--check', '--log-level=warn', 'src', 'test', 'scripts']);
}

const UNIT = ['src/**/*.test.ts', 'test/*.test.ts'];
const scripts = {
  async check() {
    installPackages();
    staticChecks();
    finish(await runTests(args.length > 0 ? args : UNIT, { concurrency: 2 }));
  },
  async build() {
    installPackages();
    build();
  },
  async test() {
    needRoot('npm test');
    needKernel();
    installDebian({ ...RUNTIME, ...PEERS.test });
    installPackages();
    staticChecks();
    build();
    if (args.length > 0) return finish(await runTests(args, { concurrency: 1 }));
    const unit = await runTests(UNIT, { concurrency: 2 });
    finish(sum(unit, await runTests(['test/*/**/*.test.ts'], { concurrency: 2 })));
  },
  async demo() {
    needRoot('npm run demo');
    needKernel();
    installDebian(RUNTIME);
    installPackages();
    build();
    handOver(['demo', ...args]);
  },
  async bench() {
    needRoot('npm run bench');
    needKernel();
    installDebian({ ...RUNTIME, ...PEERS.bench });
    installPackages();
    build();
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
