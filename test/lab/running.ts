/** Programs that run in a lab while something changes: what they saw is read from what they print. */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Lab } from '../../src/lab/lab.ts';

/**
 * Eight flows to each address, each from a source port of its own that is kept: asks on all of them every 100 ms, and
 * prints after each round `flow answer` of every flow as JSON; an answer from elsewhere than asked ends it.
 */
export const FLOWS = `
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

/** New connections one after the other to each address in turn; prints one line of JSON at the end of input. */
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
    answer.on('end', () => { const name = /container (\\S+)/.exec(text)[1]; seen.answered[name] = (seen.answered[name] ?? 0) + 1; next(); });
  });
  request.on('timeout', () => request.destroy(new Error('no answer within 3 s')));
  request.on('error', (error) => { seen.failed.push(host + ': ' + error.message); next(); });
}
ask(0);
`;

/** A script of Node.js in the client's namespace. */
export class Running {
  readonly #child: ChildProcess;
  #output = '';

  constructor(lab: Lab, script: string, ...args: string[]) {
    const [command = '', ...enter] = lab.enter('client');
    this.#child = spawn(command, [...enter, process.execPath, '-e', script, ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child.stdout!.on('data', (chunk: Buffer) => (this.#output += chunk.toString()));
  }

  /** The last whole line. */
  get last(): unknown {
    const lines = this.#output.split('\n');
    return JSON.parse(lines.at(-2) || '{}');
  }

  async end(): Promise<unknown> {
    const closed = new Promise((resolve) => this.#child.on('close', resolve));
    this.#child.stdin!.end();
    await closed;
    return this.last;
  }
}
