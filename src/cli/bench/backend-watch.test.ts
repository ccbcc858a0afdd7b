import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ruleMark } from '../../net/nft-names.ts';
import { backendsIn } from './backend-watch.ts';

const rule = (port: number, modulus: number, keepClient = false) =>
  `add rule ip skein tcp-${port} dnat to tcp dport:numgen inc mod ${modulus} comment "${ruleMark({ modulus, keepClient })}"`;

test('the backends of a port, from what the monitor prints of its chain', () => {
  assert.equal(backendsIn(rule(8001, 3), 8001), 3);
  assert.equal(backendsIn(rule(8001, 12, true), 8001), 12);
});

test('other ports, removed rules and a port without backends are no news', () => {
  assert.equal(backendsIn(rule(8002, 3), 8001), undefined);
  assert.equal(backendsIn(rule(8001, 0), 8001), undefined);
  assert.equal(backendsIn('delete rule ip skein tcp-8001 handle 60', 8001), undefined);
});
