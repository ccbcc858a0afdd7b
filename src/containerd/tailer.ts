/**
 * Turns the plain files that a container's shim appends to into stamped records, and gives the space behind it back.
 * The container never waits for us and never loses a line: with skeind gone its files grow, and are read later.
 *
 * INVARIANTS
 * - A byte of output is in exactly one record: the position is taken from the record files and nowhere else.
 * - Space is given back only behind what is recorded.
 * - After `finish()` resolves, everything the container wrote is recorded, or could not be and waits for the next start.
 * - What fails for a time (a full disk) costs no line: it is read on from where the records end, once they can be written.
 * Bounds: a backlog beyond what is allowed (a container that writes faster than the disk takes two copies) is skipped,
 * and a line says how much. While skeind is down nothing bounds the plain files. Times are those of the reading.
 */
import { type FSWatcher, watch } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { type BackoffPolicy, backoff } from '../kit/backoff.ts';
import { type Clock, sleep } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import { type LogCap, RecordWriter } from './log-files.ts';
import { cutLines, type LogRecord, type StreamName } from './log-record.ts';
import type { PunchHole } from './punch-hole.ts';

export interface TailerOptions {
  /** Holds `stdout`, with two streams `stderr`, and the record files. */
  readonly folder: string;
  readonly streams: readonly StreamName[];
  /** Somebody types into it: what has no end of line yet (a prompt) is recorded too. */
  readonly interactive: boolean;
  readonly cap: LogCap;
  /** What is written faster than it is recorded may wait, up to so many bytes. */
  readonly maxBacklogBytes?: number | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly punch: PunchHole;
}

const CHUNK = 256 * 1024;
const PUNCH_EVERY = 1024 * 1024;
const PAGE = 4096;
const MAX_BACKLOG = 256 * 1024 * 1024;
const KEPT_OF_BACKLOG = 16 * 1024 * 1024;
/** The kernel's notice of a change is what usually wakes us; this finds what it missed. */
const POLL_MS = 1000;
/** Lets a burst of small writes become one record batch. */
const BATCH_MS = 10;
const RETRY: BackoffPolicy = { base: 1000, cap: 30_000 };

interface Source {
  readonly stream: StreamName;
  readonly file: FileHandle;
  readonly watcher: FSWatcher;
  punched: number;
}

interface Opened {
  readonly writer: RecordWriter;
  readonly sources: readonly Source[];
}

export class Tailer {
  readonly #options: TailerOptions;
  readonly #stop = new AbortController();
  readonly #readers = new Set<() => void>();
  #wake: (() => void) | undefined;
  #dirty = true;
  #last = false;
  #finished = false;
  #done: Promise<void> = Promise.resolve();

  constructor(options: TailerOptions) {
    this.#options = options;
  }

