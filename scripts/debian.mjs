// Debian packages: what there is to install, what it is for, and its installation, shown as it goes on.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { must, root, say, SIGNALS } from './node.mjs';

/** Of `skein install` as well. Read as it lies there: when this runs, nothing is built yet. */
const { packages, broughtBy, aptInstall } = JSON.parse(
  readFileSync(join(root, 'src', 'daemon', 'debian.json'), 'utf8'),
);

/** By what they are for. Nothing else is asked for. */
export const RUNTIME = { ...packages, 'busybox-static': 'content of the demo image' };
export const PEERS = {
  test: {
    'docker-registry': 'a real registry to pull from',
    'etcd-client': 'looks into the store in tests',
    'python3-docker': 'the second client of the API',
  },
  bench: {
    wrk: 'makes the load',
    'nginx-light': 'answers it, in the tasks',
    haproxy: 'the peer in bench mesh',
    'dnsmasq-base': 'the peer in bench dns',
    iptables: 'docker.io needs it',
    'docker.io': 'the peer in bench deploy',
  },
};

/** Docker's own packages bring what Debian's do, and can not stand beside them. */
const BROUGHT_BY = { ...broughtBy, 'docker.io': 'docker-ce' };
const PROGRESS_MS = 3000;
/** As long as `apt-get install` is told to wait by itself. */
const WAIT_MS = 120_000;
const IS_BUSY = /could not get lock/i;
const width = 18;

const installed = (name) =>
  spawnSync('dpkg', ['-s', name], { encoding: 'utf8' }).stdout?.includes('Status: install ok installed');

export async function installDebian(packages) {
  const missing = Object.keys(packages).filter(
    (name) => !installed(name) && !(BROUGHT_BY[name] && installed(BROUGHT_BY[name])),
  );
  if (missing.length === 0) return;
  if (spawnSync('apt-get', ['--version']).error) {
    say(`This is no Debian: there is no apt-get. Nothing was changed. Needed: ${missing.join(' ')}`);
    process.exit(1);
  }
  say('Installing Debian packages:');
  for (const name of missing) say(`  ${name.padEnd(width)} ${packages[name]}`);
  const letServicesStart = keepServicesFromStarting();
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' };
  say('Reading the lists of packages ...');
  await update(env);
  const others = dependenciesOf(missing, env);
  if (others.length > 0) say(`  ${'what they need'.padEnd(width)} ${others.join(' ')}`);
  await install(missing, env);
  switchOff(unitsOf(missing));
  letServicesStart();
}

let interrupted = false;

/** apt-get waits here for no other one, and a machine runs one by itself after its start. */
async function update(env) {
  const args = ['update', '-qq'];
  const until = performance.now() + WAIT_MS;
  for (let told = false; ; told = true) {
    const ended = spawnSync('apt-get', args, { env, encoding: 'utf8', stdio: ['ignore', 'inherit', 'pipe'] });
    const waits =
      ended.status !== 0 && IS_BUSY.test(ended.stderr) && !interrupted && performance.now() <= until;
    if (!waits) process.stderr.write(ended.stderr);
    if (ended.status === 0) return;
    if (!waits) {
      say(`apt-get ${args.join(' ')} failed (exit ${ended.status ?? ended.signal})`);
      process.exit(1);
    }
    if (!told) say("  another program is at work on this machine's packages; waiting for it to end");
    await delay(1000);
  }
}

/** Packages that come along, by a run of apt-get that changes nothing. */
function dependenciesOf(names, env) {
  const { stdout = '' } = spawnSync('apt-get', [...aptInstall, '-s', ...names], {
    env,
    encoding: 'utf8',
  });
  const all = [...stdout.matchAll(/^Inst (\S+)/gm)].map(([, name]) => name);
  return all.filter((name) => !names.includes(name));
}

/** apt-get tells its progress on a descriptor of its own; a line of it is shown now and then. */
async function install(names, env) {
  const args = [...aptInstall, '-o', 'APT::Status-Fd=3', ...names];
  const child = spawn('apt-get', args, { env, stdio: ['ignore', 'ignore', 'inherit', 'pipe'] });
  let shown = -Infinity;
  createInterface({ input: child.stdio[3] }).on('line', (line) => {
    const [, percent, what] = /^(?:dl|pm)status:[^:]*:([\d.]+):(.*)$/.exec(line) ?? [];
    if (percent === undefined || Date.now() < shown + PROGRESS_MS) return;
    shown = Date.now();
    say(`  ${String(Math.floor(percent)).padStart(3)} %  ${what}`);
  });
  const [code, signal] = await new Promise((resolve) => child.on('close', (...how) => resolve(how)));
  if (code === 0) return;
  say(`apt-get install ${names.join(' ')} failed (exit ${code ?? signal})`);
  process.exit(1);
}

const UNIT = /^(?:\/usr)?\/lib\/systemd\/system\/([^/@]+\.(?:service|socket))$/gm;

/** What systemd would start for these packages. */
const unitsOf = (names) =>
  [...spawnSync('dpkg', ['-L', ...names], { encoding: 'utf8' }).stdout.matchAll(UNIT)].map(
    ([, name]) => name,
  );

/** A package's services are on from the next boot, whatever policy held them back now. These came for us alone. */
function switchOff(units) {
  if (units.length === 0 || spawnSync('systemctl', ['--version']).error) return;
  must('systemctl', ['disable', '--quiet', ...units]);
}

/**
 * Services of new packages must not start here: Skein runs its own instances, and the machine may have others. A file
 * of ours goes however this ends: a failure exits, Ctrl-C ends apt-get and must not end us before it has gone.
 */
function keepServicesFromStarting() {
  const policy = '/usr/sbin/policy-rc.d';
  const ours = !existsSync(policy);
  const remove = () => ours && rmSync(policy, { force: true });
  const stay = () => (interrupted = true);
  process.on('exit', remove);
  for (const signal of SIGNALS) process.on(signal, stay);
  if (ours) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  return () => {
    remove();
    process.off('exit', remove);
    for (const signal of SIGNALS) process.off(signal, stay);
  };
}
