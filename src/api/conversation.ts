/**
 * Between a client's connection and a process: input one way, output the other, each only as fast as its taker. A
 * client that goes away ends the process's input and nothing else; what is printed then goes nowhere.
 */
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import type { Peer } from './answer.ts';
import { frame } from './frames.ts';

export interface Streams {
  readonly stdin: Writable | undefined;
  readonly stdout: Readable | undefined;
  readonly stderr: Readable | undefined;
}

/** Resolves when all output was given out. `raw`: a terminal's bytes as they are; else in Docker's frames. */
export async function converseWith(peer: Peer, streams: Streams, raw: boolean): Promise<void> {
  if (streams.stdin) void feed(peer, streams.stdin, true);
  const give = async (name: 'stdout' | 'stderr', source: Readable | undefined): Promise<void> => {
    for await (const chunk of (source ?? []) as AsyncIterable<Buffer>)
      await peer.write(raw ? chunk : frame(name, chunk));
  };
  await Promise.all([give('stdout', streams.stdout), give('stderr', streams.stderr)]);
}

/** Resolves at the end of the client's input, which `ends` the process's; else that is left open for another client. */
export async function feed({ input, signal }: Peer, stdin: Writable, ends: boolean): Promise<void> {
  const closed = new AbortController();
  stdin.once('close', () => closed.abort());
  const over = AbortSignal.any([signal, closed.signal]);
  try {
    for await (const chunk of input.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      if (stdin.destroyed) return;
      if (!stdin.write(chunk)) await once(stdin, 'drain', { signal: over });
    }
  } catch {
    // the client is gone: the end of its input all the same
  }
  if (ends && !stdin.destroyed) stdin.end();
  else stdin.destroy();
}
