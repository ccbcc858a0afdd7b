/** Builds frames byte by byte, for the tests of decoding, filtering and joining. */
import type { TcpFlag } from './decode.ts';

export interface FrameSpec {
  readonly sourceMac?: string;
  readonly destinationMac?: string;
  readonly source: string;
  readonly destination: string;
  readonly protocol?: 'tcp' | 'udp' | 'icmp';
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly flags?: readonly TcpFlag[];
  readonly sequence?: number;
  readonly acknowledgement?: number;
  readonly payload?: Buffer;
  /** Words of IP options. */
  readonly options?: number;
  readonly fragment?: number;
}

const BITS: Readonly<Record<TcpFlag, number>> = {
  FIN: 1,
  SYN: 2,
  RST: 4,
  PSH: 8,
  ACK: 16,
  URG: 32,
  ECE: 64,
  CWR: 128,
};
const NUMBERS = { icmp: 1, tcp: 6, udp: 17 } as const;

const mac = (text: string): Buffer => Buffer.from(text.replaceAll(':', ''), 'hex');
const ip = (text: string): Buffer => Buffer.from(text.split('.').map(Number));

export function buildFrame(spec: FrameSpec): Buffer {
  const protocol = spec.protocol ?? 'tcp';
  const payload = Buffer.concat([transport(spec, protocol), spec.payload ?? Buffer.alloc(0)]);
  const header = Buffer.alloc(20 + (spec.options ?? 0) * 4);
  header[0] = 0x40 | (header.length / 4);
  header.writeUInt16BE(header.length + payload.length, 2);
  header.writeUInt16BE(spec.fragment ?? 0, 6);
  header[8] = 64;
  header[9] = NUMBERS[protocol];
  ip(spec.source).copy(header, 12);
  ip(spec.destination).copy(header, 16);
  return Buffer.concat([
    mac(spec.destinationMac ?? '02:00:00:00:00:02'),
    mac(spec.sourceMac ?? '02:00:00:00:00:01'),
    Buffer.from([0x08, 0x00]),
    header,
    payload,
  ]);
}

function transport(spec: FrameSpec, protocol: 'tcp' | 'udp' | 'icmp'): Buffer {
  const bytes = Buffer.alloc(protocol === 'tcp' ? 20 : 8);
  if (protocol === 'icmp') {
    bytes[0] = 8;
    bytes.writeUInt16BE(7, 4);
    bytes.writeUInt16BE(1, 6);
    return bytes;
  }
  bytes.writeUInt16BE(spec.sourcePort ?? 40000, 0);
  bytes.writeUInt16BE(spec.destinationPort ?? 80, 2);
  if (protocol === 'tcp') {
    bytes.writeUInt32BE(spec.sequence ?? 1000, 4);
    bytes.writeUInt32BE(spec.acknowledgement ?? 0, 8);
    bytes[12] = 0x50;
    bytes[13] = (spec.flags ?? ['SYN']).reduce((bits, flag) => bits | BITS[flag], 0);
    bytes.writeUInt16BE(64240, 14);
  } else bytes.writeUInt16BE(8 + (spec.payload?.length ?? 0), 4);
  return bytes;
}

export function encapsulate(
  outer: Pick<FrameSpec, 'source' | 'destination'>,
  vni: number,
  inner: Buffer,
): Buffer {
  const vxlan = Buffer.alloc(8);
  vxlan[0] = 0x08;
  vxlan.writeUIntBE(vni, 4, 3);
  return buildFrame({
    ...outer,
    protocol: 'udp',
    sourcePort: 55555,
    destinationPort: 4789,
    payload: Buffer.concat([vxlan, inner]),
  });
}
