/**
 * The hot part of the nftables table, and conntrack, as raw nfnetlink messages. libnftables reads its whole view of
 * the table before each change (3-14 ms with 5,000 published ports, and a full load takes 3.6 s); here a change costs
 * what changes. What is fixed (table, maps, base chains) stays in the language of nft, see nft-text.ts.
 *
 * The chain of a published port holds one rule, with the expressions that nft makes of its text:
 *   dnat ip to tcp dport . numgen inc mod N map @slots-tcp    or    reject
 */
import type { Protocol } from '../model/spec.ts';
import { portMark, slotsMap, TABLE } from './nft-names.ts';
import {
  attr,
  attributes,
  eachAttribute,
  ENOENT,
  ipBytes,
  type Message,
  type NetlinkSocket,
  NLM_F_CREATE,
  readIp,
  readText,
  text,
  u16be,
  u32,
  u32be,
  u8,
} from './netlink.ts';

const NFPROTO_IPV4 = 2;
const SUBSYSTEM_NFTABLES = 10;
const SUBSYSTEM_CONNTRACK = 1;
const BATCH_BEGIN = 0x10;
const BATCH_END = 0x11;
const NEWCHAIN = 3;
const GETCHAIN = 4;
const DELCHAIN = 5;
const NEWRULE = 6;
const GETRULE = 7;
const DELRULE = 8;
const NEWSETELEM = 12;
const GETSETELEM = 13;
const DELSETELEM = 14;
const NLM_F_APPEND = 0x800;

export const protocolNumber: Record<Protocol, number> = { tcp: 6, udp: 17, sctp: 132 };
const protocolName = new Map<number, Protocol>(
  (Object.entries(protocolNumber) as [Protocol, number][]).map(([name, number]) => [number, name]),
);

const head = (family: number, resource = 0): Buffer =>
  Buffer.from([family, 0, resource >> 8, resource & 255]);

const message = (
  kind: number,
  what: string,
  body: readonly Buffer[],
  extra: { flags?: number; ignore?: readonly number[] } = {},
): Message => ({
  type: (SUBSYSTEM_NFTABLES << 8) | kind,
  flags: extra.flags ?? 0,
  what,
  ...(extra.ignore && { ignore: extra.ignore }),
  body: Buffer.concat([head(NFPROTO_IPV4), ...body]),
});

const batchMark = (type: number): Message => ({
  type,
  flags: 0,
  what: 'nftables batch',
  body: head(0, SUBSYSTEM_NFTABLES),
});

/** The messages as one transaction: the kernel takes all of them or none. */
export const transaction = (messages: readonly Message[]): Message[] =>
  messages.length === 0 ? [] : [batchMark(BATCH_BEGIN), ...messages, batchMark(BATCH_END)];

// ---- chains of published ports

export const addChain = (chain: string): Message =>
  message(NEWCHAIN, `add chain ${chain}`, [attr(1, text(TABLE)), attr(3, text(chain))], {
    flags: NLM_F_CREATE,
  });

export const deleteChain = (chain: string): Message =>
  message(DELCHAIN, `delete chain ${chain}`, [attr(1, text(TABLE)), attr(3, text(chain))]);

/** Every rule of the chain. */
export const flushChain = (chain: string): Message =>
  message(DELRULE, `flush chain ${chain}`, [attr(1, text(TABLE)), attr(2, text(chain))], {
    ignore: [ENOENT],
  });

const expression = (name: string, ...data: Buffer[]): Buffer => attr(1, [attr(1, text(name)), attr(2, data)]);
const value = (bytes: Buffer): Buffer[] => [attr(1, bytes)];

/** `meta l4proto == protocol` */
const matchProtocol = (protocol: Protocol): Buffer[] => [
  expression('meta', attr(2, u32be(16)), attr(1, u32be(1))),
  expression('cmp', attr(1, u32be(1)), attr(2, u32be(0)), attr(3, value(u8(protocolNumber[protocol])))),
];

const REG_1 = u32be(1);
/** The 32-bit register that follows the first one of REG_1: the second field of a key. */
const REG32_01 = u32be(9);

const roundRobin = (protocol: Protocol, modulus: number): Buffer[] => [
  // The port, at offset 2 of the transport header.
  expression('payload', attr(1, REG_1), attr(2, u32be(2)), attr(3, u32be(2)), attr(4, u32be(2))),
  expression('numgen', attr(1, REG32_01), attr(2, u32be(modulus)), attr(3, u32be(0)), attr(4, u32be(0))),
  expression('lookup', attr(1, text(slotsMap(protocol))), attr(2, REG_1), attr(3, REG_1)),
  expression(
    'nat',
    attr(1, u32be(1)), // destination
    attr(2, u32be(NFPROTO_IPV4)),
    attr(3, REG_1), // address, from
    attr(5, REG32_01), // port, from
  ),
];

