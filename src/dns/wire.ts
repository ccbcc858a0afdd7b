/** Bytes to questions and replies to bytes (RFC 1035, EDNS of RFC 6891). Never throws on what came in. */
import { type DecodedPacket, decode, encode, type Packet } from 'dns-packet';
import type { Ipv4 } from '../model/ids.ts';
import type { Question, Reply } from './answer.ts';

export type Query =
  | {
      readonly kind: 'query';
      readonly id: number;
      readonly question: Question;
      readonly recursion: boolean;
      /** Largest answer that may be sent over UDP. */
      readonly limit: number;
      readonly edns: boolean;
    }
  /** Refused with this code. */
  | { readonly kind: 'refuse'; readonly id: number; readonly rcode: number; readonly question?: Question }
  /** No question at all: nobody is answered. */
  | { readonly kind: 'ignore' };

const HEADER = 12;
const PLAIN_LIMIT = 512;
/** What fits a packet on any path without fragments (DNS flag day 2020). */
const EDNS_LIMIT = 1232;
const [FORMERR, NXDOMAIN, NOTIMP] = [1, 3, 4];
export const SERVFAIL = 2;
const FLAG_QR = 0x8000;
const FLAG_TC = 0x0200;
const FLAG_RD = 0x0100;
const FLAG_RA = 0x0080;

export function readQuery(bytes: Buffer): Query {
  if (bytes.length < HEADER) return { kind: 'ignore' };
  const id = bytes.readUInt16BE(0);
  const flags = bytes.readUInt16BE(2);
  if (flags & FLAG_QR) return { kind: 'ignore' };
  if (((flags >> 11) & 15) !== 0) return { kind: 'refuse', id, rcode: NOTIMP };
  let packet: DecodedPacket;
  try {
    packet = decode(bytes);
  } catch {
    return { kind: 'refuse', id, rcode: FORMERR };
  }
  const [question, ...more] = packet.questions ?? [];
  if (!question || more.length > 0) return { kind: 'refuse', id, rcode: FORMERR };
  const { name, type } = question;
  if ((question.class ?? 'IN') !== 'IN')
    return { kind: 'refuse', id, rcode: NOTIMP, question: { name, type } };
  const opt = packet.additionals?.find((record) => record.type === 'OPT') as
    | { readonly udpPayloadSize: number }
    | undefined;
  return {
    kind: 'query',
    id,
    question: { name, type },
    recursion: (flags & FLAG_RD) !== 0,
    limit: opt ? Math.min(Math.max(opt.udpPayloadSize, PLAIN_LIMIT), EDNS_LIMIT) : PLAIN_LIMIT,
    edns: opt !== undefined,
  };
}

/** `rcode` with nothing in it. */
export function refusal(query: { readonly id: number; readonly question?: Question }, rcode: number): Buffer {
  return encode({
    type: 'response',
    id: query.id,
    flags: FLAG_RA | rcode,
    questions: query.question ? [asked(query.question)] : [],
  });
}

/**
 * The reply as bytes, at most `limit` of them: answers that do not fit are left out, and the truncation bit says so.
 * Forwarding is not for here.
 */
export function writeReply(
  query: Extract<Query, { kind: 'query' }>,
  reply: Exclude<Reply, { kind: 'forward' }>,
  limit: number,
): Buffer {
  const answers = answersOf(query.question, reply);
  const whole = encode(packetOf(query, reply, answers, false));
  if (whole.length <= limit) return whole;
  const room = limit - encode(packetOf(query, reply, [], true)).length;
  const each = (whole.length - encode(packetOf(query, reply, [], false)).length) / answers.length;
  return encode(packetOf(query, reply, answers.slice(0, Math.max(0, Math.floor(room / each))), true));
}

type Answers = NonNullable<Packet['answers']>;

function packetOf(
  query: Extract<Query, { kind: 'query' }>,
  reply: Reply,
  answers: Answers,
  truncated: boolean,
): Packet {
  return {
    type: 'response',
    id: query.id,
    flags:
      FLAG_RA |
      (query.recursion ? FLAG_RD : 0) |
      (truncated ? FLAG_TC : 0) |
      (reply.kind === 'no-such-name' ? NXDOMAIN : 0),
    questions: [asked(query.question)],
    answers,
    ...(query.edns && { additionals: [OPT] }),
  };
}

const OPT = {
  type: 'OPT' as const,
  name: '.' as const,
  udpPayloadSize: EDNS_LIMIT,
  extendedRcode: 0,
  ednsVersion: 0,
  flags: 0,
  flag_do: false,
  options: [],
};

const asked = ({ name, type }: Question) => ({ name, type: type as 'A', class: 'IN' as const });

function answersOf({ name }: Question, reply: Reply): Answers {
  if (reply.kind === 'addresses')
    return reply.addresses.map((address: Ipv4) => ({ type: 'A', name, ttl: reply.ttl, data: address }));
  if (reply.kind === 'name') return [{ type: 'PTR', name, ttl: reply.ttl, data: reply.name }];
  return [];
}
