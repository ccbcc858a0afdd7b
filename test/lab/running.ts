/** Programs that run in a lab while something changes: what they saw is read from what they print. */
import { type ChildProcess, spawn } from 'node:child_process';
import { until } from '../../src/lab/cluster.ts';
import type { Lab } from '../../src/lab/lab.ts';

/**
 * Eight flows to each address, each from a source port of its own that is kept: asks on all of them every 100 ms, and
 * prints after each round `flow answer` of every flow as JSON; an answer from elsewhere than asked ends it.
 */
const FLOWS = `
const dgram = require('node:dgram');
const [port, size, ...addresses] = process.argv.slice(1);
const answers = {};
const sockets = addresses.flatMap((address) => Array.from({ length: 8 }, (_, i) => {
  const flow = address + '#' + i;
  const socket = dgram.createSocket('udp4');
  socket.on('message', (data, from) => {
    if (from.address !== address || from.port !== Number(port)) throw new Error('answer from ' + from.address + ':' + from.port);
    const [name, rest] = data.toString().split(' ');
    if (rest.length === Number(size)) answers[flow] = name;
  });
  socket.on('error', () => {});
  return { socket, address };
}));
setInterval(() => {
  console.log(JSON.stringify(answers));
  for (const flow of Object.keys(answers)) delete answers[flow];
  for (const { socket, address } of sockets) socket.send('x'.repeat(Number(size)), Number(port), address);
}, 100);
process.stdin.on('end', () => process.exit(0)).resume();
`;

/**
 * New connections one after the other to each address in turn; prints a line of JSON after the first and at the end of
 * input: how often each container answered, and what failed.
 */
export const CONNECTIONS = `
const http = require('node:http');
const [port, ...addresses] = process.argv.slice(1);
const seen = { answered: {}, failed: [] };
let ending = false;
process.stdin.on('end', () => (ending = true)).resume();
function ask(i) {
  if (ending) { console.log(JSON.stringify(seen)); process.exit(0); }
  const host = addresses[i % addresses.length];
  const next = () => setTimeout(ask, 3, i + 1);
  const request = http.get({ host, port, path: '/', agent: false, timeout: 3000 }, (answer) => {
    let text = '';
    answer.on('data', (data) => (text += data));
    answer.on('end', () => { const name = /container (\\S+)/.exec(text)[1]; seen.answered[name] = (seen.answered[name] ?? 0) + 1; if (i === 0) console.log(JSON.stringify(seen)); next(); });
  });
  request.on('timeout', () => request.destroy(new Error('no answer within 3 s')));
  request.on('error', (error) => { seen.failed.push(host + ': ' + error.message); next(); });
}
ask(0);
`;

/** A script of Node.js in the client's namespace. */
export class Running {
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  #output = '';

  constructor(lab: Lab, script: string, ...args: string[]) {
    const [command = '', ...enter] = lab.enter('client');
    this.#child = spawn(command, [...enter, process.execPath, '-e', script, ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child.stdout!.on('data', (chunk: Buffer) => (this.#output += chunk.toString()));
    this.#closed = new Promise((resolve) => this.#child.on('close', resolve));
  }

  /** What it has printed, line by line. */
  get lines(): readonly unknown[] {
    const lines = this.#output.split('\n').slice(0, -1);
    return lines.map((line) => JSON.parse(line) as unknown);
  }

  /** Resolves when it has printed its first line. */
  begun(): Promise<void> {
    return until('the first line', () => Promise.resolve(this.lines.length > 0 || 'none'), {
      timeoutMs: 20_000,
    });
  }

  /** May be repeated. */
  async end(): Promise<unknown> {
    this.#child.stdin!.end();
    await this.#closed;
    return this.lines.at(-1);
  }
}

/** The container that answered each flow. */
type Round = Readonly<Record<string, string>>;

/** What FLOWS sees, in rounds that have an answer to every flow: on a busy machine one may come a round late. */
export class Flows {
  readonly #running: Running;
  readonly #count: number;

  constructor(lab: Lab, port: number, size: number, ...addresses: string[]) {
    this.#running = new Running(lab, FLOWS, String(port), String(size), ...addresses);
    this.#count = addresses.length * 8;
  }

  get #rounds(): readonly Round[] {
    const rounds = this.#running.lines as readonly Round[];
    return rounds.filter((round) => Object.keys(round).length === this.#count);
  }

  /** Resolves with a round of so many containers. */
  async by(containers: number): Promise<Round> {
    let newest: Round = {};
    await this.#until(`all flows to be answered by ${containers} containers`, () => {
      newest = this.#rounds.at(-1) ?? {};
      return new Set(Object.values(newest)).size === containers;
    });
    return newest;
  }

  /** Three more rounds. */
  async next(): Promise<readonly Round[]> {
    const before = this.#rounds.length;
    await this.#until('three more rounds of all flows', () => this.#rounds.length >= before + 3);
    return this.#rounds.slice(before);
  }

  #until(what: string, holds: () => boolean): Promise<void> {
    const told = () => holds() || `the last: ${JSON.stringify(this.#running.lines.at(-1))}`;
    return until(what, () => Promise.resolve(told()), { timeoutMs: 30_000 });
  }

  async end(): Promise<void> {
    await this.#running.end();
  }
}
