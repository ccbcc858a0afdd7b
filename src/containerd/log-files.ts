/**
 * The record files of one container: `records-000001` and on, the newest written, the oldest dropped. Where that is asked
 * for, all but the newest are packed, one at a time and beside the writing: `records-000001.gz`.
 *
 * INVARIANTS
 * - A packed file is there whole, and only then what it was made from goes: each record is always in one or in both.
 * - The newest file that is whole says how far the output is recorded, so another is there before the oldest goes.
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { type FileHandle, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { encodeHeader, encodeRecord, HEADER_BYTES, type LogRecord, type Offsets } from './log-record.ts';
import { packedPath, RecordReader } from './record-reader.ts';

/** No file is larger than `maxFileBytes`, unless a single record is, and no more than `maxFiles` are kept. */
export interface LogCap {
  readonly maxFileBytes: number;
  readonly maxFiles: number;
  readonly compress: boolean;
}

const NAME = /^records-(\d+)(?:\.gz)?$/;
/** A packed file that is not whole. */
const UNFINISHED = '.new';

const pathOf = (folder: string, sequence: number): string =>
  join(folder, `records-${String(sequence).padStart(6, '0')}`);

/** In order; one that is there as it was written and packed too counts once. */
export async function sequences(folder: string): Promise<number[]> {
  const names = await readdir(folder).catch(() => [] as string[]);
  const found = names.flatMap((name) => NAME.exec(name)?.[1] ?? []).map(Number);
  return [...new Set(found)].sort((a, b) => a - b);
}

export const openRecords = (folder: string, sequence: number): Promise<RecordReader | undefined> =>
  RecordReader.open(pathOf(folder, sequence));

/** Appends records; knows from the file itself how far each stream is recorded. */
export class RecordWriter {
  readonly #folder: string;
  readonly #cap: LogCap;
  #file: FileHandle | undefined;
  #sequence = 0;
  #size = 0;
  #packing: Promise<void> = Promise.resolve();
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
    await writer.#begin((await sequences(folder)).reverse());
    if (cap.compress) writer.#packing = writer.#packOlder();
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
    await this.#packing;
    await this.#closeFile();
  }

  async #closeFile(): Promise<void> {
    await this.#file?.close();
    this.#file = undefined;
  }

  /** Newest first. */
  async #begin(found: readonly number[]): Promise<void> {
    for (const sequence of found) if (await this.#adopt(sequence)) return;
    await this.#create(1);
  }

  async #adopt(sequence: number): Promise<boolean> {
    const reader = await openRecords(this.#folder, sequence);
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
    if (!offsets) {
      await this.#drop(sequence);
      return false;
    }
    if (reader.packed) {
      await this.#create(sequence + 1);
      return true;
    }
    this.#file = await open(pathOf(this.#folder, sequence), 'a', 0o640);
    await this.#file.truncate(reader.position);
    this.#sequence = sequence;
    this.#size = reader.position;
    return true;
  }

  async #create(sequence: number): Promise<void> {
    this.#file = await open(pathOf(this.#folder, sequence), 'a', 0o640);
    await this.#file.appendFile(encodeHeader(this.offsets));
    this.#sequence = sequence;
    this.#size = HEADER_BYTES;
  }

  async #rotate(): Promise<void> {
    await this.#packing; // a container that writes faster than its log is packed waits on the disk, not here
    await this.#closeFile();
    await this.#create(this.#sequence + 1);
    for (const sequence of await sequences(this.#folder))
      if (sequence <= this.#sequence - this.#cap.maxFiles) await this.#drop(sequence);
    if (this.#cap.compress) this.#packing = this.#pack(this.#sequence - 1);
  }

  async #drop(sequence: number): Promise<void> {
    const path = pathOf(this.#folder, sequence);
    for (const one of [path, packedPath(path)]) await rm(one, { force: true });
  }

  /** What a kill left as it was. */
  async #packOlder(): Promise<void> {
    for (const sequence of await sequences(this.#folder))
      if (sequence !== this.#sequence) await this.#pack(sequence);
  }

  /** What cannot be packed, on a full disk, stays as it is until the next start. */
  async #pack(sequence: number): Promise<void> {
    const path = pathOf(this.#folder, sequence);
    const aside = `${packedPath(path)}${UNFINISHED}`;
    try {
      const packed = createWriteStream(aside, { mode: 0o640, flush: true });
      await pipeline(createReadStream(path), createGzip(), packed);
      await rename(aside, packedPath(path));
      await rm(path, { force: true });
    } catch {
      await rm(aside, { force: true }).catch(() => undefined);
    }
  }
}
