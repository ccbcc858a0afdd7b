/** The lab's own side, with a program that only waits in the daemon's place: namespaces, links, processes, removal. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { until } from '../../src/lab/cluster.ts';
import { downLab, Lab, type LabTools } from '../../src/lab/lab.ts';
import { argvOf, machineState, openFiles } from './machine.ts';

const A = 'test-a';
const B = 'test-b';

/** Stands in for skeind: names its run root, so that it is found as the daemon would be. */
const WAITER = 'process.on("SIGTERM", () => process.exit(0)); setInterval(() => {}, 1e6)';
const tools: Partial<LabTools> = {
  daemon: (node) => [process.execPath, '-e', WAITER, node.runRoot],
  isUp: () => Promise.resolve(true),
};

const up = (name: string, nodes = 2) => Lab.up({ name, nodes, cluster: false }, tools);

const addressOf = (lab: Lab, name: string): string => lab.node(name).address;

async function ping(lab: Lab, from: string, to: string): Promise<boolean> {
  const argv = ['busybox', 'ping', '-c', '1', '-W', '1', addressOf(lab, to)];
  return (await lab.exec(from, argv, { accept: [0, 1] })).code === 0;
}

/** Asks more than once: what waits for an address that was cut off a moment ago is dropped with that question. */
const reaches = (lab: Lab, from: string, to: string): Promise<void> =>
  until(`${from} to reach ${to}`, async () => (await ping(lab, from, to)) || 'no answer', {
    timeoutMs: 20_000,
  });

async function isCut(lab: Lab, from: string, to: string, why = ''): Promise<void> {
  assert.equal(await ping(lab, from, to), false, `${from} does not reach ${to} ${why}`);
}

afterEach(async () => {
  await downLab(A);
  await downLab(B);
});

test('stations reach each other and nothing else; down leaves nothing', async () => {
  const before = await machineState(A);
  const lab = await up(A);
  const mark = join(lab.node('node1').dataRoot, 'kept');
  writeFileSync(mark, '');
  await reaches(lab, 'client', 'node1');
  await reaches(lab, 'node1', 'node2');
  const { stdout } = await lab.exec('node1', ['ip', 'route']);
  assert.deepEqual(
    stdout
      .trim()
      .split('\n')
      .map((line) => line.split(' ')[0]),
    ['192.0.2.0/24'],
  );
  const { nodes, client } = Lab.open(A).report();
  assert.equal(client.address, '192.0.2.200');
  for (const node of nodes) assert.ok(node.pids.skeind);
  assert.deepEqual(nodes[0]!.pids, { skeind: nodes[0]!.pids.skeind, containerd: null, etcd: null });
  await downLab(A);
  assert.deepEqual(await machineState(A), before);
});

test('labs side by side have the same addresses and do not disturb each other', async () => {
  const [a, b] = await Promise.all([up(A), up(B)]);
  assert.deepEqual(
    Lab.names().filter((name) => [A, B].includes(name)),
    [A, B],
  );
  await a.cut('node1');
  await isCut(a, 'client', 'node1');
  await reaches(b, 'client', 'node1');
  const pids = b.report().nodes.map((node) => node.pids.skeind);
  await a.down();
  await reaches(b, 'client', 'node1');
  assert.deepEqual(
    b.report().nodes.map((node) => node.pids.skeind),
    pids,
  );
  await b.down();
});

test('a cut of one node, and of the way between two, holds until it is healed', async () => {
  const lab = await up(A, 3);
  await lab.cut('node1', 'node2');
  await isCut(lab, 'node1', 'node2');
  await isCut(lab, 'node2', 'node1');
  await reaches(lab, 'node1', 'node3');
  await reaches(lab, 'client', 'node2');
  await lab.cut('node1', 'node2'); // again is no error
  await lab.heal('node1', 'node2');
  await lab.heal('node1', 'node2');
  await reaches(lab, 'node1', 'node2');
  await lab.cut('node3');
  await isCut(lab, 'node1', 'node3');
  await lab.heal('node3');
  await reaches(lab, 'node1', 'node3');
  await lab.cut('node3');
  await lab.cut('client', 'node1');
  await lab.cut('client');
  await lab.reboot('node3');
  await isCut(lab, 'node1', 'node3', 'a reboot does not plug the cable in');
  await lab.heal();
  await reaches(lab, 'node1', 'node3');
  await reaches(lab, 'client', 'node1');
  await lab.down();
});

