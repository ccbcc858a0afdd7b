/**
 * Questions about the rest of the world, asked on: to the servers that the container named, else to the node's own
 * resolvers as they are now. The bytes go on as they came, EDNS included, under an id and from a port of their own, so
 * that nobody can slip an answer in; an answer comes from the server that was asked, because the socket is connected
 * to it, and repeats the question. One that did not fit a packet is passed on as such: the asker comes again over TCP,
 * and so do we.
 *
 * INVARIANTS
 * - At most MAX questions are out at a time, and MAX_EACH of one asker: one container can not take the world from the
 *   others.
 * - Each ends, with an answer or without, before the asker's own patience (5 s in the common libraries) does.
 */
import { createSocket } from 'node:dgram';
import { randomInt } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { connect, isIP } from 'node:net';

const MAX = 1_000;
const MAX_EACH = 250;
const TRY_MS = 1_500;
const TRIES = 3;
const MAX_TCP = 65_535;
const HEADER = 12;
/** SERVFAIL and REFUSED: this server can not say, another may. */
const NO_WORD = [2, 5];

export interface ForwarderOptions {
  /** The node's resolv.conf. */
  readonly resolvConf?: string;
  readonly tryMs?: number;
  readonly port?: number;
  /** Questions of one asker that may be out. */
  readonly maxEach?: number;
}

export interface Asking {
  /** Whose question it is. */
  readonly asker: string;
  /** Empty: the node's own resolvers. */
  readonly servers: readonly string[];
  readonly over: 'udp' | 'tcp';
}

export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #out = new Map<string, number>();
  #total = 0;
  #own: { readonly stamp: number; readonly servers: readonly string[] } = { stamp: -1, servers: [] };

  constructor(options: ForwarderOptions = {}) {
    this.#options = options;
  }

  /** The answer's bytes under the question's id; undefined when nobody gave one. */
  async ask(query: Buffer, { asker, servers, over }: Asking): Promise<Buffer | undefined> {
    const chosen = servers.length > 0 ? servers.filter((s) => isIP(s) !== 0) : this.#nodeServers();
    const { maxEach = MAX_EACH } = this.#options;
    const out = this.#out.get(asker) ?? 0;
    if (chosen.length === 0 || this.#total >= MAX || out >= maxEach) return undefined;
    this.#count(asker, 1);
    try {
      let noWord: Buffer | undefined;
      for (let attempt = 0; attempt < TRIES; attempt++) {
        const answer = await this.#once(query, chosen[attempt % chosen.length]!, over);
        if (answer && !NO_WORD.includes(answer[3]! & 15)) return answer;
        noWord = answer ?? noWord;
        if (answer && attempt + 1 >= chosen.length) break; // everybody was asked, and this one is alive
      }
      return noWord;
    } finally {
      this.#count(asker, -1);
    }
  }

  #count(asker: string, by: number): void {
    this.#total += by;
    const out = (this.#out.get(asker) ?? 0) + by;
    if (out > 0) this.#out.set(asker, out);
    else this.#out.delete(asker);
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
    .filter((server) => isIP(server) !== 0 && server !== '127.0.0.11')
    .slice(0, 3);

/** The id and the question are those that were asked; letters may come back in another case. */
function isAnswerTo(query: Buffer, answer: Buffer): boolean {
  if (answer.length < HEADER || (answer[2]! & 0x80) === 0) return false;
  if (answer.readUInt16BE(0) !== query.readUInt16BE(0)) return false;
  if (answer.readUInt16BE(4) === 0) return NO_ANSWER.includes(answer[3]! & 15);
  const end = query.indexOf(0, HEADER) + 5;
  const question = (of: Buffer) => of.subarray(HEADER, end).toString('latin1').toLowerCase();
  return question(query) === question(answer);
}

/** Some servers leave the question out of a refusal (FORMERR, SERVFAIL, NOTIMP, REFUSED). */
const NO_ANSWER = [1, 2, 4, 5];

function askUdp(query: Buffer, server: string, port: number, ms: number): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket(isIP(server) === 6 ? 'udp6' : 'udp4');
    let open = true;
    const end = (answer: Buffer | undefined) => {
      if (!open) return;
      open = false;
      clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(() => end(undefined), ms);
    socket.on('error', () => end(undefined));
    socket.on('message', (answer) => {
      if (isAnswerTo(query, answer)) end(answer);
    });
    // Called with an error too, where the server can not be reached at all.
    socket.connect(port, server, (error?: Error) => {
      if (error) end(undefined);
      else if (open) socket.send(query);
    });
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
    socket.on('error', () => end(undefined));
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
