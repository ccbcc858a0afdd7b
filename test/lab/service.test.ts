/** A service in the hands of the docker CLI: made, watched, changed, broken, refused. One cluster for all of it. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { until } from '../../src/lab/cluster.ts';
import { downLab, Lab } from '../../src/lab/lab.ts';
import { skipWithoutDocker } from '../docker.ts';
import { badInput } from './bad-input.ts';
import { serviceLogs } from './service-logs.ts';
import { serviceUpdates } from './service-updates.ts';
import { IMAGE, Stage } from './stage.ts';

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

  describe('logs', () => serviceLogs(() => stage));
  describe('updates and restarts', () => serviceUpdates(() => stage));

  test('an image that is nowhere: rejected with the reason, and tried again by the policy', async (t) => {
    stage.removeAfter(t, 'ghost');
    const missing = '192.0.2.200:5000/no/such:1';
    await stage.create('ghost', '--detach', '--restart-delay', '300ms', missing);
    await until(
      'two rejections',
      async () => {
        const rejected = (await stage.tasks('ghost')).filter((t) => t.state.startsWith('Rejected'));
        return (rejected.length >= 2 && rejected.every((t) => t.error !== '')) || `${rejected.length} seen`;
      },
      { timeoutMs: 30_000 },
    );
  });

  test('no node fits: the task waits and says why', async (t) => {
    stage.removeAfter(t, 'nowhere');
    await stage.create('nowhere', '--detach', '--constraint', 'node.labels.zone==moon', IMAGE);
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
    const inspected = async () => {
      const [network] = JSON.parse(await docker('network', 'inspect', 'net1')) as {
        IPAM: { Config: { Subnet: string; Gateway: string }[] };
        Labels: Record<string, string>;
      }[];
      return network!;
    };
    await until(
      'its gateway to be chosen',
      async () => {
        const { Config } = (await inspected()).IPAM;
        const shown = [{ Subnet: '10.77.0.0/24', Gateway: '10.77.0.1' }];
        return isDeepStrictEqual(Config, shown) || JSON.stringify(Config);
      },
      { timeoutMs: 20_000 },
    );
    assert.deepEqual((await inspected()).Labels, { a: 'b' });
    await stage.create('inside', '--replicas', '2', '--network', 'net1', IMAGE);
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

  describe('bad input', () => badInput(() => stage));

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
