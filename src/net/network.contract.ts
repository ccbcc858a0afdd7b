/** What every `NodeNetwork` does, the fake and the real one alike. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { interfaceAddress, parseIpv4 } from '../kit/cidr.ts';
import type { ContainerId, NetworkId } from '../model/ids.ts';
import {
  containerId,
  hostPort,
  macFor,
  network as overlay,
  port,
  sandbox,
  service,
  view,
} from './builders.ts';
import type { NodeNetwork, SandboxSpec } from './network.ts';

export interface NetworkUnderTest {
  readonly network: NodeNetwork;
  /** An address of the node's uplink. */
  readonly address: string;
  /** `eth0 10.0.1.7` of each link of a sandbox, sorted. */
  links(id: ContainerId): Promise<readonly string[]>;
  close(): Promise<void>;
}

export function networkContract(name: string, open: () => Promise<NetworkUnderTest>): void {
  describe(`contract of NodeNetwork: ${name}`, () => {
    let it: NetworkUnderTest;
    let network: NodeNetwork;
    before(async () => {
      it = await open();
      network = it.network;
    });
    after(() => it.close());
    const host = (published: number) => ({ hostPorts: [port(published, 80, { PublishMode: 'host' })] });

    test('attach before any view is refused and leaves nothing', async () => {
      await assert.rejects(network.attach(sandbox(1, '10.255.0.7')), { code: 'failed-precondition' });
      assert.deepEqual(await network.sandboxes(), []);
    });

    test('attach to a network that the view does not hold is refused and leaves nothing', async () => {
      await network.apply(view());
      const spec = sandbox(1, '10.255.0.7');
      const attachments = [{ ...spec.attachments[0]!, networkId: 'nowhere' as NetworkId }];
      await assert.rejects(network.attach({ ...spec, attachments }), { code: 'failed-precondition' });
      assert.deepEqual(await network.sandboxes(), []);
    });

    test('attach gives a sandbox, the same one when repeated', async () => {
      const first = await network.attach(sandbox(1, '10.255.0.7'));
      assert.match(first.netnsPath, new RegExp(containerId(1)));
      assert.equal(network.netnsPath(containerId(1)), first.netnsPath);
      assert.deepEqual(await network.attach(sandbox(1, '10.255.0.7')), first);
      assert.deepEqual(await network.sandboxes(), [containerId(1)]);
      assert.deepEqual(
        [await network.hasSandbox(containerId(1)), await network.hasSandbox(containerId(2))],
        [true, false],
      );
      assert.deepEqual(await network.attached(), [
        { spec: sandbox(1, '10.255.0.7'), hostPorts: [], netnsPath: first.netnsPath },
      ]);
    });

    test('prepared, it is there and empty; attach makes of it what it makes of none', async () => {
      const [two, three] = [sandbox(2, '10.255.0.8'), sandbox(3, '10.255.0.9')];
      const links = async ({ id }: SandboxSpec) => (await it.links(id)).map((link) => link.split(' ')[0]);
      await network.attach(three);
      const usual = await links(three);
      await network.detach(three.id);
      await network.prepare(two.id);
      await network.prepare(three.id);
      assert.deepEqual(await network.sandboxes(), [1, 2, 3].map(containerId));
      assert.equal(await network.hasSandbox(two.id), true);
      assert.deepEqual(
        (await network.attached()).map(({ spec }) => spec.id),
        [containerId(1)],
      );
      await network.apply(view());
      assert.equal((await network.attach(two)).netnsPath, network.netnsPath(two.id));
      assert.deepEqual(await links(two), usual);
      await network.prepare(two.id);
      assert.deepEqual(await links(two), usual, 'it is no more than there');
      for (const { id } of [two, three]) await network.detach(id);
      assert.deepEqual(await network.sandboxes(), [containerId(1)]);
    });

    test('attached again with other networks, links that stay keep their names; the gateway’s too', async () => {
      const one = sandbox(1, '10.255.0.7');
      const more = {
        networkId: 'more' as NetworkId,
        address: interfaceAddress(parseIpv4('10.0.1.7'), 24),
        mac: macFor('10.0.1.7'),
      };
      await network.apply(view({ networks: [overlay('ingress'), overlay('more')] }));
      const [own, gateway] = await it.links(one.id);
      assert.equal(own, 'eth0 10.255.0.7');
      assert.match(gateway!, /^eth1 172/);
      await network.attach({ ...one, attachments: [...one.attachments, more] });
      assert.deepEqual(await it.links(one.id), [own, gateway, 'eth2 10.0.1.7']);
      await network.attach({ ...one, attachments: [more] });
      assert.deepEqual(await it.links(one.id), [gateway, 'eth2 10.0.1.7']);
      await network.attach(one);
      assert.deepEqual(await it.links(one.id), [own, gateway]);
      await network.apply(view());
    });

    test('an open host port is chosen and stays', async () => {
      const spec = sandbox(2, '10.255.0.8', host(0));
      const { hostPorts } = await network.attach(spec);
      assert.ok(hostPorts[0]!.PublishedPort! >= 32768);
      assert.deepEqual((await network.attach(spec)).hostPorts, hostPorts);
      const other = await network.attach(sandbox(3, '10.255.0.9', host(0)));
      assert.notEqual(other.hostPorts[0]!.PublishedPort, hostPorts[0]!.PublishedPort);
    });

    test('a host port is held by one sandbox, until that is detached', async () => {
      await network.attach(sandbox(4, '10.255.0.10', host(8000)));
      await assert.rejects(network.attach(sandbox(5, '10.255.0.11', host(8000))), {
        code: 'already-exists',
        message: /0\.0\.0\.0:8000 .* already allocated \(tcp/,
      });
      await network.detach(containerId(4));
      await network.attach(sandbox(5, '10.255.0.11', host(8000)));
    });

    test('a port of one address is another’s at another, and at all of them nobody’s beside it', async () => {
      const at = (address: string, published = 8100) => ({ hostPorts: [hostPort(published, 80, address)] });
      const taken = (address: string) => ({
        code: 'already-exists',
        message: `Bind for ${address}:8100 failed: port is already allocated (tcp, by another container)`,
      });
      const first = await network.attach(sandbox(4, '10.255.0.10', at('127.0.0.1')));
      assert.deepEqual(first.hostPorts, at('127.0.0.1').hostPorts);
      await network.attach(sandbox(7, '10.255.0.13', at(it.address)));
      await assert.rejects(network.attach(sandbox(8, '10.255.0.14', at(it.address))), taken(it.address));
      await assert.rejects(network.attach(sandbox(8, '10.255.0.14', host(8100))), taken('127.0.0.1'));
      const open = { hostPorts: [...at('127.0.0.1', 0).hostPorts, ...at(it.address, 0).hostPorts] };
      const { hostPorts } = await network.attach(sandbox(8, '10.255.0.14', open));
      assert.deepEqual((await network.attach(sandbox(8, '10.255.0.14', open))).hostPorts, hostPorts);
      await network.detach(containerId(4));
      await network.detach(containerId(7));
      await network.attach(sandbox(4, '10.255.0.10', host(8100)));
      await assert.rejects(network.attach(sandbox(7, '10.255.0.13', at('127.0.0.1'))), taken('0.0.0.0'));
      for (const n of [4, 8]) await network.detach(containerId(n));
    });

    test('a host port that a service publishes is refused', async () => {
      await network.apply(view({ services: [service('web', port(80, 8080))] }));
      await assert.rejects(network.attach(sandbox(6, '10.255.0.12', host(80))), {
        code: 'already-exists',
        message: /service web/,
      });
    });

    test('host ports without a way out are refused', async () => {
      const spec = sandbox(6, '10.255.0.12', { ...host(9000), internal: true });
      await assert.rejects(network.attach(spec), { code: 'invalid-argument' });
    });

    test('detach removes, and what is gone is no error', async () => {
      for (const n of [1, 2, 3, 5, 5, 99]) await network.detach(containerId(n));
      assert.deepEqual(await network.sandboxes(), []);
    });

    test('uplink names the link of an address', async () => {
      const { name, mac, mtu } = await network.uplink(it.address);
      assert.ok(name.length > 0 && mtu >= 576);
      assert.match(mac, /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
      await assert.rejects(network.uplink('203.0.113.99'), { code: 'not-found' });
    });

    test('an aborted apply is not made', async () => {
      await assert.rejects(network.apply(view(), AbortSignal.abort()));
    });
  });
}
