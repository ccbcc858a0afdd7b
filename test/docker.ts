/** The stock docker CLI pointed at one socket, with a home of its own. For tests that show what a person sees. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Its words are what the tests know: older ones, as Debian's, say much the same in others. */
const LEAST_MAJOR = 28;
const found = spawnSync('docker', ['--version'], { encoding: 'utf8' });

/** False where the CLI can be used; else why a test that types its commands is skipped. */
export const skipWithoutDocker = whyNot(found.status === 0 ? found.stdout : undefined);

/** Of what `docker --version` says; undefined where there is none. */
export function whyNot(version: string | undefined): string | false {
  const get = 'docs.docker.com/engine/install/debian has docker-ce-cli';
  if (version === undefined) return `the docker command is not installed on this machine; ${get}`;
  const [, number = '?', major] = /version ((\d+)[\w.+~-]*)/.exec(version) ?? [];
  if (Number(major) >= LEAST_MAJOR) return false;
  return `the docker command of this machine is ${number}, and version ${LEAST_MAJOR} or later is needed; ${get}`;
}
if (skipWithoutDocker) console.error(`SKIPPED: ${skipWithoutDocker}`);

export interface Output {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const TIMEOUT_MS = 120_000;

export class DockerCli {
  readonly home = mkdtempSync(join(tmpdir(), 'skein-docker-'));
  readonly #socket: string;
  /** Put before the command: the way into a namespace, for what the CLI itself dials. */
  readonly #enter: readonly string[];

  readonly #env: Readonly<Record<string, string>>;

  constructor(socket: string, enter: readonly string[] = [], env: Readonly<Record<string, string>> = {}) {
    this.#socket = socket;
    this.#enter = enter;
    this.#env = env;
  }

  start(...args: string[]): ChildProcess {
    const [command = '', ...rest] = [...this.#enter, 'docker', ...args];
    return spawn(command, rest, {
      env: {
        PATH: process.env['PATH'],
        HOME: this.home,
        DOCKER_HOST: `unix://${this.#socket}`,
        DOCKER_CLI_HINTS: 'false',
        ...this.#env,
      },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
  }

  run(...args: string[]): Promise<Output> {
    const child = this.start(...args);
    child.stdin!.end();
    return finished(child);
  }

  /** What it printed; anything but exit code 0 fails the test. */
  async ok(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(...args);
    assert.equal(code, 0, `docker ${args.join(' ')}: ${stderr}`);
    return stdout;
  }

  /** What it printed on standard error; exit code 0 fails the test. */
  async fails(...args: string[]): Promise<string> {
    const { code, stderr, stdout } = await this.run(...args);
    assert.notEqual(code, 0, `docker ${args.join(' ')} should have failed: ${stdout}`);
    return stderr;
  }

  close(): void {
    rmSync(this.home, { recursive: true, force: true });
  }
}

export function finished(child: ChildProcess): Promise<Output> {
  let stdout = '';
  let stderr = '';
  child.stdout!.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr!.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const timer = setTimeout(() => child.kill('SIGKILL'), TIMEOUT_MS);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve({ code, stdout, stderr });
    });
  });
}