  /** Resolves when the record files are there to be read and the tail runs. */
  async start(): Promise<this> {
    this.#done = this.#tail(await this.#openAll()).finally(() => {
      this.#finished = true;
      this.#notify();
    });
    return this;
  }

  /** All is recorded and nothing more will come. */
  get finished(): boolean {
    return this.#finished;
  }

  /** Resolves at the next record, when all is read, or when the signal aborts. */
  changed(signal: AbortSignal): Promise<void> {
    if (this.#finished || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        this.#readers.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#readers.add(done);
      signal.addEventListener('abort', done, { once: true });
    });
  }

  /** The container has ended and its shim has written all: reads to the end, then stops. */
  finish(): Promise<void> {
    this.#last = true;
    this.#poke();
    return this.#done;
  }

  /** Stops where it is; another tailer goes on from there. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#poke();
    await this.#done;
  }

  #poke = (): void => {
    this.#dirty = true;
    this.#wake?.();
  };

  #notify(): void {
    for (const reader of [...this.#readers]) reader();
  }

  /** Where a container has ended nobody is kept waiting for a disk that stays full: the next start reads the rest. */
  async #tail(first: Opened): Promise<void> {
    const { folder, log } = this.#options;
    let opened: Opened | undefined = first;
    let failures = 0;
    while (!this.#stop.signal.aborted) {
      try {
        return await this.#run(opened ?? (await this.#openAll()), () => (failures = 0));
      } catch (error) {
        failures++;
        log.error('output of a container can not be recorded', { folder, failures, err: error });
        if (this.#last) return;
      }
      opened = undefined;
      await this.#rest(backoff(RETRY, failures));
    }
  }

  async #openAll(): Promise<Opened> {
    const { folder, streams, cap } = this.#options;
    const writer = await RecordWriter.open(folder, cap);
    const sources: Source[] = [];
    try {
      for (const stream of streams) sources.push(await this.#open(stream));
    } catch (error) {
      await close({ writer, sources });
      throw error;
    }
    return { writer, sources };
  }

  async #run({ writer, sources }: Opened, recorded: () => void): Promise<void> {
    const { signal } = this.#stop;
    try {
      while (!signal.aborted) {
        this.#dirty = false;
        const last = this.#last;
        let moved = false;
        for (const source of sources) moved = (await this.#drain(source, writer, last)) || moved;
        if (moved) {
          recorded();
          this.#notify();
        } else if (last) return;
        else await this.#pause();
      }
    } finally {
      await close({ writer, sources });
    }
  }

  async #open(stream: StreamName): Promise<Source> {
    const path = join(this.#options.folder, stream);
    const file = await open(path, 'r+');
    const watcher = watch(path, { persistent: false }, this.#poke);
    watcher.on('error', () => {}); // the poll goes on
    return { stream, file, watcher, punched: 0 };
  }

  /** Records what one stream has, at most a chunk; true if there was something. */
  async #drain(source: Source, writer: RecordWriter, last: boolean): Promise<boolean> {
    const from = writer.offsets[source.stream];
    const { size } = await source.file.stat();
    const { maxBacklogBytes = MAX_BACKLOG } = this.#options;
    if (size - from > maxBacklogBytes) {
      const kept = Math.min(KEPT_OF_BACKLOG, maxBacklogBytes);
      await writer.append([this.#skipped(source.stream, from, size - kept, writer)]);
      return true;
    }
    if (size <= from) return false;
    const buffer = Buffer.allocUnsafe(Math.min(CHUNK, size - from));
    const { bytesRead } = await source.file.read(buffer, 0, buffer.length, from);
    const whole = (last || this.#options.interactive) && from + bytesRead >= size;
    const lines = cutLines(buffer.subarray(0, bytesRead), whole);
    if (lines.length === 0) return false;
    await writer.append(this.#stamp(source.stream, lines, writer));
    this.#reclaim(source, writer.offsets[source.stream], last);
    return true;
  }

  #stamp(stream: StreamName, lines: readonly Buffer[], writer: RecordWriter): LogRecord[] {
    let end = writer.offsets[stream];
    let time = this.#time(writer);
    return lines.map((data) => ({ stream, data, end: (end += data.length), time: time++ }));
  }

  /** Strictly increasing, so that a time names one line. */
  #time(writer: RecordWriter): bigint {
    const now = BigInt(this.#options.clock.now()) * 1_000_000n;
    return now > writer.lastTime ? now : writer.lastTime + 1n;
  }

  #skipped(stream: StreamName, from: number, end: number, writer: RecordWriter): LogRecord {
    const data = Buffer.from(`skein: ${end - from} bytes of output were written too fast and are not kept\n`);
    return { stream, data, end, time: this.#time(writer) };
  }

  #reclaim(source: Source, recorded: number, last: boolean): void {
    const upTo = Math.floor(recorded / PAGE) * PAGE;
    const every = Math.min(PUNCH_EVERY, this.#options.cap.maxFileBytes);
    if (upTo - source.punched < (last ? PAGE : Math.max(PAGE, every))) return;
    this.#options.punch(source.file.fd, upTo);
    source.punched = upTo;
  }

  async #pause(): Promise<void> {
    if (!this.#dirty) await this.#rest(POLL_MS);
    if (!this.#last && !this.#stop.signal.aborted)
      await sleep(this.#options.clock, BATCH_MS, this.#stop.signal);
  }

  /** Until somebody pokes. */
  async #rest(ms: number): Promise<void> {
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    await sleep(this.#options.clock, ms, woken.signal);
    this.#wake = undefined;
  }
}

async function close({ writer, sources }: Opened): Promise<void> {
  for (const { watcher, file } of sources) {
    watcher.close();
    await file.close();
  }
  await writer.close();
}
