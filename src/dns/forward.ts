/**
 * Questions about the rest of the world, asked on: to the servers that the container named, else to the node's own
 * resolvers as they are now. The bytes go on as they came, under an id and from a port of their own, so that nobody
 * can slip an answer in; an answer comes from the server that was asked, because the socket is connected to it.
 *
 * INVARIANTS: at most MAX questions are out at a time; each ends, with an answer or without, before the asker's own
 * patience (5 s in the common libraries) does.
 */
import { createSocket } from 'node:dgram';
import { randomInt } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { connect } from 'node:net';

const MAX = 1_000;
const TRY_MS = 1_500;
const TRIES = 3;
const MAX_TCP = 65_535;

export interface ForwarderOptions {
  /** The node's resolv.conf. */
  readonly resolvConf?: string;
  readonly tryMs?: number;
  readonly port?: number;
}

export class Forwarder {
  readonly #options: ForwarderOptions;
  #out = 0;
  #own: { readonly stamp: number; readonly servers: readonly string[] } = { stamp: -1, servers: [] };

  constructor(options: ForwarderOptions = {}) {
    this.#options = options;
  }

  /** The answer's bytes under the question's id; undefined when nobody gave one. */
  async ask(query: Buffer, servers: readonly string[], over: 'udp' | 'tcp'): Promise<Buffer | undefined> {
    const chosen = servers.length > 0 ? servers : this.#nodeServers();
    if (chosen.length === 0 || this.#out >= MAX) return undefined;
    this.#out++;
    try {
      for (let attempt = 0; attempt < TRIES; attempt++) {
        const server = chosen[attempt % chosen.length]!;
        const answer = await this.#once(query, server, over);
        if (answer) return answer;
      }
      return undefined;
    } finally {
      this.#out--;
    }
  }

  async #once(query: Buffer, server: string, over: 'udp' | 'tcp'): Promise<Buffer | undefined> {
    const { tryMs = TRY_MS, port = 53 } = this.#options;
    const own = Buffer.from(query);
    own.writeUInt16BE(randomInt(0x10000), 0);
    const answer = await (over === 'udp' ? askUdp : askTcp)(own, server, port, tryMs);
    if (!answer) return undefined;
    query.copy(answer, 0, 0, 2);
    return answer;
  }

  /** Read again when it has changed: DHCP and VPNs write it anew. */
  #nodeServers(): readonly string[] {
    const { resolvConf = '/etc/resolv.conf' } = this.#options;
    try {
      const stamp = statSync(resolvConf).mtimeMs;
      if (stamp !== this.#own.stamp)
        this.#own = { stamp, servers: nameservers(readFileSync(resolvConf, 'utf8')) };
    } catch {
      this.#own = { stamp: -1, servers: [] };
    }
    return this.#own.servers;
  }
}

/** `nameserver` lines, at most three as resolv.conf(5) says; never ourselves. */
export const nameservers = (text: string): string[] =>
  [...text.matchAll(/^\s*nameserver\s+(\S+)/gm)]
    .map(([, server]) => server!)
    .filter((server) => server !== '127.0.0.11')
    .slice(0, 3);

const isAnswerTo = (query: Buffer, answer: Buffer): boolean =>
  answer.length >= 12 && answer.readUInt16BE(0) === query.readUInt16BE(0) && (answer[2]! & 0x80) !== 0;

function askUdp(query: Buffer, server: string, port: number, ms: number): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket(server.includes(':') ? 'udp6' : 'udp4');
    const end = (answer: Buffer | undefined) => {
      clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(() => end(undefined), ms);
    socket.once('error', () => end(undefined));
    socket.on('message', (answer) => {
      if (isAnswerTo(query, answer)) end(answer);
    });
    socket.connect(port, server, () => socket.send(query));
  });
}

function askTcp(query: Buffer, server: string, port: number, ms: number): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host: server, port });
    let got = Buffer.alloc(0);
    const end = (answer: Buffer | undefined) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => end(undefined), ms);
    socket.once('error', () => end(undefined));
    socket.once('close', () => end(undefined));
    socket.once('connect', () => socket.write(framed(query)));
    socket.on('data', (chunk: Buffer) => {
      got = Buffer.concat([got, chunk]);
      if (got.length > MAX_TCP + 2) return end(undefined);
      if (got.length < 2 || got.length < 2 + got.readUInt16BE(0)) return;
      const answer = got.subarray(2, 2 + got.readUInt16BE(0));
      end(isAnswerTo(query, answer) ? answer : undefined);
    });
  });
}

/** With its length before it, as TCP carries it. */
export function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}