/** TCP gets a reset, the others "port unreachable": the caller hears at once. */
const refuse = (protocol: Protocol): Buffer[] => [
  protocol === 'tcp'
    ? expression('reject', attr(1, u32be(1)), attr(2, u8(0)))
    : expression('reject', attr(1, u32be(0)), attr(2, u8(3))),
];

/** The one rule of a port's chain. Its comment is how it is recognised when it is read back. */
export function addPortRule(chain: string, protocol: Protocol, modulus: number): Message {
  const comment = text(portMark(modulus));
  const expressions = [
    ...matchProtocol(protocol),
    ...(modulus > 0 ? roundRobin(protocol, modulus) : refuse(protocol)),
  ];
  return message(
    NEWRULE,
    `add the rule of chain ${chain}`,
    [
      attr(1, text(TABLE)),
      attr(2, text(chain)),
      attr(4, expressions),
      attr(7, Buffer.concat([Buffer.from([0, comment.length]), comment])),
    ],
    { flags: NLM_F_CREATE | NLM_F_APPEND },
  );
}

// ---- elements

export interface SlotKey {
  readonly protocol: Protocol;
  readonly port: number;
  readonly slot: number;
}

const padded = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);

const slotElement = (key: SlotKey, target?: { address: string; port: number }): Buffer =>
  attr(1, [
    attr(1, value(Buffer.concat([padded(u16be(key.port)), u32(key.slot)]))),
    ...(target ? [attr(2, value(Buffer.concat([ipBytes(target.address), padded(u16be(target.port))])))] : []),
  ]);

const publishedElement = (protocol: Protocol, port: number, chain?: string): Buffer =>
  attr(1, [
    attr(1, value(Buffer.concat([padded(u8(protocolNumber[protocol])), padded(u16be(port))]))),
    ...(chain ? [attr(2, [attr(2, [attr(1, u32be(NFT_GOTO)), attr(2, text(chain))])])] : []),
  ]);

const NFT_GOTO = 0xfffffffc;

/** Attribute lengths are 16 bits: that many elements fit a message with room to spare. */
const ELEMENTS = 500;

function elementMessages(kind: number, map: string, elements: readonly Buffer[]): Message[] {
  const messages: Message[] = [];
  for (let i = 0; i < elements.length; i += ELEMENTS)
    messages.push(
      message(
        kind,
        `${kind === NEWSETELEM ? 'add' : 'delete'} elements of ${map}`,
        [attr(1, text(TABLE)), attr(2, text(map)), attr(3, elements.slice(i, i + ELEMENTS))],
        { flags: kind === NEWSETELEM ? NLM_F_CREATE : 0 },
      ),
    );
  return messages;
}

export const addSlots = (protocol: Protocol, slots: readonly (SlotKey & { address: string; to: number })[]) =>
  elementMessages(
    NEWSETELEM,
    slotsMap(protocol),
    slots.map((slot) => slotElement(slot, { address: slot.address, port: slot.to })),
  );

export const deleteSlots = (protocol: Protocol, slots: readonly SlotKey[]): Message[] =>
  elementMessages(
    DELSETELEM,
    slotsMap(protocol),
    slots.map((slot) => slotElement(slot)),
  );

export const addPublished = (
  ports: readonly { protocol: Protocol; port: number; chain: string }[],
): Message[] =>
  elementMessages(
    NEWSETELEM,
    'published',
    ports.map((p) => publishedElement(p.protocol, p.port, p.chain)),
  );

export const deletePublished = (ports: readonly { protocol: Protocol; port: number }[]): Message[] =>
  elementMessages(
    DELSETELEM,
    'published',
    ports.map((p) => publishedElement(p.protocol, p.port)),
  );

// ---- what is read back

const get = (socket: NetlinkSocket, kind: number, what: string, body: readonly Buffer[]) =>
  socket.dump((SUBSYSTEM_NFTABLES << 8) | kind, Buffer.concat([head(NFPROTO_IPV4), ...body]), what);

export interface ObservedChain {
  readonly name: string;
  /** `nat prerouting -100 accept` in numbers, empty for a chain without a hook. */
  readonly hook: { readonly type: string; readonly number: number; readonly priority: number } | undefined;
}

export function dumpChains(socket: NetlinkSocket): ObservedChain[] {
  const chains: ObservedChain[] = [];
  for (const { body } of get(socket, GETCHAIN, 'list chains', [])) {
    const found = attributes(body, 4);
    if (readText(found.get(1)!) !== TABLE) continue;
    const hook = found.has(4) ? attributes(found.get(4)!) : undefined;
    chains.push({
      name: readText(found.get(3)!),
      hook: hook && {
        type: readText(found.get(7)!),
        number: hook.get(1)!.readUInt32BE(),
        priority: hook.get(2)!.readInt32BE(),
      },
    });
  }
  return chains;
}

