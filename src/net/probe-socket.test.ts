import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checksum, echoRequest } from './probe-socket.ts';

test('an echo request as the kernel wants it: its checksum comes out even, the whole number is in it', () => {
  const packet = echoRequest(0xbeef, 0x1_0002, Buffer.from('12345678'));
  assert.equal(checksum(packet), 0);
  assert.equal(packet.readUInt16BE(4), 0xbeef);
  assert.equal(packet.readUInt16BE(6), 2);
  assert.equal(packet.readUInt32BE(16), 0x1_0002);
});

test('a checksum worked out by hand, of an odd number of bytes', () => {
  assert.equal(checksum(Buffer.from([0x00, 0x01, 0xf2, 0x03, 0xf4])), 0x19fa);
});
