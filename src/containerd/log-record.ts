/**
 * One line of a container's output as it stands on disk, and the file it stands in. Pure.
 *
 *   file    "SKL1", then how much of stdout and of stderr was recorded before this file: two u64
 *   record  u32 length of data | u8 stream (0 stdout, 1 stderr) | u64 time, ns | u64 end offset in the stream | data
 *
 * The end offset makes the file its own bookmark: where to go on reading is in the last whole record, so a tailer
 * that is killed between any two instructions neither repeats nor skips a byte.
 */
export const HEADER_BYTES = 20;
const RECORD_HEAD = 21;
/** As in Docker, longer lines come in pieces of this size. */
export const MAX_DATA = 16 * 1024;
const MAGIC = 'SKL1';

export type StreamName = 'stdout' | 'stderr';
/** Bytes of each stream that are recorded. */
export type Offsets = Record<StreamName, number>;

export interface LogRecord {
  readonly stream: StreamName;
  readonly time: bigint;
  readonly end: number;
  readonly data: Buffer;
}

export function encodeHeader(offsets: Offsets): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.write(MAGIC, 0, 'latin1');
  bytes.writeBigUInt64BE(BigInt(offsets.stdout), 4);
  bytes.writeBigUInt64BE(BigInt(offsets.stderr), 12);
  return bytes;
}

export function decodeHeader(bytes: Buffer): Offsets | undefined {
  if (bytes.length < HEADER_BYTES || bytes.toString('latin1', 0, 4) !== MAGIC) return undefined;
  return { stdout: Number(bytes.readBigUInt64BE(4)), stderr: Number(bytes.readBigUInt64BE(12)) };
}

export function encodeRecord({ stream, time, end, data }: LogRecord): Buffer {
  const bytes = Buffer.allocUnsafe(RECORD_HEAD + data.length);
  bytes.writeUInt32BE(data.length, 0);
  bytes.writeUInt8(stream === 'stdout' ? 0 : 1, 4);
  bytes.writeBigUInt64BE(time, 5);
  bytes.writeBigUInt64BE(BigInt(end), 13);
  data.copy(bytes, RECORD_HEAD);
  return bytes;
}

/** The record at `at` and where the next one begins; undefined when it is not all there, or is none. */
export function decodeRecord(bytes: Buffer, at: number): { record: LogRecord; next: number } | undefined {
  if (bytes.length - at < RECORD_HEAD) return undefined;
  const next = at + RECORD_HEAD + bytes.readUInt32BE(at);
  if (next > bytes.length) return undefined;
  return {
    record: {
      stream: bytes.readUInt8(at + 4) === 0 ? 'stdout' : 'stderr',
      time: bytes.readBigUInt64BE(at + 5),
      end: Number(bytes.readBigUInt64BE(at + 13)),
      data: bytes.subarray(at + RECORD_HEAD, next),
    },
    next,
  };
}

/**
 * Cuts what was read of a stream into lines. A rest without an end of line is left for the next reading, unless it is
 * longer than a piece or the stream has ended (`last`).
 */
export function cutLines(chunk: Buffer, last: boolean): Buffer[] {
  const lines: Buffer[] = [];
  let at = 0;
  while (at < chunk.length) {
    const newline = chunk.subarray(at, at + MAX_DATA).indexOf(10);
    const whole = newline >= 0 ? newline + 1 : MAX_DATA;
    if (newline < 0 && chunk.length - at < MAX_DATA && !last) break;
    lines.push(chunk.subarray(at, at + whole));
    at += whole;
  }
  return lines;
}

/** RFC 3339 with up to nine digits, or seconds since the epoch with a fraction, as Docker's `since` and `until`. */
export function parseTime(text: string): bigint | undefined {
  const seconds = /^(-?\d+)(?:\.(\d{1,9}))?$/.exec(text);
  if (seconds) return BigInt(seconds[1]!) * 1_000_000_000n + BigInt((seconds[2] ?? '').padEnd(9, '0'));
  const fraction = /\.(\d+)/.exec(text)?.[1] ?? '';
  const whole = Date.parse(text.replace(/\.\d+/, ''));
  return Number.isNaN(whole)
    ? undefined
    : BigInt(whole) * 1_000_000n + BigInt(fraction.slice(0, 9).padEnd(9, '0'));
}

export const formatTime = (time: bigint): string =>
  new Date(Number(time / 1_000_000n))
    .toISOString()
    .replace(/\.\d{3}Z$/, `.${String(time % 1_000_000_000n).padStart(9, '0')}Z`);
