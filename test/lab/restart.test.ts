/**
 * The mesh of a real cluster, and what a person must be able to lose without losing a container, a connection or the
 * truth: each daemon in turn, all at once, a whole node, the power.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { until } from '../../src/lab/cluster.ts';
import type { ProcessName } from '../../src/lab/node-process.ts';
import { downLab, Lab } from '../../src/lab/lab.ts';
import { skipWithoutDocker } from '../docker.ts';
import { machineState, shimSockets } from './machine.ts';
import { IMAGE, Stage } from './stage.ts';

const NAME = 'test-restart';
const NODES = ['node1', 'node2'] as const;
const ADDRESS = { node1: '192.0.2.11', node2: '192.0.2.12' } as const;
const TCP = 80;
const UDP = 53;

/** A connection that stays open: asks now and then on the same socket. Runs inside the client's namespace. */
const KEEPER = `
const socket = require('node:net').connect(Number(process.argv[2]), process.argv[1]);
socket.on('connect', () => process.stdout.write('open\\n'));
const timer = setInterval(() => socket.write('GET /kept HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'), 50);
socket.on('data', (data) => /request .kept/.test(data) && process.stdout.write('.'));
for (const end of ['error', 'end']) socket.on(end, (why) => { process.stdout.write('BROKEN ' + (why ?? end)); process.exit(1); });
process.stdin.on('end', () => process.exit(0)).resume();
`;

class Kept {
  readonly #child: ChildProcess;
  #output = '';

  constructor(lab: Lab, address: string) {
    const [command = '', ...args] = lab.enter('client');
    this.#child = spawn(command, [...args, process.execPath, '-e', KEEPER, address, String(TCP)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child.stdout!.on('data', (chunk: Buffer) => (this.#output += chunk.toString()));
  }

  get answers(): number {
    return this.#output.split('.').length - 1;
  }

