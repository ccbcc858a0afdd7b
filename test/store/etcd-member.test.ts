import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../../src/kit/clock.ts';
import { silentLog } from '../../src/kit/log.ts';
import { suspend } from '../../src/lab/signals.ts';
import { isCode } from '../../src/model/errors.ts';
import { loadX509 } from '../../src/rpc/x509.ts';
import type { EtcdClient } from '../../src/store/etcd/client.ts';
import type { PeerTls } from '../../src/store/etcd/member-plan.ts';
import type { EtcdMember } from '../../src/store/etcd/member.ts';
import { EtcdMembership, type EtcdPeer } from '../../src/store/etcd/membership.ts';
import { EtcdStore } from '../../src/store/etcd/store.ts';
import { task } from '../../src/store/store.contract.ts';
import { freePort } from '../free-port.ts';
import { Stalls } from '../lab/stalls.ts';
import { EtcdLab, until } from './etcd-lab.ts';

const withLab = async (run: (lab: EtcdLab) => Promise<void>): Promise<void> => {
  const lab = new EtcdLab();
  try {
    await run(lab);
  } finally {
    await lab.close();
  }
};

const storeOf = (client: EtcdClient) => new EtcdStore({ client, clock: systemClock, log: silentLog });
const createTask = (store: EtcdStore) => {
  const object = task();
  return store.transact([{ op: 'create', kind: 'task', object }]).then(() => object.id);
};
const stored = async (store: EtcdStore): Promise<Set<string>> =>
  new Set((await store.snapshot()).objects.map(({ object }) => object.id));

test('kill -9 under writes: nothing that was acknowledged is lost, and the supervisor brings it back', () =>
  withLab(async (lab) => {
    const member = await lab.single();
    assert.equal(statSync(join(lab.dir, 'one')).mode & 0o777, 0o700);
    const store = storeOf(lab.client(member));
    const abort = lab.controller();
    const supervised = member.supervise(abort.signal);
    const first = member.pid!;
    const acknowledged: string[] = [];
    const writers = Array.from({ length: 8 }, async () => {
      while (!abort.signal.aborted)
        await createTask(store).then(
          (id) => acknowledged.push(id),
          () => new Promise((resolve) => setTimeout(resolve, 20)),
        );
    });
    await until('writes', () => acknowledged.length > 200);
    process.kill(first, 'SIGKILL');
    await until('another process', () => member.pid !== undefined && member.pid !== first);
    const count = acknowledged.length;
    await until('writes again', () => acknowledged.length > count + 100);
    abort.abort();
    await Promise.all(writers);
    assert.equal(await supervised, 'stopped');
    const present = await stored(store);
    assert.deepEqual(acknowledged.filter((id) => !present.has(id)), []); // prettier-ignore
  }));

test('one that hangs is restarted by the supervisor, and nothing is lost', () =>
  withLab(async (lab) => {
    const member = await lab.single('one', { hungMs: 1500 });
    const store = storeOf(lab.client(member));
    const id = await createTask(store);
    const abort = lab.controller();
    const supervised = member.supervise(abort.signal);
    const first = member.pid!;
    await suspend([first]);
    await until('another process', () => member.pid !== undefined && member.pid !== first);
    await until('an answer', () => member.serves());
    abort.abort();
    await supervised;
    assert.ok((await stored(store)).has(id));
  }));

test('a new skeind adopts the running member and never bootstraps it again', () =>
  withLab(async (lab) => {
    const former = await lab.single();
    const id = await createTask(storeOf(lab.client(former)));
    const pid = former.pid;
    const member = lab.member({ name: 'one', peerUrl: 'http://127.0.0.1:1' });
    await member.startSingle();
    assert.equal(member.pid, pid);
    // The former skeind was killed before it wrote the pid file.
    rmSync(join(lab.dir, 'one', 'etcd.pid'));
    await member.start();
    assert.equal(member.pid, pid);
    await member.stop();
    await former.startSingle();
    assert.notEqual(former.pid, pid);
    await until('serves', () => former.serves());
    assert.ok((await stored(storeOf(lab.client(former)))).has(id));
  }));

