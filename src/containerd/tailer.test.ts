import assert from 'node:assert/strict';
import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { type Clock, systemClock } from '../kit/clock.ts';
import { silentLog } from '../kit/log.ts';
import { queryLogs } from './log-query.ts';
import { cutLines, decodeRecord, encodeRecord, formatTime, MAX_DATA, parseTime } from './log-record.ts';
import { ALL_OUTPUT, type LogQuery } from './runtime.ts';
import { Tailer } from './tailer.ts';

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'skein-tail-'));
  for (const stream of ['stdout', 'stderr']) writeFileSync(join(path, stream), '');
  return path;
}

const tailer = (
  path: string,
  punched: number[] = [],
  maxFileBytes = 1 << 20,
  more: { compress?: boolean; maxBacklogBytes?: number; clock?: Clock } = {},
) =>
  new Tailer({
    interactive: false,
    folder: path,
    streams: ['stdout', 'stderr'],
    cap: { maxFileBytes, maxFiles: 3, compress: more.compress ?? false },
    maxBacklogBytes: more.maxBacklogBytes,
    clock: more.clock ?? systemClock,
    log: silentLog,
    punch: (_, length) => punched.push(length),
  });

const EVERYTHING: LogQuery = { ...ALL_OUTPUT, follow: true };

async function read(path: string, source?: Tailer, tail?: number): Promise<string[]> {
  const query = { ...EVERYTHING, follow: source !== undefined, tail };
  const lines: string[] = [];
  const signal = AbortSignal.timeout(60_000);
  for await (const line of queryLogs(path, query, () => source, signal))
    lines.push(Buffer.from(line.data).toString());
  assert.ok(!signal.aborted, 'the log did not end');
  return lines;
}

test('lines in any pieces come out whole, in pieces only where they are too long', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.string(), fc.constant('x'.repeat(MAX_DATA + 5)))), (texts) => {
      const chunk = Buffer.from(texts.join('\n'));
      const lines = cutLines(chunk, true);
      return Buffer.concat(lines).equals(chunk) && lines.every((line) => line.length <= MAX_DATA);
    }),
  );
  assert.deepEqual(cutLines(Buffer.from('a\nb'), false).map(String), ['a\n']);
});

test('a record is read back as written, and a torn one is none', () => {
  const record = { stream: 'stderr', time: 123n, end: 2 ** 40, data: Buffer.from('x\n') } as const;
  const bytes = encodeRecord(record);
  assert.deepEqual(decodeRecord(bytes, 0)?.record, record);
  for (let length = 0; length < bytes.length; length++)
    assert.equal(decodeRecord(bytes.subarray(0, length), 0), undefined);
});

test('times keep their nanoseconds', () => {
  assert.equal(formatTime(parseTime('2026-01-02T03:04:05.123456789Z')!), '2026-01-02T03:04:05.123456789Z');
  assert.equal(formatTime(parseTime('1767323045.000000001')!), '2026-01-02T03:04:05.000000001Z');
  assert.equal(parseTime('yesterday'), undefined);
});

test('a follower sees what is written before and during, and ends when the container has', async (t) => {
  const path = folder();
  t.after(() => rmSync(path, { recursive: true }));
  appendFileSync(join(path, 'stdout'), 'one\ntwo');
  const tail = await tailer(path).start();
  const following = read(path, tail);
  appendFileSync(join(path, 'stdout'), ' three\n');
  appendFileSync(join(path, 'stderr'), 'rest');
  await tail.finish();
  assert.deepEqual((await following).sort(), ['one\n', 'rest', 'two three\n']);
  assert.deepEqual(await read(path, undefined, 1), ['rest']);
});

test('a tailer that takes over repeats nothing and skips nothing, torn end of the file or not', async (t) => {
  const path = folder();
  t.after(() => rmSync(path, { recursive: true }));
  appendFileSync(join(path, 'stdout'), 'a\nb\n');
  const first = await tailer(path).start();
  while ((await read(path)).length < 2) await new Promise((resolve) => setImmediate(resolve));
  await first.stop();
  appendFileSync(join(path, 'records-000001'), Buffer.from([0, 0, 0, 9, 0, 1])); // killed in the middle of a write
  writeFileSync(join(path, 'records-000002'), 'SKL'); // killed in the middle of a rotation
  appendFileSync(join(path, 'stdout'), 'c\n');
  const second = await tailer(path).start();
  await second.finish();
  assert.deepEqual(await read(path), ['a\n', 'b\n', 'c\n']);
});

test('where a stream was last read is known after its own records are rotated away', async (t) => {
  const path = folder();
  t.after(() => rmSync(path, { recursive: true }));
  appendFileSync(join(path, 'stderr'), 'once\n');
  const first = await tailer(path, [], 1000).start();
  while ((await read(path)).length < 1) await new Promise((resolve) => setImmediate(resolve));
  appendFileSync(join(path, 'stdout'), numbered(0, 200).join(''));
  await first.finish();
  assert.ok(!(await read(path)).includes('once\n'));
  const second = await tailer(path, [], 1000).start();
  await second.finish();
  assert.deepEqual((await read(path)).slice(-2), numbered(198, 200), 'and it is not read again');
});

