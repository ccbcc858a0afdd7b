/** Bytes of a frame to typed headers: Ethernet, IPv4, TCP, UDP, ICMP, and what VXLAN carries. Pure; never throws. */
import { VXLAN_PORT } from './filter.ts';

export interface Packet {
  readonly source: { readonly mac: string; readonly ip: string; readonly port: number };
  readonly destination: { readonly mac: string; readonly ip: string; readonly port: number };
  readonly protocol: 'tcp' | 'udp' | 'icmp' | 'other';
  readonly ttl: number;
  /** Bytes that TCP or UDP carries. */
  readonly payload: number;
  readonly tcp?: TcpHeader;
  readonly icmp?: {
    readonly type: number;
    readonly code: number;
    readonly id: number;
    readonly sequence: number;
  };
  /** The tunnel it came through: this packet is what the tunnel carried. */
  readonly tunnel?: Tunnel;
}

export interface TcpHeader {
  readonly flags: readonly TcpFlag[];
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly window: number;
}

export interface Tunnel {
  readonly vni: number;
  readonly source: string;
  readonly destination: string;
  readonly port: number;
}

export type TcpFlag = 'FIN' | 'SYN' | 'RST' | 'PSH' | 'ACK' | 'URG' | 'ECE' | 'CWR';
const FLAGS: readonly TcpFlag[] = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR'];

const ETHERNET = 14;
const PROTOCOLS: Readonly<Record<number, Packet['protocol']>> = { 1: 'icmp', 6: 'tcp', 17: 'udp' };

const macAt = (bytes: Buffer, at: number): string =>
  [...bytes.subarray(at, at + 6)].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
const ipAt = (bytes: Buffer, at: number): string => bytes.subarray(at, at + 4).join('.');

/** Undefined for what is no IPv4 packet, or is cut off before its ports. */
export function decode(frame: Uint8Array, vxlanPort = VXLAN_PORT): Packet | undefined {
  const bytes = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength);
  const outer = decodeOne(bytes);
  if (outer?.protocol !== 'udp' || outer.destination.port !== vxlanPort) return outer;
  const header = ETHERNET + ipLength(bytes) + 8;
  if (bytes.length < header + 8 || (bytes[header]! & 0x08) === 0) return outer;
  const inner = decodeOne(bytes.subarray(header + 8));
  return (
    inner && {
      ...inner,
      tunnel: {
        vni: bytes.readUIntBE(header + 4, 3),
        source: outer.source.ip,
        destination: outer.destination.ip,
        port: vxlanPort,
      },
    }
  );
}

const ipLength = (bytes: Buffer): number => (bytes[ETHERNET]! & 0x0f) * 4;

function decodeOne(bytes: Buffer): Packet | undefined {
  if (bytes.length < ETHERNET + 20 || bytes.readUInt16BE(12) !== 0x0800) return undefined;
  if (bytes[ETHERNET]! >> 4 !== 4) return undefined;
  const protocol = PROTOCOLS[bytes[ETHERNET + 9]!] ?? 'other';
  const at = ETHERNET + ipLength(bytes);
  const fragment = (bytes.readUInt16BE(ETHERNET + 6) & 0x1fff) !== 0;
  if (bytes.length < at + (protocol === 'tcp' ? 20 : 8) || fragment) return undefined;
  const ported = protocol === 'tcp' || protocol === 'udp';
  return {
    source: {
      mac: macAt(bytes, 6),
      ip: ipAt(bytes, ETHERNET + 12),
      port: ported ? bytes.readUInt16BE(at) : 0,
    },
    destination: {
      mac: macAt(bytes, 0),
      ip: ipAt(bytes, ETHERNET + 16),
      port: ported ? bytes.readUInt16BE(at + 2) : 0,
    },
    protocol,
    ttl: bytes[ETHERNET + 8]!,
    payload: payloadAt(bytes, at, protocol),
    ...(protocol === 'tcp' && { tcp: tcpAt(bytes, at) }),
    ...(protocol === 'icmp' && {
      icmp: {
        type: bytes[at]!,
        code: bytes[at + 1]!,
        id: bytes.readUInt16BE(at + 4),
        sequence: bytes.readUInt16BE(at + 6),
      },
    }),
  };
}

/** By the length that the IP header tells: short frames are padded, and long ones may be cut. */
function payloadAt(bytes: Buffer, at: number, protocol: Packet['protocol']): number {
  const header = protocol === 'tcp' ? (bytes[at + 12]! >> 4) * 4 : protocol === 'udp' ? 8 : 0;
  return Math.max(0, bytes.readUInt16BE(ETHERNET + 2) - (at - ETHERNET) - header);
}

const tcpAt = (bytes: Buffer, at: number): TcpHeader => ({
  flags: FLAGS.filter((_, bit) => (bytes[at + 13]! & (1 << bit)) !== 0),
  sequence: bytes.readUInt32BE(at + 4),
  acknowledgement: bytes.readUInt32BE(at + 8),
  window: bytes.readUInt16BE(at + 14),
});
