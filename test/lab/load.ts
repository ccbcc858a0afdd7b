/**
 * HTTP requests at a steady rate from the client's namespace, by a child process: half of them on connections of their
 * own, half on kept ones. Counts what failed, and how.
 */
import { spawn } from 'node:child_process';
import type { Lab } from '../../src/lab/lab.ts';

export interface LoadReport {
  readonly sent: number;
  /** For how long it sent, by its own clock. */
  readonly seconds: number;
  readonly failed: number;
  /** What each failure said, with the time since the start in ms. */
  readonly errors: readonly string[];
  /** How often each container answered. */
  readonly answers: ReadonlyMap<string, number>;
}

interface RawReport extends Omit<LoadReport, 'answers'> {
  readonly answers: readonly [string, number][];
}

/**
 * argv: JSON of { targets: [address, port][], rate, requests }. Prints an empty line when it begins, and the report at
 * its end: after `requests`, or when stdin ends.
 */
const CLIENT = `
const http = require('node:http');
const { targets, rate, requests } = JSON.parse(process.argv[1]);
const agents = { kept: new http.Agent({ keepAlive: true, maxSockets: 8 }), fresh: new http.Agent({ keepAlive: false }) };
const report = { sent: 0, seconds: 0, failed: 0, errors: [] };
const answers = new Map();
const began = performance.now();
let open = 0, ended = false;
process.stdout.write('\\n');
const stop = () => { clearInterval(timer); ended = true; report.seconds = (performance.now() - began) / 1000; finish(); };
const finish = () => {
  if (!ended || open > 0) return;
  process.stdout.write(JSON.stringify({ ...report, answers: [...answers] }), () => process.exit(0));
};
function ask(n) {
  const [host, port] = targets[Math.floor(n / 2) % targets.length];
  const kind = n % 2 ? 'kept' : 'fresh';
  report.sent++; open++;
  let done = false;
  const end = (error) => {
    if (done) return;
    done = true; open--;
    if (error) { report.failed++; report.errors.push(Math.round(performance.now() - began) + ' ms ' + kind + ' ' + host + ':' + port + ': ' + error); }
    finish();
  };
  const request = http.get({ host, port, agent: agents[kind], timeout: 5000 }, (response) => {
    let body = '';
    response.on('data', (data) => (body += data));
    response.on('error', (error) => end(error.code ?? error.message));
    response.on('end', () => {
      const name = /^container (\\S+)/m.exec(body)?.[1];
      if (name) answers.set(name, (answers.get(name) ?? 0) + 1);
      end(name ? undefined : 'no answer of ours: ' + response.statusCode);
    });
  });
  request.on('timeout', () => request.destroy(new Error('timeout')));
  request.on('error', (error) => {
    // What a client of HTTP must do itself (RFC 9112, 9.3.1): a kept connection that the server closed while it was idle.
    if (request.reusedSocket && error.code === 'ECONNRESET' && !done) { report.sent--; done = true; open--; ask(n); return; }
    end(error.code ?? error.message);
  });
}
let n = 0;
const timer = setInterval(() => {
  const want = Math.min(requests ?? Infinity, (performance.now() - began) / 1000 * rate);
  while (n < want && !ended) ask(n++);
  if (requests !== undefined && n >= requests) stop();
}, 5);
process.stdin.on('end', stop).resume();
`;

export interface LoadOptions {
  readonly targets: readonly (readonly [address: string, port: number])[];
  /** Requests a second over all targets. */
  readonly rate: number;
  readonly requests?: number;
}

export class HttpLoad {
  /** Resolves when it sends, or has ended without. */
  readonly begun: Promise<void>;
  readonly #report: Promise<LoadReport>;
  readonly #end: () => void;

  constructor(lab: Lab, options: LoadOptions) {
    const [command = '', ...args] = lab.enter('client');
    const child = spawn(command, [...args, process.execPath, '-e', CLIENT, JSON.stringify(options)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.begun = new Promise((resolve) => {
      child.stdout.once('data', () => resolve());
      child.once('close', () => resolve());
    });
    let text = '';
    child.stdout.on('data', (data: Buffer) => (text += data.toString()));
    this.#report = new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code) => {
        if (code !== 0) return reject(new Error(`the load's client ended with ${code}`));
        const raw = JSON.parse(text) as RawReport;
        resolve({ ...raw, answers: new Map(raw.answers) });
      });
    });
    this.#end = () => child.stdin.end();
  }

  /** A burst of so many requests, to one address. */
  static run(
    lab: Lab,
    { address, port, requests }: { address: string; port: number; requests: number },
  ): Promise<LoadReport> {
    return new HttpLoad(lab, { targets: [[address, port]], rate: 200, requests }).#report;
  }

  stop(): Promise<LoadReport> {
    this.#end();
    return this.#report;
  }
}