test('times name one line each and never go back, whatever the clock does', async (t) => {
  const path = folder();
  t.after(() => rmSync(path, { recursive: true }));
  let now = 2000;
  const clock: Clock = { ...systemClock, now: () => now };
  const times = async () => {
    const found: string[] = [];
    for await (const { time } of queryLogs(path, ALL_OUTPUT, () => undefined, AbortSignal.timeout(10_000)))
      found.push(time);
    return found;
  };
  for (const [at, text] of [
    [2000, 'a\nb\n'],
    [2000, 'c\n'],
    [1000, 'd\n'],
  ] as const) {
    now = at;
    appendFileSync(join(path, 'stdout'), text);
    await (await tailer(path, [], 1 << 20, { clock }).start()).finish();
  }
  assert.deepEqual(
    await times(),
    [0, 1, 2, 3].map((nanoseconds) => `1970-01-01T00:00:02.00000000${nanoseconds}Z`),
  );
});

test('what can not be recorded for a time is recorded later, whole and once; an end does not wait for it', async (t) => {
  const path = folder();
  t.after(() => rmSync(path, { recursive: true }));
  const next = join(path, 'records-000002');
  symlinkSync(join(path, 'nowhere', 'x'), next); // no file of this name can be made, as on a full disk
  const lines = Array.from({ length: 100 }, (_, i) => `line ${i} ${'x'.repeat(40)}\n`);
  appendFileSync(join(path, 'stdout'), lines.join(''));
  let failures = 0;
  const failing = (): Tailer =>
    new Tailer({
      ...{ folder: path, streams: ['stdout', 'stderr'], interactive: false, punch: () => {} },
      cap: { maxFileBytes: 4000, maxFiles: 9, compress: false },
      clock: { ...systemClock, after: (ms, fn) => systemClock.after(ms / 100, fn) },
      log: { ...silentLog, error: () => failures++ },
    });
  const first = await failing().start();
  while (failures < 2) await new Promise((resolve) => setTimeout(resolve, 1));
  await first.finish();
  assert.ok(first.finished && (await read(path)).length < lines.length);
  const before = failures;
  const second = await failing().start();
  while (failures === before) await new Promise((resolve) => setTimeout(resolve, 1));
  rmSync(next);
  while ((await read(path)).length < lines.length) await new Promise((resolve) => setTimeout(resolve, 1));
  await second.finish();
  assert.deepEqual(await read(path), lines);
});

test('records are bounded on disk; the newest are kept, and space behind them is given back', async (t) => {
  const path = folder();
  t.after(() => rmSync(path, { recursive: true }));
  const line = `${'x'.repeat(99)}\n`;
  appendFileSync(join(path, 'stdout'), `${line.repeat(50_000)}last\n`);
  const punched: number[] = [];
  const tail = await tailer(path, punched, 300_000).start();
  await tail.finish();
  const records = readdirSync(path).filter((name) => name.startsWith('records-'));
  assert.equal(records.length, 3);
  for (const name of records) assert.ok(statSync(join(path, name)).size <= 300_000, name);
  assert.equal((await read(path)).at(-1), 'last\n');
  assert.ok(punched.at(-1)! >= 5_000_000 - 4096 && punched.every((length) => length % 4096 === 0));
});

test('a tail spans files, and a follower that keeps up misses nothing over many rotations', async (t) => {
  const path = folder();
  t.after(() => rmSync(path, { recursive: true }));
  const append = (lines: string[]) => appendFileSync(join(path, 'stdout'), lines.join(''));
  append(numbered(0, 1000));
  const tail = await tailer(path, [], 1000).start(); // three files of some 30 lines
  while ((await read(path)).at(-1) !== 'line 000999\n') await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(await read(path, undefined, 50), numbered(950, 1000));
  const all = await read(path);
  assert.deepEqual(await read(path, undefined, 5000), all);
  assert.ok(all.length > 60 && all.length < 100, `${all.length} lines are kept`);
  const follower = queryLogs(path, { ...EVERYTHING, tail: 1 }, () => tail, AbortSignal.timeout(60_000));
  const seen: string[] = [];
  const seeUntil = async (last: string | undefined) => {
    while (last === undefined || seen.at(-1) !== last) {
      const next = await follower.next();
      if (next.done) return;
      seen.push(Buffer.from(next.value.data).toString());
    }
  };
  await seeUntil('line 000999\n'); // it begins where it is asked for its first line
  for (let i = 1000; i < 1400; i += 20) {
    append(numbered(i, i + 20));
    await seeUntil(numbered(i + 19, i + 20)[0]);
  }
  await tail.finish();
  await seeUntil(undefined);
  assert.deepEqual(seen, numbered(999, 1400));
});

const records = (path: string): string[] =>
  readdirSync(path)
    .filter((name) => name.startsWith('records-'))
    .sort();

