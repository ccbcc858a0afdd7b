/**
 * Runs programs by argument vector, never through a shell. Output is bounded; what a program was asked and what it
 * said is in the error. Not for hot paths: a fork blocks the event loop for 3-38 ms (findings, 2.1).
 */
import { spawn } from 'node:child_process';
import { SkeinError } from '../model/errors.ts';

export interface RunOptions {
  readonly input?: string;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Exit codes that are an answer and no error; 0 unless given. */
  readonly accept?: readonly number[];
}

export interface RunResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export type RunProcess = (argv: readonly string[], options?: RunOptions) => Promise<RunResult>;

const MAX_OUTPUT = 64 * 1024 * 1024;

export const runProcess: RunProcess = (argv, options = {}) =>
  new Promise((resolve, reject) => {
    const [command = '', ...args] = argv;
    const { timeoutMs = 60_000 } = options;
    const child = spawn(command, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      killSignal: 'SIGKILL',
      ...(options.signal && { signal: options.signal }),
      ...(options.env && { env: options.env }),
      ...(options.cwd && { cwd: options.cwd }),
    });
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, timeoutMs);
    const chunks: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] };
    let size = 0;
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > MAX_OUTPUT) child.kill('SIGKILL');
        else chunks[name].push(chunk);
      });
    }
    const shown = argv.join(' ');
    child.on('error', (cause) => {
      clearTimeout(timer);
      if (options.signal?.aborted) reject(interrupted(shown, options.signal.reason));
      else reject(new SkeinError('internal', `${shown}: ${cause.message}`, { cause }));
    });
    child.on('close', (code, killedBy) => {
      clearTimeout(timer);
      const stdout = Buffer.concat(chunks.stdout).toString();
      const stderr = Buffer.concat(chunks.stderr).toString();
      const said = stderr && `: ${stderr.trim().slice(0, 4000)}`;
      if (late)
        reject(
          new SkeinError('deadline-exceeded', `${shown}: did not end within ${timeoutMs / 1000} s${said}`),
        );
      else if (killedBy) reject(new SkeinError('internal', `${shown}: ended by ${killedBy}${said}`));
      else if (!(options.accept ?? [0]).includes(code ?? -1))
        reject(
          new SkeinError('internal', `${shown}: exit ${code}: ${(stderr || stdout).trim().slice(0, 4000)}`),
        );
      else resolve({ code: code ?? -1, stdout, stderr });
    });
    child.stdin.on('error', () => {}); // the program ended without reading its input; its exit code tells
    child.stdin.end(options.input ?? '');
  });

const interrupted = (shown: string, reason: unknown): SkeinError =>
  reason instanceof SkeinError
    ? reason
    : new SkeinError('canceled', `${shown}: ${SkeinError.from(reason).message}`, { cause: reason });
