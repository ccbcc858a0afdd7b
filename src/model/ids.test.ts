import { test } from 'node:test';
import fc from 'fast-check';
import { type Brand, newId, newMac } from './ids.ts';

const bytes = fc.uint8Array({ minLength: 16, maxLength: 16 });

test('ids are 25 characters of base 36', () => {
  fc.assert(fc.property(bytes, (b) => /^[0-9a-z]{25}$/.test(newId<Brand<string, 'x'>>(() => b))));
});

test('MACs are unicast and locally administered', () => {
  fc.assert(
    fc.property(bytes, (b) => (Number.parseInt(newMac(() => b.slice(0, 6)).slice(0, 2), 16) & 3) === 2),
  );
});
