/**
 * The hot part of the nftables table as raw nfnetlink messages. libnftables reads its whole view of
 * the table before each change (3-14 ms with 5,000 published ports, and a full load takes 3.6 s); here a change costs
 * what changes. What is fixed (table, maps, base chains) stays in the language of nft, see nft-text.ts.
 *
 * The chain of a published port holds one rule, with the expressions that nft makes of its text:
 *   dnat ip to tcp dport . numgen inc mod N map @slots-tcp    or    reject
 */
import type { Protocol } from '../model/spec.ts';
import { portMark, slotsMap, TABLE } from './nft-names.ts';
import { attr, ENOENT, ipBytes, type Message, NLM_F_CREATE, text, u16be, u32, u32be, u8 } from './netlink.ts';

export const NFPROTO_IPV4 = 2;
export const SUBSYSTEM_NFTABLES = 10;
const BATCH_BEGIN = 0x10;
const BATCH_END = 0x11;
const NEWCHAIN = 3;
const DELCHAIN = 5;
const NEWRULE = 6;
const DELRULE = 8;
const NEWSETELEM = 12;
const DELSETELEM = 14;
const NLM_F_APPEND = 0x800;

export const protocolNumber: Record<Protocol, number> = { tcp: 6, udp: 17, sctp: 132 };

export const head = (family: number, resource = 0): Buffer =>
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

const roundRobin = (map: string, modulus: number): Buffer[] => [
  // The port, at offset 2 of the transport header.
  expression('payload', attr(1, REG_1), attr(2, u32be(2)), attr(3, u32be(2)), attr(4, u32be(2))),
  expression('numgen', attr(1, REG32_01), attr(2, u32be(modulus)), attr(3, u32be(0)), attr(4, u32be(0))),
  expression('lookup', attr(1, text(map)), attr(2, REG_1), attr(3, REG_1)),
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
export function addPortRule(chain: string, { protocol, port }: PortName, modulus: number): Message {
  const comment = text(portMark(modulus));
  const verdict = modulus > 0 ? roundRobin(slotsMap(protocol, port), modulus) : refuse(protocol);
  return message(
    NEWRULE,
    `add the rule of chain ${chain}`,
    [
      attr(1, text(TABLE)),
      attr(2, text(chain)),
      attr(4, [...matchProtocol(protocol), ...verdict]),
      attr(7, Buffer.concat([Buffer.from([0, comment.length]), comment])),
    ],
    { flags: NLM_F_CREATE | NLM_F_APPEND },
  );
}

// ---- elements

export interface PortName {
  readonly protocol: Protocol;
  readonly port: number;
}

export interface SlotKey extends PortName {
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

export const addSlots = (slots: readonly (SlotKey & { address: string; to: number })[]): Message[] =>
  byMap(slots).flatMap(([map, items]) =>
    elementMessages(
      NEWSETELEM,
      map,
      items.map((slot) => slotElement(slot, { address: slot.address, port: slot.to })),
    ),
  );

export const deleteSlots = (slots: readonly SlotKey[]): Message[] =>
  byMap(slots).flatMap(([map, items]) =>
    elementMessages(
      DELSETELEM,
      map,
      items.map((slot) => slotElement(slot)),
    ),
  );

function byMap<T extends PortName>(items: readonly T[]): [string, T[]][] {
  const maps = new Map<string, T[]>();
  for (const item of items) {
    const map = slotsMap(item.protocol, item.port);
    const list = maps.get(map);
    if (list) list.push(item);
    else maps.set(map, [item]);
  }
  return [...maps];
}

export const addPublished = (ports: readonly (PortName & { chain: string })[]): Message[] =>
  elementMessages(
    NEWSETELEM,
    'published',
    ports.map((p) => publishedElement(p.protocol, p.port, p.chain)),
  );

export const deletePublished = (ports: readonly PortName[]): Message[] =>
  elementMessages(
    DELSETELEM,
    'published',
    ports.map((p) => publishedElement(p.protocol, p.port)),
  );