export interface ObservedRule {
  readonly chain: string;
  readonly comment: string;
}

/** Every rule of the table, in order. */
export function dumpRules(socket: NetlinkSocket): ObservedRule[] {
  const rules: ObservedRule[] = [];
  for (const { body } of get(socket, GETRULE, 'list rules', [attr(1, text(TABLE))])) {
    const found = attributes(body, 4);
    if (!found.has(2) || readText(found.get(1)!) !== TABLE) continue;
    rules.push({ chain: readText(found.get(2)!), comment: readComment(found.get(7)) });
  }
  return rules;
}

/** Userdata is a list of (type, length, value) of one byte each; type 0 is the comment. */
function readComment(userdata: Buffer | undefined): string {
  for (let at = 0; userdata && at + 2 <= userdata.length; at += 2 + userdata[at + 1]!)
    if (userdata[at] === 0) return readText(userdata.subarray(at + 2, at + 2 + userdata[at + 1]!));
  return '';
}

function* elementsOf(socket: NetlinkSocket, map: string): Generator<readonly [Buffer, Buffer]> {
  for (const { body } of get(socket, GETSETELEM, `list map ${map}`, [
    attr(1, text(TABLE)),
    attr(2, text(map)),
  ])) {
    const list = attributes(body, 4).get(3);
    if (!list) continue;
    for (const [, element] of eachAttribute(list)) {
      const found = attributes(element);
      const data = attributes(found.get(2) ?? Buffer.alloc(0));
      yield [attributes(found.get(1)!).get(1)!, data.get(1) ?? data.get(2) ?? Buffer.alloc(0)];
    }
  }
}

/** `port/slot` -> `address:port` */
export function dumpSlots(socket: NetlinkSocket, protocol: Protocol): Map<string, string> {
  const slots = new Map<string, string>();
  for (const [key, data] of elementsOf(socket, slotsMap(protocol)))
    slots.set(
      `${protocol}/${key.readUInt16BE()}/${key.readUInt32LE(4)}`,
      `${readIp(data)}:${data.readUInt16BE(4)}`,
    );
  return slots;
}

/** `protocol/port` -> chain */
export function dumpPublished(socket: NetlinkSocket): Map<string, string> {
  const ports = new Map<string, string>();
  for (const [key, data] of elementsOf(socket, 'published')) {
    const chain = attributes(data).get(2);
    ports.set(`${protocolName.get(key[0]!) ?? key[0]}/${key.readUInt16BE(4)}`, chain ? readText(chain) : '');
  }
  return ports;
}

// ---- conntrack

const CT_GET = 1;
const CT_DELETE = 2;
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_TUPLE_IP = 1;
const CTA_TUPLE_PROTO = 2;
const CTA_IP_V4_SRC = 1;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_SRC_PORT = 2;

/**
 * Forgets the UDP flows that were translated to `address:port`: without a handshake the kernel would send the rest
 * of a flow to a backend that is gone until the flow is silent for its whole timeout.
 *
 * Cost: one pass over the node's connection table, only when a UDP backend leaves.
 */
export function forgetUdp(socket: NetlinkSocket, backends: ReadonlySet<string>): number {
  const doomed: Message[] = [];
  for (const { body } of socket.dump(
    (SUBSYSTEM_CONNTRACK << 8) | CT_GET,
    head(NFPROTO_IPV4),
    'list conntrack',
  )) {
    const found = attributes(body, 4);
    const reply = tupleSource(found.get(CTA_TUPLE_REPLY));
    if (reply?.protocol !== protocolNumber.udp || !backends.has(reply.source)) continue;
    doomed.push({
      type: (SUBSYSTEM_CONNTRACK << 8) | CT_DELETE,
      flags: 0,
      what: `forget the UDP flow to ${reply.source}`,
      ignore: [ENOENT],
      body: Buffer.concat([head(NFPROTO_IPV4), attr(CTA_TUPLE_ORIG | 0x8000, found.get(CTA_TUPLE_ORIG)!)]),
    });
  }
  socket.request(doomed);
  return doomed.length;
}

function tupleSource(tuple: Buffer | undefined): { protocol: number; source: string } | undefined {
  if (!tuple) return undefined;
  const parts = attributes(tuple);
  const ip = attributes(parts.get(CTA_TUPLE_IP) ?? Buffer.alloc(0)).get(CTA_IP_V4_SRC);
  const protocol = attributes(parts.get(CTA_TUPLE_PROTO) ?? Buffer.alloc(0));
  const port = protocol.get(CTA_PROTO_SRC_PORT);
  if (!ip || !port) return undefined;
  return { protocol: protocol.get(CTA_PROTO_NUM)?.[0] ?? 0, source: `${readIp(ip)}:${port.readUInt16BE()}` };
}
