/**
 * Constant load through every node, on new and on kept connections, while everything changes that a person changes on
 * a working day. Not one request may fail, and a connection that stays open lives as long as its task.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { until } from '../../src/lab/cluster.ts';
import { downLab, Lab } from '../../src/lab/lab.ts';
import { skipWithoutDocker } from '../docker.ts';
import { explained } from './explained.ts';
import { HttpLoad } from './load.ts';
import { machineState } from './machine.ts';
import { delay, IMAGE, Stage } from './stage.ts';
import { TraceRun } from './trace-run.ts';

const NAME = 'steer-b';
const NODES = ['node1', 'node2', 'node3'] as const;
const ADDRESSES = ['192.0.2.11', '192.0.2.12', '192.0.2.13'] as const;
const PORT = 8080;
/** Of a service whose server begins to listen a while after its container runs, and of one that never does. */
const LATE = 8082;
const MUTE = 8083;
/** Requests a second over all nodes. */
const RATE = 210;
const QUICK = ['--update-delay', '0s', '--update-monitor', '500ms', '--stop-grace-period', '5s'];

describe('nothing is lost', { skip: skipWithoutDocker, timeout: 600_000 }, () => {
  let stage: Stage;
  let machine: unknown;
  const docker = (...args: string[]) => stage.docker('node1').ok(...args);

  /** Runs `change` under load, and a moment more. */
  async function underLoad(change: () => Promise<unknown>, port = PORT): Promise<void> {
    const load = new HttpLoad(stage.lab, { targets: ADDRESSES.map((a) => [a, port] as const), rate: RATE });
    try {
      await load.begun;
      await delay(500);
      await change();
      await delay(500);
    } finally {
      const { failed, errors, sent, seconds } = await load.stop();
      assert.deepEqual(errors, [], `${failed} of ${sent} requests failed`);
      assert.ok(sent > seconds * RATE * 0.8, `${sent} requests in ${seconds} s are no load`);
    }
  }

  const leader = async (): Promise<string> => {
    for (const node of NODES) {
      const format = '{{if .ManagerStatus}}{{.Hostname}} {{.ManagerStatus}}{{end}}';
      const { code, stdout } = await stage.docker(node).run('node', 'ls', '--format', format);
      const found = code === 0 && /^(\S+) Leader$/m.exec(stdout)?.[1];
      if (found) return found;
    }
    return '';
  };

  before(async () => {
    machine = await machineState(NAME);
    stage = new Stage(await Lab.up({ name: NAME, nodes: 3, managers: 3 }));
    await stage.loadImage();
    await stage.setHeartbeat(20);
    const create = ['service', 'create', '--detach', '--no-resolve-image', ...QUICK];
    await docker(...create, '--name', 'web', '--replicas', '3', '-p', `${PORT}:80`, IMAGE);
    await docker(...create, '--name', 'other', '--replicas', '3', '-p', `${PORT + 1}:80`, IMAGE);
    await stage.converged('web', 3);
    await stage.converged('other', 3);
  });
  after(async () => {
    stage.close();
    await downLab(NAME);
    assert.deepEqual(await machineState(NAME), machine);
  });

  test('every manager explains the same way, whoever of them leads', () =>
    until(
      'three ways of which none is lost, from each',
      async () => {
        const question = { client: '192.0.2.200', target: `node2:${PORT}` };
        const answers = await Promise.all(NODES.map((manager) => explained(stage, question, manager)));
        const ways = answers.map(({ paths }) => JSON.stringify(paths.map(({ kind, rows }) => [kind, rows])));
        const whole = answers[0]!.paths.filter(({ loss }) => loss === undefined).length === 3;
        return (whole && new Set(ways).size === 1) || ways.join('\n');
      },
      { timeoutMs: 20_000 },
    ));

  for (const order of ['stop-first', 'start-first'])
    test(`a rolling update, ${order}`, () =>
      underLoad(() => docker('service', 'update', '--update-order', order, '--force', 'web')));

  describe('a server that listens some time after its container runs', () => {
    const create = (name: string, port: number, command: string, ...more: string[]) => {
      const spec = ['--detach', '--no-resolve-image', ...QUICK, '--name', name, '-p', `${port}:80`, ...more];
      return docker('service', 'create', ...spec, '--entrypoint', '/bin/sh', IMAGE, '-c', command);
    };
    const lostAt = async (port: number): Promise<string> => {
      const { paths } = await explained(stage, { client: '192.0.2.200', target: `node1:${port}` });
      return paths.find(({ loss }) => loss)?.loss?.text ?? '';
    };

    before(async () => {
      await create('late', LATE, 'sleep 1; exec /bin/answer', '--replicas', '2');
      await create('mute', MUTE, 'exec sleep 1000');
    });
    after(() => docker('service', 'rm', 'mute', 'late'));

    test('runs at once, and is out of rotation in words', async () => {
      const reason =
        /^no task of service mute to go to: mute\.1 on node\d: not in rotation \(nothing listens yet on its port 80\)$/;
      await until(
        'the reason to be said',
        async () => {
          const text = await lostAt(MUTE);
          return reason.test(text) || text;
        },
        { timeoutMs: 30_000 },
      );
      assert.equal((await stage.running('mute')).length, 1);
    });

    for (const order of ['stop-first', 'start-first'])
      test(`is updated, ${order}`, async () => {
        await stage.leads(LATE, 2, ...ADDRESSES);
        await underLoad(() => docker('service', 'update', '--update-order', order, '--force', 'late'), LATE);
      });

    test('what never listens comes into rotation all the same, and was never anything but running', async () => {
      await until(
        'a way to be there',
        async () => {
          const text = await lostAt(MUTE);
          return text === '' || text;
        },
        { timeoutMs: 30_000 },
      );
      const [only, ...more] = await stage.tasks('mute');
      assert.deepEqual([only!.desired, only!.error, more], ['Running', '', []]);
      assert.match(only!.state, /^Running/);
    });
  });

  test('scale up and down', () =>
    underLoad(async () => {
      await docker('service', 'scale', 'web=6');
      await docker('service', 'scale', 'web=3');
    }));

  test('another service on the next port is removed', () =>
    underLoad(() => docker('service', 'rm', 'other')));

  test('a node is drained, and is used again', () =>
    underLoad(async () => {
      await docker('node', 'update', '--availability', 'drain', 'node3');
      await until(
        'node3 to be empty',
        async () => (await stage.running('web')).every((task) => task.node !== 'node3') || 'not yet',
        { timeoutMs: 30_000 },
      );
      await stage.converged('web', 3);
      await docker('node', 'update', '--availability', 'active', 'node3');
      await docker('service', 'update', '--force', 'web');
    }));

  test('a trace ends in words when the leader dies, on the leader and beside it, with what was captured', async (t) => {
    const led = await leader();
    const beside = NODES.find((node) => node !== led)!;
    const [own, other] = [led, beside].map(
      (node) => new TraceRun(stage.lab.node(node).socket, 'web', '--timeout', '60'),
    ) as [TraceRun, TraceRun];
    for (const trace of [own, other]) for (const node of NODES) await trace.says(`capturing on ${node}`);
    await stage.ask('client', ADDRESSES[0], PORT);
    for (const trace of [own, other]) await trace.prints('"outcome":"closed"');
    t.after(() => stage.lab.start(led));
    await stage.lab.kill(led);
    assert.equal((await own.ends()).length, 1);
    assert.match(own.notes, /ended: the connection to this manager was lost/);
    assert.equal((await other.ends()).length, 1);
    assert.match(other.notes, /ended: the leader of the cluster changed/);
    await stage.lab.start(led);
    await stage.managerAnswers(led);
  });

  for (const [what, signal] of [
    ['kill -9 and restart', 'SIGKILL'],
    ['upgrade', 'SIGTERM'],
  ] as const)
    test(`${what} of skeind on every node in turn, the leader among them`, () =>
      underLoad(async () => {
        const leaders = new Set<string>();
        for (const node of NODES) {
          const led = await leader();
          leaders.add(led);
          await stage.lab.kill(node, 'skeind', signal);
          await until(
            `skeind of ${node} to be gone`,
            async () =>
              stage.lab.report().nodes.find((n) => n.name === node)!.pids.skeind === null || 'it runs',
            { timeoutMs: 20_000 },
          );
          // A leader that was killed and is back within its lease leads again: here another one takes over first.
          if (led === node)
            await until(
              `another than ${node} to lead`,
              async () => {
                const now = await leader();
                return (now !== '' && now !== node) || now;
              },
              { timeoutMs: 30_000 },
            );
          await stage.lab.start(node);
          await stage.managerAnswers(node);
        }
        leaders.add(await leader());
        assert.ok(leaders.size > 1, `the leader changed: ${[...leaders].join()}`);
        await stage.converged('web', 3);
      }));
});
