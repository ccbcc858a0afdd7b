/**
 * Log lines as an answer. Nothing is buffered here: the writer asks for the next line when the socket has taken the
 * last, and returning the iterator (client gone) ends the source through the request's signal.
 */
import type { Answer } from './answer.ts';
import { type FormattedLine, type LogFormat, frame, renderLine } from './frames.ts';

export const RAW_STREAM = 'application/vnd.docker.raw-stream';
export const MULTIPLEXED = 'application/vnd.docker.multiplexed-stream';

export function logAnswer(lines: AsyncIterable<FormattedLine>, format: LogFormat): Answer {
  return {
    kind: 'stream',
    contentType: format.tty ? RAW_STREAM : MULTIPLEXED,
    chunks: rendered(lines, format),
    eager: true,
    failure: (message) => {
      const words = Buffer.from(`${message}\n`);
      return format.tty ? words : frame('error', words);
    },
  };
}

async function* rendered(
  lines: AsyncIterable<FormattedLine>,
  format: LogFormat,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const line of lines) yield renderLine(line, format);
}
