/** What a service may say of its tasks, in real containers: every flag, health checks, secrets and configs, jobs. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { until } from '../../src/lab/cluster.ts';
import { downLab, Lab } from '../../src/lab/lab.ts';
import { runProcess } from '../../src/kit/process.ts';
import { type DockerCli, skipWithoutDocker } from '../docker.ts';
import { pythonWithDocker, skipWithoutDockerPy } from '../python.ts';
import { type Flag, first, SCRIPT, second } from './flags.ts';
import { nodeProgram } from './node-program.ts';
import { IMAGE, Stage, type TaskLine } from './stage.ts';

const NAME = 'svc-a';
/** Where the daemon looks for one first. */
const hasInit = existsSync('/usr/bin/docker-init');

interface Inspected {
  readonly State: {
    readonly Pid: number;
    readonly Health?: {
      readonly Status: string;
      readonly FailingStreak: number;
      readonly Log: readonly { readonly ExitCode: number; readonly Output: string }[];
    };
  };
  readonly Config: { readonly Healthcheck?: { readonly Test: readonly string[] } };
}

describe('specs of services', { skip: skipWithoutDocker, timeout: 600_000 }, () => {
  let stage: Stage;
  const folder = mkdtempSync(join(tmpdir(), 'skein-spec-'));
  const docker = (...args: string[]) => stage.docker('node1').ok(...args);
  const fails = (...args: string[]) => stage.docker('node1').fails(...args);
  const create = (name: string, ...args: string[]) =>
    docker(
      ...['service', 'create', '--no-resolve-image', '--update-monitor', '300ms', '--name', name],
      ...['--restart-delay', '0s', '--stop-grace-period', '1s', ...args],
    );
  /** Asks until there is an answer. */
  async function eventually<T>(what: string, ask: () => Promise<T | undefined>): Promise<T> {
    let answer: T | undefined;
    const ready = async () => (answer = await ask()) !== undefined || 'nothing yet';
    await until(what, ready, { timeoutMs: 30_000 });
    return answer!;
  }
  const task = (service: string, is: (task: TaskLine) => boolean): Promise<TaskLine> =>
    eventually(`a task of ${service}`, async () => (await stage.tasks(service)).find(is));

  before(async () => {
    const settings = { nodeGenericResources: ['GPU=one', 'GPU=two', 'SSD=3'] };
    stage = new Stage(await Lab.up({ name: NAME, nodes: 2, settings }));
    await stage.loadImage();
    await stage.setHeartbeat(20);
  });
  after(async () => {
    rmSync(folder, { recursive: true });
    stage.close();
    await downLab(NAME);
  });

  test('a health check: out of rotation until healthy, over a restart of the daemon, replaced when unhealthy', async () => {
    const check =
      'if [ -e /sick ]; then echo sick; exit 1; elif [ -e /well ]; then echo well; else exit 2; fi';
    await create(
      'sick',
      ...['--detach', '--replicas', '1', '-p', '8081:80', '--health-cmd', check],
      ...['--health-interval', '300ms', '--health-retries', '2', '--health-start-period', '60s'],
      ...['--health-start-interval', '300ms', IMAGE, 'deaf=1'],
    );
    const starting = await task('sick', (t) => t.state.startsWith('Starting'));
    const cli = stage.docker(starting.node);
    const id = (await cli.ok('ps', '-q', '--filter', 'name=sick.', '--filter', 'health=starting')).trim();
    assert.match(await cli.ok('ps', '--filter', `id=${id}`), /Up .* \(health: starting\)/);
    assert.equal(await stage.ask('client', '192.0.2.11', 8081), undefined, 'it is not in rotation yet');
    await cli.ok('exec', id, 'touch', '/well');
    await stage.converged('sick', 1);
    await eventually('an answer', () => stage.ask('client', '192.0.2.12', 8081));
    assert.match(await cli.ok('ps', '--filter', 'health=healthy'), /Up .* \(healthy\)/);

    const inspect = async () => (JSON.parse(await cli.ok('inspect', id)) as Inspected[])[0]!;
    const found = await eventually('five good probes', async () => {
      const now = await inspect();
      const good = now.State.Health!.Log.filter(
        ({ ExitCode, Output }) => ExitCode === 0 && Output === 'well\n',
      );
      return good.length === 5 ? now : undefined;
    });
    assert.deepEqual([found.State.Health!.Status, found.State.Health!.FailingStreak], ['healthy', 0]);
    assert.deepEqual(found.Config.Healthcheck?.Test, ['CMD-SHELL', check]);

    await stage.lab.kill(starting.node);
    await stage.lab.start(starting.node);
    const again = await inspect();
    assert.equal(again.State.Pid, found.State.Pid, 'the container runs on');
    assert.equal(again.State.Health?.Status, 'healthy');
    await stage.managerAnswers(); // it may have been the manager's

    await cli.ok('exec', id, 'touch', '/sick');
    const failed = await task('sick', (t) => t.state.startsWith('Failed'));
    assert.match(failed.error, /^"?task: non-zero exit \(137\): dockerexec: unhealthy container/);
    await task('sick', (t) => t.desired === 'Running' && t.id !== failed.id);
    await docker('service', 'rm', 'sick');
  });

  test('secrets and configs: files of the container, on a tmpfs, sealed in the store, gone with the task', async () => {
    const [plain, open, template] = ['plain', 'open', 'template'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    writeFileSync(plain, 'xyzzy-plugh');
    writeFileSync(open, 'plover');
    writeFileSync(template, '{{ .Service.Name }} {{ .Task.Slot }} {{ env "A" }} {{ secret "key" }}');
    const id = (await docker('secret', 'create', 'key', plain)).trim();
    await docker('config', 'create', 'conf', open);
    await docker('config', 'create', '--template-driver', 'golang', 'filled', template);
    await create(
      'keyed',
      ...['--secret', 'key', '--secret', 'source=key,target=/etc/key,uid=7,gid=8,mode=0400'],
      ...['--config', 'conf', '--config', 'source=filled,target=/etc/filled,mode=0440'],
      ...['--env', 'A=1', '--constraint', 'node.hostname==node2', IMAGE],
    );
    const cli = stage.docker('node2');
    const container = (await cli.ok('ps', '-q', '--filter', 'name=keyed.')).trim();
    const cat = (path: string) => cli.ok('exec', container, 'cat', path);
    assert.equal(await cat('/run/secrets/key'), 'xyzzy-plugh');
    assert.equal(await cat('/conf'), 'plover');
    assert.equal(await cat('/etc/filled'), 'keyed 1 1 xyzzy-plugh');
    const modes = await cli.ok(
      ...['exec', container, 'stat', '-c', '%a %u:%g', '/run/secrets/key', '/etc/key', '/etc/filled'],
    );
    assert.equal(modes, '444 0:0\n400 7:8\n440 0:0\n');
    assert.match(await cat('/proc/mounts'), /^skein-secrets \/run\/secrets\/key tmpfs ro/m);
    assert.match(
      await fails('secret', 'rm', 'key'),
      /rpc error: code = InvalidArgument desc = secret 'key' is in use by the following service: keyed/,
    );

    const { dataRoot, runRoot } = stage.lab.node('node1');
    const inStore = async (text: string): Promise<boolean> => {
      const pattern = `${text}|${Buffer.from(text).toString('base64')}`;
      const argv = ['grep', '-rqaE', pattern, `${dataRoot}/etcd`];
      return (await stage.lab.exec('node1', argv, { accept: [0, 1] })).code === 0;
    };
    assert.deepEqual([await inStore('plover'), await inStore('xyzzy-plugh')], [true, false]);
    assert.equal(existsSync(`${runRoot}/secrets`), false, 'a node without such a task has none');
    const here = stage.lab.node('node2').runRoot;
    assert.equal(readdirSync(`${here}/secrets`).length, 1);
    await docker('service', 'scale', '--detach', 'keyed=0');
    await eventually('an empty folder', async () => readdirSync(`${here}/secrets`).length === 0 || undefined);
    await docker('service', 'rm', 'keyed');
    await docker('secret', 'rm', id);
    await docker('config', 'rm', 'conf', 'filled');
  });

  describe('every flag of service create', () => {
    let lookAt: (service: string, flag: Flag) => Promise<string>;
    const places = new Map<
      string,
      { readonly cli: DockerCli; readonly container: string; readonly task: string }
    >();

    before(async () => {
      writeFileSync(join(folder, 'env'), 'FILED=yes\n');
      chmodSync(folder, 0o755); // a container's user is to read it
      for (const [kind, data] of Object.entries({ secret: 'xyzzy', config: 'plover' })) {
        writeFileSync(join(folder, kind), data);
        await docker(kind, 'create', kind === 'secret' ? 'flag-key' : 'flag-conf', join(folder, kind));
      }
      await docker('network', 'create', '-d', 'overlay', '--subnet', '10.66.0.0/24', 'flag-net');
      const make = (name: string, flags: readonly Flag[], ...command: string[]) =>
        docker(
          'service',
          'create',
          '--detach',
          '--name',
          name,
          ...flags.flatMap(({ args }) => args),
          IMAGE,
          ...command,
        );
      await make('flags', first(folder), SCRIPT);
      await make('plain', second(hasInit));
      for (const name of ['flags', 'plain']) {
        const { id, node } = await task(name, (t) => t.node === 'node2' && t.state.startsWith('Running'));
        const cli = stage.docker(node);
        const container = (
          await cli.ok('ps', '-q', '--filter', `label=com.docker.swarm.task.id=${id}`)
        ).trim();
        places.set(name, { cli, container, task: id });
      }
      lookAt = async (service, { in: where, ask }) => {
        const place = places.get(service)!;
        if (where === 'container') return place.cli.ok('exec', place.container, 'sh', '-c', ask);
        if (where === 'inspect') return place.cli.ok('inspect', '--format', ask, place.container);
        return where === 'task'
          ? docker('inspect', '--format', ask, place.task)
          : docker('service', 'inspect', '--format', ask, service);
      };
    });

    for (const [service, flags] of [
      ['flags', first(folder)],
      ['plain', second(hasInit)],
    ] as const)
      for (const flag of flags)
        test(flag.args.join(' ').replace(folder, ''), async () => {
          assert.match((await lookAt(service, flag)).trim(), flag.answer);
        });

    test('--stop-signal, and what was given is free again when the service is gone', async () => {
      const { cli, container } = places.get('flags')!;
      const ended = cli.ok('wait', container);
      await docker('service', 'scale', '--detach', 'flags=0');
      assert.equal((await ended).trim(), '42');
      await docker('service', 'rm', 'flags', 'plain');
      await docker('network', 'rm', 'flag-net');
      await docker('secret', 'rm', 'flag-key');
      await docker('config', 'rm', 'flag-conf');
      await create('gpus', '--replicas', '2', '--generic-resource', 'GPU=2', IMAGE);
      const given = (await stage.running('gpus')).map((t) => t.node).sort();
      assert.deepEqual(given, ['node1', 'node2']);
      await docker('service', 'scale', '--detach', 'gpus=3');
      const waiting = await task('gpus', (t) => t.error !== '');
      assert.match(waiting.error, /no suitable node \(insufficient resources on 2 nodes\)/);
      await docker('service', 'rm', 'gpus');
    });
  });

  test(
    'docker-py: a service with all it refers to, its logs and events, from creation to end',
    { skip: skipWithoutDockerPy },
    async () => {
      const client = join(import.meta.dirname, 'client.py');
      const { socket } = stage.lab.node('node1');
      const { stdout } = await runProcess([pythonWithDocker, client, socket, IMAGE], { timeoutMs: 200_000 });
      assert.match(stdout, /docker-py is content/);
    },
  );

  test(
    'dockerode: services, containers, images and events, as a Node program does them',
    { timeout: 200_000 },
    () => nodeProgram(stage.lab.node('node1').socket, IMAGE),
  );

  test('jobs: to their end, so many at once, again when updated; and no service changes its mode', async () => {
    const once = ['exit=0'];
    const out = await docker(
      ...['service', 'create', '--no-resolve-image', '--name', 'job', '--mode', 'replicated-job'],
      ...['--replicas', '5', '--max-concurrent', '2', IMAGE, ...once],
    );
    assert.match(out, /job complete/);
    assert.match(await docker('service', 'ls'), /job\s+replicated job\s+0\/2 \(5\/5 completed\)/);
    const tasks = await stage.tasks('job');
    assert.deepEqual([...new Set(tasks.map((t) => t.state.split(' ')[0]))], ['Complete']);

    const global = await docker(
      ...['service', 'create', '--no-resolve-image', '--name', 'each', '--mode', 'global-job'],
      ...[IMAGE, ...once],
    );
    assert.match(global, /job complete/);
    assert.match(await docker('service', 'ls'), /each\s+global job\s+0\/0 \(2\/2 completed\)/);
    assert.match(await docker('service', 'update', '--force', 'each'), /job complete/);
    assert.match(await docker('service', 'ls'), /each\s+global job\s+0\/0 \(2\/2 completed\)/);
    assert.equal((await stage.tasks('each')).length, 4, 'the execution before is history');

    const { Spec, Version } = await stage.lab
      .engine('node1')
      .get<{ Spec: object; Version: { Index: number } }>('/services/job');
    await assert.rejects(
      stage.lab
        .engine('node1')
        .post(`/services/job/update?version=${Version.Index}`, { ...Spec, Mode: { Global: {} } }),
      /rpc error: code = Unimplemented desc = service mode change is not allowed/,
    );
    await docker('service', 'rm', 'job', 'each');
  });
});
