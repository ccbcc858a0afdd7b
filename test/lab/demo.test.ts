/** The demo as a user runs it: every check holds, and it leaves nothing, also when it is interrupted half-way. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runProcess } from '../../src/kit/process.ts';
import { downLab } from '../../src/lab/lab.ts';
import { skipWithoutDocker } from '../docker.ts';
import { machineState } from './machine.ts';

const MAIN = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'src', 'cli', 'main.ts');
const NAME = 'demo';
/** Of a demo that has proven everything, and stays. */
const THROUGH = 'Ctrl-C ends it';

let started: ChildProcess | undefined;
afterEach(async () => {
  // One that a failed test left would keep this file from its end.
  started?.kill('SIGKILL');
  await downLab(NAME);
});

interface Demo {
  readonly child: ChildProcess;
  readonly ended: Promise<number>;
  /** Resolves when the text has been printed, on either stream. */
  printed(text: string): Promise<void>;
  output(): string;
}

function startDemo(args: readonly string[] = [], path = process.env.PATH): Demo {
  const child = spawn(process.execPath, [MAIN, 'demo', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PATH: path },
  });
  started = child;
  let output = '';
  const waiting: { text: string; resolve: () => void }[] = [];
  const take = (chunk: Buffer) => {
    output += chunk.toString();
    for (const { text, resolve } of waiting) if (output.includes(text)) resolve();
  };
  child.stdout.on('data', take);
  child.stderr.on('data', take);
  const ended = new Promise<number>((resolve) => child.on('close', (code) => resolve(code ?? -1)));
  return {
    child,
    ended,
    output: () => output,
    async printed(text) {
      const seen = new Promise<void>((resolve) => {
        if (output.includes(text)) resolve();
        waiting.push({ text, resolve });
      });
      const first = await Promise.race([seen, ended.then(() => 'ended')]);
      assert.notEqual(first, 'ended', `the demo ended before it printed "${text}":\n${output}`);
    },
  };
}

test('the demo proves everything and leaves nothing', { timeout: 600_000 }, async () => {
  const before = await machineState(NAME);
  const demo = startDemo(['--once']);
  assert.equal(await demo.ended, 0, demo.output());
  const output = demo.output();
  assert.doesNotMatch(output, /FAILED/);
  const typed = [
    /^\$ docker service create --name web --replicas 3 --publish mode=ingress,target=80,published=80 \S+$/m,
    /^verify: Service \S+ converged/m,
  ];
  for (const fact of [
    ...(skipWithoutDocker ? [] : typed),
    /^ok +the ingress network is 10\.255\.0\.0\/16: inspect says 10\.255\.0\.0\/16$/m,
    /^ok +node1 answers on port 80: 30 of 30/m,
    /^ok +node2 answers on port 80: 30 of 30/m,
    /^ok +all containers answer through node1: web\.1 \d+, web\.2 \d+, web\.3 \d+$/m,
    /^ok +all containers answer through node2: web\.1 \d+, web\.2 \d+, web\.3 \d+$/m,
    /^ok +two containers serve the port on one node, one on the other/m,
    ...['node1', 'node2'].flatMap((to) =>
      ['node1', 'node2'].map(
        (on) => new RegExp(`^ok +a connection to ${to} reaches a container on ${on}`, 'm'),
      ),
    ),
    /^ok +all containers ping each other over the overlay: 6 of 6/m,
    /^same host +2 +10\.255\.\S+ \(ingress endpoint of node1\)/m,
    /^cross host +3 .*\[SYN, ACK\] +\d+\.\d{3} ms$/m,
  ])
    assert.match(output, fact);
  assert.deepEqual(await machineState(NAME), before);
});

for (const moment of ['namespaces on a segment', 'forming a cluster', 'loading the image', '== The packets'])
  test(`Ctrl-C at "${moment}" leaves nothing`, { timeout: 600_000 }, async () => {
    const before = await machineState(NAME);
    const demo = startDemo();
    await demo.printed(moment);
    demo.child.kill('SIGINT');
    demo.child.kill('SIGINT'); // a terminal sends it to npm and to the demo
    const code = await demo.ended;
    // One that was through with everything before it heard of it was interrupted in nothing.
    assert.equal(code, demo.output().includes(THROUGH) ? 0 : 130, demo.output());
    assert.deepEqual(await machineState(NAME), before);
  });

/** The programs of this machine but the docker CLI: folders that have it are replaced by links to all else in them. */
function pathWithoutDocker(folder: string): string {
  const folders = (process.env.PATH ?? '').split(':').map((each, n) => {
    if (!existsSync(join(each, 'docker'))) return each;
    const links = join(folder, String(n));
    mkdirSync(links);
    for (const name of readdirSync(each))
      if (name !== 'docker') symlinkSync(join(each, name), join(links, name));
    return links;
  });
  return folders.join(':');
}

test(
  'without a docker CLI too it stays until Ctrl-C and says how to go on',
  { timeout: 600_000 },
  async () => {
    const before = await machineState(NAME);
    const folder = mkdtempSync(join(tmpdir(), 'skein-demo-'));
    const demo = startDemo([], pathWithoutDocker(folder));
    await demo.printed(THROUGH);
    rmSync(folder, { recursive: true });
    assert.match(demo.output(), /^\(no docker CLI here: the same through the API\)\n[0-9a-z]{25}$/m);
    assert.doesNotMatch(demo.output(), /FAILED/);
    assert.match(demo.output(), /^# the docker CLI comes with: apt-get install docker\.io$/m);
    assert.match(demo.output(), /^export DOCKER_HOST=unix:\/\/\/run\/skein-lab\/demo\/node1\/skein\.sock$/m);
    assert.match(demo.output(), /^docker service ls$/m);
    const lines = [...demo.output().matchAll(/^(nsenter --net=\S+ .* http:\S+) +# (node\d)$/gm)];
    assert.deepEqual(
      lines.map(([, , node]) => node),
      ['node1', 'node2'],
    );
    for (const [, line] of lines)
      assert.match((await runProcess(line!.split(' '))).stdout, /^container \w{12}$/m);
    demo.child.kill('SIGINT');
    assert.equal(await demo.ended, 0, demo.output());
    assert.deepEqual(await machineState(NAME), before);
  },
);
