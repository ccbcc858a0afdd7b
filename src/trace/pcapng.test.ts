import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildFrame } from './fake-frame.ts';
import { encodePcapng } from './pcapng.ts';

/** Blocks as a reader walks them: each length stands at both ends. */
function blocks(bytes: Buffer): { type: number; body: Buffer }[] {
  const found: { type: number; body: Buffer }[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at + 4);
    assert.equal(length % 4, 0);
    assert.equal(bytes.readUInt32LE(at + length - 4), length);
    found.push({ type: bytes.readUInt32LE(at), body: bytes.subarray(at + 8, at + length - 4) });
    at += length;
  }
  return found;
}

test('a reader finds every frame with its time, interface and direction', () => {
  const bytes = buildFrame({ source: '10.0.0.1', destination: '10.0.0.2', payload: Buffer.from('x') });
  const time = 1_767_225_600_123_456_789n;
  const frame = { link: 'eth0', time, length: 1500, bytes };
  const file = encodePcapng([
    { ...frame, point: 'node1', direction: 'in' },
    { ...frame, point: 'node2', direction: 'out' },
    { ...frame, point: 'node1', direction: 'out' },
  ]);
  const [section, first, second, ...packets] = blocks(file);
  assert.equal(section!.type, 0x0a0d0d0a);
  assert.deepEqual([first!.type, second!.type], [1, 1]);
  assert.ok(first!.body.includes('node1/eth0') && second!.body.includes('node2/eth0'));
  assert.deepEqual(
    packets.map(({ body }) => body.readUInt32LE(0)),
    [0, 1, 0],
  );
  const { body } = packets[0]!;
  assert.equal((BigInt(body.readUInt32LE(4)) << 32n) | BigInt(body.readUInt32LE(8)), time);
  assert.equal(body.readUInt32LE(12), bytes.length);
  assert.equal(body.readUInt32LE(16), 1500);
  assert.ok(body.subarray(20, 20 + bytes.length).equals(bytes));
});
