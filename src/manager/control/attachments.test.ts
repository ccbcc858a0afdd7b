import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test, type TestContext } from 'node:test';
import type { ContainerId, Ipv4, NodeId } from '../../model/ids.ts';
import { SkeinError } from '../../model/errors.ts';
import { QUARANTINE_MS } from '../allocator/address-pool.ts';
import { spec } from '../testing/builders.ts';
import { TestCluster } from '../testing/cluster.ts';
import { Attachments } from './attachments.ts';

const NODE = 'n1' as NodeId;
const CONTAINER = 'c'.repeat(64) as ContainerId;

async function cluster(t: TestContext) {
  const c = await new TestCluster().start('n1', 'n2');
  t.after(() => c.stop());
  for (const [Name, Attachable] of [
    ['open', true],
    ['closed', false],
  ] as const)
    await c.control.createNetwork({ Name, Driver: 'overlay', Attachable });
  await c.run(500);
  const { store, view, clock } = c;
  const attachments = new Attachments({ store, view, clock, random: randomBytes });
  const signal = new AbortController().signal;
  const attach = (target: string, address?: string) =>
    attachments.attach(
      NODE,
      {
        containerId: CONTAINER,
        name: 'shell',
        network: { target, aliases: ['debug'], address: address as Ipv4 | undefined },
      },
      signal,
    );
  /** Time passes until the call is through. */
  const settled = async <T>(call: Promise<T>): Promise<T> => {
    let over = false;
    const done = call.finally(() => (over = true));
    done.catch(() => {});
    for (let i = 0; i < 100 && !over; i++) await c.run(100);
    return done;
  };
  return { c, attachments, attach, settled };
}

test('a stand is a task of no service on that node, with addresses and names, that nobody restarts', async (t) => {
  const { c, attachments, attach, settled } = await cluster(t);
  const id = await settled(attach('open'));
  await c.run(2000);
  const task = c.view.get('task', id)!;
  assert.deepEqual([task.nodeId, task.serviceId, task.status.state], [NODE, '', 'running']);
  const [stand] = task.attachments;
  assert.equal(stand!.networkId, c.control.network('open').id);
  assert.deepEqual(stand!.aliases, ['shell', CONTAINER.slice(0, 12), 'debug']);
  await assert.rejects(c.control.removeNetwork('open'), { message: /is in use by task/ });

  await attachments.detach('n2' as NodeId, id);
  assert.equal(c.view.get('task', id)!.desiredState, 'running', 'it is not another node’s to give back');
  await attachments.detach(NODE, id);
  await c.run(2000);
  const next = await settled(attach('open'));
  assert.notEqual(c.view.get('task', next)!.attachments[0]!.address, stand!.address, 'quarantine');
  await c.run(QUARANTINE_MS + 2000);
  assert.equal(c.view.get('task', id), undefined, 'gone with its quarantine');
  assert.equal(c.view.get('task', next)!.status.state, 'running', 'the other stays');
  await attachments.detach(NODE, id);
});

test('who has gone before his stand had its place is not waited for, and leaves none behind', async (t) => {
  const { c, attachments, settled } = await cluster(t);
  const request = { containerId: CONTAINER, name: 'shell', network: { target: 'open', aliases: [] } };
  await assert.rejects(settled(attachments.attach(NODE, request, AbortSignal.abort())), {
    code: 'deadline-exceeded',
  });
  const stands = [...c.view.all('task').values()].map(({ desiredState }) => desiredState);
  assert.deepEqual(stands, ['remove']);
});

test(
  'a network on which a container of a user stands is not removed, until it has gone',
  { timeout: 20_000 },
  async (t) => {
    const { c, attachments, attach, settled } = await cluster(t);
    const id = await settled(attach('open'));
    await c.run(1000);
    const open = c.control.network('open').id;
    await assert.rejects(c.control.removeNetwork('open'), {
      message: `rpc error: code = FailedPrecondition desc = network ${open} is in use by task ${id}`,
    });
    await attachments.detach(NODE, id);
    const removed = c.control.removeNetwork('open');
    await c.run(2000);
    await removed;
    assert.equal(c.view.get('network', open), undefined);
  },
);

