/** Uplinks of different sizes in one cluster: the overlay takes its own from each, and no TCP transfer stalls. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { downLab, Lab } from '../../src/lab/lab.ts';
import { skipWithoutDocker } from '../docker.ts';
import { IMAGE, Stage } from './stage.ts';

const NAME = 'test-mtu';
const MTUS = { node1: 1500, node2: 9000, node3: 1400 } as const;
const NODES = Object.keys(MTUS) as (keyof typeof MTUS)[];
const SIZE = 3_000_000;

describe('MTU', { skip: skipWithoutDocker, timeout: 600_000 }, () => {
  let stage: Stage;
  let addresses: Map<string, string>;

  before(async () => {
    stage = new Stage(await Lab.up({ name: NAME, nodes: 3, mtus: MTUS }));
    await stage.loadImage();
    await stage
      .docker('node1')
      .ok(
        ...['service', 'create', '--no-resolve-image', '--update-monitor', '300ms', '--mode', 'global'],
        ...['--name', 'web', '-p', '80:80', IMAGE],
      );
    addresses = new Map(NODES.map((node) => [node, stage.lab.node(node).address]));
    await stage.leads(80, NODES.length, ...addresses.values());
  });
  after(async () => {
    stage.close();
    await downLab(NAME);
  });

  const received = async (where: string, url: string): Promise<number> => {
    const argv = ['busybox', 'wget', '-q', '-O', '-', url];
    const { stdout } = await stage.lab.exec(where, argv, { accept: [0, 1], timeoutMs: 30_000 });
    return stdout.length;
  };

  test("a network's links are its uplink's size less what the tunnel adds", async () => {
    for (const node of NODES) {
      const { stdout } = await stage.lab.exec(node, ['ip', '-o', 'link', 'show', 'dev', 'sk-ingress']);
      assert.match(stdout, new RegExp(`mtu ${MTUS[node] - 50} `), node);
    }
  });

  test('bulk answers come whole through every node from every task', async () => {
    for (const node of NODES)
      for (let i = 0; i < NODES.length; i++)
        assert.equal(
          await received('client', `http://${addresses.get(node)}/size/${SIZE}`),
          SIZE,
          `through ${node}`,
        );
  });

  test('nodes get them too, from large to small and back', async () => {
    for (const from of NODES)
      for (const to of NODES)
        for (let i = 0; i < NODES.length; i++)
          assert.equal(
            await received(from, `http://${addresses.get(to)}/size/${SIZE}`),
            SIZE,
            `${from} by ${to}`,
          );
  });

  test('a client behind a smaller link hears of it', async () => {
    await stage.lab.exec('client', ['ip', 'link', 'set', 'dev', 'eth0', 'mtu', '1280']);
    for (const node of NODES)
      assert.equal(
        await received('client', `http://${addresses.get(node)}/size/${SIZE}`),
        SIZE,
        `through ${node}`,
      );
  });
});
