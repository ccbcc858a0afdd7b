/** Reads whole records from a file of them, as it is written or packed (`.gz`), remembering how far it came. */
import { type FileHandle, open } from 'node:fs/promises';
import { createGunzip, type Gunzip } from 'node:zlib';
import { decodeHeader, decodeRecord, HEADER_BYTES, type LogRecord, type Offsets } from './log-record.ts';

const READ_BYTES = 256 * 1024;

/** The bytes of a file from its first record on. */
interface Source {
  header(): Promise<Buffer>;
  /** What comes next, enough for a record where there is one more; `more`: another look may give more of this file. */
  look(): Promise<{ readonly bytes: Buffer; readonly more: boolean }>;
  /** So many of them are done with. */
  pass(count: number): void;
  close(): Promise<void>;
}

/** It may still grow, and be cut where a record is torn: what is not passed is read again. */
class PlainSource implements Source {
  readonly #file: FileHandle;
  readonly #buffer = Buffer.allocUnsafe(READ_BYTES);
  #at = HEADER_BYTES;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  async header(): Promise<Buffer> {
    const { bytesRead, buffer } = await this.#file.read(Buffer.alloc(HEADER_BYTES), 0, HEADER_BYTES, 0);
    return buffer.subarray(0, bytesRead);
  }

  async look() {
    const { bytesRead } = await this.#file.read(this.#buffer, 0, READ_BYTES, this.#at);
    return { bytes: this.#buffer.subarray(0, bytesRead), more: false };
  }

  pass(count: number): void {
    this.#at += count;
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** Packed when it was complete; unpacked as it is read, a chunk at a time. */
class PackedSource implements Source {
  readonly #stream: Gunzip;
  readonly #chunks: AsyncIterator<Buffer>;
  #header: Buffer | undefined;
  #rest: Buffer = Buffer.alloc(0);

  constructor(file: FileHandle) {
    this.#stream = createGunzip();
    const packed = file.createReadStream(); // closes the file
    packed.on('error', (error) => this.#stream.destroy(error));
    this.#stream.on('close', () => packed.destroy());
    this.#chunks = packed.pipe(this.#stream)[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  }

  async header(): Promise<Buffer> {
    while (this.#header === undefined) {
      const more = await this.#read();
      if (more && this.#rest.length < HEADER_BYTES) continue;
      this.#header = this.#rest.subarray(0, HEADER_BYTES);
      this.pass(this.#header.length);
    }
    return this.#header;
  }

  async look() {
    await this.header();
    return { more: await this.#read(), bytes: this.#rest };
  }

  pass(count: number): void {
    this.#rest = this.#rest.subarray(count);
  }

  async close(): Promise<void> {
    this.#stream.destroy();
  }

  async #read(): Promise<boolean> {
    const { done, value } = await this.#chunks.next();
    if (!done) this.#rest = Buffer.concat([this.#rest, value]);
    return !done;
  }
}

export class RecordReader {
  readonly #source: Source;
  #passed = 0;

  private constructor(source: Source) {
    this.#source = source;
  }

  get packed(): boolean {
    return this.#source instanceof PackedSource;
  }

  /** The file of this path, or what it was packed to. */
  static async open(path: string): Promise<RecordReader | undefined> {
    const plain = await ifThere(path);
    if (plain) return new RecordReader(new PlainSource(plain));
    const packed = await ifThere(packedPath(path));
    return packed && new RecordReader(new PackedSource(packed));
  }

  /** In the file as it was written. */
  get position(): number {
    return HEADER_BYTES + this.#passed;
  }

  /** What was recorded before this file; undefined where its head is torn. */
  async offsets(): Promise<Offsets | undefined> {
    return decodeHeader(await this.#source.header());
  }

  /** The records that are there now, at most a buffer of them; empty at the end of the file. Valid until the next. */
  async next(): Promise<readonly LogRecord[]> {
    for (;;) {
      const { bytes, more } = await this.#source.look();
      const records: LogRecord[] = [];
      let at = 0;
      for (let one = decodeRecord(bytes, at); one; one = decodeRecord(bytes, at)) {
        records.push(one.record);
        at = one.next;
      }
      this.#source.pass(at);
      this.#passed += at;
      if (records.length > 0 || !more) return records;
    }
  }

  close(): Promise<void> {
    return this.#source.close();
  }
}

export const packedPath = (path: string): string => `${path}.gz`;

async function ifThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
