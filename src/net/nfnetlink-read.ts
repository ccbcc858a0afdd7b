/** The nftables table as the kernel lists it. */
import type { Protocol } from '../model/spec.ts';
import { attr, attributes, eachAttribute, type NetlinkSocket, readIp, readText, text } from './netlink.ts';
import { head, NFPROTO_IPV4, protocolNumber, SUBSYSTEM_NFTABLES } from './nfnetlink.ts';
import { BOUND, CHAINS, COUNTS, slotsMaps, TABLE, vipSlotsMaps } from './nft-names.ts';
import type { Frontend } from './state.ts';

const GETCHAIN = 4;
const GETRULE = 7;
const GETSETELEM = 13;

const protocolName = new Map<number, Protocol>(
  (Object.entries(protocolNumber) as [Protocol, number][]).map(([name, number]) => [number, name]),
);

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
  for (const map of slotsMaps(protocol))
    for (const [key, data] of elementsOf(socket, map))
      slots.set(`${protocol}/${key.readUInt16BE()}/${key.readUInt32LE(4)}`, addressAndPort(data));
  return slots;
}

/** `protocol/address:port` -> `address:port` */
export function dumpBound(socket: NetlinkSocket): Map<string, string> {
  const bound = new Map<string, string>();
  for (const [key, data] of elementsOf(socket, BOUND))
    bound.set(
      `${protocolName.get(key[4]!) ?? key[4]}/${readIp(key.subarray(0, 4))}:${key.readUInt16BE(8)}`,
      addressAndPort(data),
    );
  return bound;
}

const addressAndPort = (data: Buffer): string => `${readIp(data)}:${data.readUInt16BE(4)}`;

/** `vip/address/slot` -> address */
export function dumpVipSlots(socket: NetlinkSocket): Map<string, string> {
  const slots = new Map<string, string>();
  for (const map of vipSlotsMaps)
    for (const [key, data] of elementsOf(socket, map))
      slots.set(`vip/${readIp(key.subarray(0, 4))}/${key.readUInt32LE(4)}`, readIp(data));
  return slots;
}

/** What names a frontend at the beginning of a key, and how long that is. */
const NAMES = {
  port: {
    bytes: 8,
    read: (key: Buffer) => `${protocolName.get(key[0]!) ?? key[0]}/${key.readUInt16BE(4)}`,
  },
  vip: { bytes: 4, read: (key: Buffer) => `vip/${readIp(key.subarray(0, 4))}` },
} satisfies Record<Frontend['kind'], object>;

/** `frontend/modulus` -> chain */
export function dumpRoundRobins(socket: NetlinkSocket, kind: Frontend['kind']): Map<string, string> {
  const chains = new Map<string, string>();
  const { bytes, read } = NAMES[kind];
  for (const [key, data] of elementsOf(socket, CHAINS[kind])) {
    const chain = attributes(data).get(2);
    chains.set(`${read(key)}/${key.readUInt32LE(bytes)}`, chain ? readText(chain) : '');
  }
  return chains;
}

/** `frontend` -> how many backends */
export function dumpCounts(socket: NetlinkSocket, kind: Frontend['kind']): Map<string, string> {
  const counts = new Map<string, string>();
  for (const [key, data] of elementsOf(socket, COUNTS))
    counts.set(NAMES[kind].read(key), String(data.readUInt32LE()));
  return counts;
}
