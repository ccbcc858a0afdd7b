/** Captured frames as a pcapng file, for Wireshark: one interface a capture point and device. Pure. */
import type { CapturedFrame } from './packet-socket.ts';
import { SNAP_LENGTH } from './filter.ts';

const SECTION = 0x0a0d0d0a;
const INTERFACE = 1;
const ENHANCED_PACKET = 6;
const ETHERNET = 1;

const OPTION_END = 0;
const OPTION_NAME = 2;
const OPTION_FLAGS = 2;
const OPTION_RESOLUTION = 9;
const OPTION_APPLICATION = 4;

const padded = (length: number): number => (length + 3) & ~3;

function block(type: number, body: Buffer): Buffer {
  const bytes = Buffer.alloc(12 + padded(body.length));
  bytes.writeUInt32LE(type, 0);
  bytes.writeUInt32LE(bytes.length, 4);
  body.copy(bytes, 8);
  bytes.writeUInt32LE(bytes.length, bytes.length - 4);
  return bytes;
}

function option(code: number, value: Buffer): Buffer {
  const bytes = Buffer.alloc(4 + padded(value.length));
  bytes.writeUInt16LE(code, 0);
  bytes.writeUInt16LE(value.length, 2);
  value.copy(bytes, 4);
  return bytes;
}

const END = option(OPTION_END, Buffer.alloc(0));

function section(): Buffer {
  const body = Buffer.alloc(16);
  body.writeUInt32LE(0x1a2b3c4d, 0);
  body.writeUInt16LE(1, 4);
  body.writeBigInt64LE(-1n, 8);
  return block(SECTION, Buffer.concat([body, option(OPTION_APPLICATION, Buffer.from('skein trace')), END]));
}

function interfaceBlock(name: string): Buffer {
  const body = Buffer.alloc(8);
  body.writeUInt16LE(ETHERNET, 0);
  body.writeUInt32LE(SNAP_LENGTH, 4);
  const nanoseconds = option(OPTION_RESOLUTION, Buffer.from([9]));
  return block(INTERFACE, Buffer.concat([body, option(OPTION_NAME, Buffer.from(name)), nanoseconds, END]));
}

const DIRECTION: Readonly<Record<CapturedFrame['direction'], number>> = { in: 1, out: 2, other: 0 };

function packetBlock(frame: CapturedFrame, interfaceId: number): Buffer {
  const head = Buffer.alloc(20);
  head.writeUInt32LE(interfaceId, 0);
  head.writeUInt32LE(Number(frame.time >> 32n), 4);
  head.writeUInt32LE(Number(frame.time & 0xffffffffn), 8);
  head.writeUInt32LE(frame.bytes.length, 12);
  head.writeUInt32LE(frame.length, 16);
  const data = Buffer.alloc(padded(frame.bytes.length));
  frame.bytes.copy(data);
  const flags = Buffer.alloc(4);
  flags.writeUInt32LE(DIRECTION[frame.direction], 0);
  return block(ENHANCED_PACKET, Buffer.concat([head, data, option(OPTION_FLAGS, flags), END]));
}

export function encodePcapng(frames: readonly CapturedFrame[]): Buffer {
  const name = ({ point, link }: CapturedFrame) => `${point}/${link}`;
  const interfaces = [...new Set(frames.map(name))];
  const ids = new Map(interfaces.map((text, index) => [text, index]));
  return Buffer.concat([
    section(),
    ...interfaces.map(interfaceBlock),
    ...frames.map((frame) => packetBlock(frame, ids.get(name(frame))!)),
  ]);
}
