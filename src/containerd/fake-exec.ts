/** A process in a fake container: its streams in memory, its program the test's. */
import { PassThrough, type Readable } from 'node:stream';
import type { ContainerConfig } from './runtime.ts';
import type { ExecConfig, ExecProcess, TerminalSize } from './process.ts';
import { signalNumber } from './signal.ts';

export interface FakeExec {
  readonly container: ContainerConfig;
  readonly config: ExecConfig;
  readonly stdin: Readable;
  /** Every size it was given. */
  readonly sizes: readonly TerminalSize[];
  /** Resolves when the reader has taken it. */
  print(stream: 'stdout' | 'stderr', data: string | Uint8Array): Promise<void>;
  exit(code: number): void;
}

export function fakeExec(
  container: ContainerConfig,
  config: ExecConfig,
  pid: number,
  program: (exec: FakeExec) => void,
): ExecProcess {
  const stdin = new PassThrough();
  const stdout = config.output ? new PassThrough() : undefined;
  const stderr = config.output && !config.tty ? new PassThrough() : undefined;
  const sizes: TerminalSize[] = config.size ? [config.size] : [];
  let exit = (_code: number): void => {};
  const exited = new Promise<number>((resolve) => {
    exit = (code) => {
      stdout?.end();
      stderr?.end();
      stdin.destroy();
      resolve(code);
    };
  });
  const print: FakeExec['print'] = async (stream, data) => {
    const target = stream === 'stderr' && !config.tty ? stderr : stdout;
    if (target && !target.write(data)) await new Promise((resolve) => target.once('drain', resolve));
  };
  if (!config.stdin) stdin.end();
  program({ container, config, stdin, sizes, print, exit: (code) => exit(code) });
  return {
    ...{ pid, stdin: config.stdin ? stdin : undefined, stdout, stderr, exit: exited },
    resize: async (size) => void sizes.push(size),
    kill: async (signal) => exit(128 + signalNumber(signal)),
  };
}