test('kill, start and reboot of a node', async () => {
  const lab = await up(A);
  const pid = () => lab.report().nodes[0]!.pids.skeind;
  const first = pid();
  await lab.start('node1');
  assert.equal(pid(), first, 'start leaves alone what runs');
  await lab.kill('node1', 'skeind', 'SIGTERM');
  assert.equal(pid(), null);
  await assert.rejects(lab.kill('node1'), { code: 'not-found', message: 'skeind does not run on node1' });
  await lab.start('node1');
  assert.notEqual(pid(), first);
  const kept = join(lab.node('node1').dataRoot, 'kept');
  const lost = join(lab.node('node1').runRoot, 'lost');
  for (const file of [kept, lost]) writeFileSync(file, '');
  const other = lab.report().nodes[1]!.pids.skeind;
  await lab.exec('node1', ['ip', 'link', 'add', 'extra', 'type', 'bridge']);
  await lab.reboot('node1');
  assert.ok(existsSync(kept));
  assert.ok(!existsSync(lost));
  assert.notEqual(pid(), null);
  assert.equal(lab.report().nodes[1]!.pids.skeind, other);
  await assert.rejects(lab.exec('node1', ['ip', 'link', 'show', 'extra']), /does not exist/);
  await reaches(lab, 'client', 'node1');
  await lab.down();
});

test('a second lab of the same name is refused and the first goes on', async () => {
  const lab = await up(A);
  await assert.rejects(up(A), { code: 'already-exists' });
  assert.ok(lab.report().nodes[0]!.pids.skeind);
  await lab.down();
  assert.throws(() => Lab.open(A), /no such lab: test-a/);
});

test('a daemon that ends at its start is an error with its log, and nothing stays', async () => {
  const before = await machineState(A);
  const broken: Partial<LabTools> = {
    daemon: () => [process.execPath, '-e', 'console.log("no disk"); process.exit(3)'],
    isUp: () => Promise.resolve(false),
  };
  await assert.rejects(
    Lab.up({ name: A, nodes: 2, cluster: false }, broken),
    /skeind of node\d ended at its start:\n(.*\n)*no disk/,
  );
  assert.deepEqual(await machineState(A), before);
});

test('down removes what a killed starter left: processes, mounts, cgroups, namespaces without a state file', async () => {
  const before = await machineState(A);
  const script = join(dirname(fileURLToPath(import.meta.url)), 'half-lab.ts');
  const starter = spawn(process.execPath, [script, A], { stdio: 'ignore' });
  const ended = new Promise((resolve) => starter.on('close', resolve));
  const file = `/run/skein-lab/${A}/ready`;
  await until(`${file}`, () => Promise.resolve(existsSync(file) || 'not there'), { timeoutMs: 20_000 });
  starter.kill('SIGKILL');
  await ended;
  const half = await machineState(A);
  for (const kind of ['namespaces', 'mounts', 'processes', 'cgroups', 'files'])
    assert.notDeepEqual(half[kind], before[kind], kind);
  await downLab(A);
  assert.deepEqual(await machineState(A), before);
  await downLab(A); // repeatable
});

test('down takes nobody else along', async () => {
  const folder = `/run/skein-lab/${A}`;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'log'), '');
  // A daemon of a lab whose name begins like this one's, and somebody who reads a file of this one.
  const daemon = spawn(process.execPath, ['-e', WAITER, `${folder}-other/x`], { stdio: 'ignore' });
  const reader = spawn('tail', ['-f', join(folder, 'log')], { stdio: 'ignore' });
  const shows = ({ pid, spawnargs }: ChildProcess) =>
    JSON.stringify(argvOf(pid!)) === JSON.stringify(spawnargs) || `${pid} shows ${argvOf(pid!).join(' ')}`;
  try {
    // Down is to see both as what they are; a reader that came too late for its file would end by itself.
    const settled = { timeoutMs: 20_000 };
    await until('the daemon to show its arguments', () => Promise.resolve(shows(daemon)), settled);
    await until(
      'the reader to read',
      () => Promise.resolve(openFiles(reader.pid!).includes(join(folder, 'log')) || 'not yet open'),
      settled,
    );
    await downLab(A);
    assert.equal(existsSync(folder), false);
    for (const child of [daemon, reader]) assert.equal(shows(child), true, 'runs on');
  } finally {
    for (const child of [daemon, reader]) child.kill('SIGKILL');
  }
});
