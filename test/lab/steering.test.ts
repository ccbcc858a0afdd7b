/**
 * A node that is cut off, seen by the others: who is sent where, how soon, and what does not change. The peers' kernels
 * are asked, so a dead skeind steers nobody away.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { runProcess } from '../../src/kit/process.ts';
import { until } from '../../src/lab/cluster.ts';
import { downLab, Lab } from '../../src/lab/lab.ts';
import { skipWithoutDocker } from '../docker.ts';
import { HttpLoad } from './load.ts';
import { machineState } from './machine.ts';
import { RuleChanges } from './rule-changes.ts';
import { Stalls } from './stalls.ts';
import { delay, IMAGE, Stage } from './stage.ts';

const NAME = 'steer-a';
const NODES = ['node1', 'node2', 'node3'] as const;
const PORT = 80;
const LONE = 81;
const CUTS = 4;

describe('a peer that does not answer', { skip: skipWithoutDocker, timeout: 600_000 }, () => {
  let stage: Stage;
  let machine: unknown;
  const docker = (...args: string[]) => stage.docker('node1').ok(...args);
  const status = (node: string) => stage.networkStatus(node);
  const away = (node: string): readonly string[] =>
    status(node)
      .peers.filter((peer) => peer.awaySince !== undefined)
      .map((peer) => peer.hostname);
  const untilAway = (node: string, ...hostnames: string[]): Promise<void> =>
    until(
      `${node} to steer away from [${hostnames.join()}]`,
      async () => away(node).toSorted().join() === hostnames.join() || away(node).join(),
      { timeoutMs: 20_000, everyMs: 10 },
    );

  before(async () => {
    machine = await machineState(NAME);
    stage = new Stage(await Lab.up({ name: NAME, nodes: 3 }));
    await stage.loadImage();
    const create = ['service', 'create', '--detach', '--no-resolve-image'];
    await docker(...create, '--name', 'web', '--mode', 'global', '-p', `${PORT}:80`, IMAGE);
    const on3 = ['--constraint', 'node.hostname==node3'];
    await docker(...create, '--name', 'lone', ...on3, '-p', `${LONE}:80`, IMAGE);
    await stage.converged('web', 3);
    await stage.converged('lone', 1);
    // Every node has heard every other one.
    for (const node of NODES)
      await until(
        `${node} to have heard its peers`,
        async () => status(node).peers.length === 2 || 'not yet',
        {
          timeoutMs: 20_000,
        },
      );
  });
  afterEach(() => stage.lab.heal());
  after(async () => {
    stage.close();
    await downLab(NAME);
    assert.deepEqual(await machineState(NAME), machine);
  });

  /** How many containers answer through a node, none in vain. */
  const ask = async (node: (typeof NODES)[number], requests = 21) => {
    const { address } = stage.lab.node(node);
    const { failed, errors, answers } = await HttpLoad.run(stage.lab, { address, port: PORT, requests });
    assert.equal(failed, 0, `through ${node}: ${errors.join()}`);
    return answers.size;
  };
  /** What is steered back is in the rules a moment later. */
  const untilAllAnswer = (...nodes: readonly (typeof NODES)[number][]): Promise<unknown> =>
    Promise.all(
      nodes.map((node) =>
        until(
          `all to answer through ${node}`,
          async () => {
            const count = await ask(node, 12);
            return count === NODES.length || `${count} do`;
          },
          { timeoutMs: 20_000 },
        ),
      ),
    );

  test('cut off: away within a second (median), 1.5 s at worst; back within a second; nothing lost in between', async () => {
    const [left, returned]: [number[], number[]] = [[], []];
    const stalls = new Stalls();
    /** From now on, for as long as this machine let everybody run. */
    const watch = () => {
      const [began, stalled] = [performance.now(), stalls.ms];
      return () => Math.round(performance.now() - began - (stalls.ms - stalled));
    };
    for (let n = 0; n < CUTS; n++) {
      // Not in step with the probes.
      await delay(1_200 + n * 77);
      await stage.lab.cut('node3');
      const sinceCut = watch();
      await untilAway('node1', 'node3');
      left.push(sinceCut());
      await untilAway('node2', 'node3');
      const during = await HttpLoad.run(stage.lab, { address: '192.0.2.11', port: PORT, requests: 30 });
      assert.equal(during.failed, 0, `the mesh of node1 has lost its dead end: ${during.errors.join()}`);
      assert.equal(during.answers.size, 2);
      await delay(1_100);
      await stage.lab.heal('node3');
      const sinceHealed = watch();
      await untilAway('node1');
      returned.push(sinceHealed());
      await untilAway('node2');
    }
    await stalls.close();
    const sorted = left.toSorted((a, b) => a - b);
    assert.ok(sorted[CUTS / 2]! < 1_000, `away after ${left.join()} ms`);
    assert.ok(sorted.at(-1)! < 1_500, `away after ${left.join()} ms`);
    assert.ok(Math.max(...returned) < 1_000, `back after ${returned.join()} ms`);
    await untilAllAnswer('node1');
  });

  test('connections that began in the moment of the cut go elsewhere when they try again', async () => {
    await delay(1_200);
    await stage.lab.cut('node3');
    const began = await HttpLoad.run(stage.lab, { address: '192.0.2.11', port: PORT, requests: 60 });
    assert.deepEqual(began.errors, [], `${began.failed} of 60 that began before the cut was known`);
    assert.equal(began.answers.size, 2);
    await stage.lab.heal('node3');
    await untilAway('node1');
    await untilAway('node2');
  });

  test('a service whose every backend is away refuses at once', async () => {
    await stage.lab.cut('node3');
    await untilAway('node1', 'node3');
    const { failed, errors } = await HttpLoad.run(stage.lab, {
      address: '192.0.2.11',
      port: LONE,
      requests: 5,
    });
    assert.equal(failed, 5);
    for (const error of errors) assert.match(error, /ECONNREFUSED/);
    await stage.lab.heal('node3');
    await untilAway('node1');
  });

  test('a cut between two nodes changes the view of these two only', async () => {
    await delay(1_100);
    await stage.lab.cut('node2', 'node3');
    await untilAway('node2', 'node3');
    await untilAway('node3', 'node2');
    await delay(1_000);
    assert.deepEqual(away('node1'), []);
    assert.match(await docker('node', 'ls', '--format', '{{.Status}}'), /^(Ready\s*){3}$/);
    const load = await HttpLoad.run(stage.lab, { address: '192.0.2.12', port: PORT, requests: 20 });
    assert.deepEqual([load.failed, load.answers.size], [0, 2]);
    await stage.lab.heal('node2', 'node3');
    await untilAway('node2');
    await untilAway('node3');
  });

  /** Rules of the underlay between two stations, one direction alone. */
  const underlay = (rules: string) => {
    const { netns } = stage.lab.plan.underlay;
    return runProcess(['nsenter', `--net=${netns}`, '--', 'nft', '-f', '-'], { input: rules });
  };

  test('a way that loses in one direction only is left by both its ends, once, and by nobody else', async () => {
    const watched = await Promise.all(NODES.map((node) => RuleChanges.of(stage.lab, node)));
    const pair = `{ "${stage.lab.node('node3').port}" . "${stage.lab.node('node2').port}" }`;
    await underlay(`add element bridge skein_lab cut ${pair}\n`);
    // node2 hears nothing of node3, node3 no answer of node2's.
    await untilAway('node2', 'node3');
    await untilAway('node3', 'node2');
    await delay(1_500);
    assert.deepEqual([away('node1'), away('node2'), away('node3')], [[], ['node3'], ['node2']]);
    assert.deepEqual([await ask('node1'), await ask('node2'), await ask('node3')], [3, 2, 2]);
    const changed = await Promise.all(watched.map((each) => each.end()));
    assert.deepEqual(
      changed.map(({ changes }) => changes),
      [0, 1, 1],
    );
    await underlay(`delete element bridge skein_lab cut ${pair}\n`);
    await untilAway('node2');
    await untilAway('node3');
    await untilAllAnswer('node2', 'node3');
  });

  test('a way that loses most of one direction changes rules at most once a second, at its ends alone', async (t) => {
    const watched = await Promise.all(NODES.map((node) => RuleChanges.of(stage.lab, node)));
    const ports = `iifname "${stage.lab.node('node3').port}" oifname "${stage.lab.node('node2').port}"`;
    // Added first, for where it is gone already.
    const cure = () => underlay('add chain bridge skein_lab lossy\ndelete chain bridge skein_lab lossy\n');
    t.after(cure);
    await underlay(
      `add chain bridge skein_lab lossy { type filter hook forward priority 1; }
       add rule bridge skein_lab lossy ${ports} numgen random mod 100 < 55 drop\n`,
    );
    await delay(4_000);
    assert.equal(await ask('node1'), 3);
    const [one, ...ends] = await Promise.all(watched.map((each) => each.end()));
    assert.equal(one!.changes, 0);
    for (const { changes, seconds } of ends)
      assert.ok(changes <= seconds + 1, `${changes} changes in ${seconds} s`);
    await cure();
    await untilAway('node2');
    await untilAway('node3');
    await untilAllAnswer('node2', 'node3');
  });

  test('a link that flaps as fast as it is believed changes rules once a second at most, and loses nothing known', async () => {
    const watched = await Promise.all((['node1', 'node2'] as const).map((n) => RuleChanges.of(stage.lab, n)));
    const FLAPS = 3;
    for (let n = 0; n < FLAPS; n++) {
      await stage.lab.cut('node3');
      await Promise.all([untilAway('node1', 'node3'), untilAway('node2', 'node3')]);
      assert.deepEqual([await ask('node1'), await ask('node2')], [2, 2]);
      await stage.lab.heal('node3');
      await Promise.all([untilAway('node1'), untilAway('node2')]);
      await untilAllAnswer('node1', 'node2');
    }
    for (const each of watched) {
      const { changes, seconds } = await each.end();
      assert.equal(changes, 2 * FLAPS);
      assert.ok(changes <= seconds + 1, `${changes} changes in ${seconds} s`);
    }
  });

  test('a dead skeind steers nobody away, and remembers when it comes back', async () => {
    await stage.lab.kill('node3', 'skeind');
    await delay(1_500);
    assert.deepEqual([away('node1'), away('node2')], [[], []]);
    await stage.lab.kill('node2', 'skeind');
    await stage.lab.cut('node3');
    await stage.lab.start('node2');
    await untilAway('node2', 'node3');
    await stage.lab.heal('node3');
    await untilAway('node2');
    await stage.lab.start('node3');
  });
});
