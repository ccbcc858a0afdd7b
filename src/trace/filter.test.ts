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
  ['destination port', { ports: [80] }, web, true],
  ['source port', { ports: [80] }, answer, true],
  ['one of several ports', { ports: [8080, 80] }, web, true],
  ['another port', { ports: [80] }, other, false],
  ['behind IP options', { ports: [80] }, options, true],
  ['a later fragment has no ports', { ports: [80] }, fragment, false],
  ['UDP', { ports: [80] }, datagram, true],
  ['every port', {}, other, true],
  ['carried by VXLAN', { ports: [80] }, encapsulate(tunnel, 4096, web), true],
  ['carried by VXLAN, another port', { ports: [80] }, encapsulate(tunnel, 4096, other), false],
  [
    'carried by VXLAN on another port',
    { ports: [80], vxlanPort: 4790 },
    encapsulate(tunnel, 4096, web),
    false,
  ],
  ['host', { hosts: ['192.0.2.200'], ports: [80] }, web, true],
  ['host as destination', { hosts: ['192.0.2.7', '192.0.2.11'], ports: [80] }, web, true],
  ['another host', { hosts: ['192.0.2.12'], ports: [80] }, web, false],
  ['another host in a tunnel', { hosts: ['192.0.2.99'], ports: [80] }, encapsulate(tunnel, 1, web), true],
  ['ping unasked', { ports: [80] }, ping, false],
  ['ping asked', { ports: [80], icmp: true }, ping, true],
  ['ping in a tunnel', { ports: [80], icmp: true }, encapsulate(tunnel, 1, ping), true],
  ['too short', { ports: [80] }, web.subarray(0, 20), false],
];

for (const [name, filter, frame, kept] of cases)
  test(`filter: ${name}`, () => {
    assert.equal(run(compileFilter(filter), frame), kept ? SNAP_LENGTH : 0);
  });

test('jumps fit their byte', () => {
  const program = compileFilter({
    hosts: Array.from({ length: 16 }, (_, i) => `10.0.0.${i}`),
    ports: Array.from({ length: 16 }, (_, i) => i + 1),
  });
  for (const { code, jt, jf } of program)
    if (code !== 5) assert.ok(jt >= 0 && jt < 256 && jf >= 0 && jf < 256);
  assert.equal(encodeFilter(program).length, program.length * 8);
});
