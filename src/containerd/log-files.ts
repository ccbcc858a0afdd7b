/** The record files of one container: `records-000001` and on, the newest written, the oldest dropped. */
import { type FileHandle, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  decodeHeader,
  decodeRecord,
  encodeHeader,
  encodeRecord,
  HEADER_BYTES,
  type LogRecord,
  type Offsets,
} from './log-record.ts';

/** No file is larger than `maxFileBytes`, unless a single record is, and no more than `maxFiles` are kept. */
export interface LogCap {
  readonly maxFileBytes: number;
  readonly maxFiles: number;
}

const READ_BYTES = 256 * 1024;
const PREFIX = 'records-';
const fileName = (sequence: number): string => `${PREFIX}${String(sequence).padStart(6, '0')}`;

export async function sequences(folder: string): Promise<number[]> {
  const names = await readdir(folder).catch(() => [] as string[]);
  return names
    .filter((name) => name.startsWith(PREFIX))
    .map((name) => Number(name.slice(PREFIX.length)))
    .sort((a, b) => a - b);
}

/** Reads whole records from a file, remembering how far it came; what is torn at the end is not given. */
export class RecordReader {
  readonly #file: FileHandle;
  #at = HEADER_BYTES;
  readonly #buffer = Buffer.allocUnsafe(READ_BYTES);

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  static async open(folder: string, sequence: number): Promise<RecordReader | undefined> {
    try {
      return new RecordReader(await open(join(folder, fileName(sequence))));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  get position(): number {
    return this.#at;
  }

  async offsets(): Promise<Offsets | undefined> {
    const { bytesRead, buffer } = await this.#file.read(Buffer.alloc(HEADER_BYTES), 0, HEADER_BYTES, 0);
    return decodeHeader(buffer.subarray(0, bytesRead));
  }

  /** The records that are there now, at most a buffer of them; empty at the end of the file. Valid until the next. */
  async next(): Promise<readonly LogRecord[]> {
    const { bytesRead } = await this.#file.read(this.#buffer, 0, READ_BYTES, this.#at);
    const bytes = this.#buffer.subarray(0, bytesRead);
    const records: LogRecord[] = [];
    let at = 0;
    for (let one = decodeRecord(bytes, at); one; one = decodeRecord(bytes, at)) {
      records.push(one.record);
      at = one.next;
    }
    this.#at += at;
    return records;
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** Appends records; knows from the file itself how far each stream is recorded. */
export class RecordWriter {
  readonly #folder: string;
  readonly #cap: LogCap;
  #file: FileHandle | undefined;
  #sequence = 0;
  #size = 0;
  readonly offsets: Offsets = { stdout: 0, stderr: 0 };
  /** Time of the newest record. */
  lastTime = 0n;

  private constructor(folder: string, cap: LogCap) {
    this.#folder = folder;
    this.#cap = cap;
  }

  /** Goes on where the files end; a torn record or header, left by a kill, is cut off first. */
  static async open(folder: string, cap: LogCap): Promise<RecordWriter> {
    const writer = new RecordWriter(folder, cap);
    for (const sequence of (await sequences(folder)).reverse())
      if (await writer.#adopt(sequence)) return writer;
    await writer.#create(1);
    return writer;
  }

  async append(records: readonly LogRecord[]): Promise<void> {
    let pending: Buffer[] = [];
    for (const record of records) {
      const bytes = encodeRecord(record);
      if (this.#size > HEADER_BYTES && this.#size + bytes.length > this.#cap.maxFileBytes) {
        await this.#file!.appendFile(Buffer.concat(pending));
        pending = [];
        await this.#rotate();
      }
      pending.push(bytes);
      this.#size += bytes.length;
      this.offsets[record.stream] = record.end;
      this.lastTime = record.time;
    }
    await this.#file!.appendFile(Buffer.concat(pending));
  }

  async close(): Promise<void> {
    await this.#file?.close();
    this.#file = undefined;
  }

  async #adopt(sequence: number): Promise<boolean> {
    const reader = await RecordReader.open(this.#folder, sequence);
    if (!reader) return false;
    const offsets = await reader.offsets();
    if (offsets) {
      Object.assign(this.offsets, offsets);
      for (let batch = await reader.next(); batch.length > 0; batch = await reader.next()) {
        for (const record of batch) this.offsets[record.stream] = record.end;
        this.lastTime = batch.at(-1)!.time;
      }
    }
    await reader.close();
    const path = join(this.#folder, fileName(sequence));
    if (!offsets) {
      await rm(path, { force: true });
      return false;
    }
    this.#file = await open(path, 'a', 0o640);
    await this.#file.truncate(reader.position);
    this.#sequence = sequence;
    this.#size = reader.position;
    return true;
  }

  async #create(sequence: number): Promise<void> {
    this.#file = await open(join(this.#folder, fileName(sequence)), 'a', 0o640);
    await this.#file.appendFile(encodeHeader(this.offsets));
    this.#sequence = sequence;
    this.#size = HEADER_BYTES;
  }

  /** The new file is there before the oldest goes: it says how far the output is recorded, and must never be missing. */
  async #rotate(): Promise<void> {
    await this.close();
    await this.#create(this.#sequence + 1);
    for (const sequence of await sequences(this.#folder))
      if (sequence <= this.#sequence - this.#cap.maxFiles)
        await rm(join(this.#folder, fileName(sequence)), { force: true });
  }
}
