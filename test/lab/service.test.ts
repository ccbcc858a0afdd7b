/** A service in the hands of the docker CLI: made, watched, changed, broken, refused. One cluster for all of it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { until } from '../../src/lab/cluster.ts';
import { downLab, Lab } from '../../src/lab/lab.ts';
import { finished, skipWithoutDocker } from '../docker.ts';
import { delay, IMAGE, Stage, type TaskLine } from './stage.ts';

const NAME = 'test-service';

/** What the CLI shows of such a service on Docker Swarm, but for its id, its image and a shorter monitor. */
const PRETTY = `
ID:\t\t
Name:\t\tweb
Service Mode:\tReplicated
 Replicas:\t3
Placement:
UpdateConfig:
 Parallelism:\t1
 On failure:\tpause
 Monitoring Period: 1s
 Max failure ratio: 0
 Update order:      stop-first
RollbackConfig:
 Parallelism:\t1
 On failure:\tpause
 Monitoring Period: 5s
 Max failure ratio: 0
 Rollback order:    stop-first
ContainerSpec:
 Image:\t\t${IMAGE}
 Init:\t\tfalse
Resources:
Endpoint Mode:\tvip
Ports:
 PublishedPort = 80
  Protocol = tcp
  TargetPort = 80
  PublishMode = ingress 

`;

/** The CLI's own lines for a node, each value replaced by what it must look like. */
const PRETTY_NODE = [
  /^ID:\t\t\t[0-9a-z]{25}$/,
  /^Labels:$/,
  /^ - zone=moon$/,
  /^Hostname: {14}\tnode2$/,
  /^Joined at: {13}\t\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S* \+0000 utc$/,
  /^Status:$/,
  /^ State:\t\t\tReady$/,
  /^ Availability: {9}\tActive$/,
  /^ Address:\t\t192\.0\.2\.12$/,
  /^Platform:$/,
  /^ Operating System:\tlinux$/,
  /^ Architecture:\t\t(x86_64|aarch64)$/,
  /^Resources:$/,
  /^ CPUs:\t\t\t\d+$/,
  /^ Memory:\t\t[\d.]+[GM]iB$/,
  /^Plugins:$/,
  /^ Log:\t\tjson-file/,
  /^ Network:\t\tbridge, host, null, overlay$/,
  /^ Volume:\t\tlocal$/,
  /^Engine Version:\t\t\d+\.\d+\.\d+$/,
  /^TLS Info:$/,
];

