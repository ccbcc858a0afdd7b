/** Joining over real TLS on loopback: tokens, roots, roles, and what each kind of caller is refused. */
import assert from 'node:assert/strict';
import { randomBytes, X509Certificate } from 'node:crypto';
import { after, before, test } from 'node:test';
import { type Clock, systemClock, VirtualClock } from '../../kit/clock.ts';
import { silentLog } from '../../kit/log.ts';
import type { ClusterId, NodeId } from '../../model/ids.ts';
import type { Cluster, Node } from '../../model/objects.ts';
import type { NodeRole } from '../../model/spec.ts';
import { RpcClient } from '../../rpc/client.ts';
import { newJoinToken } from '../../rpc/join-token.ts';
import { RpcServer } from '../../rpc/server.ts';
import type { Credentials, Trust } from '../../rpc/tls.ts';
import { Cache } from '../../store/cache.ts';
import { MemoryStore } from '../../store/memory.ts';
import { type CaDeps, issueNode, type KeyAndCertificate, newEtcdRoot, newSwarmRoot } from './authority.ts';
import { Issuer } from './issuer.ts';
import { joinManager } from './manager-join.ts';
import { newRequest } from '../../rpc/x509.ts';

const deps: CaDeps = { now: () => Date.now(), random: randomBytes };
const clusterId = 'thecluster' as ClusterId;
const managerId = 'manager0' as NodeId;
const removed = new Set<string>();
/** What the store says of a node, where it is not what the certificate says. */
const roles = new Map<string, NodeRole>();

let root: KeyAndCertificate;
let store: MemoryStore;
let view: Cache;
let server: RpcServer;
let addr: string;
let cluster: Cluster;
const stop = new AbortController();
/** How far the server's clock is ahead of the certificates'. */
let ahead = 0;
const clock: Clock = { ...systemClock, now: () => systemClock.now() + ahead };

async function credentials(
  nodeId: string,
  role: NodeRole,
  options: { ca?: KeyAndCertificate; at?: number; clusterId?: ClusterId } = {},
): Promise<Credentials> {
  const { key, csr } = await newRequest();
  const signer = options.ca ?? root;
  const subject = { nodeId: nodeId as NodeId, role, clusterId: options.clusterId ?? clusterId };
  const at = options.at ?? Date.now();
  const certificate = await issueNode(signer, csr, subject, 3600_000, { ...deps, now: () => at });
  return { key, certificate, ca: root.certificate };
}

before(async () => {
  root = await newSwarmRoot(deps);
  const etcd = await newEtcdRoot(deps);
  store = new MemoryStore({ clock: systemClock });
  view = new Cache();
  const object = {
    id: clusterId,
    spec: { CAConfig: { NodeCertExpiry: 2160 * 3600e9 }, Dispatcher: {} },
    addressPools: [],
    subnetSize: 24,
    dataPathPort: 4789,
    joinTokens: {
      worker: newJoinToken(root.certificate, randomBytes),
      manager: newJoinToken(root.certificate, randomBytes),
    },
    ca: { ...root, etcdCertificate: etcd.certificate, etcdKey: etcd.key },
  } as unknown as Cluster;
  await store.transact([{ op: 'create', kind: 'cluster', object }]);
  void view.follow(store, { clock: systemClock, signal: stop.signal });
  await view.reached(1);
  cluster = view.cluster!;
  const issuer = new Issuer({
    store,
    view,
    clock: systemClock,
    random: randomBytes,
    log: silentLog,
    managers: () => [{ nodeId: managerId, addr }],
  });
  server = new RpcServer({
    credentials: await credentials(managerId, 'manager'),
    clusterId,
    roleOf: (id) => (removed.has(id) ? undefined : (roles.get(id) ?? 'manager')),
    clock,
    log: silentLog,
    handlers: {
      'ca.root': () => issuer.root(),
      'ca.issue': (params, call) => issuer.issue(params, call),
      'cluster.managers': async () => ({ managers: [{ nodeId: managerId, addr }] }),
      'manager.join': (params, call) =>
        joinManager(
          { store, view, secretsKey: () => 'key', addMember: async (m) => [{ ...m }] },
          params,
          call,
        ),
      'dispatcher.session': async function* () {
        yield { type: 'managers' as const, managers: [] };
      },
    },
  });
  const { port } = await server.listen('127.0.0.1', 0);
  addr = `127.0.0.1:${port}`;
});

