/** Reads a container's record files the way `docker logs` asks: since, until, tail, one stream, follow. */
import { SkeinError } from '../model/errors.ts';
import { RecordReader, sequences } from './log-files.ts';
import { formatTime, type LogRecord, parseTime } from './log-record.ts';
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
  let skip = query.tail === undefined ? 0 : await surplus(folder, query.tail, wanted, until);
  for await (const record of records(folder, query.follow ? source : () => undefined, signal)) {
    if (until !== undefined && record.time > until) return;
    if (!wanted(record) || skip-- > 0) continue;
    yield { stream: record.stream, time: formatTime(record.time), data: Buffer.from(record.data) };
  }
}

/** How many of the matching lines that are there now come before the last `tail`. Counted first, so memory stays flat. */
async function surplus(
  folder: string,
  tail: number,
  wanted: (record: LogRecord) => boolean,
  until: bigint | undefined,
): Promise<number> {
  let count = 0;
  for await (const record of records(folder, () => undefined, new AbortController().signal)) {
    if (until !== undefined && record.time > until) break;
    if (wanted(record)) count++;
  }
  return Math.max(0, count - tail);
}

/** All records from the oldest on; waits at the end while the source goes on. A dropped file is stepped over. */
async function* records(
  folder: string,
  source: () => LogSource | undefined,
  signal: AbortSignal,
): AsyncGenerator<LogRecord> {
  let sequence = (await sequences(folder))[0];
  while (sequence !== undefined && !signal.aborted) {
    const reader = await RecordReader.open(folder, sequence);
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
): AsyncGenerator<LogRecord> {
  while (!signal.aborted) {
    // Asked for before reading: what comes between the reading and the waiting ends the waiting.
    const live = source();
    const ended = live === undefined || live.finished;
    const change = new AbortController();
    const changed = live?.changed(AbortSignal.any([signal, change.signal]));
    const superseded = (await sequences(folder)).some((other) => other > sequence);
    const batch = await reader.next();
    try {
      for (const record of batch) yield record;
      if (batch.length > 0) continue;
      if (superseded || ended) return;
      await changed;
    } finally {
      change.abort();
    }
  }
}
