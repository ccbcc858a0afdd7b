import assert from 'node:assert/strict';
import { test } from 'node:test';
import { frame, renderDetails, renderLine } from './frames.ts';

const text = (data: Uint8Array): string => Buffer.from(data).toString();
const line = (patch: object = {}) => ({
  stream: 'stderr' as const,
  time: '2026-11-26T00:00:00.000000001Z',
  data: Buffer.from('hello\n'),
  details: undefined,
  ...patch,
});

test('a frame is the stream, three zeros, the length, the payload', () => {
  const numbers = (['stdout', 'stderr', 'error'] as const).map((stream) => [
    ...frame(stream, Buffer.from('ab')),
  ]);
  assert.deepEqual(
    numbers,
    [1, 2, 3].map((stream) => [stream, 0, 0, 0, 0, 0, 0, 2, 97, 98]),
  );
});

test('a line of a terminal is bare, any other is framed as its stream', () => {
  assert.equal(text(renderLine(line(), { tty: true, timestamps: false })), 'hello\n');
  const framed = renderLine(line(), { tty: false, timestamps: false });
  assert.deepEqual([framed[0], text(framed.subarray(8))], [2, 'hello\n']);
});

test('the time comes first, then the details, of which there may be none', () => {
  const said = (details: string | undefined) =>
    text(renderLine(line({ details }), { tty: true, timestamps: true }));
  assert.equal(said('a=1'), '2026-11-26T00:00:00.000000001Z a=1 hello\n');
  assert.equal(said(''), '2026-11-26T00:00:00.000000001Z  hello\n');
  assert.equal(said(undefined), '2026-11-26T00:00:00.000000001Z hello\n');
});

test('details are in order, and escaped as for a query', () => {
  assert.equal(renderDetails({ b: '2', a: 'x y&z=(1)', 'c/d': '~' }), 'a=x+y%26z%3D%281%29,b=2,c%2Fd=~');
});
