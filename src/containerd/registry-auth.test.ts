import assert from 'node:assert/strict';
import { test } from 'node:test';
import { removalConflict } from './image-removal.ts';
import { apiHost, isPlainHttp, parseChallenge, Scopes } from './registry-auth.ts';

test('plain HTTP is for loopback and what the settings name', () => {
  for (const host of ['localhost:5000', '127.1.2.3:80', '127.0.0.1', 'localhost', '[::1]:5000'])
    assert.ok(isPlainHttp(host, []), host);
  for (const host of ['docker.io', '10.0.0.1:5000', 'localhost.example.com'])
    assert.ok(!isPlainHttp(host, []), host);
  assert.ok(isPlainHttp('10.0.0.1:5000', ['10.0.0.0/8']));
  assert.ok(isPlainHttp('reg.local:5000', ['reg.local:5000']));
  assert.ok(isPlainHttp('reg.local:5000', ['reg.local']));
  assert.ok(!isPlainHttp('reg.local:5001', ['reg.local:5000']));
  assert.equal(apiHost('docker.io'), 'registry-1.docker.io');
});

test('challenges are understood, quoted or not', () => {
  const header = 'Bearer realm="https://auth.example/token",service=reg,scope="repository:a/b:pull"';
  assert.deepEqual(parseChallenge(header), {
    scheme: 'bearer',
    params: { realm: 'https://auth.example/token', service: 'reg', scope: 'repository:a/b:pull' },
  });
  assert.equal(parseChallenge('Basic realm="x"')?.scheme, 'basic');
  assert.equal(parseChallenge('Digest x=y'), undefined);
  assert.equal(parseChallenge(null), undefined);
});

test('an image in use is removed as far as Docker would', () => {
  const user = (running: boolean) => ({ containerId: 'c'.repeat(64), imageId: 'i', running });
  const base = { reference: 'a:1', imageId: `sha256:${'1'.repeat(64)}`, names: ['x/a:1'], force: false };
  const conflict = (byName: boolean, users: ReturnType<typeof user>[], more: object = {}) =>
    removalConflict({ ...base, byName, users, ...more });
  assert.equal(conflict(true, []), undefined);
  assert.match(conflict(true, [user(false)])!, /unable to remove repository reference "a:1" \(must force\)/);
  assert.equal(conflict(true, [user(true)], { force: true }), undefined);
  assert.equal(conflict(true, [user(true)], { names: ['x/a:1', 'x/b:1'] }), undefined);
  assert.match(conflict(false, [user(true)], { force: true })!, /cannot be forced.*running container c{12}$/);
  assert.match(conflict(false, [user(false)])!, /must be forced.*stopped container c{12}$/);
  assert.match(conflict(false, [], { names: ['x/a:1', 'x/b:1'] })!, /referenced in multiple repositories$/);
  assert.equal(conflict(false, [], { names: ['x/a:1', 'x/a@sha256:1'] }), undefined);
});

test('what tokens are asked for grows, and is never asked for less', () => {
  const scopes = new Scopes();
  scopes.add('repository:team/app:pull');
  scopes.add('repository:team/app:pull,push repository:team/base:pull');
  scopes.add('repository:team/app:pull');
  assert.deepEqual(scopes.list(), ['repository:team/app:pull,push', 'repository:team/base:pull']);
  assert.ok(scopes.has('repository:team/app:push'));
  assert.ok(!scopes.has('repository:team/app:delete'));
  assert.ok(!scopes.has('repository:team/app:pull repository:team/other:pull'));
});
