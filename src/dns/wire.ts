/**
 * Bytes to questions and replies to bytes (RFC 1035, EDNS of RFC 6891). Never throws on what came in.
 *
 * A reply carries the question byte for byte as it was asked: whatever its case and whatever its labels hold. Records
 * of the reply point back to it, so that an address more is 16 bytes more.
 */
import { type DecodedPacket, decode } from 'dns-packet';
import type { Question, Reply } from './answer.ts';

/** Who is answered: what every reply needs of a query, refusals too. */
export interface Asked {
  readonly id: number;
  readonly recursion: boolean;
  /** The question section; empty where it could not be read. */
  readonly section: Uint8Array;
  readonly edns: boolean;
}

export type Query =
  | ({
      readonly kind: 'query';
      readonly question: Question;
      /** Largest answer that may be sent over UDP. */
      readonly limit: number;
    } & Asked)
  /** Refused with this code. */
  | ({ readonly kind: 'refuse'; readonly rcode: number } & Asked)
  /** No question at all: nobody is answered. */
  | { readonly kind: 'ignore' };

const HEADER = 12;
const PLAIN_LIMIT = 512;
/** What fits a packet on any path without fragments (DNS flag day 2020). */
const EDNS_LIMIT = 1232;
const MAX_NAME = 255;
const [FORMERR, NXDOMAIN, NOTIMP, BADVERS] = [1, 3, 4, 16];
export const SERVFAIL = 2;
const FLAG_QR = 0x8000;
const FLAG_TC = 0x0200;
const FLAG_RD = 0x0100;
const FLAG_RA = 0x0080;
const [A, PTR, OPT] = [1, 12, 41];
const IN = 1;
/** A compressed name: "as at offset 12", which is the question's. */
const NAME_OF_QUESTION = 0xc00c;
const NOTHING = new Uint8Array();

export function readQuery(bytes: Buffer): Query {
  if (bytes.length < HEADER) return { kind: 'ignore' };
  const flags = bytes.readUInt16BE(2);
  if (flags & FLAG_QR) return { kind: 'ignore' };
  const asked = {
    id: bytes.readUInt16BE(0),
    recursion: (flags & FLAG_RD) !== 0,
    section: NOTHING,
    edns: false,
  };
  const refuse = (rcode: number, over: Partial<Asked> = {}): Query => ({
    kind: 'refuse',
    rcode,
    ...asked,
    ...over,
  });
  if (((flags >> 11) & 15) !== 0) return refuse(NOTIMP);
  const end = endOfQuestion(bytes);
  if (end === undefined || bytes.readUInt16BE(4) !== 1) return refuse(FORMERR);
  let packet: DecodedPacket;
  try {
    packet = decode(bytes);
  } catch {
    return refuse(FORMERR);
  }
  const opt = packet.additionals?.find((record) => record.type === 'OPT') as
    | { readonly udpPayloadSize: number; readonly ednsVersion: number }
    | undefined;
  const known = { section: bytes.subarray(HEADER, end), edns: opt !== undefined };
  if (opt && opt.ednsVersion !== 0) return refuse(BADVERS, known);
  if (bytes.readUInt16BE(end - 2) !== IN) return refuse(NOTIMP, known);
  const { name, type } = packet.questions![0]!;
  const limit = opt ? Math.min(Math.max(opt.udpPayloadSize, PLAIN_LIMIT), EDNS_LIMIT) : PLAIN_LIMIT;
  return { kind: 'query', ...asked, ...known, question: { name, type }, limit };
}

/** Where the first question ends: a name of plain labels, a type and a class. */
function endOfQuestion(bytes: Buffer): number | undefined {
  for (let at = HEADER; at < bytes.length && at < HEADER + MAX_NAME; ) {
    const length = bytes[at]!;
    if (length > 63) return undefined; // a pointer has nothing before it to point to
    at += 1 + length;
    if (length === 0) return at + 4 <= bytes.length ? at + 4 : undefined;
  }
  return undefined;
}

/** `rcode` with nothing in it. */
export const refusal = (asked: Asked, rcode: number): Buffer => message(asked, rcode, [], 0);

/**
 * The reply as bytes, at most `limit` of them: answers that do not fit are left out, and the truncation bit says so.
 * Forwarding is not for here.
 */
export function writeReply(asked: Asked, reply: Exclude<Reply, { kind: 'forward' }>, limit: number): Buffer {
  const rcode = reply.kind === 'no-such-name' ? NXDOMAIN : 0;
  const answers = answersOf(reply);
  let room = limit - HEADER - asked.section.length - (asked.edns ? OPT_LENGTH : 0);
  const fitting = answers.filter((answer) => (room -= answer.length) >= 0);
  return message(asked, rcode, fitting, fitting.length < answers.length ? FLAG_TC : 0);
}

function message(asked: Asked, rcode: number, answers: readonly Buffer[], flags: number): Buffer {
  const header = Buffer.alloc(HEADER);
  header.writeUInt16BE(asked.id, 0);
  header.writeUInt16BE(FLAG_QR | FLAG_RA | flags | (asked.recursion ? FLAG_RD : 0) | (rcode & 15), 2);
  header.writeUInt16BE(asked.section.length > 0 ? 1 : 0, 4);
  header.writeUInt16BE(answers.length, 6);
  header.writeUInt16BE(asked.edns ? 1 : 0, 10);
  return Buffer.concat([header, asked.section, ...answers, ...(asked.edns ? [optRecord(rcode)] : [])]);
}

const OPT_LENGTH = 11;

/** The upper bits of the code stand in the OPT record; the flags and the version are 0. */
function optRecord(rcode: number): Buffer {
  const bytes = Buffer.alloc(OPT_LENGTH);
  bytes.writeUInt16BE(OPT, 1);
  bytes.writeUInt16BE(EDNS_LIMIT, 3);
  bytes[5] = rcode >> 4;
  return bytes;
}

function answersOf(reply: Reply): readonly Buffer[] {
  if (reply.kind === 'addresses')
    return reply.addresses.map((address) =>
      record(A, reply.ttl, Buffer.from(address.split('.').map(Number))),
    );
  if (reply.kind === 'name') return [record(PTR, reply.ttl, labels(reply.name))];
  return [];
}

function record(type: number, ttl: number, data: Buffer): Buffer {
  const bytes = Buffer.alloc(12 + data.length);
  bytes.writeUInt16BE(NAME_OF_QUESTION, 0);
  bytes.writeUInt16BE(type, 2);
  bytes.writeUInt16BE(IN, 4);
  bytes.writeUInt32BE(ttl, 6);
  bytes.writeUInt16BE(data.length, 10);
  data.copy(bytes, 12);
  return bytes;
}

const MAX_LABEL = 63;

/** Names of tasks and networks as labels; what is longer than a label may be is cut. */
const labels = (name: string): Buffer =>
  Buffer.concat([
    ...name.split('.').map((label) => {
      const text = Buffer.from(label).subarray(0, MAX_LABEL);
      return Buffer.concat([Buffer.from([text.length]), text]);
    }),
    Buffer.from([0]),
  ]);