describe('services', { skip: skipWithoutDocker, timeout: 600_000 }, () => {
  let stage: Stage;
  const docker = (...args: string[]) => stage.docker('node1').ok(...args);
  const fails = (...args: string[]) => stage.docker('node1').fails(...args);
  const create = (name: string, ...args: string[]) =>
    docker('service', 'create', '--no-resolve-image', '--update-monitor', '300ms', '--name', name, ...args);
  const sum = (counts: readonly number[]) => counts.reduce((a, b) => a + b, 0);
  const perNode = (tasks: readonly { readonly node: string }[]) =>
    stage.lab.plan.nodes.map(({ name }) => tasks.filter((t) => t.node === name).length);

  before(async () => {
    stage = new Stage(await Lab.up({ name: NAME, nodes: 2 }));
    await stage.loadImage();
    await stage.setHeartbeat(20);
  });
  after(async () => {
    stage.close();
    await downLab(NAME);
  });

  test('version and info name the parts', async () => {
    const version = await docker('version');
    for (const part of ['Server: Skein', 'containerd:', 'runc:']) assert.ok(version.includes(part), part);
    assert.match(await docker('info'), /Swarm: active[^]*Is Manager: true[^]*Managers: 1\n\s+Nodes: 2/);
  });

  test('create shows its progress and ends when the service has converged, spread over the nodes', async () => {
    const out = await docker(
      ...['service', 'create', '--name', 'web', '--update-monitor', '1s'],
      ...['--replicas', '3', '-p', '80:80', IMAGE],
    );
    assert.match(out, /verify: Service \S+ converged/);
    const tasks = await stage.running('web');
    assert.deepEqual(perNode(tasks).sort(), [1, 2]);
    assert.match(
      await docker('service', 'ls'),
      /web\s+replicated\s+3\/3\s+skein\/web:latest\s+\*:80->80\/tcp/,
    );
    const pretty = await docker('service', 'inspect', '--pretty', 'web');
    const [id] = /[0-9a-z]{25}/.exec(pretty)!;
    assert.equal(pretty, PRETTY.replace('ID:\t\t', `ID:\t\t${id}`));
    assert.match(await docker('node', 'ps', 'node2'), /web\.\d/);
    const task = JSON.parse(await docker('inspect', tasks[0]!.id)) as { Status: { State: string } }[];
    assert.equal(task[0]!.Status.State, 'running');
  });

  test('labels and published ports are changed under running tasks', async () => {
    const ids = async () => (await stage.running('web')).map((t) => t.id).sort();
    const before = await ids();
    await docker('service', 'update', '--label-add', 'tier=front', '--publish-add', '8082:80', 'web');
    assert.deepEqual(await ids(), before);
    const answer = () => stage.ask('client', '192.0.2.12', 8082);
    await until('an answer', async () => (await answer()) !== undefined || 'none', { timeoutMs: 20_000 });
  });

  test('each node shows its own containers, with their labels and logs', async () => {
    for (const node of ['node1', 'node2']) {
      const cli = stage.docker(node);
      const names = (await cli.ok('ps', '--format', '{{.Names}} {{.Status}}')).trim().split('\n');
      const here = (await stage.running('web')).filter((t) => t.node === node);
      assert.deepEqual(
        names.map((n) => n.split(' ')[0]!.split('.').slice(0, 2).join('.')).sort(),
        here.map((t) => t.name).sort(),
      );
      const up = / Up (\d+ seconds?|Less than a second|About a minute|\d+ minutes)$/;
      for (const line of names) assert.match(line, up);
      const [found] = JSON.parse(await cli.ok('inspect', names[0]!.split(' ')[0]!)) as {
        State: { Running: boolean; Pid: number };
        Config: { Labels: Record<string, string> };
        NetworkSettings: { Networks: Record<string, { IPAddress: string }> };
      }[];
      assert.ok(found!.State.Running && found!.State.Pid > 0);
      assert.equal(found!.Config.Labels['com.docker.swarm.service.name'], 'web');
      assert.match(found!.NetworkSettings.Networks['ingress']!.IPAddress, /^10\.255\./);
    }
  });

  test('the ingress network shows its peers and one endpoint a node', async () => {
    const [network] = JSON.parse(await docker('network', 'inspect', 'ingress')) as {
      Ingress: boolean;
      Peers: { IP: string }[];
      Containers: Record<string, { Name: string; IPv4Address: string; MacAddress: string }>;
    }[];
    assert.ok(network!.Ingress);
    assert.deepEqual(network!.Peers.map((p) => p.IP).sort(), ['192.0.2.11', '192.0.2.12']);
    const endpoints = Object.values(network!.Containers).filter((c) => c.Name.includes('ingress-endpoint'));
    assert.deepEqual(endpoints.map((e) => e.MacAddress).sort(), ['52:54:00:00:02:0b', '52:54:00:00:02:0c']);
    assert.equal(new Set(endpoints.map((e) => e.IPv4Address)).size, 2);
  });

  test('scaling up and down keeps what runs and stays spread', async () => {
    const before = new Set((await stage.running('web')).map((t) => t.id));
    assert.match(await docker('service', 'scale', 'web=6'), /web scaled to 6[^]*converged/);
    const six = await stage.running('web');
    assert.deepEqual(perNode(six), [3, 3]);
    for (const id of before)
      assert.ok(
        six.some((t) => t.id === id),
        'a task that ran runs on',
      );
    await docker('service', 'scale', 'web=2');
    const two = await stage.running('web');
    assert.deepEqual(perNode(two), [1, 1]);
    for (const { id } of two) assert.ok(six.some((t) => t.id === id));
  });

  test('logs of all tasks on all nodes, and those that are still to come', async () => {
    await create('chat', '--replicas', '2', IMAGE, 'lines=4', 'every=100');
    const logs = await docker('service', 'logs', 'chat');
    for (const node of ['node1', 'node2'])
      assert.match(logs, new RegExp(`^chat\\.\\d\\.\\w+@${node}\\s+\\| line 1$`, 'm'));
    const follow = stage.docker('node1').start('service', 'logs', '-f', '--tail', '0', 'chat');
    const ended = finished(follow);
    const seen = new Set<string>();
    follow.stdout!.on('data', (chunk: Buffer) => {
      for (const [, node] of chunk.toString().matchAll(/@(node\d)\s+\| line/g)) seen.add(node!);
      if (seen.size === 2) follow.kill('SIGTERM');
    });
    await ended;
    assert.deepEqual([...seen].sort(), ['node1', 'node2']);
    const id = (await stage.docker('node2').ok('ps', '-q', '--filter', 'name=chat')).trim();
    assert.match(await stage.docker('node2').ok('logs', '--tail', '2', id), /line \d+/);
    // Of any two lines in a row one is not of standard error.
    const raw = await docker('service', 'logs', '--raw', '--tail', '2', 'chat');
    assert.match(raw, /^line \d+\n/);
    await docker('service', 'rm', 'chat');
  });

  test('a log keeps to its options; a follower misses no line over rotations and a kill of the daemon', async () => {
    // It waits half-way, or a daemon that is slow to come back would find more than is kept; and it ends, so that what
    // is asked of its log is asked of one that stands still.
    const count = `i=0; while [ $i -lt 700 ]; do
      i=$((i+1)); echo count $i; sleep 0.01
      [ $i -ne 300 ] || until [ -e /go ]; do sleep 0.1; done
    done; sleep 1000`;
    await docker(
      ...[
        'service',
        'create',
        '--no-resolve-image',
        '--detach',
        '--name',
        'count',
        '--stop-grace-period',
        '0s',
      ],
      ...['--log-driver', 'json-file', '--log-opt', 'max-size=5k', '--log-opt', 'max-file=3'],
      ...['--log-opt', 'compress=true', '--log-opt', 'tag={{.Name}}'],
      ...['--log-opt', 'labels=tier', '--container-label', 'tier=front', '--env', 'A=1'],
      ...['--constraint', 'node.hostname==node2', '--entrypoint', '/bin/sh', IMAGE, '-c', count],
    );
    const follow = stage.docker('node1').start('service', 'logs', '-f', '--raw', 'count');
    let text = '';
    follow.stdout!.on('data', (chunk: Buffer) => (text += chunk.toString()));
    const seen = () => text.split('\n').slice(0, -1);
    const reached = (line: number) =>
      until(`line ${line}`, async () => seen().length >= line || `${seen().length} came`, {
        timeoutMs: 60_000,
      });
    await reached(100);
    await stage.lab.kill('node2', 'skeind');
    await stage.lab.start('node2');
    await reached(300);
    const node2 = stage.docker('node2');
    const id = (await node2.ok('ps', '-q', '--filter', 'name=count.')).trim();
    await node2.ok('exec', id, 'touch', '/go');
    await reached(700);
    follow.kill('SIGTERM');
    for (const [i, line] of seen().entries()) assert.equal(line, `count ${i + 1}`);
    const kept = (await docker('service', 'logs', '--raw', 'count')).split('\n').slice(0, -1);
    assert.ok(kept.length > 100 && kept.length <= 500, `${kept.length} lines of some 30 bytes are kept`);
    assert.notEqual(kept[0], 'count 1');
    const last = await docker('service', 'logs', '--details', '--timestamps', '--tail', '1', 'count');
    assert.match(
      last,
      /^2\d{3}-\S+T\S+\.\d{9}Z count\.1\.\w+@node2\s+\| tag=count\.1\.\w+,tier=front count \d+\n$/,
    );
    const [, since, number] = /^(\S+) .* (\d+)$/m.exec(last)!;
    const later = await docker('service', 'logs', '--raw', '--since', since!, 'count');
    assert.equal(later.split('\n')[0], `count ${number}`);
    assert.equal(await node2.ok('logs', '--since', since!, '--until', since!, id), `count ${number}\n`);
    assert.match(
      await node2.ok('logs', '--details', '--tail', '1', id),
      /^tag=count\.1\.\w+,tier=front count \d+\n$/,
    );
    const [loud] = await stage.running('count');
    await docker('service', 'update', '--detach', '--log-driver', 'none', 'count');
    let silent = '';
    await until(
      'a task without a log',
      async () => {
        const tasks = await stage.running('count');
        silent = tasks.find(({ id }) => id !== loud!.id)?.id ?? '';
        return silent !== '' || JSON.stringify(tasks);
      },
      { timeoutMs: 20_000 },
    );
    assert.match(
      await stage.docker('node1').fails('service', 'logs', silent),
      /configured logging driver does not support reading/,
    );
    await docker('service', 'rm', 'count');
  });

  test('stop-first: the old task of a slot has ended before the new one starts', async () => {
    await create('order', '--replicas', '2', '--update-order', 'stop-first', '--env', 'A=1', IMAGE);
    await docker('service', 'update', '--env-add', 'A=2', 'order');
    const tasks = await stage.tasks('order');
    assert.equal(tasks.filter((t) => t.state.startsWith('Running')).length, 2);
    for (const { id, state } of tasks.filter((t) => !t.state.startsWith('Running'))) {
      assert.match(state, /^Shutdown/);
      const [old] = JSON.parse(await docker('inspect', id)) as {
        Slot: number;
        Status: { Timestamp: string };
      }[];
      const next = tasks.find((t) => t.name === `order.${old!.Slot}` && t.state.startsWith('Running'))!;
      const [fresh] = JSON.parse(await docker('inspect', next.id)) as { Status: { Timestamp: string } }[];
      assert.ok(fresh!.Status.Timestamp > old!.Status.Timestamp);
    }
    assert.match(
      await docker('service', 'inspect', '--pretty', 'order'),
      /UpdateStatus:\n State:\s+completed/,
    );
  });

  test('start-first with parallelism 2: never fewer run than wanted, and never more than two are on their way', async () => {
    await docker('service', 'scale', 'order=4');
    let [least, most] = [Infinity, 0];
    const isUp = (task: TaskLine) => task.state.startsWith('Running');
    const abort = new AbortController();
    const watching = (async () => {
      while (!abort.signal.aborted) {
        const tasks = await stage.tasks('order');
        least = Math.min(least, tasks.filter(isUp).length);
        most = Math.max(most, tasks.filter((t) => t.desired === 'Running' && !isUp(t)).length);
      }
    })();
    await docker(
      ...['service', 'update', '--update-order', 'start-first', '--update-parallelism', '2'],
      ...['--env-add', 'A=3', 'order'],
    );
    abort.abort();
    await watching;
    assert.ok(least >= 4, `at least four ran at any time, seen ${least}`);
    assert.ok(most <= 2, `at most two were on their way, seen ${most}`);
    await docker('service', 'rm', 'order');
  });

  test('an update that pauses is rolled back: what it had not reached runs on, and the CLI sees the end', async () => {
    // The delay keeps the second slot out of it: its turn comes when the first task runs, which is before that fails.
    // The CLI looks on for the time of the update's monitor, also while it rolls back: that must have ended by then.
    await create('back', '--replicas', '3', '--update-delay', '10s', '--rollback-monitor', '100ms', IMAGE);
    const before = await stage.running('back');
    await docker('service', 'update', '--detach', '--update-monitor', '10s', '--args', 'exit=3', 'back');
    // No status until the managers have begun it.
    await until(
      'the update to pause',
      async () => {
        const state = await docker(
          'service',
          'inspect',
          '--format',
          '{{with .UpdateStatus}}{{.State}}{{end}}',
          'back',
        );
        return state.trim() === 'paused' || state;
      },
      { timeoutMs: 20_000 },
    );
    assert.match(
      await docker('service', 'inspect', '--pretty', 'back'),
      /Message:\s+update paused due to failure or early termination of task \w{25}/,
    );
    assert.match(await docker('service', 'rollback', 'back'), /verify: Service \S+ converged/);
    const after = await stage.running('back');
    assert.equal(after.length, 3);
    assert.equal(after.filter(({ id }) => before.some((t) => t.id === id)).length, 2);
    assert.match(
      await docker('service', 'inspect', '--pretty', 'back'),
      /UpdateStatus:\n State:\s+rollback_completed\n Started:\s+\S.*\n Message:\s+rollback completed\n/,
    );
    await docker('service', 'rm', 'back');
  });

  test('a task that fails is replaced after the delay, up to the attempts, with the reason', async () => {
    const flags = ['--detach', '--restart-delay', '500ms', '--restart-max-attempts', '2'];
    await create('crash', ...flags, IMAGE, 'exit=3', 'after=0');
    await until(
      'three failures',
      async () => {
        const failed = (await stage.tasks('crash')).filter((t) => t.state.startsWith('Failed'));
        return failed.length === 3 || `${failed.length} seen`;
      },
      { timeoutMs: 20_000 },
    );
    for (const task of await stage.tasks('crash'))
      assert.match(task.error, /^"?task: non-zero exit \(3\)"?$/);
    const times = await Promise.all(
      (await stage.tasks('crash')).map(async ({ id }) => {
        const [task] = JSON.parse(await docker('inspect', id)) as {
          CreatedAt: string;
          Status: { Timestamp: string };
        }[];
        return { created: Date.parse(task!.CreatedAt), ended: Date.parse(task!.Status.Timestamp) };
      }),
    );
    times.sort((a, b) => a.created - b.created);
    for (let i = 1; i < times.length; i++) assert.ok(times[i]!.ended - times[i - 1]!.ended >= 500);
    await delay(1_000);
    assert.equal((await stage.tasks('crash')).length, 3, 'no fourth one');
    await docker('service', 'rm', 'crash');
  });

  test('an image that is nowhere: rejected with the reason, and tried again by the policy', async () => {
    const missing = '192.0.2.200:5000/no/such:1';
    await create('ghost', '--detach', '--restart-delay', '300ms', missing);
    await until(
      'two rejections',
      async () => {
        const rejected = (await stage.tasks('ghost')).filter((t) => t.state.startsWith('Rejected'));
        return (rejected.length >= 2 && rejected.every((t) => t.error !== '')) || `${rejected.length} seen`;
      },
      { timeoutMs: 30_000 },
    );
    await docker('service', 'rm', 'ghost');
  });

  test('no node fits: the task waits and says why', async () => {
    await create('nowhere', '--detach', '--constraint', 'node.labels.zone==moon', IMAGE);
    await until(
      'the reason',
      async () => {
        const [task] = await stage.tasks('nowhere');
        return (
          task?.error.includes('no suitable node (scheduling constraints not satisfied on 2 nodes)') ||
          String(task?.error)
        );
      },
      { timeoutMs: 20_000 },
    );
    await docker('node', 'update', '--label-add', 'zone=moon', 'node2');
    await stage.converged('nowhere', 1);
    assert.equal((await stage.running('nowhere'))[0]!.node, 'node2');
    const lines = (await docker('node', 'inspect', '--pretty', 'node2')).split('\n');
    for (const [i, line] of PRETTY_NODE.entries()) assert.match(lines[i]!, line);
    await docker('node', 'update', '--label-add', 'zone=moon', 'node1');
    await docker('node', 'update', '--label-rm', 'zone', 'node2');
    await until(
      'the task to leave the node that is labelled so no more',
      async () => {
        const [now] = await stage.running('nowhere');
        return now?.node === 'node1' || String(now?.node);
      },
      { timeoutMs: 20_000 },
    );
    await docker('node', 'update', '--label-rm', 'zone', 'node1');
    await docker('service', 'rm', 'nowhere');
  });

  test('a drained node loses its tasks and gets none until it is active again', async () => {
    await docker('node', 'update', '--availability', 'drain', 'node2');
    await until(
      'both tasks on node1',
      async () => {
        const tasks = await stage.running('web');
        return (tasks.length === 2 && tasks.every((t) => t.node === 'node1')) || JSON.stringify(tasks);
      },
      { timeoutMs: 30_000 },
    );
    await docker('node', 'update', '--availability', 'active', 'node2');
    await docker('service', 'update', '--force', 'web');
    assert.ok((await stage.running('web')).some((t) => t.node === 'node2'));
  });

  test('overlay networks are made, shown, kept while in use, and removed', async () => {
    await docker('network', 'create', '-d', 'overlay', '--subnet', '10.77.0.0/24', '--label', 'a=b', 'net1');
    assert.match(await docker('network', 'ls'), /net1\s+overlay\s+swarm/);
    const [network] = JSON.parse(await docker('network', 'inspect', 'net1')) as {
      IPAM: { Config: { Subnet: string; Gateway: string }[] };
      Labels: Record<string, string>;
    }[];
    assert.deepEqual(network!.IPAM.Config, [{ Subnet: '10.77.0.0/24', Gateway: '10.77.0.1' }]);
    assert.deepEqual(network!.Labels, { a: 'b' });
    await create('inside', '--replicas', '2', '--network', 'net1', IMAGE);
    const [verbose] = JSON.parse(await docker('network', 'inspect', '-v', 'net1')) as {
      Services: Record<string, { VIP: string; Tasks: { Name: string; EndpointIP: string; Info: object }[] }>;
    }[];
    const { VIP, Tasks } = verbose!.Services['inside']!;
    assert.match(VIP, /^10\.77\.0\.\d+$/);
    assert.deepEqual(
      Tasks.map((t) => t.Info).toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)),
      [{ 'Host IP': '192.0.2.11' }, { 'Host IP': '192.0.2.12' }],
      'of all nodes',
    );
    for (const { EndpointIP } of Tasks) assert.match(EndpointIP, /^10\.77\.0\.\d+$/);
    const isOn = async (node: string) => /net1/.test(await stage.docker(node).ok('network', 'ls'));
    assert.ok(await isOn('node2'));
    await docker('service', 'update', '--constraint-add', 'node.hostname==node1', 'inside');
    await until('node2 to need it no more', async () => !(await isOn('node2')) || 'it is there', {
      timeoutMs: 20_000,
    });
    assert.match(await fails('network', 'rm', 'net1'), /network \S+ is in use by service/);
    await docker('service', 'rm', 'inside');
    await until(
      'the network to be free',
      async () => (await stage.docker('node1').run('network', 'rm', 'net1')).code === 0 || 'in use',
      { timeoutMs: 20_000 },
    );
    assert.doesNotMatch(await docker('network', 'ls'), /net1/);
  });

  describe('bad input', () => {
    const folder = mkdtempSync(join(tmpdir(), 'skein-bad-'));
    after(() => rmSync(folder, { recursive: true, force: true }));
    let untouched: string;
    const everything = async () => {
      const engine = stage.lab.engine('node1');
      const services = await engine.get<{ ID: string; Version: object }[]>('/services');
      const networks = await engine.get<{ Id: string }[]>('/networks');
      const images = await engine.get<{ Id: string; RepoTags: string[] }[]>('/images/json');
      const nodes = await engine.get<{ ID: string; Spec: object }[]>('/nodes');
      return JSON.stringify([
        services,
        networks.map((n) => n.Id).sort(),
        images.map(({ Id, RepoTags }) => [Id, RepoTags]),
        nodes.map(({ ID, Spec }) => [ID, Spec]),
      ]);
    };

    before(async () => {
      untouched = await everything();
    });
    after(async () => {
      assert.equal(await everything(), untouched, 'nothing was changed by any of it');
    });

    const refused: [string, string[], RegExp][] = [
      [
        'a published port that is taken',
        ['service', 'create', '--no-resolve-image', '--name', 'x', '-p', '80:8080', IMAGE],
        /rpc error: code = InvalidArgument desc = port '80' is already in use by service 'web' \(\w{25}\) as an ingress port/,
      ],
      [
        'a network that does not exist',
        ['service', 'create', '--no-resolve-image', '--name', 'x', '--network', 'nosuch', IMAGE],
        /network nosuch not found/,
      ],
      [
        'a mount without a source',
        ['service', 'create', '--no-resolve-image', '--name', 'x', '--mount', 'type=bind,target=/a', IMAGE],
        /source/,
      ],
      [
        'a mount to no absolute path',
        ['service', 'create', '--no-resolve-image', '--name', 'x', '--mount', 'type=tmpfs,target=a', IMAGE],
        /invalid mount target, must be an absolute path: a/,
      ],
      [
        'a constraint that is none',
        ['service', 'create', '--no-resolve-image', '--name', 'x', '--constraint', 'node.role~=x', IMAGE],
        /rpc error: code = InvalidArgument desc = constraint expected one operator from ==, !=/,
      ],
      [
        'a name that is taken',
        ['service', 'create', '--no-resolve-image', '--name', 'web', IMAGE],
        /name conflicts with an existing object/,
      ],
      ['a service that is not there', ['service', 'scale', 'nosuch=2'], /nosuch/],
      ['a network that is taken', ['network', 'create', '-d', 'overlay', 'ingress'], /already exists/],
      ['a second init', ['swarm', 'init'], /This node is already part of a swarm/],
      ['a task that is not there', ['inspect', 'nosuch'], /No such object: nosuch/i],
      ['an image that is not there', ['rmi', 'nosuch:1'], /No such image: nosuch:1/],
      ['a container that is not there', ['logs', 'nosuch'], /No such container: nosuch/],
    ];
    /** Flags of `service create` that ask for what is wrong, or for what no node can give; with what is said. */
    const flags: [string, RegExp][] = [
      ['--restart-condition sometimes', /invalid RestartCondition: "sometimes"/],
      ['--update-failure-action cry', /unrecognized update failure action cry/],
      ['--update-order random', /unrecognized update order random/],
      ['--rollback-order random', /unrecognized update order random/],
      ['--update-max-failure-ratio 2', /update-maxfailureratio cannot be less than 0 or bigger than 1/],
      ['--endpoint-mode nat', /invalid resolution mode: nat/],
      ['--endpoint-mode dnsrr -p 81:81', /port published with ingress mode can't be used with dnsrr mode/],
      ['--mode global --replicas 2', /replicas can only be used with replicated or replicated-job mode/],
      ['--mode global --max-concurrent 2', /max-concurrent can only be used with replicated-job mode/],
      ['--mode replicated-job --restart-condition any', /restart condition "any" is not supported for jobs/],
      [
        '--mode global-job --update-parallelism 2',
        /update config(uration)? .*not supported|not supported for jobs/,
      ],
      [
        '--hostname {{.Task.Sort}}',
        /expanding template "{{\.Task\.Sort}}" failed: "\.Task\.Sort" is none of/,
      ],
      ['--limit-cpu 0.0001', /invalid cpu value 0\.0001: Must be at least 0\.001/],
      ['--reserve-memory 1M', /invalid memory value 1048576: Must be at least 4MiB/],
      ['--generic-resource GPU=one', /Named Generic Resources is not supported for service create/],
      ['--log-driver syslog', /log driver "syslog" is not served by Skein/],
      ['--isolation hyperv', /isolation "hyperv" is of Windows: Skein runs Linux containers/],
      ['--credential-spec file://spec.json', /Privileges\.CredentialSpec is not served by Skein/],
      ['--network name=ingress,driver-opt=a=b', /driver options of network \S+ are not served by Skein: a$/m],
      ['--mount type=pipe,target=/a', /invalid MountType: "pipe"/],
      ['--mount type=cluster,source=v,target=/a', /mount type "cluster" is not served by Skein/],
      ['--mount type=npipe,source=v,target=/a', /mount type "npipe" is not served by Skein/],
      ['--mount type=image,source=v,target=/a', /mount type "image" is not served by Skein/],
      ['--mount source=v,target=/a,volume-driver=nfs', /volume driver "nfs" of mount \/a is a plugin/],
      [
        '--mount type=bind,source=/tmp,target=/a,readonly,bind-propagation=rprivate,bind-recursive=readonly',
        /bind-recursive=readonly of mount \/a is not served by Skein/,
      ],
    ];
    for (const [args, words] of flags)
      test(`service create ${args}`, async () => {
        const create = ['service', 'create', '--detach', '--no-resolve-image', '--name', 'x'];
        assert.match(await fails(...create, ...args.split(' '), IMAGE), words);
      });

    for (const [words, args] of [
      [/invalid Availability: "nonsense"/, ['--availability', 'nonsense']],
      [/invalid Role: "nonsense"/, ['--role', 'nonsense']],
    ] as const)
      test(`node update ${args.join(' ')}`, async () => {
        assert.match(await fails('node', 'update', ...args, 'node2'), words);
      });

    for (const [what, args, words] of refused)
      test(what, async () => {
        assert.match(await fails(...args), words);
      });

    test('a request to a worker', async () => {
      assert.match(
        await stage.docker('node2').fails('service', 'ls'),
        /This node is not a swarm manager\. Worker nodes/,
      );
    });

    test('a stale version', async () => {
      const engine = stage.lab.engine('node1');
      const service = await engine.get<{ ID: string; Version: { Index: number }; Spec: object }>(
        '/services/web',
      );
      const answer = await engine.raw('POST', `/services/${service.ID}/update`, {
        query: { version: service.Version.Index - 1 },
        body: service.Spec,
      });
      assert.equal(answer.status, 500);
      assert.match(answer.body.toString(), /rpc error: code = Unknown desc = update out of sequence/);
    });

    test('archives that are no image', async () => {
      const file = join(folder, 'bad.tar');
      for (const content of [
        Buffer.from('no tar at all'),
        Buffer.alloc(10_240),
        Buffer.alloc(1_000_000, 'x'),
      ]) {
        writeFileSync(file, content);
        assert.match(await fails('load', '-i', file), /^Error response from daemon: invalid archive: \S/m);
      }
    });

    test('bodies that are no JSON, too large, or of another version of the API', async () => {
      const engine = stage.lab.engine('node1');
      const json = { 'content-type': 'application/json' };
      const post = async (path: string, body: Uint8Array) => {
        const { status, body: answer } = await engine.raw('POST', path, { body, headers: json });
        return { status, message: (JSON.parse(answer.toString()) as { message: string }).message };
      };
      const malformed = await post('/services/create', Buffer.from('{"Name":'));
      assert.equal(malformed.status, 400);
      assert.match(malformed.message, /JSON/i);
      const large = await post(
        '/services/create',
        Buffer.from(JSON.stringify({ Name: 'x'.repeat(40_000_000) })),
      );
      assert.equal(large.status, 413);
      const old = await engine.raw('GET', '/v1.23/info');
      assert.equal(old.status, 400);
      assert.match(old.body.toString(), /client version 1\.23 is too old/);
      const young = await engine.raw('GET', '/v9.9/info');
      assert.equal(young.status, 400);
      assert.match(young.body.toString(), /client version 9\.9 is too new/);
      assert.equal((await engine.raw('GET', '/v1.41/no/such')).status, 404);
    });
  });

  test('a request that is not served yet gets an error that says so', async () => {
    const { status, body } = await stage.lab.engine('node1').raw('POST', '/build');
    assert.equal(status, 501);
    assert.match((JSON.parse(body.toString()) as { message: string }).message, /skein does not serve/);
  });

  test('rm ends every container of the service, on all nodes', async () => {
    await docker('service', 'rm', 'web');
    await until(
      'the containers to go',
      async () => {
        const left = await Promise.all(['node1', 'node2'].map((n) => stage.docker(n).ok('ps', '-aq')));
        return sum(left.map((text) => text.trim().length)) === 0 || left.join(' ');
      },
      { timeoutMs: 30_000 },
    );
    assert.match(await docker('images'), /skein\/web\s+latest/);
    await docker('rmi', IMAGE);
    assert.doesNotMatch(await docker('images'), /skein\/web/);
  });
});
