/** Every reason to be lost, and whom the rules pass over. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIpv4 } from '../kit/cidr.ts';
import type { EndpointItem } from '../model/network-view.ts';
import { CASES } from '../net/cases.ts';
import type { Desired } from '../net/plan.ts';
import { steer } from '../net/steering-plan.ts';
import {
  A,
  B,
  type Change,
  FakeExplained,
  fromContainer,
  go,
  lossOf,
  start,
  THREE,
  three,
  WEB,
} from './fake-explained.ts';

/** The plan without the objects that `gone` names, by kind and key. */
const without =
  (kind: 'fdb' | 'neighbours' | 'links', gone: (key: string) => boolean): Change =>
  (node) => ({
    ...node,
    plan: {
      ...node.plan,
      [kind]: new Map([...(node.plan[kind] as ReadonlyMap<string, unknown>)].filter(([key]) => !gone(key))),
    } as Desired,
  });

const LOST: Record<string, readonly [expected: RegExp, () => Promise<string>]> = {
  'no healthy task': [
    /^no-backend: no healthy task: service web has no task in rotation$/,
    () => lossOf(new FakeExplained(CASES['no replica left']!), A, WEB),
  ],
  'every task out of rotation': [
    /^no-backend: no task of service idle to go to|no healthy task: service idle/,
    () => {
      const begun = start('10.0.1.3', 80, fromContainer('10.0.1.9'));
      return lossOf(new FakeExplained(CASES['virtual IPs on a network']!), A, begun);
    },
  ],
  'port not published': [
    /^not-published: a publishes no port tcp\/81$/,
    () => lossOf(three(), A, start('192.0.2.4', 81)),
  ],
  'published over another protocol': [
    /^not-published: a publishes no port udp\/80$/,
    () => lossOf(three(), A, start('192.0.2.4', 80, { protocol: 'udp' })),
  ],
  'no FDB entry': [
    /no-fdb: a, bridge sk-4096: no FDB entry for 02:42:0a:ff:00:08$/m,
    () => lossOf(three({ a: without('fdb', (key) => key === 'fabric|vx-4096|02:42:0a:ff:00:08') }), A, WEB),
  ],
  'no neighbour': [
    /no-neighbour: nobody on sk-ingress in a, root is known as 10\.255\.0\.8$/m,
    () =>
      lossOf(
        three({
          a: without('neighbours', (key) => key.endsWith('|10.255.0.8')),
        }),
        A,
        WEB,
      ),
  ],
  'the container is gone at the other end': [
    /no-fdb: b, bridge sk-4096: no FDB entry for 02:42:0a:ff:00:08$/m,
    () => lossOf(three({ b: without('fdb', (key) => key.endsWith('|02:42:0a:ff:00:08')) }), A, WEB),
  ],
  'the other end takes no part in the network': [
    /no-such-container: b takes no part in the network with VNI 4096$/m,
    () => lossOf(three({ b: without('links', (key) => key.startsWith('fabric|vx-')) }), A, WEB),
  ],
  'the answer finds no way back': [
    /no-fdb: b, bridge sk-4096: no FDB entry for 02:42:0a:ff:00:02$/m,
    () => lossOf(three({ b: without('fdb', (key) => key === 'fabric|vx-4096|02:42:0a:ff:00:02') }), A, WEB),
  ],
  'a node that says nothing': [
    /no-answer: b says nothing of its part of the way: no session with the managers$/m,
    () => lossOf(three({}, ['b']), A, WEB),
  ],
  'no route out of an internal network': [
    /^no-route: a, container 0000000001cc has no route to 192\.0\.2\.9: its networks are internal$/,
    () => {
      const begun = start('192.0.2.9', 80, fromContainer('10.0.1.7'));
      return lossOf(new FakeExplained(CASES['internal network']!), A, begun);
    },
  ],
  'nobody has that address': [
    /^no-neighbour: nobody on eth0 in a, container 0000000001cc is known as 10\.0\.1\.77$/,
    () => {
      const begun = start('10.0.1.77', 80, fromContainer('10.0.1.7'));
      return lossOf(new FakeExplained(CASES['internal network']!), A, begun);
    },
  ],
  'no such container': [
    /^no-such-container: a has no such container on its networks$/,
    () => lossOf(three(), A, start('10.255.0.8', 80, fromContainer('10.9.9.9'))),
  ],
  'a datagram too large for the overlay': [
    /mtu: 1500 bytes do not fit sk-ingress in a, root \(MTU 1450\), which answers "fragmentation needed"/,
    () => {
      const cluster = new FakeExplained(CASES['service with several ports']!);
      return lossOf(cluster, A, start('192.0.2.4', 53, { protocol: 'udp', size: 1500 }));
    },
  ],
};

