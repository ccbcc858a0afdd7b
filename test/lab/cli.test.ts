/** `skein lab` as people and scripts call it: words, JSON and exit codes. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { registerLab } from '../../src/cli/lab.ts';
import { runProcess } from '../../src/kit/process.ts';
import { until } from '../../src/lab/cluster.ts';
import { downLab, Lab, type LabReport } from '../../src/lab/lab.ts';
import { send } from '../../src/lab/signals.ts';
import { machineState } from './machine.ts';

const NAME = 'test-cli';
const MAIN = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'src', 'cli', 'main.ts');

const skein = (...args: string[]) =>
  runProcess([process.execPath, MAIN, 'lab', ...args], { accept: [0, 1, 7] });
const named = (command: string, ...args: string[]) => skein(command, '--name', NAME, ...args);

/** The commands without a process of their own. */
function program(): Command {
  const skeinLab = new Command().exitOverride().configureOutput({ writeErr: () => {} });
  registerLab(skeinLab);
  return skeinLab;
}
const here = (command: string, ...args: string[]) =>
  program().parseAsync(['lab', command, '--name', NAME, ...args], { from: 'user' });

before(() =>
  Lab.up(
    { name: NAME, nodes: 2, cluster: false },
    {
      daemon: (node) => [process.execPath, '-e', 'setInterval(() => {}, 1e6)', node.runRoot],
      isUp: () => Promise.resolve(true),
    },
  ),
);
after(() => downLab(NAME));

test('up starts real nodes, as JSON; kill all, start and reboot; down', { timeout: 300_000 }, async () => {
  const name = 'test-cli-up';
  const before = await machineState(name);
  try {
    const flags = ['--no-cluster', '--image', '--mtu', 'node1=1400', '--settings', '{"labels":{"a":"b"}}'];
    const up = await skein('up', '--nodes', '1', '--name', name, '--json', ...flags);
    assert.equal(up.code, 0, up.stderr);
    const lab = JSON.parse(up.stdout) as LabReport;
    assert.deepEqual(lab, Lab.open(name).report());
    const [node] = lab.nodes;
    assert.ok(node!.pids.skeind && node!.pids.containerd);
    assert.equal(node!.pids.etcd, null, 'a manager only');
    const engine = Lab.open(name).engine('node1');
    const info = await engine.get<{
      Swarm: { LocalNodeState: string };
      Images: number;
      Labels: string[];
    }>('/info');
    assert.deepEqual([info.Swarm.LocalNodeState, info.Images, info.Labels], ['inactive', 1, ['a=b']]);
    const pids = () => Lab.open(name).report().nodes[0]!.pids;
    const of = (command: string, ...args: string[]) => skein(command, '--name', name, ...args);
    assert.match((await of('exec', 'node1', 'ip', 'link', 'show', 'eth0')).stdout, / mtu 1400 /);
    assert.equal((await of('kill', 'node1', 'all')).code, 0);
    assert.deepEqual(pids(), { skeind: null, containerd: null, etcd: null });
    assert.equal((await of('start', 'node1')).code, 0);
    const started = pids();
    assert.ok(started.skeind && started.containerd);
    assert.equal((await of('reboot', 'node1')).code, 0);
    assert.ok(pids().skeind && pids().skeind !== started.skeind);
    assert.equal((await engine.get<{ Images: number }>('/info')).Images, 1, 'the data root is kept');
  } finally {
    assert.equal((await skein('down', name)).code, 0);
    assert.ok(!Lab.names().includes(name));
  }
  assert.deepEqual(await machineState(name), before);
});

test('ls --json has the shape that scripts rely on', async () => {
  const labs = JSON.parse((await skein('ls', '--json')).stdout) as LabReport[];
  const lab = labs.find(({ name }) => name === NAME)!;
  const pid = lab.nodes[0]!.pids.skeind;
  assert.ok(Number.isInteger(pid));
  assert.deepEqual(lab.client, { netns: `/run/netns/skein-${NAME}-client`, address: '192.0.2.200' });
  assert.deepEqual(lab.nodes[0], {
    name: 'node1',
    address: '192.0.2.11',
    netns: `/run/netns/skein-${NAME}-node1`,
    socket: `/run/skein-lab/${NAME}/node1/skein.sock`,
    dataRoot: `/var/lib/skein-lab/${NAME}/node1`,
    pids: { skeind: pid, containerd: null, etcd: null },
  });
  const { stdout } = await skein('ls');
  const words = stdout.split(`lab ${NAME}, `)[1]!.replaceAll(/ {2,}/g, ' ').split('\n');
  assert.deepEqual(words.slice(0, 3), [
    `client 192.0.2.200 in /run/netns/skein-${NAME}-client`,
    'NODE ADDRESS SKEIND CONTAINERD ETCD SOCKET',
    `node1 192.0.2.11 ${pid} - - /run/skein-lab/${NAME}/node1/skein.sock`,
  ]);
});

