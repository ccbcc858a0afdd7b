/** `skein trace --json` as a user runs it, and what it writes. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { until } from '../../src/lab/cluster.ts';

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.ts');

interface Side {
  readonly ip: string;
  readonly port?: number;
  readonly mac?: string;
  readonly name?: string;
}

export interface Traced {
  readonly protocol: string;
  readonly case: string;
  readonly client: Side;
  readonly target: Side;
  readonly backend?: Side;
  readonly outcome: string;
  readonly resetBy?: string;
  readonly joinedBy: string;
  readonly answeredInNs?: number;
  readonly hops: readonly {
    readonly way: string;
    readonly source: Side;
    readonly destination: Side;
    readonly translated?: string;
    readonly tookNs?: number;
    readonly tunnel?: { readonly source: string; readonly destination: string };
    readonly seen: readonly { readonly node: string; readonly link: string; readonly direction: string }[];
  }[];
}

export class TraceRun {
  readonly #child: ChildProcess;
  readonly #ended: Promise<number>;
  #out = '';
  #notes = '';

  constructor(socket: string, ...args: string[]) {
    this.#child = spawn(process.execPath, [MAIN, 'trace', '--json', '--socket', socket, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child.stdout!.on('data', (chunk: Buffer) => (this.#out += chunk.toString()));
    this.#child.stderr!.on('data', (chunk: Buffer) => (this.#notes += chunk.toString()));
    this.#ended = new Promise((resolve) => this.#child.on('close', (code) => resolve(code ?? -1)));
  }

  /** What it says beside the connections. */
  get notes(): string {
    return this.#notes;
  }

  /** Resolves when it has said this beside the connections. */
  says(text: string): Promise<this> {
    return this.#until(`say ${text}`, () => this.#notes.includes(text));
  }

  /** Resolves when this stands in a connection that it printed. */
  prints(text: string): Promise<this> {
    return this.#until(`print ${text}`, () => this.#out.includes(text));
  }

  async #until(what: string, holds: () => boolean): Promise<this> {
    let ended = false;
    void this.#ended.then(() => (ended = true));
    await until(
      `the trace to ${what}`,
      () => {
        assert.ok(holds() || !ended, `it ended before:\n${this.#notes}`);
        return Promise.resolve(holds() || this.#notes);
      },
      { timeoutMs: 20_000 },
    );
    return this;
  }

  interrupt(): void {
    this.#child.kill('SIGINT');
  }

  /** The connections that it printed. */
  async ends(code = 0): Promise<readonly Traced[]> {
    assert.equal(await this.#ended, code, this.#notes);
    return this.#out
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Traced);
  }
}

/** Names of the interfaces and the number of packets in a pcapng file, walked block by block as a reader does. */
export function readPcapng(file: Buffer): {
  readonly interfaces: readonly string[];
  readonly times: readonly bigint[];
} {
  const interfaces: string[] = [];
  const times: bigint[] = [];
  for (let at = 0; at < file.length; ) {
    const [type, length] = [file.readUInt32LE(at), file.readUInt32LE(at + 4)];
    assert.ok(
      length >= 12 && length % 4 === 0 && at + length <= file.length,
      `block of ${length} bytes at ${at}`,
    );
    assert.equal(file.readUInt32LE(at + length - 4), length, 'its length stands at both ends');
    const body = file.subarray(at + 8, at + length - 4);
    if (at === 0) assert.equal(type, 0x0a0d0d0a, 'a section comes first');
    // The first option of an interface is its name.
    if (type === 1) interfaces.push(body.toString('utf8', 12, 12 + body.readUInt16LE(10)));
    if (type === 6) {
      assert.ok(body.readUInt32LE(0) < interfaces.length, 'its interface is known');
      times.push((BigInt(body.readUInt32LE(4)) << 32n) | BigInt(body.readUInt32LE(8)));
    }
    at += length;
  }
  return { interfaces, times };
}
