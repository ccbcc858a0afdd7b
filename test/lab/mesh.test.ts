/**
 * The mesh while its backends change: UDP flows move to a task that lives, answers keep the address they were asked
 * at, what drains gets nothing new, and a rolling update loses no connection.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { until } from '../../src/lab/cluster.ts';
import { downLab, Lab } from '../../src/lab/lab.ts';
import { skipWithoutDocker } from '../docker.ts';
import { machineState } from './machine.ts';
import { IMAGE, Stage } from './stage.ts';

const NAME = 'proof-mesh';
const A = '192.0.2.11';
const B = '192.0.2.12';

/**
 * Eight flows to each address, each from a source port of its own that is kept: asks on all of them every 100 ms, and
 * prints after each round `flow answer` of every flow as JSON; an answer from elsewhere than asked ends it.
 */
const FLOWS = `
const dgram = require('node:dgram');
const [port, size, ...addresses] = process.argv.slice(1);
const answers = {};
const sockets = addresses.flatMap((address) => Array.from({ length: 8 }, (_, i) => {
  const flow = address + '#' + i;
  const socket = dgram.createSocket('udp4');
  socket.on('message', (data, from) => {
    if (from.address !== address || from.port !== Number(port)) throw new Error('answer from ' + from.address + ':' + from.port);
    const [name, rest] = data.toString().split(' ');
    if (rest.length === Number(size)) answers[flow] = name;
  });
  socket.on('error', () => {});
  return { socket, address };
}));
setInterval(() => {
  console.log(JSON.stringify(answers));
  for (const flow of Object.keys(answers)) delete answers[flow];
  for (const { socket, address } of sockets) socket.send('x'.repeat(Number(size)), Number(port), address);
}, 100);
process.stdin.on('end', () => process.exit(0)).resume();
`;

/** New connections one after the other to each address in turn; prints one line of JSON at the end of input. */
const CONNECTIONS = `
const http = require('node:http');
const [port, ...addresses] = process.argv.slice(1);
const seen = { answered: {}, failed: [] };
let ending = false;
process.stdin.on('end', () => (ending = true)).resume();
function ask(i) {
  if (ending) { console.log(JSON.stringify(seen)); process.exit(0); }
  const host = addresses[i % addresses.length];
  const next = () => setTimeout(ask, 3, i + 1);
  const request = http.get({ host, port, path: '/', agent: false, timeout: 3000 }, (answer) => {
    let text = '';
    answer.on('data', (data) => (text += data));
    answer.on('end', () => { const name = /container (\\S+)/.exec(text)[1]; seen.answered[name] = (seen.answered[name] ?? 0) + 1; next(); });
  });
  request.on('timeout', () => request.destroy(new Error('no answer within 3 s')));
  request.on('error', (error) => { seen.failed.push(host + ': ' + error.message); next(); });
}
ask(0);
`;

class Running {
  readonly #child: ChildProcess;
  #output = '';

  constructor(lab: Lab, script: string, ...args: string[]) {
    const [command = '', ...enter] = lab.enter('client');
    this.#child = spawn(command, [...enter, process.execPath, '-e', script, ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child.stdout!.on('data', (chunk: Buffer) => (this.#output += chunk.toString()));
  }

  /** The last whole line. */
  get last(): unknown {
    const lines = this.#output.split('\n');
    return JSON.parse(lines.at(-2) || '{}');
  }

