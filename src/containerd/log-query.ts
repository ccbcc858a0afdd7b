/** Reads a container's record files the way `docker logs` asks: since, until, tail, one stream, follow. */
import { SkeinError } from '../model/errors.ts';
import { openRecords, sequences } from './log-files.ts';
import { formatTime, type LogRecord, parseTime } from './log-record.ts';
import type { RecordReader } from './record-reader.ts';
import type { LogLine, LogQuery } from './runtime.ts';

/** What a follower waits on; undefined for a container whose output nobody reads any more. */
export interface LogSource {
  readonly finished: boolean;
  changed(signal: AbortSignal): Promise<void>;
}

function time(text: string | undefined, what: string): bigint | undefined {
  if (text === undefined || text === '') return undefined;
  const parsed = parseTime(text);
  if (parsed === undefined) throw new SkeinError('invalid-argument', `invalid value for "${what}": ${text}`);
  return parsed;
}

export async function* queryLogs(
  folder: string,
  query: LogQuery,
  source: () => LogSource | undefined,
  signal: AbortSignal,
): AsyncGenerator<LogLine> {
  const since = time(query.since, 'since') ?? 0n;
  const until = time(query.until, 'until');
  const wanted = (record: LogRecord): boolean =>
    (record.stream === 'stdout' ? query.stdout : query.stderr) && record.time >= since;
  const isAfter = (record: LogRecord): boolean => until !== undefined && record.time > until;
  const from =
    query.tail === undefined
      ? await fileOf(folder, since)
      : await beginning(folder, query.tail, wanted, isAfter);
  let skip = from?.skip ?? 0;
  /** What is written while we read is no part of the tail, unless it is followed. */
  let left = query.follow ? Number.POSITIVE_INFINITY : (query.tail ?? Number.POSITIVE_INFINITY);
  const live = query.follow ? source : () => undefined;
  for await (const { record, sequence } of records(folder, from?.sequence ?? 0, live, signal)) {
    if (left <= 0 || isAfter(record)) return;
    if (!wanted(record)) continue;
    if (sequence === from?.sequence && skip-- > 0) continue;
    left--;
    yield { stream: record.stream, time: formatTime(record.time), data: Buffer.from(record.data) };
  }
}

/** The file to begin in for what is no older: those before the newest that begins earlier need not be read. */
async function fileOf(folder: string, since: bigint): Promise<Beginning | undefined> {
  if (since === 0n) return undefined;
  for (const sequence of (await sequences(folder)).reverse()) {
    const reader = await openRecords(folder, sequence);
    if (!reader) return undefined;
    const [first] = await reader.next().finally(() => reader.close());
    if (first && first.time < since) return { sequence, skip: 0 };
  }
  return undefined;
}

/** A file, and how many of its matching lines come before. */
interface Beginning {
  readonly sequence: number;
  readonly skip: number;
}

/**
 * Where the last `tail` matching lines begin; undefined: they are all. Files are counted from the newest back, so a short
 * tail of a long log is cheap, and a file that is dropped meanwhile shifts nothing in the others.
 */
async function beginning(
  folder: string,
  tail: number,
  wanted: (record: LogRecord) => boolean,
  isAfter: (record: LogRecord) => boolean,
): Promise<Beginning | undefined> {
  let missing = tail;
  for (const sequence of (await sequences(folder)).reverse()) {
    const reader = await openRecords(folder, sequence);
    if (!reader) return undefined; // this one was dropped, and with it all that are older
    try {
      let count = 0;
      for (let batch = await reader.next(); batch.length > 0; batch = await reader.next())
        for (const record of batch) if (wanted(record) && !isAfter(record)) count++;
      if (count >= missing) return { sequence, skip: count - missing };
      missing -= count;
    } finally {
      await reader.close();
    }
  }
  return undefined;
}

interface Found {
  readonly record: LogRecord;
  readonly sequence: number;
}

/** All records from a file on; waits at the end while the source goes on. A dropped file is stepped over. */
async function* records(
  folder: string,
  from: number,
  source: () => LogSource | undefined,
  signal: AbortSignal,
): AsyncGenerator<Found> {
  let sequence = (await sequences(folder)).find((other) => other >= from);
  while (sequence !== undefined && !signal.aborted) {
    const reader = await openRecords(folder, sequence);
    if (reader) {
      try {
        yield* recordsOf(reader, folder, sequence, source, signal);
      } finally {
        await reader.close();
      }
    }
    const passed: number = sequence;
    sequence = (await sequences(folder)).find((other) => other > passed);
  }
}

async function* recordsOf(
  reader: RecordReader,
  folder: string,
  sequence: number,
  source: () => LogSource | undefined,
  signal: AbortSignal,
): AsyncGenerator<Found> {
  while (!signal.aborted) {
    // Asked for before reading: what comes between the reading and the waiting ends the waiting.
    const live = source();
    const ended = live === undefined || live.finished;
    const change = new AbortController();
    const changed = live?.changed(AbortSignal.any([signal, change.signal]));
    const superseded = (await sequences(folder)).some((other) => other > sequence);
    const batch = await reader.next();
    try {
      for (const record of batch) yield { record, sequence };
      if (batch.length > 0) continue;
      if (superseded || ended) return;
      await changed;
    } finally {
      change.abort();
    }
  }
}