test('what is not attachable, or not there, is refused in Docker’s words, and leaves nothing', async (t) => {
  const { c, attach, settled } = await cluster(t);
  await assert.rejects(settled(attach('closed')), {
    code: 'permission-denied',
    message:
      'Could not attach to network closed: rpc error: code = PermissionDenied desc = network closed not manually attachable',
  });
  await assert.rejects(settled(attach('nosuch')), {
    code: 'not-found',
    message: 'Could not attach to network nosuch: rpc error: code = NotFound desc = network nosuch not found',
  });
  assert.equal(c.view.all('task').size, 0);
});

test('a full network says so, and the stand does not stay', async (t) => {
  const { c, attach, settled } = await cluster(t);
  await c.control.createNetwork({
    Name: 'tiny',
    Driver: 'overlay',
    Attachable: true,
    IPAM: { Config: [{ Subnet: '10.9.9.0/29' }] },
  });
  const hosts = 6;
  for (let i = 1; i < hosts; i++) await settled(attach('tiny')); // the gateway has one
  await assert.rejects(settled(attach('tiny')), { message: /no available IP addresses on network tiny/ });
  await c.run(2000);
  const up = [...c.view.all('task').values()].filter((task) => task.desiredState === 'running');
  assert.equal(up.length, hosts - 1);
});

test('an address asked for by name: given, also again at once by who gave it back; refused where it is another’s', async (t) => {
  const { c, attachments, attach, settled } = await cluster(t);
  const subnet = c.control.network('open').state!.subnet.replace(/0\/24$/, '');
  const id = await settled(attach('open', `${subnet}77`));
  assert.equal(c.view.get('task', id)!.attachments[0]!.address, `${subnet}77/24`);
  for (const taken of [`${subnet}77`, `${subnet}1`])
    await assert.rejects(settled(attach('open', taken)), {
      message: `Could not attach to network: Address already in use (${taken})`,
    });
  for (const outside of ['192.0.2.7', `${subnet}0`, `${subnet}255`])
    await assert.rejects(settled(attach('open', outside)), {
      code: 'invalid-argument',
      message: `invalid endpoint settings:\nno configured subnet contains IP address ${outside}`,
    });
  await assert.rejects(settled(attach('open', 'x')), { code: 'invalid-argument' });
  const { mac } = c.view.get('task', id)!.attachments[0]!;
  // A restart: given back and asked for again in one breath, while its neighbours remember its MAC.
  await attachments.detach(NODE, id);
  const again = await settled(attach('open', `${subnet}77`));
  assert.equal(c.view.get('task', again)!.attachments[0]!.address, `${subnet}77/24`);
  assert.equal(c.view.get('task', again)!.attachments[0]!.mac, mac);
});

test('given back while its node reports of it: what was written meanwhile is read again', async (t) => {
  const { c, attach, settled } = await cluster(t);
  const id = await settled(attach('open'));
  await c.run(1000);
  let stale = 2;
  const transact: typeof c.store.transact = async (ops, fence) => {
    if (stale-- > 0) throw new SkeinError('out-of-sequence', 'update out of sequence');
    return c.store.transact(ops, fence);
  };
  const { view, clock } = c;
  const late = new Attachments({ store: { transact }, view, clock, random: randomBytes });
  await settled(late.detach(NODE, id));
  assert.equal(c.view.get('task', id)!.desiredState, 'remove');
  stale = Infinity;
  const other = await settled(attach('open'));
  await assert.rejects(settled(late.detach(NODE, other)), { code: 'out-of-sequence' });
});

test('a node gives back its own stands only, and no task of a service', async (t) => {
  const { c, attachments, attach, settled } = await cluster(t);
  const id = await settled(attach('open'));
  await attachments.detach('n2' as NodeId, id);
  assert.equal(c.view.get('task', id)!.desiredState, 'running');
  await c.create(spec());
  await c.run(2000);
  const [task] = c.running('web');
  await attachments.detach(task!.nodeId!, task!.id);
  assert.equal(c.view.get('task', task!.id)!.desiredState, 'running');
});

test('a node that is removed takes its stands with it', async (t) => {
  const { c, attach, settled } = await cluster(t);
  const id = await settled(attach('open'));
  await c.run(1000);
  c.agents.silent.add(NODE);
  await c.store.transact([{ op: 'delete', kind: 'node', id: NODE }]);
  await c.run(QUARANTINE_MS + 5000);
  assert.equal(c.view.get('task', id), undefined);
});
