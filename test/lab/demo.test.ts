/** The demo as a user runs it: every check holds, and it leaves nothing, also when it is interrupted half-way. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { afterEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { downLab } from '../../src/lab/lab.ts';
import { machineState } from './machine.ts';

const MAIN = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'src', 'cli', 'main.ts');
const NAME = 'demo';

afterEach(async () => {
  await downLab(NAME);
});

interface Demo {
  readonly child: ChildProcess;
  readonly ended: Promise<number>;
  /** Resolves when the text has been printed, on either stream. */
  printed(text: string): Promise<void>;
  output(): string;
}

function startDemo(...args: string[]): Demo {
  const child = spawn(process.execPath, [MAIN, 'demo', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
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

test('the demo proves everything and leaves nothing', { timeout: 180_000 }, async () => {
  const before = await machineState(NAME);
  const demo = startDemo('--once');
  assert.equal(await demo.ended, 0, demo.output());
  const output = demo.output();
  assert.doesNotMatch(output, /FAILED/);
  for (const fact of [
    /^ok +node1 answers on port 80: 30 of 30/m,
    /^ok +node2 answers on port 80: 30 of 30/m,
    /^ok +two containers serve the port on one node, one on the other/m,
    /^ok +a connection to node2 reaches a container on node1/m,
    /^ok +all containers ping each other over the overlay: 6 of 6/m,
    /^same host +2 +10\.255\.\S+ \(ingress endpoint of node1\)/m,
    /^cross host +3 .*\[SYN, ACK\] +\d+\.\d{3} ms$/m,
  ])
    assert.match(output, fact);
  assert.deepEqual(await machineState(NAME), before);
});

for (const moment of [
  'namespaces on a segment',
  'forming a cluster',
  'loading the image',
  '== Three replicas',
])
  test(`Ctrl-C at "${moment}" leaves nothing`, { timeout: 180_000 }, async () => {
    const before = await machineState(NAME);
    const demo = startDemo();
    await demo.printed(moment);
    demo.child.kill('SIGINT');
    demo.child.kill('SIGINT'); // a terminal sends it to npm and to the demo
    assert.equal(await demo.ended, 130, demo.output());
    assert.deepEqual(await machineState(NAME), before);
  });

test('it stays until Ctrl-C and says how to go on', { timeout: 180_000 }, async () => {
  const before = await machineState(NAME);
  const demo = startDemo();
  await demo.printed('Ctrl-C ends it');
  assert.match(demo.output(), /^export DOCKER_HOST=unix:\/\/\/run\/skein-lab\/demo\/node1\/skein\.sock$/m);
  demo.child.kill('SIGINT');
  assert.equal(await demo.ended, 0, demo.output());
  assert.deepEqual(await machineState(NAME), before);
});
