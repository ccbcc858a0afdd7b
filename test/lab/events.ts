/** `docker events` of a real cluster with an attachable network `mynet`, and a `closed2` that nobody else stands on. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { until } from '../../src/lab/cluster.ts';
import { IMAGE, type Stage } from './stage.ts';

export function events(stageOf: () => Stage): void {
  const on = (node: string, ...args: string[]) =>
    stageOf()
      .docker(node)
      .run(...args);
  const ok = (node: string, ...args: string[]) =>
    stageOf()
      .docker(node)
      .ok(...args);

  void test('of the node on each, of the cluster on managers, what was before the request too', async () => {
    const since = (Date.now() / 1000).toFixed(3);
    await ok('node1', 'network', 'create', '-d', 'overlay', 'told');
    const flags = ['--name', 'told', '--network', 'mynet', '-v', 'told:/v', '--entrypoint', 'true'];
    await on('node2', 'run', '--rm', ...flags, IMAGE);
    const removed = async () => (await on('node2', 'volume', 'rm', 'told')).code === 0 || 'in use';
    await until('its volume is free', removed, { timeoutMs: 20_000 });
    await ok('node1', 'network', 'rm', 'told');
    const seen = async (node: string, ...args: string[]) => {
      const until = (Date.now() / 1000).toFixed(3);
      const out = await ok(node, 'events', '--since', since, '--until', until, ...args);
      return out.trim().split('\n');
    };
    const format = ['--format', '{{.Type}} {{.Action}} {{.Scope}}'];
    const told = ['--filter', 'container=told', '--filter', 'type=container'];
    const actions = ['create', 'start', 'die', 'destroy'];
    const ofLife = ['scope=local', ...actions.map((action) => `event=${action}`)];
    const life = async () =>
      (await seen('node2', ...format, ...told, ...ofLife.flatMap((f) => ['--filter', f]))).join();
    const whole = actions.map((action) => `container ${action} local`).join();
    await until('its life is told', async () => (await life()) === whole || life(), { timeoutMs: 20_000 });
    const [id] = await seen('node2', '--format', '{{.Actor.ID}}', ...told);
    assert.deepEqual(await seen('node2', ...format, '--filter', 'volume=told', '--filter', 'type=volume'), [
      ...['create', 'mount', 'unmount', 'destroy'].map((action) => `volume ${action} local`),
    ]);
    const attached = await seen('node2', ...format, ...told, '--filter', 'event=attach');
    assert.deepEqual(attached, ['container attach local']);
    const network = ['--format', '{{.Action}} {{.Actor.Attributes.container}}', '--filter', 'network=mynet'];
    // Tasks come onto the network and leave it as they please.
    const own = (await seen('node2', ...network)).filter((line) => line.endsWith(id!));
    assert.deepEqual(own, [`connect ${id}`, `disconnect ${id}`]);
    const cluster = await seen('node1', ...format, '--filter', 'type=network', '--filter', 'scope=swarm');
    assert.deepEqual([cluster[0], cluster.at(-1)], ['network create swarm', 'network remove swarm']);
  });

  void test('a service by name, with all that its tasks are and do; several filters at once; ends to come', async () => {
    const seconds = (ms: number) => (ms / 1000).toFixed(3);
    const since = Date.now();
    // From a time that is past when it asks: who makes the service may be sooner.
    const times = ['--since', seconds(since), '--until', seconds(since + 600_000)];
    const following = stageOf()
      .docker('node1')
      .start(
        ...['events', ...times, '--filter', 'type=service', '--filter', 'service=ev'],
        ...['--format', '{{.Action}} {{json .Actor.Attributes}}'],
      );
    let live = '';
    following.stdout!.on('data', (chunk: Buffer) => (live += chunk.toString()));
    const mounts = ['--mount', 'type=volume,source=ev-data,target=/data'];
    const probes = ['--health-cmd', 'true', '--health-interval', '200ms'];
    await ok(
      'node1',
      ...['service', 'create', '--detach', '--no-resolve-image', '--name', 'ev', '--label', 'of=ev'],
      ...['--constraint', 'node.hostname==node2', '--network', 'closed2', '--container-label', 'tier=ev'],
      ...[...mounts, ...probes, IMAGE],
    );
    await stageOf().converged('ev', 1);
    const probing = stageOf()
      .docker('node2')
      .start(
        ...['events', '--filter', 'event=exec_start', '--filter', 'label=tier=ev', '--format', '{{.Action}}'],
      );
    const [probe] = (await once(probing.stdout!, 'data')) as [Buffer];
    assert.match(probe.toString(), /^exec_start: \/bin\/sh -c true$/m);
    probing.kill('SIGTERM');
    await ok('node1', 'service', 'update', '--detach', '--replicas', '2', 'ev');
    await stageOf().converged('ev', 2);
    await ok('node1', 'service', 'rm', 'ev');
    const removed = async () => (await on('node2', 'volume', 'rm', 'ev-data')).code === 0 || 'in use';
    await until('its volume is free', removed, { timeoutMs: 20_000 });
    const told = async (node: string, ...filters: string[]) => {
      const flags = filters.flatMap((filter) => ['--filter', filter]);
      const end = seconds(Date.now() + 300); // to come: what is past first, then what comes until then
      const format = ['--format', '{{.Type}} {{.Action}}'];
      return (await ok(node, 'events', '--since', seconds(since), '--until', end, ...format, ...flags))
        .trim()
        .split('\n');
    };
    const count = (lines: readonly string[], line: string) => lines.filter((one) => one === line).length;
    let life: string[] = [];
    const ended = async () => {
      life = await told('node2', 'container=ev.', 'type=container', 'label=tier=ev');
      return count(life, 'container destroy') === 2 || life.join();
    };
    await until('the end of both is told', ended, { timeoutMs: 20_000 });
    const actions = ['create', 'start', 'health_status: healthy', 'kill', 'die', 'stop', 'destroy'];
    assert.deepEqual([...new Set(life)].sort(), actions.map((action) => `container ${action}`).sort());
    for (const line of life) assert.equal(count(life, line), 2, line);
    assert.deepEqual(await told('node2', 'type=volume', 'event=mount', 'volume=ev-data'), [
      ...['volume mount', 'volume mount'],
    ]);
    let network: string[] = [];
    const left = async () => {
      network = await told('node2', 'network=closed2', 'scope=local');
      return network.at(-1) === 'network destroy' || network.join();
    };
    await until('the network to be told to have gone', left, { timeoutMs: 20_000 });
    assert.equal(network[0], 'network create');
    assert.equal(count(network, 'network connect'), 2);
    assert.deepEqual(await told('node1', 'scope=swarm', 'label=name=ev', 'event=create', 'event=remove'), [
      ...['service create', 'service remove'],
    ]);
    assert.deepEqual(await told('node1', 'service=ev', 'node=node2'), [''], 'nothing is both');
    assert.deepEqual((await told('node2', 'scope=swarm')).join(), '', 'a worker tells of itself');
    await until('the removal is told', async () => /^remove /m.test(live) || live, { timeoutMs: 20_000 });
    following.kill('SIGTERM');
    assert.match(live, /^create .*"name":"ev"/);
    assert.match(live, /^update .*"replicas\.new":"2","replicas\.old":"1"/m);
    const words = /`since` time \(.*\) cannot be after `until` time \(.*\)/;
    assert.match((await on('node1', 'events', '--since', '1h', '--until', '2h')).stderr, words);
  });
}
