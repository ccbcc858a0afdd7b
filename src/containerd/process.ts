/**
 * A process that runs in a container beside its own: how it is asked for, and how one talks to it.
 *
 * Its streams are pipes with little room (64 KiB): whoever starts it reads its output to the end, or resumes the
 * streams to throw it away; a reader that is slow slows the process and costs no memory.
 */
import type { Readable, Writable } from 'node:stream';

export interface TerminalSize {
  readonly width: number;
  readonly height: number;
}

export interface ExecConfig {
  readonly args: readonly string[];
  /** Added to the container's own; `NAME=VALUE`. */
  readonly env: readonly string[];
  /** Empty: the container's. */
  readonly cwd: string;
  /** `USER[:GROUP]` as the container's own files know them; empty: the container's. */
  readonly user: string;
  readonly tty: boolean;
  readonly privileged: boolean;
  readonly stdin: boolean;
  /** False: what it prints goes nowhere. */
  readonly output: boolean;
  readonly size?: TerminalSize | undefined;
}

export interface ExecProcess {
  readonly pid: number;
  /** Ending it is the end of the process's input. */
  readonly stdin: Writable | undefined;
  /** With a terminal everything comes here. */
  readonly stdout: Readable | undefined;
  readonly stderr: Readable | undefined;
  /** Its exit code. The streams end on their own, after all that was printed. */
  readonly exit: Promise<number>;
  resize(size: TerminalSize): Promise<void>;
  /** No error when it has ended. */
  kill(signal: string | number): Promise<void>;
}

/** Runs a command to its end and keeps what it printed, at most `limit` bytes of each stream. */
export async function collectOutput(
  process: ExecProcess,
  limit: number,
): Promise<{ readonly exitCode: number; readonly stdout: string; readonly stderr: string }> {
  const read = async (stream: Readable | undefined): Promise<string> => {
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of (stream ?? []) as AsyncIterable<Buffer>) {
      if (size < limit) chunks.push(chunk.subarray(0, limit - size));
      size += chunk.length;
    }
    return Buffer.concat(chunks).toString('utf8');
  };
  const [exitCode, stdout, stderr] = await Promise.all([
    process.exit,
    read(process.stdout),
    read(process.stderr),
  ]);
  return { exitCode, stdout, stderr };
}
