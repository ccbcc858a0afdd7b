/** What `docker network create` may ask for, in a lab of two nodes: each setting as it is shown, and as it works. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { runProcess } from '../../src/kit/process.ts';
import { until } from '../../src/lab/cluster.ts';
import { finished } from '../docker.ts';
import { IMAGE, pings, type Stage } from './stage.ts';

const NODES = ['node1', 'node2'] as const;
const ADDRESSES = ['192.0.2.11', '192.0.2.12'] as const;
const CLIENT = '192.0.2.200';
const DRIVER = 'com.docker.network.driver';

export function overlays(stageOf: () => Stage): void {
  const on = (node: string) => stageOf().docker(node);
  const docker = (...args: string[]) => on('node1').ok(...args);
  const overlay = (name: string, ...args: string[]) =>
    docker('network', 'create', '-d', 'overlay', ...args, name);
  const create = (name: string, ...args: string[]) =>
    docker('service', 'create', '--no-resolve-image', '--detach', '--name', name, ...args);
  const inspect = async (network: string, node = 'node1') =>
    (JSON.parse(await on(node).ok('network', 'inspect', network)) as Record<string, unknown>[])[0]!;
  /** Runs in the service's container on that node; what it printed, whatever its exit code. */
  const inside = async (node: string, service: string, ...argv: string[]) => {
    const id = (await on(node).ok('ps', '-q', '--filter', `name=${service}.`)).trim();
    return on(node).run('exec', id, ...argv);
  };
  /** In the namespace that holds the node's bridges and tunnels. */
  const inFabric = async (node: string, ...argv: string[]) => {
    const netns = `${stageOf().lab.node(node).runRoot}/netns/fabric`;
    return (await runProcess(['nsenter', `--net=${netns}`, '--', ...argv])).stdout;
  };
  const removed = (network: string) =>
    until(
      `${network} to be free`,
      async () => {
        const { code, stderr } = await on('node1').run('network', 'rm', network);
        return code === 0 || stderr;
      },
      { timeoutMs: 20_000 },
    );

  void test('every setting of a network is shown as Docker shows it', async () => {
    await overlay(
      'vault',
      ...['--subnet', '10.61.0.0/24', '--gateway', '10.61.0.254', '--ip-range', '10.61.0.128/28'],
      ...['--aux-address', 'printer=10.61.0.129', '--internal', '--attachable'],
      ...['--opt', `${DRIVER}.mtu=1380`, '--opt', `${DRIVER}.overlay.vxlanid_list=5001`],
      ...['--label', 'team=net', '--label', 'empty='],
    );
    const { Id, Created, ...shown } = await inspect('vault');
    assert.match(String(Id), /^[0-9a-z]{25}$/);
    assert.ok(Date.parse(String(Created)) > 0);
    assert.deepEqual(shown, {
      ...{ Name: 'vault', Scope: 'swarm', Driver: 'overlay', EnableIPv4: true, EnableIPv6: false },
      IPAM: {
        Driver: 'default',
        Options: null,
        Config: [
          {
            Subnet: '10.61.0.0/24',
            IPRange: '10.61.0.128/28',
            Gateway: '10.61.0.254',
            AuxiliaryAddresses: { printer: '10.61.0.129' },
          },
        ],
      },
      ...{ Internal: true, Attachable: true, Ingress: false, Containers: null },
      ...{ ConfigFrom: { Network: '' }, ConfigOnly: false },
      Options: { [`${DRIVER}.mtu`]: '1380', [`${DRIVER}.overlay.vxlanid_list`]: '5001' },
      Labels: { team: 'net', empty: '' },
    });
    const listed = await docker('network', 'ls', '--filter', 'label=team=net', '--format', '{{.Name}}');
    assert.equal(listed, 'vault\n');
  });

  void test('and each is so in the containers: size, tunnel, range, no way out, open to docker run', async () => {
    const stage = stageOf();
    await create('safe', '--mode', 'global', '--network', 'vault', IMAGE);
    await create('free', '--mode', 'global', '--network', 'front', IMAGE);
    for (const service of ['safe', 'free']) await stage.converged(service, 2);
    for (const node of NODES) {
      const links = await inside(node, 'safe', 'ip', '-o', 'addr');
      const [, last] = /inet 10\.61\.0\.(\d+)\/24/.exec(links.stdout)!;
      assert.ok(
        Number(last) >= 130 && Number(last) < 143,
        `10.61.0.${last} is of the range, and not the printer`,
      );
      assert.match((await inside(node, 'safe', 'ip', 'link', 'show', 'eth0')).stdout, /mtu 1380 /);
      const tunnel = await inFabric(node, 'ip', '-d', 'link', 'show', 'vx-5001');
      assert.match(tunnel, /mtu 1380 [^]*vxlan id 5001 /);
      // A name of its own, across hosts; and the world, which one that is not internal reaches.
      const called = async () => {
        const { code, stderr } = await inside(node, 'safe', 'wget', '-q', '-O', '-', 'http://safe/');
        return code === 0 || stderr;
      };
      await until('it to answer by its name', called, { timeoutMs: 20_000 });
      assert.match((await inside(node, 'safe', 'ip', 'route')).stdout, /^10\.61\.0\.0\/24 dev eth0 .*\n$/);
      const ping = ['ping', '-c', '1', '-W', '2', CLIENT];
      assert.match((await inside(node, 'safe', ...ping)).stderr, /Network is unreachable/);
      assert.equal((await inside(node, 'free', ...ping)).code, 0);
    }
    // On the worker, which knows of it while a task needs it, it is the same network.
    const { Peers, Containers, ...told } = await inspect('vault');
    const { Containers: there, ...worker } = await inspect('vault', 'node2');
    assert.deepEqual(worker, told);
    assert.deepEqual([(Peers as object[]).length, Object.keys(Containers!).length], [2, 1]);
    assert.equal(Object.keys(there!).length, 1);
    const shell = ['--entrypoint', 'sh', IMAGE, '-c', pings('safe')];
    const run = (network: string) => on('node2').run('run', '--rm', '--network', network, ...shell);
    assert.equal((await run('vault')).code, 0);
    const refused = await run('front');
    assert.equal(refused.code, 125);
    assert.match(refused.stderr, /network front not manually attachable/);
    await docker('service', 'rm', 'safe', 'free');
    await removed('vault');
    for (const node of NODES)
      await until(
        `${node} to have nothing of it`,
        async () => {
          const links = await inFabric(node, 'ip', '-o', 'link');
          return !/vx-5001|sk-5001/.test(links) || links;
        },
        { timeoutMs: 20_000 },
      );
  });

  void test('addresses that run out are said in service ps, and those given back wait', async () => {
    await overlay('small', '--subnet', '10.62.0.0/29');
    // Six hosts: a gateway, a virtual IP, four tasks.
    await create('many', '--replicas', '5', '--network', 'small', IMAGE);
    const why = 'no available IP addresses on network small (10.62.0.0/29)';
    const waits = (count: number) =>
      until(
        `${count} to wait for an address`,
        async () => {
          const wanted = (await stageOf().tasks('many')).filter((t) => t.desired === 'Running');
          const waiting = wanted.filter((t) => t.error === `"${why}"` && t.state.startsWith('New')).length;
          const up = wanted.filter((t) => t.state.startsWith('Running')).length;
          return (
            (waiting === count && up + count === wanted.length) ||
            wanted.map((t) => `${t.state}: ${t.error}`).join()
          );
        },
        { timeoutMs: 20_000 },
      );
    await waits(1);
    await docker('service', 'scale', '--detach', 'many=2');
    await stageOf().converged('many', 2);
    await docker('service', 'scale', '--detach', 'many=4');
    await waits(2);
    await docker('service', 'rm', 'many');
    await removed('small');
  });

  /** The CLI asks before it removes the network that the mesh stands on. */
  const removeIngress = () => {
    const child = on('node1').start('network', 'rm', 'ingress');
    child.stdin!.end('y\n');
    return finished(child);
  };

  void test('the ingress network is replaced by one of one’s own, and publishing goes on there', async () => {
    const stage = stageOf();
    const ingress = ['network', 'create', '--ingress', '-d', 'overlay', '--subnet', '10.63.0.0/24'];
    assert.match(
      await on('node1').fails(...ingress, 'second'),
      /code = AlreadyExists desc = ingress network \(\w{25}\) is already present/,
    );
    await create('front-door', '--mode', 'global', '-p', '91:80', IMAGE);
    assert.match(
      (await removeIngress()).stderr,
      /code = FailedPrecondition desc = ingress network cannot be removed because service \w{25} depends on it/,
    );
    // Of one that has just been made the ports may not be given yet.
    const published = (await docker('service', 'ls', '--format', '{{if .Ports}}{{.Name}}{{end}}')).split(
      '\n',
    );
    await docker('service', 'rm', ...new Set([...published.filter(Boolean), 'front-door']));
    await until(
      'the ingress network to be free',
      async () => {
        const { code, stderr } = await removeIngress();
        return (code === 0 && stderr === '') || stderr;
      },
      { timeoutMs: 20_000 },
    );
    assert.doesNotMatch(await docker('network', 'ls'), /ingress/);
    assert.match(
      await on('node1').fails('service', 'create', '-d', '--name', 'early', '-p', '91:80', IMAGE),
      /service needs ingress network, but no ingress network is present/,
    );

    await docker(...ingress, '--opt', `${DRIVER}.mtu=1400`, 'my-ingress');
    const shown = { [`${DRIVER}.mtu`]: '1400', [`${DRIVER}.overlay.vxlanid_list`]: '4096' };
    await until(
      'its number to be given',
      async () => {
        const { Ingress, Options } = await inspect('my-ingress');
        return (Ingress === true && isDeepStrictEqual(Options, shown)) || JSON.stringify(Options);
      },
      { timeoutMs: 20_000 },
    );
    await create('front-door', '--mode', 'global', '-p', '91:80', IMAGE);
    await stage.converged('front-door', 2);
    await stage.leads(91, 2, ...ADDRESSES);
    assert.deepEqual((await inspect('my-ingress'))['Labels'], {});
    for (const node of NODES) {
      const { stdout } = await stage.lab.exec(node, ['ip', '-o', '-4', 'addr', 'show', 'dev', 'sk-ingress']);
      assert.match(stdout, /inet 10\.63\.0\.[23]\/24/);
    }
    await docker('service', 'rm', 'front-door');
  });
}
