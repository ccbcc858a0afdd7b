/** How hosts become nodes: the two commands of `docker swarm`, what a certificate opens, and what is refused. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { until } from '../../src/lab/cluster.ts';
import { buildImage } from '../../src/lab/image.ts';
import { downLab, Lab } from '../../src/lab/lab.ts';
import { runProcess } from '../../src/kit/process.ts';
import { skipWithoutDocker } from '../docker.ts';
import { machineState } from './machine.ts';
import { changesOfRole } from './roles.ts';
import { IMAGE, Stage } from './stage.ts';

const NAME = 'test-membership';

describe('membership', { skip: skipWithoutDocker, timeout: 600_000 }, () => {
  let stage: Stage;
  let machine: unknown;
  const tokens = { worker: '', manager: '' };
  const docker = (node: string) => stage.docker(node);
  const nodes = async (via: string) =>
    (await docker(via).ok('node', 'ls', '--format', '{{.Hostname}} {{.Status}} {{.ManagerStatus}}'))
      .trim()
      .split('\n')
      .map((line) => line.trim())
      .sort();

  const idOf = async (via: string, status: string) =>
    (await docker(via).ok('node', 'ls', '--format', '{{.ID}} {{.Status}}'))
      .split('\n')
      .find((line) => line.endsWith(status))!
      .split(' ')[0]!;

  before(async () => {
    machine = await machineState(NAME);
    stage = new Stage(await Lab.up({ name: NAME, nodes: 3, cluster: false }));
  });
  after(async () => {
    stage.close();
    await downLab(NAME);
    assert.deepEqual(await machineState(NAME), machine);
  });

  test('a host outside of any cluster says so', async () => {
    assert.match(await docker('node1').ok('info'), /Swarm: inactive/);
    assert.match(
      await docker('node1').fails('service', 'ls'),
      /This node is not a swarm manager\. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again\./,
    );
  });

  test('init makes a manager, and a second init is refused', async () => {
    const out = await docker('node1').ok('swarm', 'init', '--advertise-addr', '192.0.2.11');
    assert.match(out, /^Swarm initialized: current node \([0-9a-z]{25}\) is now a manager\./);
    assert.match(out, /docker swarm join --token SWMTKN-1-\S+ 192\.0\.2\.11:2377/);
    assert.match(
      await docker('node1').fails('swarm', 'init', '--advertise-addr', '192.0.2.11'),
      /This node is already part of a swarm\. Use "docker swarm leave" to leave this swarm and join another one\./,
    );
    await until(
      'it to be ready',
      async () => (await nodes('node1')).join() === 'node1 Ready Leader' || (await nodes('node1')).join(),
      { timeoutMs: 20_000 },
    );
    for (const role of ['worker', 'manager'] as const)
      tokens[role] = (await docker('node1').ok('swarm', 'join-token', '-q', role)).trim();
    assert.notEqual(tokens.worker, tokens.manager);
  });

  test('a token that is not ours joins nothing and leaves the host outside', async () => {
    const forged = tokens.worker.replace(/.{6}$/, 'aaaaaa');
    const otherRoot = tokens.worker.replace(/^(SWMTKN-1-)..../, '$1aaaa');
    const manager = '192.0.2.11:2377';
    for (const [token, address, words] of [
      [forged, manager, /InvalidArgument desc = A valid join token is necessary to join this cluster/],
      [otherRoot, manager, /remote CA does not match fingerprint\. Expected: aaaa\S+, got: \S+/],
      ['nonsense', manager, /invalid join token/],
      [tokens.worker, '192.0.2.13:2377', /cannot reach the manager at 192\.0\.2\.13:2377: .*ECONNREFUSED/],
    ] as const)
      assert.match(await docker('node2').fails('swarm', 'join', '--token', token, address), words);
    assert.match(await docker('node2').ok('info'), /Swarm: inactive/);
    assert.deepEqual(await nodes('node1'), ['node1 Ready Leader']);
  });

  test('the worker token makes a worker, which does not view the cluster', async () => {
    const out = await docker('node2').ok('swarm', 'join', '--token', tokens.worker, '192.0.2.11:2377');
    assert.match(out, /This node joined a swarm as a worker\./);
    assert.match(
      await docker('node2').fails('swarm', 'join', '--token', tokens.manager, '192.0.2.11:2377'),
      /This node is already part of a swarm\./,
    );
    assert.match(
      await docker('node2').fails('node', 'ls'),
      /This node is not a swarm manager\. Worker nodes can't be used to view or modify cluster state\./,
    );
    await until(
      'the worker to be ready',
      async () => (await nodes('node1')).join() === 'node1 Ready Leader,node2 Ready' || 'not yet',
      { timeoutMs: 20_000 },
    );
    const info = await docker('node2').ok('info');
    assert.match(info, /Swarm: active[^]*Is Manager: false/);
  });

  test('the manager token makes a manager, with a store of its own', async () => {
    const out = await docker('node3').ok('swarm', 'join', '--token', tokens.manager, '192.0.2.11:2377');
    assert.match(out, /This node joined a swarm as a manager\./);
    assert.ok(stage.lab.report().nodes[2]!.pids.etcd);
    assert.equal(stage.lab.report().nodes[1]!.pids.etcd, null);
    await until(
      'the manager to be reachable',
      async () => {
        const seen = await nodes('node3');
        return seen.join() === 'node1 Ready Leader,node2 Ready,node3 Ready Reachable' || seen.join();
      },
      { timeoutMs: 20_000 },
    );
    const pretty = await docker('node3').ok('node', 'inspect', '--pretty', 'node2');
    assert.match(pretty, /Hostname:\s+node2[^]*State:\s+Ready[^]*Address:\s+192\.0\.2\.12/);
    assert.match(await docker('node3').ok('node', 'ps', 'node2'), /^ID\s+NAME/);
  });

  test('rotation changes one token, and the old one joins nothing', async () => {
    const fresh = (await docker('node3').ok('swarm', 'join-token', '--rotate', '-q', 'worker')).trim();
    assert.notEqual(fresh, tokens.worker);
    const seenBy = async (node: string) =>
      (await docker(node).ok('swarm', 'join-token', '-q', 'worker')).trim();
    await until(
      'the other manager to know it',
      async () => (await seenBy('node1')) === fresh || 'the old one',
      { timeoutMs: 20_000 },
    );
    assert.equal((await docker('node1').ok('swarm', 'join-token', '-q', 'manager')).trim(), tokens.manager);
  });

  test('what swarm update, ca and unlock can do is done, and the rest is refused in words', async () => {
    const root = await docker('node1').ok('swarm', 'ca');
    assert.match(root, /^-----BEGIN CERTIFICATE-----[^]+-----END CERTIFICATE-----\s*$/);
    const flags = ['--task-history-limit', '3', '--cert-expiry', '720h', '--dispatcher-heartbeat', '6s'];
    assert.equal(await docker('node1').ok('swarm', 'update', ...flags), 'Swarm updated.\n');
    const info = await docker('node1').ok('info');
    assert.match(
      info,
      /Task History Retention Limit: 3[^]*Heartbeat Period: 6 seconds[^]*Expiry Duration: 4 weeks/,
    );
    for (const [words, ...args] of [
      [/rotating the root certificate is not served by Skein yet/, 'ca', '--rotate', '-d'],
      [/autolock is not served by Skein yet/, 'update', '--autolock'],
      [/Raft\.SnapshotInterval cannot be set/, 'update', '--snapshot-interval', '5000'],
      [/Raft\.KeepOldSnapshots cannot be set/, 'update', '--max-snapshots', '3'],
      [/minimum certificate expiry time is: 1h0m0s/, 'update', '--cert-expiry', '30m'],
      [/an external CA is not served/, 'update', '--external-ca', 'protocol=cfssl,url=https://192.0.2.99'],
      [/no unlock key is set/, 'unlock-key'],
      [/swarm is not locked/, 'unlock'],
    ] as const)
      assert.match(await docker('node1').fails('swarm', ...args), words);
    assert.deepEqual(await nodes('node1'), ['node1 Ready Leader', 'node2 Ready', 'node3 Ready Reachable']);
  });

  test('a node that was told the old token is refused', async () => {
    await docker('node2').ok('swarm', 'leave');
    const refusal = await docker('node2').fails('swarm', 'join', '--token', tokens.worker, '192.0.2.11:2377');
    assert.match(refusal, /join token/);
    const token = (await docker('node1').ok('swarm', 'join-token', '-q', 'worker')).trim();
    await docker('node2').ok('swarm', 'join', '--token', token, '192.0.2.11:2377');
    await until(
      'another node of that name',
      async () => {
        const lines = (await nodes('node1')).filter((line) => line.startsWith('node2'));
        return lines.join() === 'node2 Down,node2 Ready' || lines.join();
      },
      { timeoutMs: 20_000 },
    );
    await docker('node1').ok('node', 'rm', await idOf('node1', 'Down'));
  });

  test('the control port speaks TLS 1.3 only, and nothing of the store or the API hangs on the network', async () => {
    const { stdout } = await stage.lab.exec('node1', ['ss', '-Hltn']);
    const ports = [...stdout.matchAll(/(\S+):(\d+)\s+\S+\s*$/gm)].map(
      ([, address, port]) => `${address}:${port}`,
    );
    assert.ok(
      ports.some((p) => p.endsWith(':2377')),
      stdout,
    );
    assert.ok(!ports.some((p) => p.endsWith(':2379')), 'no client port of etcd');
    const openssl = ['openssl', 's_client', '-connect', '192.0.2.11:2377'];
    const old = await stage.lab.exec('client', [...openssl, '-tls1_2'], {
      accept: [0, 1],
      timeoutMs: 20_000,
    });
    assert.equal(old.code, 1, 'an old TLS version is refused');
    const plain = ['busybox', 'wget', '-q', '-O', '-', 'http://192.0.2.11:2377/'];
    assert.equal((await stage.lab.exec('client', plain, { accept: [0, 1], timeoutMs: 20_000 })).code, 1);
  });

  /** Who answers on port 81 of a node, and whom it took for its client. */
  const seenThrough = async (node: 'node1' | 'node2') => {
    const argv = ['busybox', 'wget', '-q', '-O', '-', `http://${stage.lab.node(node).address}:81/`];
    const { stdout } = await stage.lab.exec('client', argv, { accept: [0, 1], timeoutMs: 10_000 });
    return /^container (\w+)$[^]*^client ([\d.]+):/m.exec(stdout)?.slice(1).join(' saw ') ?? 'nobody';
  };
  const untilSeen = (node: 'node1' | 'node2', wanted: string) =>
    until(
      `${wanted}, through ${node}`,
      async () => {
        const now = await seenThrough(node);
        return now === wanted || now;
      },
      { timeoutMs: 30_000 },
    );

  test('a node that leaves is down, can be removed, and can join again under another token', async () => {
    await stage.lab.engine('node1').load((await buildImage()).tar);
    const create = ['service', 'create', '--detach', '--no-resolve-image', '--name', 'seen', '-p', '81:80'];
    const where = ['--constraint', 'node.hostname==node1', '--label', 'skein.client-ip=preserve'];
    await docker('node1').ok(...create, ...where, IMAGE);
    await stage.converged('seen', 1);
    const task = (await docker('node1').ok('ps', '-q', '--filter', 'name=seen.')).trim();
    const seen = `${task} saw ${stage.lab.plan.client.address}`;
    for (const node of ['node1', 'node2'] as const) await untilSeen(node, seen);
    const refused = await docker('node1').fails('node', 'rm', 'node2');
    assert.match(
      refused,
      /rpc error: code = FailedPrecondition desc = node \S+ is not down and can't be removed/,
    );
    assert.match(await docker('node2').ok('swarm', 'leave'), /Node left the swarm\./);
    await until(
      'node2 to be down',
      async () => (await nodes('node1')).includes('node2 Down') || (await nodes('node1')).join(),
      { timeoutMs: 20_000 },
    );
    assert.match(await docker('node1').ok('node', 'rm', 'node2'), /node2/);
    assert.deepEqual(await nodes('node1'), ['node1 Ready Leader', 'node3 Ready Reachable']);
    await untilSeen('node1', seen);
    const token = (await docker('node1').ok('swarm', 'join-token', '-q', 'worker')).trim();
    await docker('node2').ok('swarm', 'join', '--token', token, '192.0.2.13:2377');
    await until(
      'node2 to be back',
      async () => (await nodes('node3')).includes('node2 Ready') || (await nodes('node3')).join(),
      { timeoutMs: 20_000 },
    );
    // The very same container, which sees its clients through a node that it has not known before.
    await untilSeen('node2', seen);
    await docker('node1').ok('service', 'rm', 'seen');
  });

  changesOfRole(() => stage, nodes);

  test('a manager goes on alone when the others are lost; one that comes back is let in anew', async () => {
    await stage.lab.kill('node3', 'skeind'); // first, or it starts its etcd again
    await stage.lab.kill('node3', 'etcd');
    await until(
      'node1 to say that it can change nothing',
      async () => {
        const { stderr } = await docker('node1').run('node', 'update', '--label-add', 'a=b', 'node1');
        return (
          /The swarm does not have a leader.* more than half of the managers are online/.test(stderr) ||
          stderr
        );
      },
      { timeoutMs: 20_000 },
    );
    const alone = ['swarm', 'init', '--force-new-cluster', '--advertise-addr', '192.0.2.11'];
    assert.match(await docker('node2').fails(...alone), /only a manager can go on alone/);
    assert.match(await docker('node1').ok(...alone), /^Swarm initialized: current node \([0-9a-z]{25}\)/);
    const seen = (wanted: string) =>
      until(
        wanted,
        async () => {
          const lines = await nodes('node1');
          return lines.includes(wanted) || lines.join();
        },
        { timeoutMs: 30_000 },
      );
    await seen('node1 Ready Leader');
    await docker('node1').ok('node', 'update', '--label-add', 'went=alone', 'node1');
    await stage.lab.start('node3');
    await seen('node3 Ready Reachable');
    await until(
      'node3 to serve what was written without it',
      async () => {
        const { stdout, stderr } = await docker('node3').run('node', 'inspect', 'node1');
        return /"went": "alone"/.test(stdout) || stderr;
      },
      { timeoutMs: 20_000 },
    );
  });

  test('a manager leaves only when told to by force', async () => {
    assert.match(
      await docker('node1').fails('swarm', 'leave'),
      /Use `--force` to (ignore|suppress) this message/,
    );
    await docker('node3').ok('swarm', 'leave', '--force');
    assert.match(await docker('node3').ok('info'), /Swarm: inactive/);
    const tables = await runProcess([...stage.lab.enter('node3'), 'nft', 'list', 'tables']);
    assert.equal(tables.stdout, '', 'no rule stays behind');
    await docker('node1').ok('service', 'ls');
  });
});
