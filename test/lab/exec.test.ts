/** Commands in tasks' containers, and containers of a user's own on attachable networks, on a real cluster. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { until } from '../../src/lab/cluster.ts';
import { downLab, Lab } from '../../src/lab/lab.ts';
import { skipWithoutDocker } from '../docker.ts';
import { events } from './events.ts';
import { IMAGE, pings, Stage } from './stage.ts';

const NAME = 'exec-a';

describe('exec and run', { skip: skipWithoutDocker, timeout: 600_000 }, () => {
  let stage: Stage;
  const on = (node: string, ...args: string[]) => stage.docker(node).run(...args);
  const ok = (node: string, ...args: string[]) => stage.docker(node).ok(...args);
  const shell = (node: string, flags: readonly string[], script: string) =>
    on(node, 'run', '--rm', '--entrypoint', 'sh', ...flags, IMAGE, '-c', script);
  /** The container of the service's task on a node. */
  const taskOn = async (node: string) => (await ok(node, 'ps', '-q', '--filter', 'is-task=true')).trim();
  const addressOf = async (node: string, container: string) =>
    (await ok(node, 'inspect', '-f', '{{.NetworkSettings.Networks.mynet.IPAddress}}', container)).trim();

  before(async () => {
    stage = new Stage(await Lab.up({ name: NAME, nodes: 2 }));
    await stage.loadImage();
    await stage.setHeartbeat(20);
    await ok('node1', 'network', 'create', '-d', 'overlay', '--attachable', 'mynet');
    await ok('node1', 'network', 'create', '-d', 'overlay', 'closed');
    await ok('node1', 'network', 'create', '-d', 'overlay', 'closed2');
    await ok(
      'node1',
      ...['service', 'create', '--detach', '--no-resolve-image', '--name', 'web', '--network', 'mynet'],
      ...['--mode', 'global', '--restart-delay', '1s', IMAGE],
    );
    await stage.converged('web', 2);
  });
  after(async () => {
    stage?.close();
    await downLab(NAME);
  });

  test('docker exec into a task, on the worker too: outputs apart, input, exit code', async () => {
    for (const node of ['node1', 'node2']) {
      const task = await taskOn(node);
      const { code, stdout, stderr } = await on(
        node,
        'exec',
        task,
        'sh',
        '-c',
        'echo out; echo err >&2; exit 3',
      );
      assert.deepEqual([code, stdout, stderr], [3, 'out\n', 'err\n']);
      const missing = await on(node, 'exec', task, 'nosuch');
      assert.equal(missing.code, 127);
      assert.match(missing.stdout, /OCI runtime exec failed: .*executable file not found/);
      const child = stage.docker(node).start('exec', '-i', task, 'wc', '-c');
      child.stdin!.end(Buffer.alloc(3_000_000));
      const [data] = (await once(child.stdout!, 'data')) as [Buffer];
      assert.equal(data.toString().trim(), '3000000');
    }
  });

  test('docker exec -it, with a terminal', async () => {
    const task = await taskOn('node1');
    const { socket } = stage.lab.node('node1');
    const command = `stty rows 33 cols 99; docker -H unix://${socket} exec -it ${task} sh`;
    const child = spawn('script', ['-qec', command, '/dev/null'], { timeout: 60_000 });
    let seen = '';
    child.stdout.on('data', (chunk: Buffer) => (seen += chunk.toString()));
    await until('a prompt', async () => /[#$] /.test(seen) || seen, { timeoutMs: 20_000 });
    child.stdin.write('echo $((6*7))x; exit 6\r');
    const [code] = (await once(child, 'close')) as [number];
    assert.equal(code, 6, seen);
    assert.match(seen, /42x/);
  });

  test('docker run on an attachable network reaches tasks on both nodes, from the worker too', async () => {
    const targets = await Promise.all(['node1', 'node2'].map(async (n) => addressOf(n, await taskOn(n))));
    for (const node of ['node1', 'node2']) {
      const script = targets.map((address) => `{ ${pings(address)}; wget -qO- http://${address}/; }`);
      const { code, stderr } = await shell(node, ['--network', 'mynet'], script.join(' && '));
      assert.equal(code, 0, stderr);
    }
    const alone = await shell('node1', ['--network', 'none'], 'ls /sys/class/net');
    assert.deepEqual([alone.code, alone.stdout.trim()], [0, 'lo']);
    const bridge = await shell('node2', [], 'ls /sys/class/net');
    assert.deepEqual(bridge.stdout.trim().split(/\s+/), ['eth0', 'lo']);
  });

  test('the virtual IP and the name of a service work from a container of one’s own', async () => {
    const inspected = await ok('node1', 'service', 'inspect', '-f', '{{json .Endpoint.VirtualIPs}}', 'web');
    const [{ Addr }] = JSON.parse(inspected) as [{ Addr: string }];
    const { code, stderr } = await shell(
      'node2',
      ['--network', 'mynet'],
      `wget -qO- http://${Addr.split('/')[0]}/ && wget -qO- http://web/ && nslookup tasks.web`,
    );
    assert.equal(code, 0, stderr);
  });

  test('networks that are not attachable, or not there, are refused in Docker’s words', async () => {
    const closed = await shell('node2', ['--network', 'closed'], 'true');
    assert.equal(closed.code, 125);
    assert.match(
      closed.stderr,
      /Could not attach to network closed: rpc error: code = PermissionDenied desc = network closed not manually attachable/,
    );
    const missing = await shell('node1', ['--network', 'nosuch'], 'true');
    assert.deepEqual([missing.code, /network nosuch not found/.test(missing.stderr)], [125, true]);
    assert.equal((await ok('node1', 'ps', '-aq', '--filter', 'is-task=false')).trim(), '', 'nothing stays');
  });

  test('docker run without a log: its output is for who is attached, docker logs is refused in Docker’s words', async () => {
    const noLog = ['--log-driver', 'none', '--network', 'none'];
    const { code, stdout } = await shell('node1', noLog, 'echo out; exit 4');
    assert.deepEqual([code, stdout], [4, 'out\n']);
    await ok('node1', 'run', '-d', '--name', 'mute', '--entrypoint', 'cat', '-i', ...noLog, IMAGE);
    const refused = 'Error response from daemon: configured logging driver does not support reading\n';
    assert.equal((await on('node1', 'logs', 'mute')).stderr, refused);
    const attached = stage.docker('node1').start('attach', '--sig-proxy=false', 'mute');
    const left = once(attached, 'close');
    attached.stdin!.write('said\n');
    const [data] = (await once(attached.stdout!, 'data')) as [Buffer];
    assert.equal(data.toString(), 'said\n');
    const inspected = await ok('node1', 'inspect', '-f', '{{json .HostConfig.LogConfig}}', 'mute');
    assert.equal(inspected.trim(), '{"Type":"none","Config":{}}');
    await ok('node1', 'rm', '-f', 'mute');
    await left;
  });

  test('docker network connect and disconnect: names, addresses and links come and go while it runs, and for later', async () => {
    const inside = (node: string, name: string, script: string) => on(node, 'exec', name, 'sh', '-c', script);
    const networks = async () => {
      const json = await ok('node2', 'inspect', '-f', '{{json .NetworkSettings.Networks}}', 'joined');
      const shown = JSON.parse(json) as Record<string, { IPAddress: string }>;
      return Object.entries(shown).map(([name, { IPAddress }]) => (name === 'second' ? IPAddress : name));
    };
    const links = async () => (await inside('node2', 'joined', 'ls /sys/class/net')).stdout.trim();
    await ok(
      'node1',
      ...['network', 'create', '-d', 'overlay', '--attachable', '--subnet', '10.77.0.0/24', 'second'],
    );
    const two = ['--network', 'mynet', '--network', 'name=second,alias=pal,ip=10.77.0.20'];
    await ok('node1', 'run', '-d', '--name', 'peer', ...two, IMAGE);
    await ok('node2', 'run', '-d', '--name', 'joined', '--network', 'mynet', IMAGE);
    const connect = ['network', 'connect', '--alias', 'buddy', '--ip', '10.77.0.30', 'second'];
    await ok('node2', ...connect, 'joined');
    assert.deepEqual([await networks(), await links()], [['mynet', '10.77.0.30'], 'eth0\neth1\neth2\nlo']);
    // Each node hears of the other's containers a moment after their start.
    const reaches = (node: string, from: string, ...hosts: readonly string[]) =>
      until(
        `${from} reaches ${hosts.join()}`,
        async () => {
          const script = hosts.map((host) => `timeout 2 wget -qO- http://${host}/`).join(' && ');
          const { code, stderr } = await inside(node, from, script);
          return code === 0 || `exit ${code} ${stderr}`;
        },
        { timeoutMs: 20_000 },
      );
    await reaches('node1', 'peer', 'buddy', '10.77.0.30');
    await reaches('node2', 'joined', 'pal', 'peer', '10.77.0.20', 'web');
    assert.match(
      (await on('node2', ...connect, 'joined')).stderr,
      /joined is already attached to network second/,
    );
    const refusals = [
      [['network', 'connect', 'closed', 'joined'], /network closed not manually attachable/],
      [['network', 'connect', 'nosuch', 'joined'], /network nosuch not found/],
      [['network', 'connect', 'second', 'nosuch'], /No such container: nosuch/],
      [['network', 'connect', 'second', await taskOn('node2')], /belongs to a task/],
      [['network', 'disconnect', 'closed', 'joined'], /is not connected to the network closed/],
      [['run', '--rm', '--network', 'second', '--ip', '10.77.0.20', IMAGE], /Address already in use/],
      [['run', '--rm', '--network', 'second', '--ip', '10.78.0.1', IMAGE], /no configured subnet contains/],
    ] as const;
    for (const [args, words] of refusals) assert.match((await on('node2', ...args)).stderr, words);

    await ok('node2', 'network', 'disconnect', 'mynet', 'joined');
    assert.deepEqual([await networks(), await links()], [['10.77.0.30'], 'eth1\neth2\nlo']);
    assert.notEqual((await inside('node2', 'joined', 'timeout 1 wget -qO- http://web/')).code, 0);
    await ok('node2', 'stop', '-t', '0', 'joined');
    await ok('node2', 'network', 'connect', 'mynet', 'joined');
    await ok('node2', 'start', 'joined');
    assert.deepEqual(await networks(), ['mynet', '10.77.0.30'], 'the same address, though just given back');
    await reaches('node2', 'joined', 'web', 'pal');
    await ok('node2', 'network', 'disconnect', '-f', 'second', 'joined');
    const gone = async () => (await inside('node1', 'peer', 'timeout 1 wget -qO- http://buddy/')).code !== 0;
    await until('nobody answers to its name', async () => (await gone()) || 'it does', { timeoutMs: 20_000 });
    await ok('node2', 'rm', '-f', 'joined');
    await ok('node1', 'rm', '-f', 'peer');
    const removed = async () => (await on('node1', 'network', 'rm', 'second')).code === 0 || 'in use';
    await until('nobody is on it', removed, { timeoutMs: 20_000 });
  });

  test('docker run --restart: who is attached sees one run to its end, as in Docker; rm of what waits for the next is refused', async () => {
    const looped = ['run', '--name', 'loop', '--network', 'none', '--restart', 'on-failure', '--entrypoint'];
    const { code, stdout } = await on('node1', ...looped, 'sh', IMAGE, '-c', 'echo out; exit 3');
    assert.deepEqual([code, stdout], [3, 'out\n']);
    const count = async () => Number(await ok('node1', 'inspect', '-f', '{{.RestartCount}}', 'loop'));
    await until('it goes on without him', async () => (await count()) > 1 || 'no', { timeoutMs: 20_000 });
    const refused = async () => {
      const { stderr } = await on('node1', 'rm', 'loop');
      return /cannot remove container "\/loop": container is restarting: stop/.test(stderr) || stderr;
    };
    await until('rm is refused while it waits for its next run', refused, { timeoutMs: 20_000 });
    await ok('node1', 'rm', '-f', 'loop');
  });

  test('it survives kill -9 of its skeind, and a reboot ends it as in Docker', async () => {
    const { address: own } = stage.lab.node('node2');
    const flags = ['--network', 'mynet', '--name', 'bg', '-p', '8099:80', '-p', '127.0.0.1:8098:80'];
    await ok('node2', 'run', '-d', ...flags, IMAGE);
    await ok('node2', 'run', '-d', '--name', 'beside', '-p', `${own}:8098:80`, IMAGE);
    assert.match(
      await ok('node2', 'port', 'bg'),
      /^80\/tcp -> 0\.0\.0\.0:8099\n80\/tcp -> 127\.0\.0\.1:8098\n$/,
    );
    /** Who answers on the node itself at a port of one address. */
    const whoAt = async (host: string) => {
      const ask = ['busybox', 'wget', '-qO-', `http://${host}:8098/`];
      const { stdout } = await stage.lab.exec('node2', ask, { accept: [0, 1] });
      const id = /^container (\S+)/m.exec(stdout)?.[1];
      return id ? (await ok('node2', 'inspect', '-f', '{{.Name}}', id)).trim() : 'nobody';
    };
    const answers = async () => {
      const who = (await Promise.all(['127.0.0.1', own, '127.0.0.2'].map(whoAt))).join();
      return who === '/bg,/beside,nobody' || who;
    };
    await until('each answers at its address', answers, { timeoutMs: 20_000 });
    for (const [port, words] of [
      ['8098:80', /Bind for \S+:8098 failed: port is already allocated/],
      ['203.0.113.9:8098:80', /for 203\.0\.113\.9:8098:\S+:80\/tcp: cannot assign requested address/],
    ] as const)
      assert.match((await on('node2', 'run', '--rm', '-p', port, IMAGE)).stderr, words);
    assert.match(
      await ok('node2', 'ps', '-f', 'publish=8099', '--format', '{{.Names}} {{.Ports}}'),
      /^bg .*8099->80/,
    );
    const address = await addressOf('node2', 'bg');
    const task = await taskOn('node1');
    const reach = () => on('node1', 'exec', task, 'ping', '-c1', '-W1', address);
    await until('it answers', async () => (await reach()).code === 0 || 'no', { timeoutMs: 20_000 });
    const policies = ['--restart', 'unless-stopped', '--health-cmd', 'true', '--health-interval', '200ms'];
    const place = ['--name', 'kept', '--network', 'mynet', '--network-alias', 'kept'];
    await ok('node2', 'run', '-d', ...place, ...policies, IMAGE);
    const once = 'test -e /f && exec sleep 1000; touch /f';
    await ok('node2', 'run', '--name', 'late', '--entrypoint', 'sh', IMAGE, '-c', once);
    await ok('node2', 'update', '--restart', 'unless-stopped', 'late');
    const pid = await ok('node2', 'inspect', '-f', '{{.State.Pid}}', 'bg');
    assert.match(await ok('node2', 'ps', '-af', 'name=late', '--format', '{{.Status}}'), /^Exited \(0\)/);
    await stage.lab.kill('node2');
    await stage.lab.start('node2');
    assert.equal(await ok('node2', 'inspect', '-f', '{{.State.Pid}}', 'bg'), pid);
    assert.equal((await reach()).code, 0);
    assert.equal(await answers(), true);
    await ok('node2', 'rm', '-f', 'beside');
    const lateStatus = async () => (await ok('node2', 'inspect', '-f', '{{.State.Status}}', 'late')).trim();
    const runs = async () => (await lateStatus()) === 'running' || (await lateStatus());
    await until('what had ended runs by the policy it was given since', runs, { timeoutMs: 20_000 });
    await ok('node2', 'rm', '-f', 'late');
    const inspected = async (field: string) =>
      (await ok('node2', 'inspect', '-f', `{{${field}}}`, 'kept')).trim();
    const health = async () => (await inspected('.State.Health.Status')) === 'healthy' || 'it is not yet';
    await until('its health check to succeed', health, { timeoutMs: 20_000 });
    const keptPid = async () => Number(await inspected('.State.Pid'));
    const lost = await keptPid();
    process.kill(lost, 'SIGKILL');
    const restarted = async () => ![0, lost].includes(await keptPid()) || 'it does not run';
    await until('it runs again by its policy', restarted, { timeoutMs: 20_000 });
    assert.equal(await inspected('.RestartCount'), '1');
    await ok('node2', 'stop', '-t', '2', 'bg');
    await until('its address no longer answers', async () => (await reach()).code !== 0 || 'it does', {
      timeoutMs: 20_000,
    });
    await ok('node2', 'start', 'bg');
    assert.notEqual(await addressOf('node2', 'bg'), address, 'the old one is in quarantine');
    await stage.lab.reboot('node2');
    await stage.converged('web', 2, 60_000);
    assert.match(
      await ok('node2', 'ps', '-a', '--filter', 'name=bg', '--format', '{{.Names}} {{.Status}}'),
      /^bg Exited \(255\)/m, // a task's name may have these letters in it too
    );
    // The managers may not have told a node that has just come back its networks.
    const again = async () => {
      const { code, stderr } = await on('node2', 'start', 'bg');
      return code === 0 || stderr;
    };
    await until('it starts again', again, { timeoutMs: 20_000 });
    const found = async () => {
      const { code, stdout } = await on('node1', 'exec', task, 'ping', '-c1', '-W1', 'kept');
      return code === 0 || stdout;
    };
    await until('the other is there by itself, on its network', found, { timeoutMs: 20_000 });
    await ok('node2', 'rm', '-f', 'bg', 'kept');
    const left = await ok('node1', 'network', 'inspect', '-v', 'mynet');
    assert.doesNotMatch(left, /"bg"/);
    await ok('node1', 'network', 'rm', 'closed');
  });

  test('volumes: of a service’s mounts with labels and options, of docker run, in use, gone with rm -v', async () => {
    const driver = 'volume-driver=local,volume-opt=type=tmpfs,volume-opt=device=tmpfs,volume-opt=o=size=1m';
    await ok(
      'node1',
      ...['service', 'create', '--detach', '--no-resolve-image', '--name', 'disk', '--mode', 'global'],
      ...['--mount', 'type=volume,source=plain,target=/plain,volume-label=of=disk'],
      ...['--mount', `type=volume,source=ram,target=/ram,${driver}`, IMAGE],
    );
    await stage.converged('disk', 2);
    for (const node of ['node1', 'node2']) {
      const inspect = (name: string, field: string) =>
        ok(node, 'volume', 'inspect', '-f', `{{json .${field}}}`, name);
      assert.equal((await inspect('plain', 'Labels')).trim(), '{"of":"disk"}');
      assert.match(await inspect('ram', 'Options'), /"type":"tmpfs"/);
      const task = (await ok(node, 'ps', '-q', '--filter', 'name=disk.')).trim();
      const inside = await ok(node, 'exec', task, 'sh', '-c', 'echo x > /plain/f; mount | grep " /ram "');
      assert.match(inside, /^tmpfs .*size=1024k/);
      assert.match((await on(node, 'volume', 'rm', 'plain')).stderr, new RegExp(`in use - \\[${task}`));
      const shared = await shell(node, ['--network', 'none', '-v', 'plain:/p', '-v', '/own'], 'cat /p/f');
      assert.deepEqual([shared.code, shared.stdout], [0, 'x\n'], shared.stderr);
    }
    await ok('node1', 'service', 'rm', 'disk');
    const free = async () => {
      const names = (await ok('node2', 'volume', 'ls', '-q', '-f', 'dangling=true')).trim().split('\n');
      return names.length === 2 || names.join();
    };
    await until('both are free, and those without a name gone', free, { timeoutMs: 20_000 });
    // One with options may be of another disk or machine: it goes only by its name, as in Docker.
    assert.match(await ok('node2', 'volume', 'prune', '-a', '-f'), /^Deleted Volumes:\nplain\n\n/);
    assert.equal(await ok('node2', 'volume', 'rm', 'ram'), 'ram\n');
  });

  describe('docker events', () => events(() => stage));

  test('docker system prune: what nothing needs goes, tasks keep all that is theirs, an image without a name too', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'skein-prune-'));
    const node = (...args: string[]) => ok('node2', ...args);
    try {
      await ok(
        'node1',
        ...['service', 'create', '--detach', '--no-resolve-image', '--name', 'kept', '--network', 'closed2'],
        ...['--constraint', 'node.hostname==node2', '--mount', 'source=kept-data,target=/data', IMAGE],
      );
      await stage.converged('kept', 1);
      const task = (await node('ps', '-q', '--no-trunc', '--filter', 'name=kept')).trim();
      const image = (await node('inspect', '-f', '{{.Image}}', task)).trim();
      await node('exec', task, 'sh', '-c', 'echo safe > /data/f');
      const wrote = 'head -c 1000000 /dev/zero > /f';
      await node('run', '--name', 'ended', '-v', '/own', '--entrypoint', 'sh', IMAGE, '-c', wrote);
      assert.match(
        await node('ps', '-as', '--filter', 'name=ended', '--format', '{{.Size}}'),
        /^1MB \(virtual/,
      );
      await node('export', '-o', join(folder, 'root.tar'), 'ended');
      for (const message of ['one', 'two'])
        await node('import', '-m', message, join(folder, 'root.tar'), 'spare:1');

      const refused = await on('node2', 'rmi', '-f', image);
      assert.match(
        refused.stderr,
        /conflict: unable to delete \w{12} \(cannot be forced\) - image is being used by running/,
      );
      assert.match((await on('node2', 'rmi', IMAGE)).stderr, /\(must force\) - container \w{12} is using/);
      assert.equal(await node('rmi', '-f', IMAGE), `Untagged: ${IMAGE}\n`);
      const images = async () =>
        (await node('images', '--format', '{{.Repository}} {{.Tag}}')).trim().split('\n').sort();
      assert.deepEqual(await images(), ['<none> <none>', '<none> <none>', 'spare 1']);
      const shown = await node('ps', '--no-trunc', '--filter', 'name=kept', '--format', '{{.Image}}');
      assert.equal(shown.trim(), image, 'by its id, for want of a name');

      const prune = (...flags: string[]) => node('system', 'prune', '-f', ...flags);
      for (const filter of ['label=of=nobody', 'until=24h'])
        assert.equal(await prune('--filter', filter), 'Total reclaimed space: 0B\n', filter);
      const first = await prune();
      assert.match(first, /^Deleted Containers:\n[0-9a-f]{64}\n\nDeleted Images:\ndeleted: sha256:\w+\n/);
      assert.match(first, /\nTotal reclaimed space: [1-9]\S*MB\n$/);
      assert.deepEqual(await images(), ['<none> <none>', 'spare 1']);
      const second = await prune('--all', '--volumes');
      assert.match(
        second,
        /^Deleted Volumes:\n[0-9a-f]{64}\n\nDeleted Images:\nuntagged: spare:1\ndeleted: /,
      );
      assert.deepEqual(await images(), ['<none> <none>']);
      assert.equal((await node('exec', task, 'cat', '/data/f')).trim(), 'safe');
      assert.equal((await stage.running('kept')).length, 1);
      await ok('node1', 'service', 'rm', 'kept');
      const free = async () => (await on('node2', 'volume', 'rm', 'kept-data')).code === 0 || 'in use';
      await until('the volume is free', free, { timeoutMs: 15_000 });
    } finally {
      await rm(folder, { recursive: true });
      await stage.loadImage();
    }
  });

  test('a task’s container that is stopped or removed is replaced by its service', async () => {
    const task = await taskOn('node1');
    assert.match((await on('node1', 'rm', task)).stderr, /container is running: stop the container/);
    await ok('node1', 'stop', '-t', '2', task);
    assert.match((await on('node1', 'start', task)).stderr, /belongs to a task, which is replaced/);
    const replaced = async () => {
      const now = await taskOn('node1');
      return (now !== '' && now !== task) || now;
    };
    await until('another took its place', replaced, { timeoutMs: 20_000 });
    const { stdout } = await on('node1', 'top', await taskOn('node1'));
    assert.match(stdout, /answer/);
  });
});
