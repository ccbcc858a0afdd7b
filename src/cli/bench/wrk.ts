/** One run of wrk (Debian's HTTP load program, in C: it costs less than what it measures) and its figures. */
import { SkeinError } from '../../model/errors.ts';
import type { RunProcess } from '../../kit/process.ts';

export interface WrkRun {
  /** Before the argument vector: the way into the client's namespace. */
  readonly enter: readonly string[];
  readonly url: string;
  readonly connections: number;
  /** One unless given. */
  readonly threads?: number;
  readonly seconds: number;
  /** A new connection for each request. */
  readonly close?: boolean;
  readonly signal: AbortSignal;
}

export interface WrkFigures {
  /** Those that were answered as they should. */
  readonly requestsPerSecond: number;
  /** MB/s, 10^6. */
  readonly megabytesPerSecond: number;
  readonly p99Ms: number;
  readonly errors: number;
}

export async function wrk(run: RunProcess, options: WrkRun): Promise<WrkFigures> {
  const { enter, url, connections, threads = 1, seconds, close, signal } = options;
  const load = [`-t${threads}`, `-c${connections}`, `-d${seconds}s`];
  const argv = [...enter, 'wrk', ...load, '--timeout', '2s', '--latency'];
  const { stdout } = await run([...argv, ...(close ? ['-H', 'Connection: close'] : []), url], {
    signal,
    timeoutMs: seconds * 1000 + 30_000,
  });
  return parseWrk(stdout);
}

const TIME_MS: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, m: 60_000 };
const BYTES: Readonly<Record<string, number>> = { B: 1, KB: 1024, MB: 1024 ** 2, GB: 1024 ** 3 };

export function parseWrk(text: string): WrkFigures {
  const number = (pattern: RegExp): RegExpExecArray => {
    const found = pattern.exec(text);
    if (!found) throw new SkeinError('internal', `wrk printed something else: ${text.slice(0, 2000)}`);
    return found;
  };
  const latency = number(/99%\s+([\d.]+)(us|ms|s|m)/);
  const transfer = number(/Transfer\/sec:\s+([\d.]+)(B|KB|MB|GB)/);
  const socket = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text);
  const refused = Number(/Non-2xx or 3xx responses: (\d+)/.exec(text)?.[1] ?? 0);
  const all = Number(number(/(\d+) requests in/)[1]);
  return {
    requestsPerSecond: Number(number(/Requests\/sec:\s+([\d.]+)/)[1]) * (1 - refused / Math.max(all, 1)),
    megabytesPerSecond: (Number(transfer[1]) * BYTES[transfer[2]!]!) / 1e6,
    p99Ms: Number(latency[1]) * TIME_MS[latency[2]!]!,
    errors: (socket?.slice(1) ?? []).reduce((sum, n) => sum + Number(n), refused),
  };
}
