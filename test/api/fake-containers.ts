/**
 * The API with fake containers behind it on a socket of its own, and programs that reach it: the stock docker CLI, and
 * what is around it. What a command in a container does is played by the test.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { FakeBackends } from '../../src/api/fake-backends.ts';
import { type ApiServer, createApiServer } from '../../src/api/server.ts';
import type { FakeExec } from '../../src/containerd/fake-exec.ts';
import { systemClock } from '../../src/kit/clock.ts';
import { silentLog } from '../../src/kit/log.ts';
import type { ContainerId } from '../../src/model/ids.ts';

/** The one container that there is at the beginning, `web`. */
export const id = 'c'.repeat(64) as ContainerId;

const programs: Readonly<Record<string, (exec: FakeExec) => Promise<void>>> = {
  async cat({ stdin, print, exit }) {
    for await (const chunk of stdin as AsyncIterable<Buffer>) await print('stdout', chunk);
    exit(0);
  },
  async both({ print, exit }) {
    await print('stdout', 'to out\n');
    await print('stderr', 'to err\n');
    exit(5);
  },
  async much({ print, exit }) {
    for (let i = 0; i < 200; i++) await print('stdout', Buffer.alloc(100_000, 'm'));
    exit(0);
  },
  /** Reads one line, prints it in capitals, ends. */
  async shell({ stdin, print, exit }) {
    await print('stdout', 'prompt> ');
    const [line] = (await once(stdin, 'data')) as [Buffer];
    await print('stdout', line.toString().toUpperCase());
    exit(0);
  },
  async sleep() {},
};

export async function finished(child: ChildProcess) {
  const chunks: Buffer[] = [];
  let stderr = '';
  child.stdout!.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stderr!.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, out: Buffer.concat(chunks), stdout: Buffer.concat(chunks).toString(), stderr };
}

/** For a file of tests: made before the first, gone after the last. */
export function fakeContainers() {
  const dir = mkdtempSync(join(tmpdir(), 'skein-exec-'));
  const socket = join(dir, 'api.sock');
  const backends = new FakeBackends(systemClock);
  let server: ApiServer;
  let last: FakeExec;
  before(async () => {
    server = await createApiServer({ backends, log: silentLog, version: '0.1.0' });
    await server.listen(socket);
    backends.runtime.images.add('app:1');
    backends.runtime.execProgram = (exec) => {
      last = exec;
      void programs[exec.config.args[0]!]!(exec);
    };
    const config = { id, name: 'web', image: 'app:1', spec: { Image: 'app:1' }, limits: undefined };
    await backends.runtime.create({ ...config, hostname: 'h', netnsPath: '/n', files: {}, labels: {} });
    await backends.runtime.start(id);
  });
  after(async () => {
    await server.close();
    rmSync(dir, { recursive: true, force: true });
  });
  const env = {
    ...{ PATH: process.env['PATH'], HOME: dir, DOCKER_HOST: `unix://${socket}`, DOCKER_CLI_HINTS: 'false' },
    TERM: 'xterm',
  };
  const start = (command: string, ...args: string[]): ChildProcess =>
    spawn(command, args, { env, timeout: 120_000 });
  return {
    dir,
    socket,
    backends,
    start,
    docker: (...args: string[]) => finished(start('docker', ...args)),
    /** Without a connection. */
    api: () => server.app,
    /** The command in a container that was begun last. */
    lastExec: () => last,
  };
}
