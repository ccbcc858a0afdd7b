import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode, encode, type Packet } from 'dns-packet';
import fc from 'fast-check';
import type { Ipv4 } from '../model/ids.ts';
import { type Query, readQuery, refusal, writeReply } from './wire.ts';

const question = (over: Partial<Packet> = {}): Buffer =>
  encode({ type: 'query', id: 7, flags: 0x0100, questions: [{ name: 'Web', type: 'A' }], ...over });

function query(bytes: Buffer): Extract<Query, { kind: 'query' }> {
  const read = readQuery(bytes);
  assert.equal(read.kind, 'query');
  return read as Extract<Query, { kind: 'query' }>;
}

const many = (n: number) => ({
  kind: 'addresses' as const,
  ttl: 1,
  addresses: Array.from({ length: n }, (_, i) => `10.0.${i >> 8}.${i & 255}` as Ipv4),
});
/** Reads a reply's header: id, truncated, rcode. */
const head = (bytes: Buffer) => ({
  id: bytes.readUInt16BE(0),
  truncated: (bytes[2]! & 2) !== 0,
  rcode: bytes[3]! & 15,
});

test('the answer repeats the question in its own case, and says that recursion is to be had', () => {
  const reply = decode(writeReply(query(question()), many(2), 512));
  assert.equal(reply.questions![0]!.name, 'Web');
  assert.ok(reply.flag_qr && reply.flag_ra && reply.flag_rd && !reply.flag_tc);
  assert.deepEqual(
    reply.answers!.map((a) => (a as { data: string }).data),
    ['10.0.0.0', '10.0.0.1'],
  );
});

test('EDNS is answered with EDNS, and asks for no more than fits a packet', () => {
  const opt = (udpPayloadSize: number) => ({
    additionals: [
      { type: 'OPT' as const, name: '.' as const, udpPayloadSize, flags: 0, options: [] } as never,
    ],
  });
  assert.equal(query(question()).limit, 512);
  assert.equal(query(question(opt(4096))).limit, 1232);
  assert.equal(query(question(opt(100))).limit, 512);
  assert.equal(decode(writeReply(query(question(opt(4096))), many(1), 1232)).additionals![0]!.type, 'OPT');
  assert.deepEqual(decode(writeReply(query(question()), many(1), 512)).additionals, []);
});

test('an answer never exceeds its limit, and says when it left something out', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 400 }), fc.constantFrom(512, 1232, 65_535), (n, limit) => {
      const bytes = writeReply(query(question()), many(n), limit);
      assert.ok(bytes.length <= limit);
      const { answers, flag_tc } = decode(bytes);
      assert.equal(flag_tc, answers!.length < n);
      if (n > 0) assert.ok(answers!.length > 0);
    }),
  );
});

test('a name of any bytes comes back as it was asked, and never makes the reply longer than its limit', () => {
  const label = fc.uint8Array({ minLength: 1, maxLength: 63 });
  fc.assert(
    fc.property(fc.array(label, { minLength: 1, maxLength: 3 }), (labels) => {
      const name = Buffer.concat([...labels.flatMap((l) => [Buffer.from([l.length]), l]), Buffer.from([0])]);
      const section = Buffer.concat([name, Buffer.from([0, 1, 0, 1])]);
      const bytes = Buffer.concat([question().subarray(0, 12), section]);
      for (const reply of [
        writeReply(query(bytes), many(100), 512),
        writeReply(query(bytes), { kind: 'no-such-name' }, 512),
        refusal(query(bytes), 2),
      ]) {
        assert.deepEqual(reply.subarray(12, 12 + section.length), section);
        assert.ok(reply.length <= 512);
      }
    }),
  );
});

test('an address more is sixteen bytes more; an address has its name', () => {
  const length = (n: number) => writeReply(query(question()), many(n), 512).length;
  assert.equal(length(10) - length(9), 16);
  const ptr = question({ questions: [{ name: '2.1.0.10.in-addr.arpa', type: 'PTR' }] });
  const reply = decode(writeReply(query(ptr), { kind: 'name', name: 'web.front', ttl: 7 }, 512));
  assert.deepEqual(
    reply.answers!.map(({ type, ttl, data }: { type: string; ttl?: number; data?: unknown }) => [
      type,
      ttl,
      data,
    ]),
    [['PTR', 7, 'web.front']],
  );
});

test('an EDNS version that nobody knows is refused with the one that is, refusals carry EDNS too', () => {
  const opt = { type: 'OPT', name: '.', udpPayloadSize: 1232, flags: 0, options: [], ednsVersion: 3 };
  const read = readQuery(question({ additionals: [opt as never] }));
  assert.equal(read.kind, 'refuse');
  const reply = decode(refusal(read as Extract<Query, { kind: 'refuse' }>, 16));
  const answered = reply.additionals![0] as unknown as { extendedRcode: number; ednsVersion: number };
  assert.deepEqual([answered.extendedRcode, answered.ednsVersion], [1, 0]);
});

test('what is no single question of the internet is refused by its code, or not answered at all', () => {
  const rcode = (bytes: Buffer) => {
    const read = readQuery(bytes);
    return read.kind === 'refuse' ? head(refusal(read, read.rcode)) : read.kind;
  };
  const two = [
    { name: 'a', type: 'A' as const },
    { name: 'b', type: 'A' as const },
  ];
  const status = question();
  status[2] = 0x10;
  const answerBack = question();
  answerBack[2] = 0x80;
  assert.deepEqual(rcode(question({ questions: two })), { id: 7, truncated: false, rcode: 1 });
  assert.deepEqual(rcode(question({ questions: [] })), { id: 7, truncated: false, rcode: 1 });
  assert.deepEqual(rcode(status), { id: 7, truncated: false, rcode: 4 });
  assert.deepEqual(rcode(question({ questions: [{ name: 'a', type: 'A', class: 'CH' }] })), {
    id: 7,
    truncated: false,
    rcode: 4,
  });
  assert.equal(rcode(answerBack), 'ignore');
  assert.equal(rcode(Buffer.alloc(5)), 'ignore');
});

test('no bytes make it throw', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => (readQuery(Buffer.from(bytes)), true)));
  const good = question();
  for (let at = 0; at < good.length; at++)
    for (const value of [0, 0xff, 0xc0]) {
      const bytes = Buffer.from(good);
      bytes[at] = value;
      readQuery(bytes);
      readQuery(bytes.subarray(0, at));
    }
});