  async end(): Promise<unknown> {
    const closed = new Promise((resolve) => this.#child.on('close', resolve));
    this.#child.stdin!.end();
    await closed;
    return this.last;
  }
}

describe('a mesh in motion', { skip: skipWithoutDocker, timeout: 180_000 }, () => {
  let stage: Stage;
  let machine: unknown;
  const docker = (...args: string[]) => stage.docker('node1').ok(...args);
  const create = (name: string, ...args: string[]) =>
    docker('service', 'create', '--no-resolve-image', '--update-monitor', '1s', '--name', name, ...args);

  before(async () => {
    machine = await machineState(NAME);
    stage = new Stage(await Lab.up({ name: NAME, nodes: 2 }));
    await stage.loadImage();
  });
  after(async () => {
    stage.close();
    await downLab(NAME);
    assert.deepEqual(await machineState(NAME), machine);
  });

  for (const [what, port, size] of [
    ['', 5301, 10],
    [', in datagrams larger than a packet', 5302, 4000],
  ] as const)
    test(`a UDP flow stays at its task, and moves to one that lives when that goes${what}`, async () => {
      await create('udp', '--replicas', '4', '-p', `${port}:53/udp`, IMAGE, 'udp=53');
      const flows = new Running(stage.lab, FLOWS, String(port), String(size), A, B);
      const all = (tasks: number) =>
        until(
          `all flows to be answered by ${tasks} tasks`,
          async () => {
            const answers = flows.last as Record<string, string>;
            const names = new Set(Object.values(answers));
            return (
              (Object.keys(answers).length === 16 && names.size === tasks) || `${JSON.stringify(answers)}`
            );
          },
          { timeoutMs: 10_000 },
        );
      await all(4);
      const before = flows.last;
      await new Promise((resolve) => setTimeout(resolve, 300));
      assert.deepEqual(flows.last, before, 'a flow stays where it is');
      await docker('service', 'scale', 'udp=1');
      await all(1);
      await docker('service', 'rm', 'udp');
      await flows.end();
    });

  test('a rolling update loses no connection, through any node', async () => {
    await create('web', '--replicas', '4', '--update-parallelism', '1', '-p', '80:80', IMAGE);
    const load = new Running(stage.lab, CONNECTIONS, '80', A, B);
    await docker('service', 'update', '--env-add', 'A=1', 'web');
    await docker('service', 'update', '--update-order', 'start-first', '--env-add', 'A=2', 'web');
    await docker('service', 'scale', 'web=2');
    const { answered, failed } = (await load.end()) as { answered: Record<string, number>; failed: string[] };
    assert.deepEqual(failed, []);
    assert.ok(Object.keys(answered).length > 10, `${Object.keys(answered).length} of 12 tasks answered`);
    await docker('service', 'rm', 'web');
  });

  test('a task that is told to stop gets no new connection, though it still listens', async () => {
    await create('deaf', '--replicas', '2', '--stop-grace-period', '30s', '-p', '81:80', IMAGE, 'deaf=1');
    const both = await stage.askMany('client', A, 81, 4);
    assert.deepEqual([...both.values()], [2, 2]);
    await docker('service', 'scale', '--detach', 'deaf=1');
    const one = async (node: string) =>
      [...(await stage.askMany('client', node, 81, 4)).values()].join() === '4';
    for (const node of [A, B])
      await until('one task to answer', async () => (await one(node)) || 'both', { timeoutMs: 5_000 });
    const listening = await Promise.all(
      ['node1', 'node2'].map((node) => stage.docker(node).ok('ps', '-q', '--filter', 'name=deaf')),
    );
    assert.equal(listening.filter((ids) => ids !== '').length, 2, 'the other one runs all the while');
    for (const node of [A, B]) assert.ok(await one(node));
    await docker('service', 'rm', 'deaf');
  });

  test('a container that dies is out of the mesh of both nodes, and its successor is in', async () => {
    await create('mortal', '--replicas', '2', '--restart-delay', '1s', '-p', '82:80', IMAGE);
    const load = await stage.lab.exec(
      'client',
      ['busybox', 'wget', '-q', '-O', '-', `http://${A}:82/exit/9`],
      {
        accept: [0, 1],
      },
    );
    assert.equal(load.code, 1);
    await until(
      'every connection to be answered by the other',
      async () => {
        const counts = await stage.askMany('client', B, 82, 4);
        return (counts.size === 1 && !counts.has('')) || [...counts].join();
      },
      { timeoutMs: 5_000 },
    );
    await stage.converged('mortal', 2);
    const failed = (await stage.tasks('mortal')).find((t) => t.state.startsWith('Failed'));
    assert.match(failed!.error, /task: non-zero exit \(9\)/);
    for (const node of [A, B])
      await until(
        'both to answer',
        async () => [...(await stage.askMany('client', node, 82, 4)).values()].join() === '2,2' || 'not yet',
        { timeoutMs: 5_000 },
      );
    await docker('service', 'rm', 'mortal');
  });
});
