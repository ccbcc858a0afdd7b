/** Every proof can fail, and says what did: a container that is silent, a way that loses packets, a node that misses. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RunProcess } from '../../kit/process.ts';
import { planLab } from '../../lab/plan.ts';
import { SkeinError } from '../../model/errors.ts';
import { CheckList } from './checks.ts';
import type { Replica } from './facts.ts';
import { proveMesh, provePings, proveReplicas, type Stage } from './proofs.ts';

const replica = (slot: number, node: string): Replica => ({
  name: `web.${slot}`,
  node,
  address: `10.255.0.${slot}`,
  containerId: 'c'.repeat(64),
  pid: slot,
});
const REPLICAS = [replica(1, 'node1'), replica(2, 'node2'), replica(3, 'node1')];

const answers = (slot: number) => ({
  code: 0,
  stdout: `container c${slot}\naddresses 10.255.0.${slot}\nclient 192.0.2.200:1\n`,
  stderr: '',
});
const hung = (): Promise<never> => Promise.reject(new SkeinError('deadline-exceeded', 'wget: hung'));

/** `run` is every program, in whatever namespace. */
function stageWith(run: RunProcess): Stage & { failed(): string[] } {
  const checks = new CheckList();
  const lab = {
    plan: planLab({ name: 'demo', nodes: 2 }),
    exec: (_: string, argv: readonly string[]) => run(argv),
    engine: () => assert.fail('no API is asked'),
  };
  const failed = () =>
    checks
      .render()
      .split('\n')
      .filter((line) => line.startsWith('FAILED'));
  return { lab, checks, print: () => {}, signal: new AbortController().signal, failed };
}

/** As the mesh does: one after the other. */
function inTurn(slots: readonly (number | undefined)[]): RunProcess {
  let next = 0;
  return () => {
    const slot = slots[next++ % slots.length];
    return slot === undefined ? hung() : Promise.resolve(answers(slot));
  };
}

test('connections that are answered by all: every check holds', async () => {
  const stage = stageWith(inTurn([1, 2, 3]));
  await proveMesh(stage, REPLICAS);
  assert.deepEqual(stage.failed(), []);
  assert.match(
    stage.checks.render(),
    /^ok +all containers answer through node2: web\.1 10, web\.2 10, web\.3 10$/m,
  );
  assert.equal(stage.checks.exitCode(true), 0);
});

test('a container that does not answer is named, by its node too, and so is what was lost', async () => {
  const stage = stageWith(inTurn([1, undefined, 3]));
  await proveMesh(stage, REPLICAS);
  assert.deepEqual(
    stage.failed(),
    ['node1', 'node2'].flatMap((node) => [
      `FAILED  ${node} answers on port 80: 20 of 30 connections answered`,
      `FAILED  all containers answer through ${node}: not web.2`,
      `FAILED  a connection to ${node} reaches a container on node2: none answered`,
    ]),
  );
  assert.equal(stage.checks.exitCode(true), 1);
});

test('a container that no connection comes to is missed though none was lost', async () => {
  const stage = stageWith(inTurn([1, 2]));
  await proveMesh(stage, REPLICAS);
  assert.deepEqual(
    stage.failed(),
    ['node1', 'node2'].map((node) => `FAILED  all containers answer through ${node}: not web.3`),
  );
});

test('without containers nothing holds', async () => {
  const stage = stageWith(hung);
  await proveReplicas(stage, [], hung);
  await provePings(stage, [], hung);
  await proveMesh(stage, []);
  assert.doesNotMatch(stage.checks.render(), /^ok/m);
});

test('a container that is asked directly and is silent, or is another', async () => {
  for (const [slot, came] of [
    [undefined, 2],
    [1, 2],
  ] as const) {
    const stage = stageWith(hung);
    const run: RunProcess = ([, namespace = '']) => {
      const own = Number(/\d+/.exec(namespace)![0]);
      return inTurn([own === 2 ? slot : own])([]);
    };
    await proveReplicas(stage, REPLICAS, run);
    assert.deepEqual(stage.failed(), [
      `FAILED  two containers serve the port on one node, one on the other: 2 on node1, 1 on node2; ${came} of 3 answer when asked directly`,
    ]);
  }
});

test('one ping that does not come back is named', async () => {
  const stage = stageWith(hung);
  const run: RunProcess = (argv) => {
    const lost = argv.includes('--net=/proc/3/ns/net') && argv.at(-1) === '10.255.0.2';
    return Promise.resolve({ code: lost ? 1 : 0, stdout: lost ? '' : 'time=0.042 ms', stderr: '' });
  };
  await provePings(stage, REPLICAS, run);
  assert.deepEqual(stage.failed(), [
    'FAILED  all containers ping each other over the overlay: 5 of 6 came back, not web.3 to web.2',
  ]);
});
