/**
 * The hot part of the nftables table as raw nfnetlink messages. libnftables reads its whole view of
 * the table before each change (3-14 ms with 5,000 published ports, and a full load takes 3.6 s); here a change costs
 * what changes. What is fixed (table, maps, base chains) stays in the language of nft, see nft-text.ts.
 *
 * The chain of a round robin holds one rule, with the expressions that nft makes of:
 *   dnat ip to tcp dport . numgen inc mod N map @slots-tcp
 *   dnat to ip daddr . numgen inc mod N map @slots-vip
 */
import type { Ipv4 } from '../model/ids.ts';
import type { Protocol } from '../model/spec.ts';
import { BOUND, CHAINS, CLIENT_KEPT, COUNTS, ruleMark, slotsMap, TABLE, vipSlotsMap } from './nft-names.ts';
import type { RoundRobin } from './state.ts';
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

// ---- chains of frontends

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

/** The 16-bit port at offset 2 of the transport header, to register 1. */
const LOAD_PORT = expression(
  'payload',
  ...[attr(1, REG_1), attr(2, u32be(2)), attr(3, u32be(2)), attr(4, u32be(2))],
);
/** The 32-bit destination at offset 16 of the network header, to register 1. */
const LOAD_ADDRESS = expression(
  'payload',
  ...[attr(1, REG_1), attr(2, u32be(1)), attr(3, u32be(16)), attr(4, u32be(4))],
);

const roundRobin = (name: FrontendName, modulus: number): Buffer[] => [
  name.kind === 'port' ? LOAD_PORT : LOAD_ADDRESS,
  expression('numgen', attr(1, REG32_01), attr(2, u32be(modulus)), attr(3, u32be(0)), attr(4, u32be(0))),
  expression('lookup', attr(1, text(mapOf(name))), attr(2, REG_1), attr(3, REG_1)),
  expression(
    'nat',
    attr(1, u32be(1)), // destination
    attr(2, u32be(NFPROTO_IPV4)),
    attr(3, REG_1), // address, from
    ...(name.kind === 'port' ? [attr(5, REG32_01)] : []), // port, from
  ),
];

/** `ct mark set ct mark or CLIENT_KEPT` */
const keepClientMark = (): Buffer[] => {
  const CT_MARK = u32be(3);
  return [
    expression('ct', attr(2, CT_MARK), attr(1, REG_1)),
    expression(
      'bitwise',
      ...[attr(1, REG_1), attr(2, REG_1), attr(3, u32be(4))],
      attr(4, value(u32(~CLIENT_KEPT >>> 0))),
      attr(5, value(u32(CLIENT_KEPT))),
    ),
    expression('ct', attr(2, CT_MARK), attr(4, REG_1)),
  ];
};

function expressionsOf(name: FrontendName, { modulus, keepClient }: RoundRobin): Buffer[] {
  if (name.kind === 'vip') return roundRobin(name, modulus);
  return [
    ...matchProtocol(name.protocol),
    ...(keepClient ? keepClientMark() : []),
    ...roundRobin(name, modulus),
  ];
}

/** The rule of a round robin's chain. Its comment is how it is recognised when it is read back. */
export function addRoundRobin(chain: string, name: FrontendName, rule: RoundRobin): Message {
  const comment = text(ruleMark(rule));
  return message(
    NEWRULE,
    `add the rule of chain ${chain}`,
    [
      attr(1, text(TABLE)),
      attr(2, text(chain)),
      attr(4, expressionsOf(name, rule)),
      attr(7, Buffer.concat([Buffer.from([0, comment.length]), comment])),
    ],
    { flags: NLM_F_CREATE | NLM_F_APPEND },
  );
}

// ---- elements

export type FrontendName =
  | { readonly kind: 'port'; readonly protocol: Protocol; readonly port: number }
  | { readonly kind: 'vip'; readonly address: Ipv4 };

export interface BoundName {
  readonly address: Ipv4;
  readonly protocol: Protocol;
  readonly port: number;
}

/** One of a frontend's slots, or its round robin over so many. */
export interface Numbered {
  readonly name: FrontendName;
  readonly number: number;
}