for (const [name, [expected, lost]] of Object.entries(LOST))
  test(`lost: ${name}`, async () => assert.match(await lost(), expected));

test('a segment of TCP fits the overlay, whatever the client would send', async () => {
  const { paths } = await go(three(), A, start('192.0.2.4', 80, { size: 1500 }));
  assert.deepEqual(
    paths.map(({ loss }) => loss),
    [undefined, undefined, undefined],
  );
});

/** Node b does not answer a's probes. */
const awayFromB =
  (ms: number): Change =>
  (node) => {
    const view = steer(node.managersView, new Set([B]), new WeakMap());
    const [only] = new FakeExplained({ ...THREE, view }).nodes.values();
    return { ...node, plan: only!.plan, view, away: new Map([[B, ms]]) };
  };

test('steered away: the others are chosen, and who is not, and since when', async () => {
  const { paths, passedOver } = await go(three({ a: awayFromB(430) }), A, WEB);
  assert.deepEqual(
    paths.map(({ backend, kind }) => [backend, kind]),
    [
      ['10.255.0.7', 'same host'],
      ['10.255.0.9', 'same host'],
    ],
  );
  assert.deepEqual(passedOver, ['t2 on b: b steered away 0.4 s ago']);
});

test('lost: the only task is on a node that is steered away', async () => {
  const endpoints = new Map([...THREE.view.endpoints].filter(([, e]) => e.nodeId === B || !e.taskId));
  const view = { ...THREE.view, endpoints };
  const change: Change = (node) => {
    const steered = steer(view, new Set([B]), new WeakMap());
    const [only] = new FakeExplained({ view: steered, sandboxes: [] }).nodes.values();
    return { ...node, plan: only!.plan, view: steered, away: new Map([[B, 1_260]]) };
  };
  assert.equal(
    await lossOf(new FakeExplained({ view, sandboxes: [] }, { a: change }), A, WEB),
    'no-backend: no task of service web to go to: t2 on b: b steered away 1.3 s ago',
  );
});

test('not chosen: a task that is not in rotation', async () => {
  const { passedOver, paths } = await go(new FakeExplained(CASES['one replica out of rotation']!), A, WEB);
  assert.deepEqual(passedOver, ['t3 on a: not in rotation (not up yet)']);
  assert.equal(paths.length, 2);
});

for (const left of ['draining', 'unhealthy'] as const)
  test(`not chosen: a task that was in rotation and is ${left}`, async () => {
    const { view, sandboxes } = CASES['one replica out of rotation']!;
    const endpoints = [...view.endpoints].map(([key, e]) => [key, e.taskId === 't3' ? { ...e, left } : e]);
    const changed = { ...view, endpoints: new Map(endpoints as [string, EndpointItem][]) };
    const { passedOver } = await go(new FakeExplained({ view: changed, sandboxes }), A, WEB);
    assert.deepEqual(passedOver, [`t3 on a: not in rotation (${left})`]);
  });

test('lost: nothing listens yet in the only task', async () => {
  const { view } = THREE;
  const only = [...view.endpoints].filter(([, { taskId }]) => taskId === undefined || taskId === 't3');
  const closed = (notListening: readonly number[]) =>
    new Map(
      only.map(([key, e]) => [key, e.taskId === undefined ? e : { ...e, inRotation: false, notListening }]),
    );
  for (const [ports, words] of [
    [[80], 'port 80'],
    [[80, 443], 'ports 80, 443'],
  ] as const)
    assert.equal(
      await lossOf(new FakeExplained({ view: { ...view, endpoints: closed(ports) }, sandboxes: [] }), A, WEB),
      `no-backend: no task of service web to go to: t3 on a: not in rotation (nothing listens yet on its ${words})`,
    );
});

test('one backend alone, where it is named', async () => {
  const { paths } = await go(three(), A, WEB, parseIpv4('10.255.0.8'));
  assert.deepEqual(
    paths.map(({ backend, kind }) => [backend, kind]),
    [['10.255.0.8', 'cross host']],
  );
});

test('a backend that is named and not chosen is no way, and is said why', async () => {
  const cluster = new FakeExplained(CASES['one replica out of rotation']!);
  const { paths, passedOver } = await go(cluster, A, WEB, parseIpv4('10.255.0.9'));
  assert.deepEqual(
    paths.map(({ loss }) => loss?.text),
    ['the rules do not lead to 10.255.0.9'],
  );
  assert.match(passedOver.join(), /^t3 on a: not in rotation/);
});
