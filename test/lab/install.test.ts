/**
 * A node in production: what `skein install` writes, put in its place in mount namespaces, forms a cluster and runs a
 * service by the very command line of the systemd unit. The machine itself is not changed.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runProcess } from '../../src/kit/process.ts';
import { buildImage } from '../../src/lab/image.ts';
import { until } from '../../src/lab/cluster.ts';
import { downLab, Lab } from '../../src/lab/lab.ts';
import type { NodePlan } from '../../src/lab/plan.ts';
import { skipWithoutDocker } from '../docker.ts';
import { machineState } from './machine.ts';
import { IMAGE, Stage } from './stage.ts';

const NAME = 'proof-install';
const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const MAIN = join(ROOT, 'dist', 'cli', 'main.js');
const UNIT = '/lib/systemd/system/skein.service';

/** Lays the staged files over the machine's, for the processes below alone. */
const OVERLAY = `
set -e
for part in usr/lib usr/bin etc; do mount -t overlay overlay -o "lowerdir=$STAGE/$part:/$part" "/$part"; done
[ -z "$SETTINGS" ] || mount --bind "$SETTINGS" /etc/skein/settings.json
exec "$@"
`;

describe('install', { skip: skipWithoutDocker, timeout: 600_000 }, () => {
  const staging = mkdtempSync(join(tmpdir(), 'skein-stage-'));
  const install = () => runProcess([process.execPath, MAIN, 'install', '--root', staging]);
  const inside = (argv: readonly string[], settings = ''): string[] => [
    ...['env', `STAGE=${staging}`, `SETTINGS=${settings}`],
    ...['unshare', '--mount', 'sh', '-c', OVERLAY, 'sh', ...argv],
  ];
  const unit = () => readFileSync(join(staging, UNIT), 'utf8');

  before(async () => {
    if (!existsSync(MAIN))
      await runProcess([process.execPath, join(ROOT, 'scripts', 'run.mjs'), 'build'], { timeoutMs: 300_000 });
    await install();
  });
  after(() => rmSync(staging, { recursive: true, force: true }));

  test('systemd understands the unit, and what it starts is there', async (t) => {
    if (!existsSync('/usr/bin/systemd-analyze')) return t.skip('systemd is not installed on this machine');
    const checked = await runProcess(inside(['systemd-analyze', 'verify', join(staging, UNIT)]), {
      accept: [0, 1],
    });
    assert.deepEqual({ code: checked.code, said: checked.stderr }, { code: 0, said: '' });
    assert.match(unit(), /^KillMode=process$/m);
    assert.match(unit(), /^Restart=always$/m);
    assert.match(unit(), /^WantedBy=multi-user\.target$/m);
  });

  test('the installed command runs by itself, and refuses settings that it does not know', async () => {
    assert.match((await runProcess(inside(['skein', '--help']))).stdout, /daemon/);
    const file = join(staging, 'bad.json');
    const daemon = async (...args: string[]) => {
      const { code, stderr } = await runProcess(inside(['skein', 'daemon', ...args]), { accept: [0, 1] });
      assert.equal(code, 1);
      return stderr;
    };
    writeFileSync(file, '{ "dataRoot": "/nowhere/data", "dataRot": "/x" }');
    assert.match(await daemon('--settings', file), /bad settings in \S+:\n.*dataRot/);
    writeFileSync(file, '{ "dataRoot": "relative" }');
    assert.match(await daemon('--settings', file), /dataRoot: must be an absolute path/);
    writeFileSync(file, '{');
    assert.match(await daemon('--settings', file), /cannot read settings from \S+/);
    assert.match(await daemon('--data-rot', '/x'), /unknown option '--data-rot'/);
    assert.match(await daemon('--listen-addr', 'here'), /listenAddr: must be ADDRESS:PORT/);
  });

  test('a host that can not be set up is told why, before anything of it is changed', async () => {
    const hidden = ['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs tmpfs /run && exec "$@"', 'sh'];
    const argv = [...hidden, process.execPath, MAIN, 'install', '--dry-run'];
    const { code, stdout, stderr } = await runProcess(argv, { accept: [0, 1] });
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(
      stderr,
      /^skein: this host can not be set up, and nothing was changed:\n {2}systemd does not run/,
    );
  });

  test('installing again keeps the settings and drops what the old version had', async () => {
    const settings = join(staging, 'etc/skein/settings.json');
    const old = join(staging, 'usr/lib/skein/dist/old.js');
    writeFileSync(settings, '{ "logLevel": "warn" }\n');
    writeFileSync(old, '');
    // As somebody may have set up who ran it from a checkout: what the link leads to is his.
    const [command, his] = [join(staging, 'usr/bin/skein'), join(staging, 'his')];
    writeFileSync(his, 'his');
    rmSync(command);
    symlinkSync(his, command);
    await install();
    assert.equal(readFileSync(his, 'utf8'), 'his');
    assert.match(readFileSync(command, 'utf8'), /^#!/);
    assert.equal(readFileSync(settings, 'utf8'), '{ "logLevel": "warn" }\n');
    assert.equal(statSync(settings).mode & 0o777, 0o640);
    assert.equal(existsSync(old), false);
    for (const left of ['skein.new', 'skein.old'])
      assert.equal(existsSync(join(staging, 'usr/lib', left)), false);
  });

  describe('two hosts', () => {
    let stage: Stage;
    let machine: unknown;
    const group = 'nogroup';
    const socket = (node: NodePlan) => `${node.runRoot}/elsewhere.sock`;

    /** The unit's own command line; only where things lie is set, by the settings file. */
    function daemon(node: NodePlan): readonly string[] {
      const settings = `${node.dataRoot}/installed.json`;
      const { dataRoot, runRoot, cgroupParent, name: hostname } = node;
      const content = { dataRoot, runRoot, cgroupParent, hostname, socket: socket(node), socketGroup: group };
      writeFileSync(settings, JSON.stringify({ ...content, listenAddr: `${node.address}:3377` }));
      return inside(/^ExecStart=(.*)$/m.exec(unit())![1]!.split(' '), settings);
    }
    const docker = (node: string, ...args: string[]) =>
      stage.docker(node).ok('-H', `unix://${socket(stage.lab.node(node))}`, ...args);

    before(async () => {
      machine = await machineState(NAME);
      stage = new Stage(
        await Lab.up(
          { name: NAME, nodes: 2, cluster: false },
          { daemon, isUp: async (node) => existsSync(socket(node)) },
        ),
      );
    });
    after(async () => {
      stage.close();
      await downLab(NAME);
      assert.deepEqual(await machineState(NAME), machine);
    });

    test('the settings file says where the socket is, whose it is, and where managers listen', async () => {
      const found = () => statSync(socket(stage.lab.node('node1')));
      const mode = () => found().mode & 0o777;
      // It is opened to the group when it is the group's, a moment after it is there.
      await until('the socket to be open to its group', async () => mode() === 0o660 || mode().toString(8), {
        timeoutMs: 20_000,
      });
      assert.match(await docker('node1', 'info'), /Name: node1[^]*Docker Root Dir: \S+proof-install\/node1/);
      const gid = /^nogroup:[^:]*:(\d+)/m.exec(readFileSync('/etc/group', 'utf8'))![1];
      assert.equal(found().gid, Number(gid));
    });

    test('init and join, no other step, and a service', async () => {
      const said = await docker('node1', 'swarm', 'init', '--advertise-addr', '192.0.2.11');
      const command = /docker (swarm join --token \S+ \S+)/.exec(said)![1]!;
      await docker('node2', ...command.split(' '));
      await until(
        'both to be ready',
        async () => {
          const listed = await docker('node1', 'node', 'ls');
          return /node1 .*Leader[^]*node2 .*Ready/.test(listed) || listed;
        },
        { timeoutMs: 20_000 },
      );
      assert.match(command, /192\.0\.2\.11:3377$/, 'the port that the settings name');
      const tar = join(staging, 'image.tar');
      writeFileSync(tar, (await buildImage()).tar);
      for (const node of ['node1', 'node2']) await docker(node, 'load', '-i', tar);
      await docker(
        ...(['node1', 'service', 'create', '--no-resolve-image', '--update-monitor', '300ms'] as const),
        ...['--name', 'web', '--replicas', '2', '-p', '80:80', IMAGE],
      );
      for (const address of ['192.0.2.11', '192.0.2.12']) {
        const counts = async () => [...(await stage.askMany('client', address, 80, 4)).values()].join();
        await until('both to answer', async () => (await counts()) === '2,2' || counts(), {
          timeoutMs: 20_000,
        });
        assert.ok(!(await stage.askMany('client', address, 80, 4)).has(''));
      }
    });
  });
});
