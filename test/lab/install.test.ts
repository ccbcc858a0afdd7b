/**
 * A node in production: what `skein install` writes, put in its place in mount namespaces, forms a cluster and runs a
 * service by the very command line of the systemd unit, until `skein uninstall` takes it away. The machine itself is not
 * changed.
 */
import assert from 'node:assert/strict';
import {
  cpSync,
  existsSync,
  globSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
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
import { machineState, processesNaming } from './machine.ts';
import { IMAGE, Stage } from './stage.ts';

const NAME = 'proof-install';
const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const MAIN = join(ROOT, 'dist', 'cli', 'main.js');
const UNIT = '/lib/systemd/system/skein.service';

/** Lays the staged files over the machine's, for the processes below alone; with an upper folder, they may be removed. */
const OVERLAY = `
set -e
for part in usr/lib usr/bin etc; do
  layers="lowerdir=$STAGE/$part:/$part"
  if [ -n "$UPPER" ]; then
    mkdir -p "$UPPER/$part" "$UPPER/work/$part"
    layers="$layers,upperdir=$UPPER/$part,workdir=$UPPER/work/$part"
  fi
  mount -t overlay overlay -o "$layers" "/$part"
done
[ -z "$SETTINGS" ] || cp "$SETTINGS" /etc/skein/settings.json
exec "$@"
`;

describe('install', { skip: skipWithoutDocker, timeout: 600_000 }, () => {
  const staging = mkdtempSync(join(tmpdir(), 'skein-stage-'));
  const install = () => runProcess([process.execPath, MAIN, 'install', '--root', staging]);
  const inside = (argv: readonly string[], settings = '', upper = ''): string[] => [
    ...['env', `STAGE=${staging}`, `SETTINGS=${settings}`, `UPPER=${upper}`],
    ...['unshare', '--mount', 'sh', '-c', OVERLAY, 'sh', ...argv],
  ];
  const unit = () => readFileSync(join(staging, UNIT), 'utf8');

  before(async () => {
    if (!existsSync(MAIN))
      await runProcess([process.execPath, join(ROOT, 'scripts', 'run.mjs'), 'build'], { timeoutMs: 300_000 });
    await install();
    cpSync(join(staging, 'lib'), join(staging, 'usr/lib'), { recursive: true }); // as Debian has it, by a link
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
      return inside(/^ExecStart=(.*)$/m.exec(unit())![1]!.split(' '), settings, upper(node));
    }
    const upper = (node: NodePlan) => `${node.dataRoot}/upper`;
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

    /** Where the daemon runs, and sees itself installed. */
    async function uninstall(name: string, ...args: string[]) {
      const { pids } = stage.lab.report().nodes.find((node) => node.name === name)!;
      const enter = ['nsenter', '--target', `${pids.skeind}`, '--mount', '--net', '--'];
      return runProcess([...enter, 'skein', 'uninstall', ...args], { accept: [0, 1] });
    }

    async function assertGone(node: NodePlan): Promise<void> {
      const { dataRoot, runRoot, cgroupParent } = node;
      for (const folder of [dataRoot, runRoot]) assert.deepEqual(processesNaming(`${folder}/`), []);
      assert.deepEqual(globSync(`/sys/fs/cgroup/{,*/}${cgroupParent.slice(1)}`), []);
      assert.ok(!existsSync(runRoot));
      const shown = async (...argv: string[]) => (await stage.lab.exec(node.name, argv)).stdout;
      assert.doesNotMatch(await shown('ip', '-o', 'link'), /\bsk-/);
      assert.equal(await shown('nft', 'list', 'ruleset'), '');
      const files = ['usr/bin/skein', 'usr/lib/skein', 'usr/lib/systemd/system/skein.service'];
      // What an overlay shows no more is a device in its upper folder.
      for (const path of [...files, 'usr/lib/systemd/network/05-skein.network'])
        assert.ok(statSync(join(upper(node), path)).isCharacterDevice(), path);
    }

    test('a member is told to leave first; by force it goes with all that runs, and its data stays', async () => {
      const node = stage.lab.node('node2');
      const refused = await uninstall('node2');
      assert.deepEqual([refused.code, refused.stdout], [1, '']);
      assert.match(refused.stderr, /part of a cluster, and nothing was changed[^]*swarm leave/);
      const script =
        "trap 'echo asked > /kept/word; exit' TERM; echo up > /kept/word; while :; do sleep 0.1; done";
      const run = ['run', '-d', '--network', 'none', '-v', 'kept:/kept', '--entrypoint', 'sh', IMAGE];
      await docker('node2', ...run, '-c', script);
      const file = join(node.dataRoot, 'volumes/kept/_data/word');
      const word = () => (existsSync(file) ? readFileSync(file, 'utf8').trim() : 'nothing');
      await until('it to be ready for the signal', async () => word() === 'up' || word(), {
        timeoutMs: 10_000,
      });
      const { code, stdout, stderr } = await uninstall('node2', '--force');
      assert.deepEqual([code, stderr], [0, '']);
      assert.match(stdout, /What stays:\n {2}\S*node2 and \/etc\/skein\/settings\.json: images/);
      await assertGone(node);
      assert.equal(word(), 'asked');
    });

    test('one that has left goes with its data, when told', async () => {
      const node = stage.lab.node('node1');
      await docker('node1', 'swarm', 'leave', '--force');
      const { code, stderr } = await uninstall('node1', '--data');
      assert.deepEqual([code, stderr], [0, '']);
      await assertGone(node);
      const ofTheLab = ['installed.json', 'settings.json', 'skeind.log', 'upper'];
      assert.deepEqual(readdirSync(node.dataRoot).sort(), ofTheLab);
    });
  });
});
