import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { contains, intToIp, ipToInt, isIpv4, overlaps, parseCidr, range } from './cidr.ts';

const address = fc.integer({ min: 0, max: 0xffffffff });

test('addresses survive the way to an integer and back', () => {
  fc.assert(fc.property(address, (n) => ipToInt(intToIp(n)) === n && isIpv4(intToIp(n))));
});

test('a prefix contains exactly its range', () => {
  fc.assert(
    fc.property(address, fc.integer({ min: 0, max: 32 }), (n, length) => {
      const cidr = parseCidr(`${intToIp(n)}/${length}`);
      const { first, last } = range(cidr);
      return (
        contains(cidr, intToIp(first)) &&
        contains(cidr, intToIp(last)) &&
        (last === 0xffffffff || !contains(cidr, intToIp(last + 1))) &&
        last - first + 1 === 2 ** (32 - length)
      );
    }),
  );
});

test('bad text is refused', () => {
  for (const text of [
    '10.0.0.0',
    '10.0.0/8',
    '10.0.0.256/8',
    '10.0.0.0/33',
    '10.0.0.0/8/8',
    '010.0.0.0/8',
    '',
  ])
    assert.throws(() => parseCidr(text), { code: 'invalid-argument' });
});

test('overlap is symmetric and true for nested prefixes', () => {
  assert.ok(overlaps(parseCidr('10.0.0.0/8'), parseCidr('10.1.0.0/16')));
  assert.ok(overlaps(parseCidr('10.1.0.0/16'), parseCidr('10.0.0.0/8')));
  assert.ok(!overlaps(parseCidr('10.0.0.0/24'), parseCidr('10.0.1.0/24')));
});
