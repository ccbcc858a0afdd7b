import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildFrame, encapsulate } from './fake-frame.ts';
import { type CaptureFilter, compileFilter, encodeFilter, type Instruction, SNAP_LENGTH } from './filter.ts';

/** Classic BPF as the kernel runs it; a load beyond the packet ends the program with 0. */
function run(program: readonly Instruction[], packet: Buffer): number {
  let [a, x] = [0, 0];
  for (let pc = 0; ; pc++) {
    const { code, jt, jf, k } = program[pc]!;
    try {
      if (code === 0x20) a = packet.readUInt32BE(k);
      else if (code === 0x28) a = packet.readUInt16BE(k);
      else if (code === 0x30) a = packet.readUInt8(k);
      else if (code === 0x48) a = packet.readUInt16BE(x + k);
      else if (code === 0xb1) x = (packet.readUInt8(k) & 0xf) * 4;
      else if (code === 0x54) a = (a & k) >>> 0;
      else if (code === 0x15) pc += a === k ? jt : jf;
      else if (code === 0x45) pc += (a & k) !== 0 ? jt : jf;
      else if (code === 0x05) pc += k;
      else if (code === 0x06) return k;
      else throw new Error(`unknown instruction ${code}`);
    } catch (error) {
      if (error instanceof RangeError) return 0;
      throw error;
    }
  }
}

const web = buildFrame({ source: '192.0.2.200', destination: '192.0.2.11', destinationPort: 80 });
const answer = buildFrame({
  source: '192.0.2.11',
  destination: '192.0.2.200',
  sourcePort: 80,
  destinationPort: 40000,
});
const other = buildFrame({ source: '192.0.2.200', destination: '192.0.2.11', destinationPort: 22 });
const options = buildFrame({
  source: '192.0.2.200',
  destination: '192.0.2.11',
  destinationPort: 80,
  options: 2,
});
const fragment = buildFrame({
  source: '192.0.2.200',
  destination: '192.0.2.11',
  destinationPort: 80,
  fragment: 5,
});
const datagram = buildFrame({
  source: '192.0.2.200',
  destination: '192.0.2.11',
  destinationPort: 80,
  protocol: 'udp',
});
const ping = buildFrame({ source: '192.0.2.200', destination: '192.0.2.11', protocol: 'icmp' });
const tunnel = { source: '192.0.2.11', destination: '192.0.2.12' };

const cases: readonly [name: string, filter: CaptureFilter, frame: Buffer, kept: boolean][] = [
  ['destination port', { any: [{ ports: [80] }] }, web, true],
  ['source port', { any: [{ ports: [80] }] }, answer, true],
  ['one of several ports', { any: [{ ports: [8080, 80] }] }, web, true],
  ['another port', { any: [{ ports: [80] }] }, other, false],
  ['behind IP options', { any: [{ ports: [80] }] }, options, true],
  ['a later fragment has no ports', { any: [{ ports: [80] }] }, fragment, false],
  ['UDP', { any: [{ ports: [80] }] }, datagram, true],
  ['every port', {}, other, true],
  ['carried by VXLAN', { any: [{ ports: [80] }] }, encapsulate(tunnel, 4096, web), true],
  ['carried by VXLAN, another port', { any: [{ ports: [80] }] }, encapsulate(tunnel, 4096, other), false],
  [
    'carried by VXLAN on another port',
    { any: [{ ports: [80] }], vxlanPort: 4790 },
    encapsulate(tunnel, 4096, web),
    false,
  ],
  ['host', { any: [{ hosts: ['192.0.2.200'], ports: [80] }] }, web, true],
  ['host as destination', { any: [{ hosts: ['192.0.2.7', '192.0.2.11'], ports: [80] }] }, web, true],
  ['another host', { any: [{ hosts: ['192.0.2.12'], ports: [80] }] }, web, false],
  [
    'another host in a tunnel',
    { any: [{ hosts: ['192.0.2.99'], ports: [80] }] },
    encapsulate(tunnel, 1, web),
    false,
  ],
  ['host in a tunnel', { any: [{ hosts: ['192.0.2.200'] }] }, encapsulate(tunnel, 1, web), true],
  ['host of the tunnel itself', { any: [{ hosts: ['192.0.2.12'] }] }, encapsulate(tunnel, 1, web), true],
  ['subnet', { any: [{ hosts: ['10.0.0.0/8', '192.0.2.192/26'], ports: [80] }] }, web, true],
  ['another subnet', { any: [{ hosts: ['192.0.2.64/26', '10.0.0.0/8'] }] }, web, false],
  ['the second rule', { any: [{ hosts: ['10.0.0.0/8'] }, { ports: [80] }] }, web, true],
  ['no rule', { any: [{ hosts: ['10.0.0.0/8'] }, { ports: [8080] }] }, web, false],
  ['no rules at all', { any: [] }, web, false],
  ['ping unasked', { any: [{ ports: [80] }] }, ping, false],
  ['ping asked', { any: [{ ports: [80] }], icmp: true }, ping, true],
  ['ping in a tunnel', { any: [{ ports: [80] }], icmp: true }, encapsulate(tunnel, 1, ping), true],
  ['too short', { any: [{ ports: [80] }] }, web.subarray(0, 20), false],
];

for (const [name, filter, frame, kept] of cases)
  test(`filter: ${name}`, () => {
    assert.equal(run(compileFilter(filter), frame), kept ? SNAP_LENGTH : 0);
  });

test('five hundred hosts and ports fit a program of the kernel, and the last one is found', () => {
  const hosts = Array.from({ length: 400 }, (_, i) => `10.0.${i >> 8}.${i & 255}`);
  const ports = Array.from({ length: 100 }, (_, i) => i + 1);
  const program = compileFilter({ any: [{ hosts: [...hosts, '192.0.2.11'] }, { ports }] });
  assert.ok(program.length < 4096, `${program.length} instructions`);
  for (const { jt, jf } of program) assert.ok(jt <= 1 && jf <= 1);
  assert.equal(encodeFilter(program).length, program.length * 8);
  assert.equal(run(program, encapsulate(tunnel, 1, web)), SNAP_LENGTH);
});
