/** What publishing must do, in a lab of two nodes: ports that come and go, ports of others, host mode, hairpin, SCTP. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { until } from '../../src/lab/cluster.ts';
import { CONNECTIONS, Flows, Running } from './running.ts';
import { SCTP_ANSWER, SCTP_ASK, SCTP_IS_TRACKED } from './sctp.ts';
import { IMAGE, type Stage } from './stage.ts';

const A = '192.0.2.11';
const B = '192.0.2.12';

export function publishing(stageOf: () => Stage): void {
  const docker = (...args: string[]) =>
    stageOf()
      .docker('node1')
      .ok(...args);
  const create = (name: string, ...args: string[]) =>
    docker('service', 'create', '--no-resolve-image', '--update-monitor', '300ms', '--name', name, ...args);
  const publishedPorts = async (name: string) => {
    const format = '{{range .Endpoint.Ports}}{{.Protocol}}/{{.TargetPort}}/{{.PublishedPort}} {{end}}';
    return (await docker('service', 'inspect', '-f', format, name)).trim().split(' ');
  };
  const udpPort = (ports: readonly string[]) =>
    Number(ports.find((p) => p.startsWith('udp/'))!.split('/')[2]);
  /** One port for another, and nothing else: the CLI takes all ports of a target away at once. */
  const movePort = async (name: string, from: number, to: number) => {
    const engine = stageOf().lab.engine('node1');
    const { ID, Version, Spec } = await engine.get<{
      ID: string;
      Version: { Index: number };
      Spec: { EndpointSpec: { Ports: { PublishedPort?: number }[] } };
    }>(`/services/${name}`);
    const Ports = Spec.EndpointSpec.Ports.map((p) =>
      p.PublishedPort === from ? { ...p, PublishedPort: to } : p,
    );
    const spec = { ...Spec, EndpointSpec: { ...Spec.EndpointSpec, Ports } };
    await engine.post(`/services/${ID}/update`, spec, { query: { version: Version.Index } });
  };
  const get = async (where: string, port: number, address = A) =>
    (await stageOf().ask(where, address, port)) !== undefined;

  void test('ports come and go on update: the others, their connections and the tasks stay as they are', async (t) => {
    const dynamic = ['--publish', 'target=53,protocol=udp', '--publish', '80'];
    await create('ports', '--replicas', '2', '-p', '8101:80', '-p', '8102:80', ...dynamic, IMAGE, 'udp=53');
    await stageOf().leads(8101, 2, A, B); // a flow that begins before stays at the first that is known
    const before = await publishedPorts('ports');
    const chosen = before.filter((p) => !/810[12]$/.test(p)).map((p) => Number(p.split('/')[2]));
    assert.equal(chosen.length, 2);
    for (const port of chosen) assert.ok(port >= 30_000 && port <= 32_767, `${port} is of the dynamic range`);
    const tasks = (await stageOf().running('ports')).map((t) => t.id).sort();
    const flows = new Flows(stageOf().lab, udpPort(before), 10, A, B);
    const load = new Running(stageOf().lab, CONNECTIONS, '8101', A, B);
    t.after(() => Promise.all([flows.end(), load.end()]));
    const held = await flows.by(2);
    await load.begun();
    await movePort('ports', 8102, 8103);
    for (const node of [A, B])
      await until('8103 to answer', async () => (await get('client', 8103, node)) || 'not yet', {
        timeoutMs: 20_000,
      });
    assert.equal(await get('client', 8102), false, 'taken away');
    for (const round of await flows.next())
      assert.deepEqual(round, held, 'a flow of another port stays at its task');
    await flows.end();
    assert.deepEqual(((await load.end()) as { failed: string[] }).failed.slice(0, 5), []);
    assert.deepEqual(
      (await stageOf().running('ports')).map((t) => t.id).sort(),
      tasks,
      'no task was replaced',
    );
    assert.deepEqual(
      (await publishedPorts('ports')).filter((p) => p.startsWith('udp/')),
      [`udp/53/${udpPort(before)}`],
      'what was chosen stays',
    );
  });

  void test('a task reaches the port that it serves itself, through any node', async () => {
    await docker('service', 'scale', 'ports=1');
    const [task] = await stageOf().running('ports');
    const cli = stageOf().docker(task!.node);
    const id = (await cli.ok('ps', '-q', '--filter', 'name=ports.')).trim();
    for (const address of [A, B]) {
      const answer = async () => {
        const { stdout, stderr } = await cli.run('exec', id, 'wget', '-qO-', `http://${address}:8101/`);
        return stdout + stderr;
      };
      const own = (text: string) => text.split('\n').includes(`container ${id}`);
      // The other one, which has just been taken away, is gone from this node's rules a moment later.
      const alone = async () => (own(await answer()) && own(await answer())) || answer();
      await until(`its own answer alone, through ${address}`, alone, { timeoutMs: 20_000 });
    }
    await docker('service', 'rm', 'ports');
  });

  void test('a port that another program has: the mesh serves it, and the operator hears of it until it is free', async () => {
    const [command = '', ...enter] = stageOf().lab.enter('node1');
    // Until the node's table has the port, connections reach it: they end at once.
    const listen =
      "require('node:net').createServer((socket) => socket.destroy()).listen(8104, () => console.log('ready'))";
    const other = spawn(command, [...enter, process.execPath, '-e', listen], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(other.stdout, 'data');
    await create('guest', '--replicas', '2', '-p', '8104:80', IMAGE);
    for (const node of [A, B])
      await until('the service to answer', async () => (await get('client', 8104, node)) || 'not yet', {
        timeoutMs: 20_000,
      });
    const warning = /WARNING: published port tcp\/8104 is not held on this node \(another program has it\)/;
    const info = async (node: string) => {
      const { stdout, stderr } = await stageOf().docker(node).run('info');
      return stdout + stderr;
    };
    await until('the warning', async () => warning.test(await info('node1')) || info('node1'), {
      timeoutMs: 20_000,
    });
    assert.doesNotMatch(await info('node2'), warning);
    assert.match(readFileSync(stageOf().lab.logFile('node1'), 'utf8'), /tcp\/8104: another program has it/);
    other.kill();
    await once(other, 'exit');
    // Any change makes the node try again; without one, the next audit does.
    await create('change', '--replicas', '0', '-p', '8105:80', IMAGE);
    await until('the warning to go', async () => !warning.test(await info('node1')) || 'it is there', {
      timeoutMs: 20_000,
    });
    await docker('service', 'rm', 'guest', 'change');
  });

  void test('a port in host mode leads to the task of the node that is asked, and is held by one task a node', async () => {
    const publish = '--publish=mode=host,target=80,published=8106';
    await create('host', '--mode', 'global', publish, IMAGE);
    for (const [node, address] of [
      ['node1', A],
      ['node2', B],
    ] as const) {
      const id = (await stageOf().docker(node).ok('ps', '-q', '-f', 'name=host.')).trim();
      const ask = () => stageOf().ask('client', address, 8106);
      await until('an answer', async () => (await ask()) !== undefined || 'none', { timeoutMs: 20_000 });
      for (let n = 0; n < 3; n++) assert.equal(await ask(), id);
    }
    const shown = await docker('service', 'ps', '--format', '{{.Ports}}', 'host');
    assert.equal(shown, '*:8106->80/tcp\n*:8106->80/tcp\n');
    await docker('service', 'rm', 'host');
  });

  void test(
    'SCTP is balanced, there and back',
    { skip: !SCTP_IS_TRACKED && 'NO SCTP IN THIS KERNEL' },
    async () => {
      await create('sctp', '--replicas', '2', '-p', '8107:5000/sctp', '-p', '8107:80', IMAGE);
      await stageOf().leads(8107, 2, A, B);
      const servers = [];
      for (const node of ['node1', 'node2']) {
        const cli = stageOf().docker(node);
        const id = (await cli.ok('ps', '-q', '--filter', 'name=sctp.')).trim();
        const pid = (await cli.ok('inspect', '-f', '{{.State.Pid}}', id)).trim();
        const argv = [`--net=/proc/${pid}/ns/net`, '--', 'perl', '-e', SCTP_ANSWER, '5000', node];
        const server = spawn('nsenter', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
        await once(server.stdout, 'data');
        servers.push(server);
      }
      try {
        for (const address of [A, B]) {
          const { stdout } = await stageOf().lab.exec('client', [
            'perl',
            '-e',
            SCTP_ASK,
            address,
            '8107',
            '4',
          ]);
          assert.deepEqual(stdout.trim().split('\n').sort(), ['node1', 'node1', 'node2', 'node2']);
        }
      } finally {
        for (const server of servers) server.kill();
      }
      await docker('service', 'rm', 'sctp');
    },
  );
}