test('exec gives the output and the exit code, with and without --', async () => {
  const address = await named('exec', 'client', '--', 'ip', '-o', '-4', 'address');
  assert.match(address.stdout, /192\.0\.2\.200\/24/);
  const engine = await named('exec', 'node1', 'env');
  assert.match(engine.stdout, new RegExp(`DOCKER_HOST=unix:///run/skein-lab/${NAME}/node1/skein.sock`));
  assert.equal((await named('exec', 'node2', '--', 'busybox', 'ash', '-c', 'exit 7')).code, 7);
});

test('cut and heal', async (t) => {
  const lab = Lab.open(NAME);
  t.after(() => lab.heal());
  const ping = (from: string) =>
    lab.exec(from, ['busybox', 'ping', '-c', '1', '-W', '1', '192.0.2.12'], { accept: [0, 1] });
  const isCut = async (from: string) => assert.equal((await ping(from)).code, 1, `${from} gets no answer`);
  const answers = (from: string) =>
    until('an answer', async () => (await ping(from)).code === 0 || 'none', { timeoutMs: 20_000 });
  await here('cut', 'node1', 'node2');
  await here('cut', 'node2', 'client');
  await isCut('node1');
  await here('heal', 'node1', 'node2');
  await answers('node1');
  await isCut('client');
  await here('heal');
  await answers('client');
  await here('cut', 'node2');
  await isCut('node1');
  await here('heal', 'node2');
  await answers('node1');
});

test('kill sends the signal that is asked for, by name or number', async (t) => {
  const pid = Lab.open(NAME).report().nodes[1]!.pids.skeind;
  const state = () => /^State:\s+(\w)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]!;
  t.after(() => send(pid!, 'SIGCONT'));
  await here('kill', 'node2', '--signal', 'stop');
  assert.equal(state(), 'T');
  await here('kill', 'node2', 'skeind', '--signal', String(constants.signals.SIGCONT));
  await until('it to go on', async () => state() !== 'T' || 'T', { timeoutMs: 20_000 });
});

test('kill and start', async () => {
  assert.equal((await named('kill', 'node1', '--signal', 'term')).code, 0);
  assert.equal(Lab.open(NAME).report().nodes[0]!.pids.skeind, null);
  const again = await named('kill', 'node1');
  assert.equal(again.code, 1);
  assert.match(again.stderr, /skeind does not run on node1/);
});

test('what is asked wrongly is an error in words, and the exit code says so', async () => {
  const { code, stderr } = await skein('cut', '--name', 'nowhere', 'node1');
  assert.equal(code, 1);
  assert.match(stderr, /^skein: no such lab: nowhere .*\n$/);
  for (const [args, message] of [
    [
      ['cut', '--name', NAME, 'node9'],
      /no such node in lab test-cli: node9 \(there are: node1, node2, client\)/,
    ],
    [['kill', '--name', NAME, 'client'], /client is not a node/],
    [['kill', '--name', NAME, 'node1', 'dockerd'], /no such process: dockerd/],
    [['kill', '--name', NAME, 'node1', '--signal', 'SIGNO'], /no such signal/],
    [['cut', '--name', 'nowhere', 'node1'], /no such lab: nowhere/],
    [['down', 'nowhere'], /no such lab: nowhere/],
    [['up', '--nodes', 'two'], /must be a whole number/],
    [['up', '--nodes', '2', '--managers', '3', '--name', 'nowhere'], /of 2 nodes 3 can not be managers/],
    [['up', '--nodes', '1', '--mtu', '1400', '--name', 'nowhere'], /must be NODE=MTU/],
    [['up', '--nodes', '1', '--settings', '[1]', '--name', 'nowhere'], /must be a JSON object/],
    [['cut', '--name', NAME, 'node1', 'node1'], /node1 can not be cut from itself/],
    [['up', '--nodes', '0', '--name', 'nowhere'], /a lab has 1 to 100 nodes/],
    [['up', '--nodes', '2', '--name', NAME], /lab test-cli exists/],
    [['up', '--nodes', '2', '--name', '../x'], /invalid lab name/],
  ] as const) {
    await assert.rejects(program().parseAsync(['lab', ...args], { from: 'user' }), { message });
  }
});
