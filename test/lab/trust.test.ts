/** Who may say what to a manager: strangers, holders of certificates of other roots, workers, and who was removed. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Identity, identityFile } from '../../src/agent/identity.ts';
import { runProcess } from '../../src/kit/process.ts';
import { until } from '../../src/lab/cluster.ts';
import { downLab, Lab } from '../../src/lab/lab.ts';
import { issueNode, newRoot } from '../../src/manager/ca/authority.ts';
import { type MethodName, METHODS } from '../../src/rpc/methods.ts';
import type { Trust } from '../../src/rpc/tls.ts';
import { newRequest } from '../../src/rpc/x509.ts';
import type { Calls } from './caller.ts';

const NAME = 'proof-trust';
const MANAGER = '192.0.2.11';
const CALLER = fileURLToPath(new URL('caller.ts', import.meta.url));
const deps = { now: () => Date.now(), random: randomBytes };
const ALL = Object.keys(METHODS) as MethodName[];
const OPEN: readonly MethodName[] = ['ca.root', 'ca.issue'];

/** TLS to the store's peer port with what certificate there is; prints the HTTP status, or why there is none. */
const PEER = `
const { readFileSync } = require('node:fs');
const [address, key, cert] = process.argv.slice(1);
const tls = key ? { key: readFileSync(key), cert: readFileSync(cert) } : {};
require('node:https').get({ host: address, port: 2380, path: '/members', rejectUnauthorized: false, timeout: 20000, ...tls },
  (answer) => { console.log(answer.statusCode); process.exit(0); }).on('error', (error) => console.log(error.code));
`;

describe('trust', { timeout: 600_000 }, () => {
  let lab: Lab;
  let [manager, worker]: Identity[] = [];
  const identityOf = (node: string) =>
    identityFile(join(lab.node(node).dataRoot, 'cluster', 'identity.json')).read()!;
  const member = (credentials: Identity['credentials']): Trust => ({ kind: 'member', credentials });

  async function call(trust: Trust, methods = ALL): Promise<Record<string, string>> {
    const calls: Calls = { addr: `${MANAGER}:2377`, trust, methods };
    const { stdout } = await runProcess([...lab.enter('client'), process.execPath, CALLER], {
      input: JSON.stringify(calls),
      timeoutMs: 120_000,
    });
    return JSON.parse(stdout) as Record<string, string>;
  }

  before(async () => {
    lab = await Lab.up({ name: NAME, nodes: 2 });
    manager = identityOf('node1');
    worker = identityOf('node2');
  });
  after(() => downLab(NAME));

  test('a stranger may ask for the root and for a certificate, which takes a token, and nothing else', async () => {
    const outcome = await call({ kind: 'root', ca: manager!.credentials.ca });
    assert.equal(outcome['ca.root'], 'served');
    assert.equal(outcome['ca.issue'], 'invalid-argument');
    for (const method of ALL.filter((m) => !OPEN.includes(m)))
      assert.equal(outcome[method], 'unauthenticated', method);
  });

  for (const [whose, name, refusal] of [
    ['another root', 'other-ca', /^unauthenticated$/],
    // OpenSSL finds the false signature and Node ends the connection on it.
    ['a root of the same name', 'swarm-ca', /^(unauthenticated|unavailable)$/],
  ] as const)
    test(`a certificate that names a manager but is signed by ${whose} opens no more`, async () => {
      const { key, csr } = await newRequest();
      const subject = { nodeId: manager!.nodeId, role: 'manager' as const, clusterId: manager!.clusterId };
      const certificate = await issueNode(await newRoot(name, deps), csr, subject, 3_600_000, deps);
      const outcome = await call(member({ key, certificate, ca: manager!.credentials.ca }));
      for (const method of ALL.filter((m) => !OPEN.includes(m)))
        assert.match(outcome[method]!, refusal, method);
    });

  test('a manager that is of another root is not spoken to', async () => {
    const { certificate: ca } = await newRoot('other-ca', deps);
    const outcome = await call(member({ ...worker!.credentials, ca }));
    assert.match(outcome['connect']!, /cannot reach the manager at 192\.0\.2\.11:2377: .*certificate/);
  });

  test("a worker's certificate makes no call of a manager", async () => {
    const outcome = await call(member(worker!.credentials), [
      'cluster.managers',
      'manager.join',
      'logs.read',
      'explain.ask',
    ]);
    assert.deepEqual(outcome, {
      'cluster.managers': 'served',
      'manager.join': 'permission-denied',
      'logs.read': 'permission-denied',
      'explain.ask': 'permission-denied',
    });
    const own = await call(member(manager!.credentials), ['manager.join']);
    assert.equal(own['manager.join'], 'invalid-argument', "a manager's does");
  });

  test('the store speaks to its own peers only, not even to members of the cluster', async () => {
    const folder = join(lab.node('node1').dataRoot, 'cluster');
    const ask = async (...files: string[]) =>
      (await lab.exec('client', [process.execPath, '-e', PEER, MANAGER, ...files])).stdout.trim();
    assert.equal(await ask(join(folder, 'etcd-peer-key.pem'), join(folder, 'etcd-peer.pem')), '200');
    assert.match(await ask(), /^ERR_SSL_\S+ALERT/);
    const file = join(folder, '..', 'worker.pem');
    const { key, certificate } = worker!.credentials;
    writeFileSync(file, key + certificate);
    assert.match(await ask(file, file), /^ERR_SSL_\S+ALERT/);
  });

  test('a certificate is worth nothing once its node was removed', async () => {
    await lab.engine('node2').post('/swarm/leave', undefined);
    const engine = lab.engine('node1');
    await until(
      'node2 to be down',
      async () => {
        const node = await engine.get<{ Status: { State: string } }>(`/nodes/${worker!.nodeId}`);
        return node.Status.State === 'down' || node.Status.State;
      },
      { timeoutMs: 20_000 },
    );
    await engine.raw('DELETE', `/nodes/${worker!.nodeId}`);
    const outcome = await call(member(worker!.credentials), ['cluster.managers', 'dispatcher.session']);
    assert.deepEqual(outcome, {
      'cluster.managers': 'permission-denied',
      'dispatcher.session': 'permission-denied',
    });
  });
});
