/**
 * A mesh beside the host's own firewall, and against hands that delete what is Skein's: it comes back by itself, and
 * nothing of others is touched.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { until } from '../../src/lab/cluster.ts';
import { downLab, Lab } from '../../src/lab/lab.ts';
import { skipWithoutDocker } from '../docker.ts';
import { explained } from './explained.ts';
import { machineState } from './machine.ts';
import { IMAGE, Stage } from './stage.ts';
import { Stalls } from './stalls.ts';

const NAME = 'steer-c';
const ADDRESS = { node1: '192.0.2.11', node2: '192.0.2.12' } as const;
const PORT = 80;
type Node = keyof typeof ADDRESS;

describe('firewalls and foreign hands', { skip: skipWithoutDocker, timeout: 600_000 }, () => {
  let stage: Stage;
  let machine: unknown;
  const run = async (node: string, ...argv: string[]): Promise<string> =>
    (await stage.lab.exec(node, argv)).stdout;
  const answers = (node: Node): Promise<true | string> =>
    stage.askMany('client', ADDRESS[node], PORT, 4).then((counts) => {
      const whole = !counts.has('') && counts.size === 2;
      return whole || JSON.stringify([...counts]);
    }, String); // a request that nobody answers, not even with a refusal
  const whole = (node: Node): Promise<void> =>
    until(`the mesh of ${node}`, () => answers(node), { timeoutMs: 30_000 });

  const stalls = new Stalls();
  /** From now to a time of the node's, less what this machine made everybody wait meanwhile. */
  const watch = () => {
    const [began, stalled] = [Date.now(), stalls.ms];
    return (at: number) => at - began - (stalls.ms - stalled);
  };
  const inserted = (node: string) => stage.networkStatus(node).firewall?.inserted ?? 0;
  /** Until rules were put in front of the host's own, which is to be within 10 s, and the mesh is whole. */
  async function letThrough(node: Node, change: () => Promise<unknown>): Promise<void> {
    const before = inserted(node);
    await change();
    const since = watch();
    await until('rules in front', async () => inserted(node) > before || 'none', { timeoutMs: 30_000 });
    assert.ok(since(Date.now()) < 10_000, `after ${since(Date.now())} ms`);
    await whole(node);
  }

  before(async () => {
    machine = await machineState(NAME);
    stage = new Stage(await Lab.up({ name: NAME, nodes: 2 }));
    await stage.loadImage();
    const create = [
      'service',
      'create',
      '--detach',
      '--no-resolve-image',
      '--mode',
      'global',
      '--name',
      'web',
    ];
    await stage.docker('node1').ok(...create, '-p', `${PORT}:80`, IMAGE);
    await stage.converged('web', 2);
    await whole('node1');
    await whole('node2');
  });
  after(async () => {
    await stalls.close();
    stage.close();
    await downLab(NAME);
    assert.deepEqual(await machineState(NAME), machine);
  });

  const firewall = (node: Node, keeper: string): void => {
    test(`${keeper} with a dropping FORWARD policy: through within 10 s, once; nothing of others changes`, async () => {
      await letThrough(node, async () => {
        await run(node, keeper, '-P', 'FORWARD', 'DROP');
        await run(node, keeper, '-A', 'FORWARD', '-i', 'docker0', '-j', 'ACCEPT');
      });
      const rules = await run(node, keeper, '-S', 'FORWARD');
      assert.match(rules, /skein:into-the-mesh/);
      assert.match(rules, /^-P FORWARD DROP$/m);
      assert.match(rules, /-A FORWARD -i docker0 -j ACCEPT/);
      assert.match(stage.networkStatus(node).firewall!.chains.join(), new RegExp(`${keeper}.*FORWARD`));
      // As a firewall that is loaded anew.
      await letThrough(node, () => run(node, keeper, '-F', 'FORWARD'));
      await run(node, keeper, '-P', 'FORWARD', 'ACCEPT');
      await until(
        'our rules to leave a chain that accepts by itself',
        async () => {
          const left = await run(node, keeper, '-S', 'FORWARD');
          return !left.includes('skein') || left;
        },
        { timeoutMs: 30_000 },
      );
    });
  };

  const ruleInFront = (): void => {
    test('a rule of the host in front of ours is named by explain, and is where packets are lost', async () => {
      const rule = ['FORWARD', '-p', 'tcp', '-m', 'tcp', '--dport', '80', '-j', 'DROP'];
      const named =
        /^firewall: host firewall of node1 drops in FORWARD: iptables-nft, table ip filter, chain FORWARD, rule 1: -A FORWARD -p tcp -m tcp --dport 80 -j DROP$/;
      const isNamed = async () => {
        const { paths } = await explained(stage, { client: '192.0.2.200', target: `node1:${PORT}` });
        return paths.length === 2 && paths.every(({ loss }) => named.test(`${loss?.code}: ${loss?.text}`));
      };
      const request = ['busybox', 'wget', '-q', '-O', '-', `http://${ADDRESS.node1}/`];
      const answer = () =>
        stage.lab.exec('client', request, { timeoutMs: 1_000 }).then(
          ({ stdout }) => stdout,
          () => 'none',
        );
      await until(
        'the rule to stand while it is explained, before skeind moves it',
        async () => {
          await run('node1', 'iptables-nft', '-I', ...rule);
          const before = await isNamed();
          const answered = await answer();
          const throughout = before && (await isNamed());
          await run('node1', 'iptables-nft', '-D', ...rule);
          if (throughout) assert.equal(answered, 'none');
          return throughout || 'it was moved';
        },
        { timeoutMs: 60_000 },
      );
      await whole('node1');
    });
  };

  const chainOfNft = (): void => {
    test('a chain of nft itself that drops: through within 10 s, and the table stays whole', async () => {
      const input =
        'add table inet guard\nadd chain inet guard way { type filter hook forward priority 10; policy drop; }\n';
      await letThrough('node2', () => stage.lab.exec('node2', ['nft', '-f', '-'], { input }));
      assert.match(
        await run('node2', 'nft', 'list', 'table', 'inet', 'guard'),
        /policy drop;[^]*skein:into-the-mesh/,
      );
      await run('node2', 'nft', 'delete', 'table', 'inet', 'guard');
    });
  };

  // Most of it is waiting for a node to look at its firewall: both are waited for at once.
  describe('each node', { concurrency: 2 }, () => {
    describe('node1', { concurrency: 1 }, () => {
      firewall('node1', 'iptables-nft');
      ruleInFront();
    });
    describe('node2', { concurrency: 1 }, () => {
      firewall('node2', 'iptables-legacy');
      chainOfNft();
    });
  });

  const link = 'sk-ingress';
  const neighboursOf = async (node: string): Promise<string[]> =>
    (await run(node, 'ip', 'neighbour', 'show', 'nud', 'permanent', 'dev', link)).split('\n').toSorted();
  const hands: Record<string, string[][]> = {
    'the table': [['nft', 'delete', 'table', 'ip', 'skein']],
    'a chain, every published port, every neighbour': [
      ['nft', 'flush', 'chain', 'ip', 'skein', 'tcp-80-1'],
      ['nft', 'flush', 'map', 'ip', 'skein', 'published'],
      ['nft', 'flush', 'map', 'ip', 'skein', 'counts'],
      ['ip', 'neighbour', 'flush', 'nud', 'permanent', 'dev', link],
    ],
    'the ingress link': [['ip', 'link', 'delete', link]],
    'its address': [['ip', 'address', 'flush', 'dev', link]],
  };
  for (const [what, commands] of Object.entries(hands))
    test(`deleted by hand: ${what}; back within 10 s, counted and logged`, async () => {
      const audits = () => stage.networkStatus('node2').audits;
      const { drifted, count } = audits();
      const logged = () =>
        readFileSync(stage.lab.logFile('node2'), 'utf8').split('network drift repaired').length;
      const before = logged();
      const neighbours = await neighboursOf('node2');
      for (const argv of commands) await run('node2', ...argv);
      const since = watch();
      const answered = await answers('node2');
      // Unless an audit was faster than that.
      if (audits().count === count) assert.notEqual(answered, true, 'what was deleted is needed');
      await whole('node2');
      const back = async () => JSON.stringify(await neighboursOf('node2'));
      await until('its neighbours', async () => (await back()) === JSON.stringify(neighbours) || back(), {
        timeoutMs: 30_000,
      });
      await until('it to be counted', async () => audits().drifted > drifted || JSON.stringify(audits()), {
        timeoutMs: 30_000,
      });
      assert.ok(since(audits().lastDrift!) < 10_000, `after ${since(audits().lastDrift!)} ms`);
      assert.ok(logged() > before, 'and logged');
    });

  test('deleted in the fabric, where the tunnels are: back at once on the next change', async () => {
    const fabric = `${stage.lab.node('node2').runRoot}/netns/fabric`;
    const bridge = (...argv: string[]) => run('node2', 'nsenter', `--net=${fabric}`, 'bridge', ...argv);
    const shown = (await bridge('fdb', 'show', 'dev', 'vx-4096')).matchAll(/^(\S+) dst (\S+) .*self/gm);
    const entries = [...shown].map(([, mac, peer]) => [mac!, 'dev', 'vx-4096', 'dst', peer!, 'self']);
    assert.ok(entries.length > 1, 'to flood to the peer, and its containers');
    // One by one: before Linux 6.7 a VXLAN link knows no flush.
    for (const entry of entries) await bridge('fdb', 'delete', ...entry);
    const since = watch();
    await stage.docker('node1').ok('service', 'update', '--detach', '--publish-add', '81:80', 'web');
    await whole('node2');
    assert.ok(since(Date.now()) < 9_000);
  });

  test('what is none of ours stays: a foreign table, a link and a neighbour', async () => {
    const input = 'add table ip foreign\nadd chain ip foreign keep\nadd rule ip foreign keep counter\n';
    await stage.lab.exec('node2', ['nft', '-f', '-'], { input });
    await run('node2', 'ip', 'link', 'add', 'sk-other', 'type', 'bridge');
    await run('node2', 'ip', 'neighbour', 'add', '192.0.2.77', 'lladdr', '02:00:00:00:00:77', 'dev', 'eth0');
    const { count } = stage.networkStatus('node2').audits;
    await run('node2', 'nft', 'delete', 'table', 'ip', 'skein');
    await until('an audit', async () => stage.networkStatus('node2').audits.count > count || 'none yet', {
      timeoutMs: 30_000,
    });
    await whole('node2');
    assert.match(await run('node2', 'nft', 'list', 'table', 'ip', 'foreign'), /counter/);
    assert.match(await run('node2', 'ip', 'link', 'show', 'sk-other'), /sk-other/);
    assert.match(await run('node2', 'ip', 'neighbour', 'show', '192.0.2.77'), /PERMANENT/);
  });

  test('doctor says what it found and did', async () => {
    const { runRoot, dataRoot } = stage.lab.node('node1');
    const roots = ['--run-root', runRoot, '--data-root', dataRoot];
    const doctor = [process.execPath, 'bin/skein', 'doctor', '--json', ...roots];
    const { stdout } = await stage.lab.exec('node1', doctor, { accept: [0, 1] });
    const { checks } = JSON.parse(stdout) as { checks: { name: string; level: string; found: string }[] };
    const level = (name: string) => checks.find((check) => check.name === name)?.level;
    assert.equal(level('peers'), 'ok');
    assert.equal(level('forwarding'), 'ok');
    assert.match(checks.find((check) => check.name === 'certificate')!.found, /^valid until /);
    assert.match(checks.find((check) => check.name === 'firewall')!.found, /put in front/);
  });
});