export interface SlotTarget {
  readonly address: Ipv4;
  /** undefined: the port stays as it is. */
  readonly port: number | undefined;
}

const mapOf = (name: FrontendName): string =>
  name.kind === 'port' ? slotsMap(name.protocol, name.port) : vipSlotsMap(name.address);

const padded = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);

const targetBytes = ({ address, port }: SlotTarget): Buffer =>
  port === undefined ? ipBytes(address) : Buffer.concat([ipBytes(address), padded(u16be(port))]);

/** Elements begin with the frontend: a port alone in a slots map, which is of one protocol. */
function slotElement({ name, number }: Numbered, target?: SlotTarget): Buffer {
  const head = name.kind === 'port' ? padded(u16be(name.port)) : ipBytes(name.address);
  return elementOf(Buffer.concat([head, u32(number)]), target && value(targetBytes(target)));
}

const frontendBytes = (name: FrontendName): Buffer =>
  name.kind === 'port'
    ? Buffer.concat([padded(u8(protocolNumber[name.protocol])), padded(u16be(name.port))])
    : ipBytes(name.address);

const countElement = (name: FrontendName, count?: number): Buffer =>
  elementOf(frontendBytes(name), count === undefined ? undefined : value(u32(count)));

const boundElement = ({ address, protocol, port }: BoundName, target?: SlotTarget): Buffer =>
  elementOf(
    Buffer.concat([ipBytes(address), frontendBytes({ kind: 'port', protocol, port })]),
    target && value(targetBytes(target)),
  );

const publishedElement = ({ name, number }: Numbered, chain?: string): Buffer =>
  elementOf(
    Buffer.concat([frontendBytes(name), u32(number)]),
    chain === undefined ? undefined : [attr(2, [attr(1, u32be(NFT_GOTO)), attr(2, text(chain))])],
  );

const elementOf = (key: Buffer, data: readonly Buffer[] | undefined): Buffer =>
  attr(1, [attr(1, value(key)), ...(data ? [attr(2, data)] : [])]);

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

export const addSlots = (slots: readonly (Numbered & { readonly target: SlotTarget })[]): Message[] =>
  byMap(
    slots,
    ({ name }) => mapOf(name),
    NEWSETELEM,
    (slot) => slotElement(slot, slot.target),
  );

export const deleteSlots = (slots: readonly Numbered[]): Message[] =>
  byMap(
    slots,
    ({ name }) => mapOf(name),
    DELSETELEM,
    (slot) => slotElement(slot),
  );

export const addPublished = (chains: readonly (Numbered & { readonly chain: string })[]): Message[] =>
  byMap(
    chains,
    ({ name }) => CHAINS[name.kind],
    NEWSETELEM,
    (roundRobin) => publishedElement(roundRobin, roundRobin.chain),
  );

export const deletePublished = (roundRobins: readonly Numbered[]): Message[] =>
  byMap(
    roundRobins,
    ({ name }) => CHAINS[name.kind],
    DELSETELEM,
    (roundRobin) => publishedElement(roundRobin),
  );

export const addCounts = (
  counts: readonly { readonly name: FrontendName; readonly count: number }[],
): Message[] =>
  elementMessages(
    NEWSETELEM,
    COUNTS,
    counts.map(({ name, count }) => countElement(name, count)),
  );

export const deleteCounts = (names: readonly FrontendName[]): Message[] =>
  elementMessages(
    DELSETELEM,
    COUNTS,
    names.map((name) => countElement(name)),
  );

export const addBound = (ports: readonly (BoundName & { readonly target: SlotTarget })[]): Message[] =>
  elementMessages(
    NEWSETELEM,
    BOUND,
    ports.map((port) => boundElement(port, port.target)),
  );

export const deleteBound = (ports: readonly BoundName[]): Message[] =>
  elementMessages(
    DELSETELEM,
    BOUND,
    ports.map((port) => boundElement(port)),
  );

const byMap = <T>(
  items: readonly T[],
  map: (item: T) => string,
  kind: number,
  element: (item: T) => Buffer,
): Message[] =>
  [...Map.groupBy(items, map)].flatMap(([name, group]) => elementMessages(kind, name, group.map(element)));