after(async () => {
  stop.abort();
  await server.close();
});

async function withClient<T>(trust: Trust, use: (client: RpcClient) => Promise<T>): Promise<T> {
  const client = await RpcClient.connect({ addr, trust, clock: systemClock });
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

const member = async (nodeId: string, role: NodeRole, options = {}): Promise<Trust> => ({
  kind: 'member',
  credentials: await credentials(nodeId, role, options),
  clusterId,
});
const nodes = () => store.snapshot().then(({ objects }) => objects.filter((o) => o.kind === 'node').length);
const managers = (client: RpcClient) => client.call('cluster.managers', {});
/** At the door: the words of a handler would say that it was let in. */
const ONLY_MANAGERS = { code: 'permission-denied', message: /only a manager may make this call/ };
const joinAsManager = (client: RpcClient) =>
  client.call('manager.join', {
    addr: '192.0.2.2:2377',
    etcdName: 'b',
    etcdPeerUrl: 'https://192.0.2.2:2380',
  });

test('each token makes a node of its role, with the availability asked for', async () => {
  for (const role of ['worker', 'manager'] as const) {
    const { csr } = await newRequest();
    const answer = await withClient({ kind: 'root', ca: root.certificate }, (client) =>
      client.call('ca.issue', { csr, token: cluster.joinTokens[role], availability: 'pause' }),
    );
    assert.equal(answer.role, role);
    const certificate = new X509Certificate(answer.certificate);
    assert.ok(certificate.verify(new X509Certificate(root.certificate).publicKey));
    assert.match(certificate.subject, new RegExp(`CN=${answer.nodeId}\nOU=swarm-${role}\nO=${clusterId}`));
    const days = (Date.parse(certificate.validTo) - Date.now()) / 86400_000;
    assert.ok(Math.abs(days - 90) < 1, `${days} days`);
    const node = await store.get('node', answer.nodeId);
    assert.deepEqual([node?.spec.Role, node?.spec.Availability], [role, 'pause']);
    assert.equal(node?.status.addr, '127.0.0.1');
  }
});

const NO_TOKEN = {
  code: 'invalid-argument',
  message: /A valid join token is necessary to join this cluster/,
};

test('a wrong token is refused in the words of Docker and leaves no node', async () => {
  const { csr } = await newRequest();
  const had = await nodes();
  const wrong = newJoinToken(root.certificate, randomBytes);
  for (const token of [wrong, undefined, 'x'])
    await assert.rejects(
      withClient({ kind: 'none' }, (client) => client.call('ca.issue', { csr, token })),
      NO_TOKEN,
    );
  await assert.rejects(
    withClient(await member('m', 'manager'), (client) => client.call('ca.issue', { csr, token: wrong })),
    NO_TOKEN,
    'whoever asks',
  );
  assert.equal(await nodes(), had);
});

test('what is no certificate request, or not signed by its key, is refused and leaves no node', async () => {
  const { csr } = await newRequest();
  const had = await nodes();
  const der = Buffer.from(csr.replace(/-----[^-]+-----|\s/g, ''), 'base64');
  der[der.length - 1]! ^= 1; // the signature's last byte
  const forged = `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
  for (const [request, message] of [
    ['nonsense', /cannot be read/],
    [forged, /is not signed by its key/],
  ] as const)
    await assert.rejects(
      withClient({ kind: 'none' }, (client) =>
        client.call('ca.issue', { csr: request, token: cluster.joinTokens.worker }),
      ),
      { code: 'invalid-argument', message },
    );
  assert.equal(await nodes(), had);
});

test('without a certificate there is no session and no list of managers', async () => {
  await withClient({ kind: 'none' }, async (client) => {
    await assert.rejects(managers(client), { code: 'unauthenticated' });
    await assert.rejects(client.stream('dispatcher.session', {}).next(), { code: 'unauthenticated' });
  });
});

test("a worker's certificate is a member's and opens no manager's call", async () => {
  await withClient(await member('w1', 'worker'), async (client) => {
    assert.deepEqual((await managers(client)).managers, [{ nodeId: managerId, addr }]);
    await assert.rejects(joinAsManager(client), ONLY_MANAGERS);
    await assert.rejects(
      client
        .stream('logs.read', {
          id: 'x',
          tasks: [],
          follow: false,
          tail: undefined,
          since: undefined,
          until: undefined,
          stdout: true,
          stderr: true,
        })
        .next(),
      { code: 'unimplemented' },
    );
  });
});

test('a manager joins, gets what etcd needs, and is registered', async () => {
  const { key, csr } = await newRequest();
  const made = await withClient({ kind: 'root', ca: root.certificate }, (client) =>
    client.call('ca.issue', { csr, token: cluster.joinTokens.manager }),
  );
  const own = { key, certificate: made.certificate, ca: root.certificate };
  const answer = await withClient({ kind: 'member', credentials: own, clusterId }, joinAsManager);
  assert.deepEqual(answer.initialCluster, [{ name: 'b', peerUrl: 'https://192.0.2.2:2380' }]);
  assert.equal(answer.etcdCa, cluster.ca.etcdCertificate);
  assert.equal((await store.get('node', made.nodeId))?.manager?.addr, '192.0.2.2:2377');
  // It renews itself without a token, and stays who it is.
  const next = await newRequest();
  const renewed = await withClient({ kind: 'member', credentials: own, clusterId }, async (client) => {
    await view.reached((await store.snapshot()).revision);
    return client.call('ca.issue', { csr: next.csr });
  });
  assert.equal(renewed.nodeId, made.nodeId);
  assert.equal((await store.get('node', made.nodeId))?.certificate, renewed.certificate);
});

test("a manager's certificate opens no manager's call once the store has the node as a worker", async () => {
  await withClient(await member('demoted', 'manager'), async (client) => {
    roles.set('demoted', 'worker');
    assert.ok(await managers(client), 'it is a member still');
    await assert.rejects(joinAsManager(client), ONLY_MANAGERS);
  });
});

test('a manager that is to be a worker, and has not left the store yet, is not let in again', async () => {
  const { key, csr } = await newRequest();
  const made = await withClient({ kind: 'root', ca: root.certificate }, (client) =>
    client.call('ca.issue', { csr, token: cluster.joinTokens.manager }),
  );
  const own = { key, certificate: made.certificate, ca: root.certificate };
  const node = (await store.get('node', made.nodeId))!;
  const object = { ...node, spec: { ...node.spec, Role: 'worker' as const } };
  await store.transact([{ op: 'update', kind: 'node', object, version: node.version }]);
  await assert.rejects(withClient({ kind: 'member', credentials: own, clusterId }, joinAsManager), {
    code: 'permission-denied',
    message: /the node has not the role of a manager/,
  });
  assert.equal((await store.get('node', made.nodeId))?.manager, undefined);
});

test('a node renews as what the store has it: promoted as a manager, a worker only once it has left the store', async () => {
  const { key, csr } = await newRequest();
  const made = await withClient({ kind: 'root', ca: root.certificate }, (client) =>
    client.call('ca.issue', { csr, token: cluster.joinTokens.worker }),
  );
  const own = { key, certificate: made.certificate, ca: root.certificate };
  const renewedAfter = async (patch: (node: Node) => Node) => {
    const node = (await store.get('node', made.nodeId))!;
    const { version } = node;
    const revision = await store.transact([{ op: 'update', kind: 'node', object: patch(node), version }]);
    await view.reached(revision);
    const next = await newRequest();
    const { role, certificate } = await withClient(
      { kind: 'member', credentials: own, clusterId },
      (client) => client.call('ca.issue', { csr: next.csr }),
    );
    assert.match(new X509Certificate(certificate).subject, new RegExp(`OU=swarm-${role}`));
    return role;
  };
  const place = { addr: '192.0.2.9:2377', etcdName: made.nodeId, etcdPeerUrl: 'https://192.0.2.9:2380' };
  const asked = (Role: NodeRole) => (node: Node) => ({ ...node, spec: { ...node.spec, Role } });
  assert.equal(await renewedAfter(asked('manager')), 'manager');
  assert.equal(await renewedAfter((node) => ({ ...asked('worker')(node), manager: place })), 'manager');
  assert.equal(await renewedAfter((node) => ({ ...node, manager: undefined })), 'worker');
});

test('a removed node is refused on the connection that it has', async () => {
  await withClient(await member('gone', 'worker'), async (client) => {
    await managers(client);
    removed.add('gone');
    await assert.rejects(managers(client), { code: 'permission-denied' });
  });
});

test('a certificate that runs out while its connection is open opens nothing more', async () => {
  await withClient(await member('late', 'manager'), async (client) => {
    assert.ok(await managers(client));
    ahead = 7200_000;
    try {
      await assert.rejects(managers(client), { code: 'unauthenticated' });
    } finally {
      ahead = 0;
    }
  });
});

test('an expired certificate, a foreign root and another cluster are nobody', async () => {
  const foreign = await newSwarmRoot(deps);
  const cases: [string, object, string][] = [
    ['expired', { at: Date.now() - 7200_000 }, 'unauthenticated'],
    ['foreign root', { ca: foreign }, 'unauthenticated'],
    ['other cluster', { clusterId: 'other' as ClusterId }, 'permission-denied'],
  ];
  for (const [name, options, code] of cases)
    await assert.rejects(withClient(await member('m', 'manager', options), managers), { code }, name);
});

test('a client takes no server but a manager of its root and its cluster', async () => {
  const foreign = await newSwarmRoot(deps);
  await assert.rejects(withClient({ kind: 'root', ca: foreign.certificate }, managers), {
    code: 'unavailable',
  });
  const own = await credentials('w', 'worker');
  const trust: Trust = { kind: 'member', credentials: own, clusterId: 'other' as ClusterId };
  await assert.rejects(withClient(trust, managers), /belongs to another cluster/);
});

test("a server with a worker's certificate is no manager, neither to a member nor to who joins", async () => {
  const impostor = new RpcServer({
    credentials: await credentials('w', 'worker'),
    clusterId,
    roleOf: () => 'manager',
    clock,
    log: silentLog,
    handlers: { 'ca.root': async () => ({ ca: root.certificate }) },
  });
  const { port } = await impostor.listen('127.0.0.1', 0);
  try {
    for (const trust of [await member('m', 'manager'), { kind: 'root', ca: root.certificate } as const])
      await assert.rejects(RpcClient.connect({ addr: `127.0.0.1:${port}`, trust, clock }), {
        code: 'unavailable',
        message: /the peer is not a manager of the cluster/,
      });
  } finally {
    await impostor.close();
  }
});

test('time of a certificate comes from the injected clock', async () => {
  const clock = new VirtualClock();
  const { certificate } = await newSwarmRoot({ now: () => clock.now(), random: randomBytes });
  const { validFrom, validTo } = new X509Certificate(certificate);
  assert.equal(Date.parse(validFrom), clock.now() - 3600_000);
  assert.ok(Date.parse(validTo) > clock.now() + 19 * 365 * 86400_000);
});