  /** Three more answers on the same connection. */
  async lives(): Promise<void> {
    const enough = this.answers + 3;
    await until(
      'the open connection to answer',
      async () => this.answers >= enough || this.#output.slice(-60),
      { timeoutMs: 30_000 },
    );
    assert.doesNotMatch(this.#output, /BROKEN/);
  }

  close(): void {
    this.#child.stdin!.end();
  }
}

describe('mesh and restarts', { skip: skipWithoutDocker, timeout: 600_000 }, () => {
  let stage: Stage;
  let machine: unknown;
  const sockets: string[] = [];
  const docker = (...args: string[]) => stage.docker('node1').ok(...args);

  /** Containers by name with the pid of their first process: what must not change. */
  async function containers(): Promise<Record<string, number>> {
    const found: Record<string, number> = {};
    for (const node of NODES) {
      const cli = stage.docker(node);
      const ids = (await cli.ok('ps', '-q')).trim().split('\n').filter(Boolean);
      if (ids.length === 0) continue;
      for (const c of JSON.parse(await cli.ok('inspect', ...ids)) as {
        Name: string;
        State: { Pid: number };
      }[])
        found[c.Name] = c.State.Pid;
    }
    return found;
  }

  /** A daemon that has just come back may not answer yet. */
  const sameContainers = (before: Record<string, number>): Promise<void> =>
    until(
      'the same containers',
      async () => {
        const now = await containers().catch((error: unknown) => String(error));
        return JSON.stringify(now) === JSON.stringify(before) || JSON.stringify(now);
      },
      { timeoutMs: 30_000 },
    );

  async function meshIsWhole(replicas: number): Promise<void> {
    for (const node of NODES) {
      const counts = await stage.askMany('client', ADDRESS[node], TCP, replicas * 3);
      assert.equal(counts.get(''), undefined, `${node} answers every connection`);
      assert.deepEqual([...counts.values()], Array(replicas).fill(3), `${node} goes round all tasks`);
    }
  }

  const eventuallyWhole = (replicas: number): Promise<void> =>
    until('the mesh to be whole', () => meshIsWhole(replicas).then(() => true as const, String), {
      timeoutMs: 30_000,
    });

  before(async () => {
    machine = await machineState(NAME);
    stage = new Stage(await Lab.up({ name: NAME, nodes: 2 }));
    await stage.loadImage();
    await stage.setHeartbeat(20);
    await docker(
      ...['service', 'create', '--no-resolve-image', '--name', 'web', '--update-monitor', '1s'],
      ...[
        '--replicas',
        '3',
        '-p',
        `${TCP}:80`,
        '-p',
        `${UDP}:53/udp`,
        '--restart-delay',
        '100ms',
        IMAGE,
        'udp=53',
        'lines=1',
      ],
    );
  });
  after(async () => {
    stage.close();
    sockets.push(...shimSockets(NAME));
    await downLab(NAME);
    assert.deepEqual(await machineState(NAME), machine);
    assert.ok(sockets.length > 3, 'the shims of all containers');
    assert.deepEqual(sockets.filter(existsSync), [], 'sockets of shims are left');
  });

  test('every node answers a TCP port and goes round all tasks on all nodes', () => eventuallyWhole(3));

  test('every node answers a UDP port, from all tasks', async () => {
    for (const node of NODES) {
      const names = new Set<string | undefined>();
      for (let i = 0; i < 6; i++) names.add(await stage.askUdp('client', ADDRESS[node], UDP));
      assert.equal(names.size, 3, `seen ${[...names].join()}`);
      assert.ok(!names.has(undefined));
    }
  });

  test('a node reaches its own published ports, by its address, by loopback, and those of the other', async () => {
    for (const node of NODES)
      for (const address of [...Object.values(ADDRESS), '127.0.0.1']) {
        const counts = await stage.askMany(node, address, TCP, 6);
        assert.equal(counts.get(''), undefined, `${node} to ${address}`);
        assert.equal(counts.size, 3, `${node} to ${address} reaches all tasks`);
        assert.ok(await stage.askUdp(node, address, UDP), `${node} to ${address} over UDP`);
      }
  });

  test('a port that is not published is none of the mesh', async () => {
    assert.equal(await stage.ask('client', ADDRESS.node1, 81), undefined);
  });

  const deaths: [node: (typeof NODES)[number], what: ProcessName][] = [
    ['node1', 'skeind'],
    ['node2', 'skeind'],
    ['node1', 'containerd'],
    ['node2', 'containerd'],
    ['node1', 'etcd'],
  ];
  for (const [node, what] of deaths)
    test(`kill -9 of ${what} on ${node}: no container restarts, no connection breaks, the view becomes true`, async () => {
      const before = await containers();
      assert.equal(Object.keys(before).length, 3);
      const kept = NODES.map((n) => new Kept(stage.lab, ADDRESS[n]));
      for (const connection of kept) await connection.lives();
      const { pids } = stage.lab.report().nodes.find((n) => n.name === node)!;
      await stage.lab.kill(node, what);
      await meshIsWhole(3);
      for (const connection of kept) await connection.lives();
      if (what === 'skeind') await stage.lab.start(node);
      await until(
        `${what} to run again`,
        async () => {
          const now = stage.lab.report().nodes.find((n) => n.name === node)!.pids[what];
          return (now !== null && now !== pids[what]) || 'not yet';
        },
        { timeoutMs: 30_000 },
      );
      await stage.managerAnswers();
      // What is asked it has in memory: its store may not be back yet, which the next change needs.
      await until(
        'a change to be taken',
        async () => {
          const label = ['node', 'update', '--label-add', `lost=${what}`, 'node1'];
          const { code, stderr } = await stage.docker('node1').run(...label);
          return code === 0 || stderr;
        },
        { timeoutMs: 30_000 },
      );
      await until(
        `${node} to be a member that is told what to run`,
        async () => {
          const { Swarm } = await stage.lab.engine(node).get<{ Swarm: { LocalNodeState: string } }>('/info');
          return Swarm.LocalNodeState === 'active' || Swarm.LocalNodeState;
        },
        { timeoutMs: 20_000 },
      );
      await stage.converged('web', 3);
      await sameContainers(before);
      for (const connection of kept) await connection.lives();
      for (const connection of kept) connection.close();
      assert.match(await docker('service', 'ls'), /3\/3/);
    });

  test('a change after the restarts reaches every node', async () => {
    await docker('service', 'scale', 'web=4');
    await eventuallyWhole(4);
    await docker('service', 'scale', 'web=3');
    await eventuallyWhole(3);
  });

  test('all daemons of all nodes at once', async () => {
    const before = await containers();
    const kept = new Kept(stage.lab, ADDRESS.node2);
    await kept.lives();
    for (const what of ['skeind', 'containerd', 'etcd'] as const)
      for (const node of NODES) if (what !== 'etcd' || node === 'node1') await stage.lab.kill(node, what);
    await meshIsWhole(3);
    await Promise.all(NODES.map((node) => stage.lab.start(node)));
    await stage.managerAnswers();
    await stage.converged('web', 3);
    await sameContainers(before);
    await kept.lives();
    kept.close();
  });

  test('an update goes on where it was through the death of each daemon', async () => {
    await docker('service', 'update', '--detach', '--env-add', 'A=1', 'web');
    for (const [node, what] of deaths) {
      await stage.lab.kill(node, what);
      if (what === 'skeind') await stage.lab.start(node);
    }
    await stage.managerAnswers();
    const status = [
      'service',
      'inspect',
      '--format',
      '{{.UpdateStatus.State}} {{.UpdateStatus.Message}}',
      'web',
    ];
    await until(
      'the update to complete',
      async () => {
        const { stdout, stderr } = await stage.docker('node1').run(...status);
        return stdout === 'completed update completed\n' || stdout + stderr;
      },
      { timeoutMs: 60_000 },
    );
    await stage.converged('web', 3);
    for (const { state, error } of await stage.tasks('web')) {
      assert.doesNotMatch(state, /^(Failed|Rejected|Orphaned)/);
      assert.equal(error, '');
    }
    await eventuallyWhole(3);
  });

  test('a node that is cut off: replaced elsewhere; healed, it stops what it still ran', async (t) => {
    t.after(() => stage.lab.heal());
    await stage.setHeartbeat(3);
    await stage.lab.cut('node2');
    await until('node2 to be down', async () => /node2\s+Down/.test(await docker('node', 'ls')) || 'ready', {
      timeoutMs: 60_000,
    });
    await stage.converged('web', 3);
    assert.notEqual(await stage.docker('node2').ok('ps', '-q'), '', 'what ran there runs on, cut off');
    await stage.lab.heal('node2');
    await until('node2 to be ready', async () => /node2\s+Ready/.test(await docker('node', 'ls')) || 'down', {
      timeoutMs: 30_000,
    });
    await until(
      'what ran there to be stopped',
      async () => (await stage.docker('node2').ok('ps', '-q')) === '' || 'it still runs',
      { timeoutMs: 30_000 },
    );
    await eventuallyWhole(3);
    await docker('service', 'update', '--force', 'web');
    assert.ok((await stage.running('web')).some((t) => t.node === 'node2'));
    await eventuallyWhole(3);
  });

  test('a node that is gone: its tasks run elsewhere, and it is used again when it is back', async () => {
    const off = (await stage.running('web')).find((t) => t.node === 'node2')!;
    await stage.lab.powerOff('node2');
    const logs = await stage.docker('node1').run('service', 'logs', 'web');
    assert.equal(logs.code, 1, 'it ends, although a node does not answer');
    assert.match(
      logs.stderr,
      /incomplete log stream\. some logs could not be retrieved .*: node \w{25} (is not available|disconnected unexpectedly)/,
    );
    assert.match(logs.stdout, /^web\.\d\.\w+@node1\s+\| line 1$/m, 'the others are heard');
    assert.ok(!logs.stdout.includes(off.id));
    await until(
      'node2 to be down',
      async () => /node2\s+Down/.test(await docker('node', 'ls')) || 'still ready',
      { timeoutMs: 60_000 },
    );
    await until(
      'three tasks on node1',
      async () => {
        const up = await stage.running('web');
        return up.filter((t) => t.node === 'node1').length === 3 || JSON.stringify(up);
      },
      { timeoutMs: 30_000 },
    );
    const counts = async () => [...(await stage.askMany('client', ADDRESS.node1, TCP, 6)).values()].join();
    await until('all three to answer', async () => (await counts()) === '2,2,2' || counts(), {
      timeoutMs: 30_000,
    });
    await stage.lab.start('node2');
    await until('node2 to be ready', async () => /node2\s+Ready/.test(await docker('node', 'ls')) || 'down', {
      timeoutMs: 30_000,
    });
    await eventuallyWhole(3);
    await until(
      'what ran there before to be cleared',
      async () => (await stage.docker('node2').ok('ps', '-q')) === '' || 'it still runs',
      { timeoutMs: 30_000 },
    );
    await docker('service', 'update', '--force', 'web');
    assert.ok((await stage.running('web')).some((t) => t.node === 'node2'));
    await eventuallyWhole(3);
  });

  test('a power cut of everything: the cluster comes back to what was wanted, by itself', async () => {
    sockets.push(...shimSockets(NAME));
    for (const node of NODES) await stage.lab.powerOff(node);
    await Promise.all(NODES.map((node) => stage.lab.start(node)));
    await stage.managerAnswers();
    await stage.converged('web', 3, 40_000);
    await eventuallyWhole(3);
    const failed = (await stage.tasks('web')).filter((t) => t.state.startsWith('Failed'));
    assert.ok(failed.some((t) => t.error.includes('the node restarted while the task ran')));
  });
});
