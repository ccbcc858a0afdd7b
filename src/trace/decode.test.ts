import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decode } from './decode.ts';
import { buildFrame, encapsulate } from './fake-frame.ts';

const SYN = {
  source: '192.0.2.200',
  destination: '192.0.2.11',
  sourceMac: '52:54:00:00:02:c8',
  destinationMac: '52:54:00:00:02:0b',
  sourcePort: 40001,
  destinationPort: 80,
  sequence: 4_000_000_000,
};

test('a TCP frame to its headers', () => {
  assert.deepEqual(decode(buildFrame({ ...SYN, flags: ['SYN', 'ACK'], acknowledgement: 5 })), {
    source: { mac: '52:54:00:00:02:c8', ip: '192.0.2.200', port: 40001 },
    destination: { mac: '52:54:00:00:02:0b', ip: '192.0.2.11', port: 80 },
    protocol: 'tcp',
    ttl: 64,
    payload: 0,
    tcp: { flags: ['SYN', 'ACK'], sequence: 4_000_000_000, acknowledgement: 5, window: 64240 },
  });
});

test('payload is what the headers say, not what padding or the capture make of it', () => {
  const frame = buildFrame({ ...SYN, payload: Buffer.alloc(300) });
  assert.equal(decode(Buffer.concat([frame, Buffer.alloc(20)]))?.payload, 300);
  assert.equal(decode(frame.subarray(0, 60))?.payload, 300);
  assert.equal(decode(buildFrame({ ...SYN, protocol: 'udp', payload: Buffer.alloc(7) }))?.payload, 7);
});

test('IP options move the ports', () => {
  assert.equal(decode(buildFrame({ ...SYN, options: 3 }))?.destination.port, 80);
});

test('what VXLAN carries is the packet, the tunnel beside it', () => {
  const packet = decode(
    encapsulate({ source: '192.0.2.11', destination: '192.0.2.12' }, 4096, buildFrame(SYN)),
  );
  assert.equal(packet?.source.ip, '192.0.2.200');
  assert.equal(packet?.destination.mac, '52:54:00:00:02:0b');
  assert.deepEqual(packet?.tunnel, {
    vni: 4096,
    source: '192.0.2.11',
    destination: '192.0.2.12',
    port: 4789,
  });
});

test('UDP and ICMP', () => {
  const base = { source: '10.0.0.1', destination: '10.0.0.2' };
  assert.equal(decode(buildFrame({ ...base, protocol: 'udp', destinationPort: 53 }))?.destination.port, 53);
  assert.deepEqual(decode(buildFrame({ ...base, protocol: 'icmp' }))?.icmp, {
    type: 8,
    code: 0,
    id: 7,
    sequence: 1,
  });
});

test('no bytes make it throw', () => {
  const good = encapsulate({ source: '192.0.2.11', destination: '192.0.2.12' }, 1, buildFrame(SYN));
  fc.assert(fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => (decode(bytes), true)));
  for (let length = 0; length < good.length; length++) decode(good.subarray(0, length));
  assert.equal(decode(good.subarray(0, 30)), undefined);
});