const numbered = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, i) => `line ${String(from + i).padStart(6, '0')}\n`);

test('packed files read as the others do: whole, a tail of them, and by a follower; what a kill left is packed later', async (t) => {
  const path = folder();
  t.after(() => rmSync(path, { recursive: true }));
  appendFileSync(join(path, 'stdout'), numbered(0, 50_000).join(''));
  const first = await tailer(path, [], 500_000, { compress: true }).start();
  const following = read(path, first);
  await first.finish();
  const names = ['records-000002.gz', 'records-000003.gz', 'records-000004'];
  assert.deepEqual(records(path), names);
  assert.ok(statSync(join(path, names[0]!)).size < 200_000, 'it is smaller than what is in it');
  const all = await read(path);
  assert.deepEqual(all, numbered(50_000 - all.length, 50_000));
  assert.deepEqual((await following).slice(-all.length), all);
  for (const count of [1, 20_000, all.length])
    assert.deepEqual(await read(path, undefined, count), all.slice(-count));
  // Killed after the newest file was begun, in the middle of packing the one before.
  writeFileSync(join(path, names[1]!.replace('.gz', '')), gunzipSync(readFileSync(join(path, names[1]!))));
  renameSync(join(path, names[1]!), join(path, `${names[1]!}.new`));
  appendFileSync(join(path, 'stdout'), numbered(50_000, 50_001).join(''));
  const second = await tailer(path, [], 500_000, { compress: true }).start();
  await second.finish();
  assert.deepEqual(records(path), names);
  assert.deepEqual(await read(path), [...all, ...numbered(50_000, 50_001)]);
});

test('what may wait to be recorded is bounded by who says so, and a line tells what was left out', async (t) => {
  const path = folder();
  t.after(() => rmSync(path, { recursive: true }));
  appendFileSync(join(path, 'stdout'), numbered(0, 1000).join(''));
  const tail = await tailer(path, [], 1 << 20, { maxBacklogBytes: 1200 }).start();
  await tail.finish();
  assert.deepEqual(await read(path), [
    'skein: 10800 bytes of output were written too fast and are not kept\n',
    ...numbered(900, 1000),
  ]);
});

test('without a word on it 256 MB may wait', async (t) => {
  const path = folder();
  t.after(() => rmSync(path, { recursive: true }));
  truncateSync(join(path, 'stdout'), 256 * 1024 * 1024 + 1); // a hole: nothing is on the disk
  const tail = await tailer(path, [], 1 << 25).start();
  for await (const { data } of queryLogs(path, EVERYTHING, () => tail, AbortSignal.timeout(30_000))) {
    assert.match(Buffer.from(data).toString(), /^skein: 251658241 bytes of output were written too fast/);
    break;
  }
  await tail.stop();
});

test('what is written while a tail is read is no part of it', async (t) => {
  const path = folder();
  t.after(() => rmSync(path, { recursive: true }));
  const append = async (text: string) => {
    appendFileSync(join(path, 'stdout'), text);
    await (await tailer(path).start()).finish();
  };
  await append('a\nb\n');
  const lines = queryLogs(path, { ...ALL_OUTPUT, tail: 1 }, () => undefined, AbortSignal.timeout(10_000));
  assert.equal(Buffer.from((await lines.next()).value!.data).toString(), 'b\n');
  await append('c\n');
  assert.equal((await lines.next()).done, true);
});

test('since and until take their own times in; one stream is read alone; a tail is of what is wanted', async (t) => {
  const path = folder();
  t.after(() => rmSync(path, { recursive: true }));
  appendFileSync(join(path, 'stdout'), 'a\nb\nc\n');
  const first = await tailer(path).start();
  while ((await read(path)).length < 3) await new Promise((resolve) => setImmediate(resolve));
  appendFileSync(join(path, 'stderr'), 'e\n');
  await first.finish();
  const ask = async (query: Partial<LogQuery>) => {
    const lines: { time: string; text: string }[] = [];
    const all = queryLogs(path, { ...ALL_OUTPUT, ...query }, () => undefined, AbortSignal.timeout(10_000));
    for await (const { time, data } of all) lines.push({ time, text: Buffer.from(data).toString().trim() });
    return lines;
  };
  const texts = async (query: Partial<LogQuery>) => (await ask(query)).map(({ text }) => text).join('');
  const [, b, c] = await ask({});
  assert.equal(await texts({}), 'abce');
  assert.equal(await texts({ since: b!.time }), 'bce');
  assert.equal(await texts({ until: b!.time }), 'ab');
  assert.equal(await texts({ since: b!.time, until: c!.time }), 'bc');
  assert.deepEqual([await texts({ stderr: false }), await texts({ stdout: false })], ['abc', 'e']);
  assert.equal(await texts({ tail: 1, stderr: false }), 'c');
  assert.equal(await texts({ tail: 2, until: b!.time }), 'ab');
  await assert.rejects(texts({ since: 'yesterday' }), { message: 'invalid value for "since": yesterday' });
});
