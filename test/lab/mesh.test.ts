/**
 * The mesh while its backends change: UDP flows move to a task that lives, answers keep the address they were asked
 * at, what drains gets nothing new, and a rolling update loses no connection.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { until } from '../../src/lab/cluster.ts';
import { downLab, Lab } from '../../src/lab/lab.ts';
import type { ExplainAnswer } from '../../src/trace/explain-question.ts';
import { runProcess } from '../../src/kit/process.ts';
import { skipWithoutDocker } from '../docker.ts';
import { assertWalked, explained, type Question } from './explained.ts';
import { machineState } from './machine.ts';
import { publishing } from './publishing.ts';
import { CONNECTIONS, Flows, Running } from './running.ts';
import { IMAGE, Stage } from './stage.ts';
import { TraceRun } from './trace-run.ts';

const NAME = 'proof-mesh';
const A = '192.0.2.11';
const B = '192.0.2.12';

describe('a mesh in motion', { skip: skipWithoutDocker, timeout: 600_000 }, () => {
  let stage: Stage;
  let machine: unknown;
  const docker = (...args: string[]) => stage.docker('node1').ok(...args);
  const create = (name: string, ...args: string[]) =>
    docker('service', 'create', '--no-resolve-image', '--update-monitor', '300ms', '--name', name, ...args);

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
    test(`a UDP flow stays at its task, and moves to one that lives when that goes${what}`, async (t) => {
      stage.removeAfter(t, 'udp');
      const ports = ['-p', `${port}:53/udp`, '-p', `${port}:80`];
      await create('udp', '--replicas', '4', ...ports, IMAGE, 'udp=53');
      await stage.leads(port, 4, A, B); // a flow that begins before stays at the first that is known
      const flows = new Flows(stage.lab, port, size, A, B);
      t.after(() => flows.end());
      const before = await flows.by(4);
      for (const round of await flows.next()) assert.deepEqual(round, before, 'a flow stays where it is');
      await docker('service', 'scale', 'udp=1');
      await flows.by(1);
    });

  test('a rolling update loses no connection, through any node', async (t) => {
    stage.removeAfter(t, 'web');
    await create('web', '--replicas', '4', '--update-parallelism', '1', '-p', '80:80', IMAGE);
    await stage.leads(80, 4, A, B);
    const load = new Running(stage.lab, CONNECTIONS, '80', A, B);
    t.after(() => load.end());
    await load.begun();
    await docker('service', 'update', '--env-add', 'A=1', 'web');
    await docker('service', 'update', '--update-order', 'start-first', '--env-add', 'A=2', 'web');
    await docker('service', 'scale', 'web=2');
    const { answered, failed } = (await load.end()) as { answered: Record<string, number>; failed: string[] };
    assert.deepEqual(failed, []);
    assert.ok(Object.keys(answered).length > 10, `${Object.keys(answered).length} of 12 tasks answered`);
  });

  test('a task that is told to stop gets no new connection, though it still listens', async () => {
    await create('deaf', '--replicas', '2', '--stop-grace-period', '30s', '-p', '81:80', IMAGE, 'deaf=1');
    const counts = async (node: string) => [...(await stage.askMany('client', node, 81, 4)).values()].join();
    const untilCounts = (node: string, wanted: string) =>
      until(`counts of ${wanted}`, async () => (await counts(node)) === wanted || counts(node), {
        timeoutMs: 20_000,
      });
    for (const node of [A, B]) await untilCounts(node, '2,2');
    await docker('service', 'scale', '--detach', 'deaf=1');
    for (const node of [A, B]) await untilCounts(node, '4');
    const listening = await Promise.all(
      ['node1', 'node2'].map((node) => stage.docker(node).ok('ps', '-q', '--filter', 'name=deaf')),
    );
    assert.equal(listening.filter((ids) => ids !== '').length, 2, 'the other one runs all the while');
    for (const node of [A, B]) assert.equal(await counts(node), '4');
    await docker('service', 'rm', 'deaf');
  });

  test('a container that dies is out of the mesh of both nodes, and its successor is in', async () => {
    await create('mortal', '--replicas', '2', '--restart-delay', '1s', '-p', '82:80', IMAGE);
    const bothAnswer = async (node: string) =>
      [...(await stage.askMany('client', node, 82, 4)).values()].join() === '2,2' || 'not yet';
    for (const node of [A, B]) await until('both to answer', () => bothAnswer(node), { timeoutMs: 20_000 });
    const old = new Set((await stage.askMany('client', B, 82, 2)).keys());
    const load = await stage.lab.exec(
      'client',
      ['busybox', 'wget', '-q', '-O', '-', `http://${A}:82/exit/9`],
      {
        accept: [0, 1],
      },
    );
    assert.equal(load.code, 1);
    // A connection of the very moment of its death may have gone to it, and waits: the next ones must not.
    await until(
      'every connection to be answered, none by the dead one',
      async () => {
        const names = [...(await stage.askMany('client', B, 82, 4)).keys()];
        return (
          (!names.includes('') && !(names.length === 2 && names.every((n) => old.has(n)))) || names.join()
        );
      },
      { timeoutMs: 20_000 },
    );
    await stage.converged('mortal', 2);
    const failed = (await stage.tasks('mortal')).find((t) => t.state.startsWith('Failed'));
    assert.match(failed!.error, /task: non-zero exit \(9\)/);
    for (const node of [A, B])
      await until('both to answer again', () => bothAnswer(node), { timeoutMs: 20_000 });
    await docker('service', 'rm', 'mortal');
  });

  describe('publishing', () => publishing(() => stage));

  describe('explained without traffic', () => {
    const CLIENT = '192.0.2.200';
    const detached = (name: string, ...args: string[]) =>
      docker('service', 'create', '--detach', '--no-resolve-image', '--name', name, ...args);
    const shape = ({ paths }: ExplainAnswer) => paths.map(({ kind, loss }) => loss?.code ?? kind).toSorted();

    before(async () => {
      await docker('network', 'create', '-d', 'overlay', '--attachable', 'ways');
      const published = ['-p', '83:80', '-p', '5303:53/udp'];
      await detached('way', '--mode', 'global', '--network', 'ways', ...published, IMAGE, 'udp=53');
      await detached('kept', '--mode', 'global', '-l', 'skein.client-ip=preserve', '-p', '84:80', IMAGE);
      const on2 = ['--constraint', 'node.hostname==node2'];
      await detached('held', ...on2, '--publish', 'published=8085,target=80,mode=host', IMAGE);
      await detached('far', ...on2, '-p', '86:80', IMAGE);
      await detached('round', '--mode', 'global', '--network', 'ways', '--endpoint-mode', 'dnsrr', IMAGE);
      await stage
        .docker('node2')
        .ok('run', '-d', '--name', 'shell', '--network', 'ways', '--entrypoint', 'sleep', IMAGE, '600');
      await detached('caller', '--constraint', 'node.hostname==node1', '--network', 'ways', IMAGE);
      for (const [name, count] of Object.entries({ way: 2, kept: 2, held: 1, far: 1, round: 2, caller: 1 }))
        await stage.converged(name, count);
      for (const port of [83, 84]) await stage.leads(port, 2, A, B);
    });
    after(async () => {
      await stage.docker('node2').ok('rm', '-f', 'shell');
      await docker('service', 'rm', 'way', 'kept', 'held', 'far', 'round', 'caller');
    });

    const BOTH = ['cross host', 'same host'];
    const ask = (address: string, port: number) => () => stage.askMany('client', address, port, 4);
    const datagrams = async () => {
      for (let n = 0; n < 4; n++) await stage.askUdp('client', A, 5303);
    };
    /** Calls each URL four times from inside a container. */
    const call = async (node: string, container: string, ...urls: string[]) => {
      const id = (await stage.docker(node).ok('ps', '-q', '--filter', `name=${container}`)).trim();
      for (const url of urls)
        for (let n = 0; n < 4; n++) await stage.docker(node).run('exec', id, 'wget', '-q', '-O', '-', url);
    };
    /** Every address that the name has, so that each is called for certain. */
    const callRound = async (node: string, container: string) => {
      const { paths } = await explained(stage, { client: 'caller.1', target: 'round:80' });
      await call(node, container, ...paths.map(({ rows }) => `http://${rows[0]!.destination.ip}/`));
    };
    const WAYS: Record<
      string,
      readonly [Question, ports: number[], kinds: string[], call: () => Promise<unknown>]
    > = {
      'TCP through the mesh': [{ client: CLIENT, target: 'node1:83' }, [83, 80], BOTH, ask(A, 83)],
      'UDP through the mesh': [
        { client: CLIENT, target: 'node1:5303', protocol: 'udp' },
        [5303, 53],
        BOTH,
        datagrams,
      ],
      'a client that keeps its address': [{ client: CLIENT, target: `${B}:84` }, [84, 80], BOTH, ask(B, 84)],
      'a host mode port': [{ client: CLIENT, target: 'node2:8085' }, [8085, 80], ['same host'], ask(B, 8085)],
      'the node itself, by loopback': [
        { client: 'node1', target: '127.0.0.1:83' },
        [83, 80],
        BOTH,
        () => stage.askMany('node1', '127.0.0.1', 83, 4),
      ],
      'the node itself, to a host mode port': [
        { client: 'node2', target: '127.0.0.1:8085' },
        [8085, 80],
        ['same host'],
        () => stage.askMany('node2', '127.0.0.1', 8085, 4),
      ],
      'a virtual IP': [
        { client: 'caller.1', target: 'way:80' },
        [80],
        BOTH,
        () => call('node1', 'caller', 'http://way/'),
      ],
      'a name without a virtual IP': [
        { client: 'caller.1', target: 'round:80' },
        [80],
        BOTH,
        () => callRound('node1', 'caller'),
      ],
      'docker run to a virtual IP': [
        { client: 'shell', target: 'way:80' },
        [80],
        BOTH,
        () => call('node2', 'shell', 'http://way/'),
      ],
      'docker run to a name without one': [
        { client: 'shell', target: 'round:80' },
        [80],
        BOTH,
        () => callRound('node2', 'shell'),
      ],
      'docker run to a published port': [
        { client: 'shell', target: 'node1:83' },
        [83, 80],
        BOTH,
        () => call('node2', 'shell', `http://${A}:83/`),
      ],
    };
    for (const [name, [question, ports, kinds, call]] of Object.entries(WAYS))
      test(`${name}: the packets that are explained are those that are seen`, async () => {
        let answer!: ExplainAnswer;
        const told = async () => shape((answer = await explained(stage, question))).join();
        await until('every way', async () => (await told()) === kinds.join() || told(), {
          timeoutMs: 20_000,
        });
        await assertWalked(stage, answer, ports, call);
      });

    test('a host mode port that is called on its own node by loopback is traced', async () => {
      const run = new TraceRun(stage.lab.node('node1').socket, 'held', '--count', '1');
      await run.says('capturing on node2');
      await stage.askMany('node2', '127.0.0.1', 8085, 1);
      const [connection] = await run.ends();
      assert.deepEqual([connection!.client.ip, connection!.target.port], ['127.0.0.1', 8085]);
      assert.deepEqual(
        connection!.hops.filter(({ way }) => way === 'forward').map(({ translated }) => translated),
        [undefined, 'DNAT + SNAT'],
      );
    });

    test('the command prints the table, and one way where a task is named', async () => {
      const { socket } = stage.lab.node('node1');
      const argv = [
        process.execPath,
        'bin/skein',
        'explain',
        '--socket',
        socket,
        CLIENT,
        'node1:86',
        '--rules',
      ];
      const { stdout } = await runProcess([...argv, '--backend', 'far.1']);
      assert.match(stdout, /^case +hop +source IP +source MAC +destination IP/);
      assert.match(
        stdout,
        /^cross host +2 +10\.255\.\S+ \(ingress endpoint of node1\) .* \(far\.1 on node2\) .*DNAT \+ SNAT$/m,
      );
      assert.match(stdout, /^ {2}node2, bridge sk-4096: FDB says \S+ is at sk/m);
    });

    test('lost: not published here, no such node, and a service without tasks', async () => {
      const [held] = (await explained(stage, { client: CLIENT, target: 'node1:8085' })).paths;
      assert.match(
        held!.loss!.text,
        /^node1 publishes no port tcp\/8085; in host mode it is published by held\.1 on node2 alone$/,
      );
      await assert.rejects(explained(stage, { client: CLIENT, target: 'node9:80' }), /no such node: node9/);
      await detached('none', '--replicas', '0', '-p', '87:80', IMAGE);
      const text = 'no healthy task: service none has no task in rotation';
      await until(
        'the refusal to be explained',
        async () => {
          const { paths } = await explained(stage, { client: CLIENT, target: 'node2:87' });
          return paths[0]?.loss?.text === text || paths[0]?.loss?.text || 'no way at all';
        },
        { timeoutMs: 20_000 },
      );
      await docker('service', 'rm', 'none');
    });

    test('a node that is cut off: steered away from, and since when; asked itself, it says nothing', async () => {
      const whyLost = async () =>
        (await explained(stage, { client: CLIENT, target: 'node1:86' })).paths[0]?.loss?.text ?? 'not lost';
      await until(
        'node2 to be known',
        async () => stage.networkStatus('node1').peers.length === 1 || 'not yet',
        {
          timeoutMs: 20_000,
        },
      );
      await stage.lab.cut('node2');
      const away = /^no task of service far to go to: far\.1 on node2: node2 steered away \d+\.\d s ago$/;
      await until(
        'the loss to be explained',
        async () => {
          const text = await whyLost();
          return away.test(text) || text;
        },
        { timeoutMs: 20_000 },
      );
      const { paths } = await explained(stage, { client: CLIENT, target: 'node2:86' });
      assert.equal(paths[0]?.loss?.code, 'no-answer');
      await stage.lab.heal('node2');
    });
  });
});
