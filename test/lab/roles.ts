/**
 * A node becomes a manager and a worker again, in the lab of membership.test.ts: node1 and node3 are managers, node2 is
 * a worker, whose container must not notice any of it.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { identityFile } from '../../src/agent/identity.ts';
import { runProcess } from '../../src/kit/process.ts';
import { until } from '../../src/lab/cluster.ts';
import { buildImage } from '../../src/lab/image.ts';
import type { MethodName } from '../../src/rpc/methods.ts';
import type { Credentials } from '../../src/rpc/tls.ts';
import type { Calls } from './caller.ts';
import { IMAGE, type Stage } from './stage.ts';

const CALLER = fileURLToPath(new URL('caller.ts', import.meta.url));
const MANAGERS_DOORS: readonly MethodName[] = ['manager.join', 'logs.read', 'trace.read', 'explain.ask'];

export function changesOfRole(stage: () => Stage, nodes: (via: string) => Promise<readonly string[]>): void {
  const docker = (node: string) => stage().docker(node);
  const clusterFolder = (node: string) => join(stage().lab.node(node).dataRoot, 'cluster');
  const credentialsOf = (node: string) =>
    identityFile(join(clusterFolder(node), 'identity.json')).read()!.credentials;
  const etcdOf = (node: string) =>
    stage()
      .lab.report()
      .nodes.find(({ name }) => name === node)!.pids.etcd;
  const seen = (via: string, wanted: readonly string[]) =>
    until(
      `${via} to list ${wanted.join(', ')}`,
      async () => {
        const lines = await nodes(via).catch((error: Error) => [error.message]);
        return wanted.every((line) => lines.includes(line)) || lines.join(', ');
      },
      { timeoutMs: 30_000 },
    );
  const knowsItIsWorker = (node: string) =>
    until(
      `${node} to know that it is a worker`,
      async () => {
        const { stderr, code } = await docker(node).run('node', 'ls');
        return /Worker nodes can't be used to view/.test(stderr) || `${code} ${stderr}`;
      },
      { timeoutMs: 20_000 },
    );
  const leaderIn = (lines: readonly string[]) => lines.find((line) => line.endsWith('Leader'))?.split(' ')[0];

  async function call(addr: string, credentials: Credentials): Promise<Record<string, string>> {
    const calls: Calls = {
      addr: `${addr}:2377`,
      trust: { kind: 'member', credentials },
      methods: ['cluster.managers', ...MANAGERS_DOORS],
    };
    const { stdout } = await runProcess([...stage().lab.enter('client'), process.execPath, CALLER], {
      input: JSON.stringify(calls),
      timeoutMs: 30_000,
    });
    return JSON.parse(stdout) as Record<string, string>;
  }
  const refused = { 'cluster.managers': 'served' } as Record<string, string>;
  for (const door of MANAGERS_DOORS) refused[door] = 'permission-denied';

  let container = '';
  const running = async () => (await docker('node2').ok('ps', '--no-trunc', '-q')).trim();
  let asManager: Credentials;

  void test('a worker is made a manager: it has a vote and serves the API, its container stays', async () => {
    const { tar } = await buildImage();
    await stage().lab.engine('node2').load(tar);
    const place = ['--constraint', 'node.hostname==node2'];
    await docker('node1').ok('service', 'create', '-dq', '--name', 'stays', ...place, IMAGE);
    await stage().converged('stays', 1);
    container = await running();
    assert.match(container, /^[0-9a-f]{64}$/);
    assert.equal(
      await docker('node1').ok('node', 'promote', 'node2'),
      'Node node2 promoted to a manager in the swarm.\n',
    );
    await seen('node2', ['node1 Ready Leader', 'node2 Ready Reachable', 'node3 Ready Reachable']);
    assert.match(await docker('node1').ok('node', 'promote', 'node2'), /^Node \S+ is already a manager\.\n$/);
    assert.match(await docker('node2').ok('info'), /Is Manager: true[^]*Managers: 3/);
    assert.ok(etcdOf('node2'));
    assert.equal(await running(), container);
  });

  void test('the cluster goes on when the leader dies, whose daemon comes back as a manager', async (t) => {
    t.after(() => stage().lab.start('node1'));
    await stage().lab.kill('node1', 'etcd');
    await stage().lab.kill('node1', 'skeind');
    await until(
      'another manager to lead',
      async () => {
        const leader = leaderIn(await nodes('node2').catch(() => []));
        return (leader !== undefined && leader !== 'node1') || `${leader} leads`;
      },
      { timeoutMs: 30_000 },
    );
    await docker('node2').ok('service', 'update', '-dq', '--label-add', 'went=on', 'stays');
    await stage().lab.start('node1');
    await seen('node1', ['node1 Ready Reachable']);
    assert.equal(await running(), container);
  });

  void test('it is made a worker again: nothing of a manager is left to it, its container stays', async () => {
    asManager = credentialsOf('node2');
    assert.equal(
      await docker('node3').ok('node', 'demote', 'node2'),
      'Manager node2 demoted in the swarm.\n',
    );
    await seen('node3', ['node2 Ready']);
    await knowsItIsWorker('node2');
    await until(
      'its keys to be gone',
      async () => {
        const files = readdirSync(clusterFolder('node2')).sort();
        return files.join() === 'identity.json,membership.json' || files.join();
      },
      { timeoutMs: 20_000 },
    );
    assert.equal(etcdOf('node2'), null);
    assert.ok(!existsSync(join(stage().lab.node('node2').dataRoot, 'etcd', 'data')));
    assert.match(await docker('node2').ok('info'), /Is Manager: false/);
    assert.equal(await running(), container);
  });

  void test('what it had as a manager opens no door of a manager any more, nor does what it has now', async () => {
    for (const addr of ['192.0.2.11', '192.0.2.13']) {
      assert.deepEqual(await call(addr, asManager), refused);
      assert.deepEqual(await call(addr, credentialsOf('node2')), refused);
    }
  });

  void test('a leader that is made a worker hands over first; the last manager stays one', async () => {
    const leader = leaderIn(await nodes('node1'))!;
    const other = leader === 'node1' ? 'node3' : 'node1';
    await docker(leader).ok('node', 'update', '--role', 'worker', leader);
    await seen(other, [`${other} Ready Leader`, `${leader} Ready`]);
    assert.match(
      await docker(other).fails('node', 'demote', other),
      /rpc error: code = FailedPrecondition desc = attempting to demote the last manager of the swarm/,
    );
    assert.equal(await running(), container);
    await knowsItIsWorker(leader);
    await until(
      'nobody to write the node while the CLI does',
      async () => {
        const { code, stderr } = await docker(other).run('node', 'update', '--role', 'manager', leader);
        return code === 0 || stderr;
      },
      { timeoutMs: 20_000 },
    );
    await seen(leader, [`${other} Ready Leader`, `${leader} Ready Reachable`]);
    await docker(other).ok('service', 'rm', 'stays');
  });
}
