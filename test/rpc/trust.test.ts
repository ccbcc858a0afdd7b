/** Who may say what: joining, certificates and their renewal, strangers. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { join as joinPath } from 'node:path';
import { test } from 'node:test';
import {
  type Identity,
  identityFile,
  join,
  keepRenewed,
  renew,
  renewalTime,
} from '../../src/agent/identity.ts';
import { systemClock, VirtualClock } from '../../src/kit/clock.ts';
import { silentLog } from '../../src/kit/log.ts';
import type { NodeId } from '../../src/model/ids.ts';
import { SkeinError } from '../../src/model/errors.ts';
import { issueNode, newSwarmRoot } from '../../src/manager/ca/authority.ts';
import { newJoinToken } from '../../src/rpc/join-token.ts';
import { RpcServer } from '../../src/rpc/server.ts';
import { newRequest } from '../../src/rpc/x509.ts';
import { clusterId, deps, folder, leader, root, startAgent, startManager, tokens, until } from './stage.ts';

test('a wrong root is refused before anything is said to it, a wrong token by the manager', async () => {
  const foreign = newJoinToken((await newSwarmRoot(deps)).certificate, randomBytes);
  const attempt = (token: string) => join({ addrs: [leader.addr], token, clock: systemClock });
  await assert.rejects(attempt(foreign), /remote CA does not match fingerprint/);
  await assert.rejects(
    attempt(newJoinToken(root.certificate, randomBytes)),
    /A valid join token is necessary/,
  );
  await assert.rejects(attempt('nonsense'), /invalid join token/);
});

test('a certificate that the root has not signed is not taken', async () => {
  const own = await newRequest();
  const subject = { nodeId: 'm4' as NodeId, role: 'manager' as const, clusterId };
  const certificate = await issueNode(root, own.csr, subject, 3600_000, deps);
  const other = await newSwarmRoot(deps);
  const server = new RpcServer({
    credentials: { key: own.key, certificate, ca: root.certificate },
    clusterId,
    roleOf: () => undefined,
    clock: systemClock,
    log: silentLog,
    handlers: {
      'ca.root': async () => ({ ca: root.certificate }),
      'ca.issue': async ({ csr }) => ({
        ...{ ca: root.certificate, nodeId: 'n' as NodeId, clusterId, role: 'worker', managers: [] },
        certificate: await issueNode(other, csr, { ...subject, role: 'worker' }, 3600_000, deps),
      }),
    },
  });
  const { port } = await server.listen('127.0.0.1', 0);
  await assert
    .rejects(
      join({ addrs: [`127.0.0.1:${port}`], token: tokens.worker, clock: systemClock }),
      /the certificate given is not signed by the root/,
    )
    .finally(() => server.close());
});

test(
  'a stranger cannot have a manager keep what he sends: small messages, or an end',
  { timeout: 30_000 },
  async () => {
    const session = connectHttp2(`https://${leader.addr}`, { rejectUnauthorized: false });
    try {
      const stream = session.request({ ':method': 'POST', ':path': '/ca.issue' });
      stream.write(Buffer.alloc(128 * 1024, 'x')); // and no end of it
      stream.on('error', () => {}); // it is cut off in the middle of what it says
      const [said] = (await once(stream, 'data')) as [Buffer];
      assert.match(said.toString(), /^!\{"code":"resource-exhausted"/);
    } finally {
      session.destroy();
    }
  },
);

test('an address without a manager is passed over', async () => {
  const identity = await join({
    addrs: ['127.0.0.1:1', leader.addr],
    token: tokens.manager,
    clock: systemClock,
  });
  assert.equal(identity.role, 'manager');
  await assert.rejects(join({ addrs: ['127.0.0.1:1'], token: tokens.worker, clock: systemClock }), {
    code: 'unavailable',
  });
});

test('a refusal in words is the answer: no other manager is asked', async () => {
  const token = newJoinToken(root.certificate, randomBytes);
  await assert.rejects(
    join({ addrs: [leader.addr, '127.0.0.1:1'], token, clock: systemClock }),
    /A valid join token is necessary/,
  );
});

test('the identity is kept with its key for its owner only, and renewed in the middle of its life', async () => {
  const agent = await startAgent([leader.addr]);
  await until('session', () => agent.session.connected);
  const file = identityFile(joinPath(folder, 'id', 'identity.json'));
  assert.equal(file.read(), undefined);
  file.write(agent.identity);
  assert.equal(statSync(joinPath(folder, 'id', 'identity.json')).mode & 0o777, 0o600);
  assert.deepEqual(file.read(), agent.identity);
  const renewed = await renew(agent.session.client!, agent.identity);
  assert.equal(renewed.nodeId, agent.identity.nodeId);
  assert.notEqual(renewed.credentials.certificate, agent.identity.credentials.certificate);
  const day = 86400_000;
  for (const [random, from, to] of [
    [0, 44, 46],
    [0.999, 70, 73],
  ] as const) {
    const days = (renewalTime(renewed.credentials.certificate, () => random) - Date.now()) / day;
    assert.ok(days > from && days < to, `${days} days`);
  }
  file.remove();
  assert.equal(file.read(), undefined);
  await agent.end();
});

test('a certificate is renewed before it ends, again and again, and after a manager that did not answer', async () => {
  const hour = 3600_000;
  const clock = new VirtualClock();
  const subject = { nodeId: 'n' as NodeId, role: 'worker' as const, clusterId };
  const issued = async (): Promise<Identity> => {
    const { key, csr } = await newRequest();
    const certificate = await issueNode(root, csr, subject, 9 * hour, { ...deps, now: () => clock.now() });
    return { ...subject, credentials: { key, certificate, ca: root.certificate }, managers: [] };
  };
  let identity = await issued();
  let making = Promise.resolve(identity);
  const [begin, renewals] = [clock.now(), [] as number[]];
  const end = new AbortController();
  const kept = keepRenewed({
    clock,
    log: silentLog,
    random: () => 0,
    signal: end.signal,
    current: () => identity,
    renew: async () => {
      renewals.push((clock.now() - begin) / hour);
      if (renewals.length === 2) throw new SkeinError('unavailable', 'no session');
      return (identity = await (making = issued()));
    },
  });
  // Valid for ten hours, one of them before it was made: half of that has passed after four.
  for (let minute = 0; minute < 10 * 60; minute++) {
    await clock.advance(60_000);
    await making; // in real time, in which the virtual clock stands
    if (renewals.length === 3) break;
  }
  end.abort();
  await kept;
  assert.deepEqual(
    renewals.map((at) => Math.round(at * 60)),
    [4 * 60, 8 * 60, 8 * 60 + 1],
  );
});

test('a server that closes ends connections too that have not shaken hands', async () => {
  const manager = await startManager('m3', () => undefined);
  const [host, port] = manager.addr.split(':');
  const socket = connect(Number(port), host);
  socket.on('error', () => {}); // that it is cut is what is asked for
  const gone = new Promise((resolve) => socket.on('close', resolve));
  await once(socket, 'connect');
  await new Promise(setImmediate); // the server, in this very process, takes it
  await manager.server.close();
  await gone;
});
