import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memberArgv, type MemberPlan } from './member-plan.ts';

const base: MemberPlan = {
  binary: 'etcd',
  dataDir: '/var/lib/x/data',
  socket: 'client:0',
  name: 'two',
  peerUrl: 'https://192.0.2.2:2380',
  tls: { caFile: 'ca.pem', certFile: 'cert.pem', keyFile: 'key.pem' },
  timing: 'peers',
  mode: { kind: 'existing' },
};

const valueOf = (argv: readonly string[], flag: string): string | undefined => argv[argv.indexOf(flag) + 1];

test('clients come by the unix socket only, peers by mutual TLS only', () => {
  const argv = memberArgv(base);
  assert.equal(valueOf(argv, '--listen-client-urls'), 'unix://client:0');
  assert.equal(valueOf(argv, '--listen-peer-urls'), 'https://192.0.2.2:2380');
  assert.equal(valueOf(argv, '--peer-trusted-ca-file'), 'ca.pem');
  assert.ok(argv.includes('--peer-client-cert-auth'));
});

test('only bootstrapping makes a new cluster', () => {
  const state = (mode: MemberPlan['mode']) =>
    valueOf(memberArgv({ ...base, mode }), '--initial-cluster-state');
  assert.equal(state({ kind: 'bootstrap' }), 'new');
  assert.equal(state({ kind: 'existing' }), 'existing');
  assert.equal(state({ kind: 'force-new-cluster' }), 'existing');
  const others = [{ name: 'one', peerUrl: 'https://192.0.2.1:2380' }];
  const join = memberArgv({ ...base, mode: { kind: 'join', others } });
  assert.equal(valueOf(join, '--initial-cluster-state'), 'existing');
  assert.equal(valueOf(join, '--initial-cluster'), 'one=https://192.0.2.1:2380,two=https://192.0.2.2:2380');
});

test('the database may grow to four GiB unless it is said otherwise', () => {
  assert.equal(valueOf(memberArgv(base), '--quota-backend-bytes'), '4294967296');
  assert.equal(valueOf(memberArgv({ ...base, quotaBytes: 1024 }), '--quota-backend-bytes'), '1024');
});

test('timers are quick only for a member alone', () => {
  const election = (timing: MemberPlan['timing']) =>
    Number(valueOf(memberArgv({ ...base, timing }), '--election-timeout'));
  assert.equal(election('alone'), 200);
  assert.ok(election('peers') >= 1000);
});