test('one grows to three over mutual TLS, loses its leader without losing data, and shrinks', () =>
  withLab(async (lab) => {
    const tls = await peerCertificates(lab.dir, ['127.0.0.1', '127.0.0.2', '127.0.0.3']);
    const members: EtcdMember[] = [];
    for (const [i, name] of ['one', 'two', 'three'].entries()) {
      const address = `127.0.0.${i + 1}`;
      const peerUrl = `https://${address}:${await freePort(address)}`;
      members.push(lab.member({ name, peerUrl, tls: tls[i]! }));
    }
    const [one, two, three] = members as [EtcdMember, EtcdMember, EtcdMember];
    await one.startSingle();
    const ids = [await createTask(storeOf(lab.client(one)))];
    await one.setTiming('peers');
    assert.equal(one.timing, 'peers');
    const membership = new EtcdMembership({ client: lab.client(one), clock: systemClock, log: silentLog });
    for (const joiner of [two, three]) {
      const { peerUrl } = joiner;
      const others = await membership.list();
      const learner = await membership.addLearner(peerUrl);
      assert.equal((await membership.addLearner(peerUrl)).id, learner.id);
      await joiner.join(others);
      await membership.promote(learner.id);
      await until('the joiner serves', () => joiner.serves());
    }
    assert.deepEqual((await membership.list()).map((peer) => [peer.name, peer.learner]).sort(), [
      ['one', false],
      ['three', false],
      ['two', false],
    ]);
    const store = storeOf(lab.client(two));
    ids.push(await createTask(store));
    process.kill(one.pid!, 'SIGKILL');
    await until('writes go on', () =>
      createTask(store).then(
        (id) => ids.push(id) > 0,
        () => false,
      ),
    );
    await one.start();
    const onTwo = new EtcdMembership({ client: lab.client(two), clock: systemClock, log: silentLog });
    const abort = lab.controller();
    const supervised = three.supervise(abort.signal);
    // Members are not told while one is elected.
    let peers: readonly EtcdPeer[] = [];
    const told = async (count: number) => {
      peers = await onTwo.list().catch(() => []);
      return peers.length === count;
    };
    await until('three members', () => told(3));
    await onTwo.remove(peers.find((peer) => peer.name === 'three')!.id);
    assert.equal(await supervised, 'removed');
    await until('two members', () => told(2));
    // The other one is gone for good: what is left becomes a cluster of one.
    await two.stop();
    const [start, stalls] = [performance.now(), new Stalls()];
    await assert.rejects(createTask(storeOf(lab.client(one))), (error) =>
      isCode(error, 'unavailable', 'deadline-exceeded'),
    );
    assert.ok(performance.now() - start - stalls.ms < 10_000);
    await stalls.close();
    await one.forceNewCluster();
    const present = await stored(storeOf(lab.client(one)));
    assert.deepEqual(ids.filter((id) => !present.has(id)), []); // prettier-ignore
    assert.equal((await membership.list()).length, 1);
  }));

test('a peer without a certificate of the peer CA does not get in', () =>
  withLab(async (lab) => {
    const [tls] = await peerCertificates(lab.dir, ['127.0.0.1']);
    mkdirSync(join(lab.dir, 'foreign'));
    const [foreign] = await peerCertificates(join(lab.dir, 'foreign'), ['127.0.0.2']);
    const urls = [
      `https://127.0.0.1:${await freePort('127.0.0.1')}`,
      `https://127.0.0.2:${await freePort('127.0.0.2')}`,
    ] as const;
    const one = lab.member({ name: 'one', peerUrl: urls[0], tls: tls! });
    await one.startSingle();
    const membership = new EtcdMembership({ client: lab.client(one), clock: systemClock, log: silentLog });
    await membership.addLearner(urls[1]);
    const two = lab.member({ name: 'two', peerUrl: urls[1], tls: foreign! });
    await assert.rejects(two.join([{ name: 'one', peerUrl: urls[0] }]), { code: 'unavailable' });
  }));

/** A CA and a certificate for each address, as PEM files in `dir`. */
async function peerCertificates(dir: string, addresses: readonly string[]): Promise<PeerTls[]> {
  const x509 = await loadX509();
  x509.cryptoProvider.set(webcrypto as unknown as Parameters<typeof x509.cryptoProvider.set>[0]);
  const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-256', namedCurve: 'P-256' };
  const keyPair = () => webcrypto.subtle.generateKey(signingAlgorithm, true, ['sign', 'verify']);
  const span = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 3_600_000) };
  const caKeys = await keyPair();
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    ...span,
    serialNumber: '01',
    name: 'CN=etcd peers',
    keys: caKeys,
    signingAlgorithm,
    extensions: [new x509.BasicConstraintsExtension(true, 1, true)],
  });
  const file = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text, { mode: 0o600 });
    return join(dir, name);
  };
  const caFile = file('ca.pem', ca.toString('pem'));
  const issue = async (address: string, i: number): Promise<PeerTls> => {
    const keys = await keyPair();
    const certificate = await x509.X509CertificateGenerator.create({
      ...span,
      serialNumber: `0${i + 2}`,
      subject: `CN=${address}`,
      issuer: ca.subject,
      publicKey: keys.publicKey,
      signingKey: caKeys.privateKey,
      signingAlgorithm,
      extensions: [
        new x509.ExtendedKeyUsageExtension(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']),
        new x509.SubjectAlternativeNameExtension([{ type: 'ip', value: address }]),
      ],
    });
    const key = x509.PemConverter.encode(
      await webcrypto.subtle.exportKey('pkcs8', keys.privateKey),
      'PRIVATE KEY',
    );
    return {
      caFile,
      certFile: file(`${address}.pem`, certificate.toString('pem')),
      keyFile: file(`${address}.key`, key),
    };
  };
  return Promise.all(addresses.map(issue));
}
