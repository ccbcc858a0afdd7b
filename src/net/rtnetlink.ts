/**
 * Links, addresses, neighbours, FDB entries and routes as rtnetlink messages, and back. Numbers are those of the
 * kernel's uapi headers (rtnetlink.h, if_link.h, neighbour.h).
 */
import type { Ipv4, Mac } from '../model/ids.ts';
import {
  attr,
  attributes,
  type AttributeValue,
  EADDRNOTAVAIL,
  EEXIST,
  EINVAL,
  ENODEV,
  ENOENT,
  ESRCH,
  ipBytes,
  macBytes,
  type Message,
  type NetlinkSocket,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  readIp,
  readMac,
  readText,
  text,
  u16be,
  u32,
  u8,
} from './netlink.ts';
import type { PortFlags } from './state.ts';

const AF_INET = 2;
const AF_BRIDGE = 7;
const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
const RTM_NEWNEIGH = 28;
const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;

const IFF_UP = 1;
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_MASTER = 10;
const IFLA_LINKINFO = 18;
const IFLA_NET_NS_FD = 28;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_INFO_SLAVE_KIND = 4;
const IFLA_INFO_SLAVE_DATA = 5;
const VETH_INFO_PEER = 1;
const IFLA_VXLAN_ID = 1;
const IFLA_VXLAN_LOCAL = 4;
const IFLA_VXLAN_LEARNING = 7;
const IFLA_VXLAN_PROXY = 11;
const IFLA_VXLAN_PORT = 15;
const IFLA_BRPORT_LEARNING = 8;
const IFLA_BRPORT_UNICAST_FLOOD = 9;
const IFLA_BRPORT_ISOLATED = 33;
const IFLA_BR_MCAST_SNOOPING = 23;

const NTF_SELF = 0x02;
const NTF_MASTER = 0x04;
const NUD_NOARP = 0x40;
const NUD_PERMANENT = 0x80;
const NDA_DST = 1;
const NDA_LLADDR = 2;
const NDA_MASTER = 9;

/** A link as a message names it. `netnsFd`: where it is made, when not in the socket's own namespace. */
export interface LinkMessage {
  readonly name: string;
  readonly netnsFd?: number;
  readonly mac?: Mac;
  readonly mtu?: number;
  /** Index of the bridge, 0 for none. */
  readonly master?: number;
  readonly up?: boolean;
}

function ifinfo(index: number, up: boolean | undefined, family = 0): Buffer {
  const out = Buffer.alloc(16);
  out.writeUInt8(family, 0);
  out.writeInt32LE(index, 4);
  out.writeUInt32LE(up ? IFF_UP : 0, 8);
  out.writeUInt32LE(up === undefined ? 0 : IFF_UP, 12);
  return out;
}

function linkAttributes(link: LinkMessage): Buffer[] {
  return [
    attr(IFLA_IFNAME, text(link.name)),
    ...(link.mac ? [attr(IFLA_ADDRESS, macBytes(link.mac))] : []),
    ...(link.mtu ? [attr(IFLA_MTU, u32(link.mtu))] : []),
    ...(link.netnsFd === undefined ? [] : [attr(IFLA_NET_NS_FD, u32(link.netnsFd))]),
    ...(link.master === undefined ? [] : [attr(IFLA_MASTER, u32(link.master))]),
  ];
}

function newLink(link: LinkMessage, kind: string, data: AttributeValue): Message {
  const info = [attr(IFLA_INFO_KIND, text(kind)), attr(IFLA_INFO_DATA, data)];
  return {
    type: RTM_NEWLINK,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    what: `add ${kind} ${link.name}`,
    body: Buffer.concat([ifinfo(0, link.up), ...linkAttributes(link), attr(IFLA_LINKINFO, info)]),
  };
}

export const addBridge = (link: LinkMessage): Message =>
  newLink(link, 'bridge', [attr(IFLA_BR_MCAST_SNOOPING, u8(0))]);

export const addVeth = (link: LinkMessage, peer: LinkMessage): Message =>
  newLink(link, 'veth', [attr(VETH_INFO_PEER, Buffer.concat([ifinfo(0, peer.up), ...linkAttributes(peer)]))]);

/** Made by a socket of the root namespace, so the underlay socket is there, wherever the link itself goes. */
export const addVxlan = (
  link: LinkMessage,
  vxlan: { readonly vni: number; readonly local: Ipv4; readonly port: number },
): Message =>
  newLink(link, 'vxlan', [
    attr(IFLA_VXLAN_ID, u32(vxlan.vni)),
    attr(IFLA_VXLAN_LOCAL, ipBytes(vxlan.local)),
    attr(IFLA_VXLAN_PORT, u16be(vxlan.port)),
    attr(IFLA_VXLAN_LEARNING, u8(0)),
    attr(IFLA_VXLAN_PROXY, u8(1)),
  ]);

export const setLink = (index: number, link: LinkMessage): Message => ({
  type: RTM_NEWLINK,
  flags: 0,
  what: `change link ${link.name}`,
  body: Buffer.concat([ifinfo(index, link.up), ...linkAttributes(link)]),
});

export const setPort = (index: number, name: string, port: PortFlags): Message => ({
  type: RTM_NEWLINK,
  flags: 0,
  what: `change bridge port ${name}`,
  body: Buffer.concat([
    ifinfo(index, undefined),
    attr(IFLA_LINKINFO, [
      attr(IFLA_INFO_SLAVE_KIND, text('bridge')),
      attr(IFLA_INFO_SLAVE_DATA, [
        attr(IFLA_BRPORT_LEARNING, u8(Number(port.learning))),
        attr(IFLA_BRPORT_UNICAST_FLOOD, u8(Number(port.flood))),
        attr(IFLA_BRPORT_ISOLATED, u8(Number(port.isolated))),
      ]),
    ]),
  ]),
});

export const deleteLink = (index: number, name: string): Message => ({
  type: RTM_DELLINK,
  flags: 0,
  what: `delete link ${name}`,
  ignore: [ENODEV],
  body: ifinfo(index, undefined),
});

function addressBody(index: number, ip: Ipv4, length: number): Buffer {
  const head = Buffer.from([AF_INET, length, 0, 0]);
  const IFA_ADDRESS = 1;
  const IFA_LOCAL = 2;
  const IFA_BROADCAST = 4;
  const value = ipBytes(ip);
  const broadcast = Buffer.from(value);
  broadcast.writeUInt32BE(
    (value.readUInt32BE() | (length === 0 ? 0xffffffff : 2 ** (32 - length) - 1)) >>> 0,
  );
  return Buffer.concat([
    head,
    u32(index),
    attr(IFA_LOCAL, value),
    attr(IFA_ADDRESS, value),
    ...(length < 31 ? [attr(IFA_BROADCAST, broadcast)] : []),
  ]);
}

export const addAddress = (index: number, name: string, ip: Ipv4, length: number): Message => ({
  type: RTM_NEWADDR,
  flags: NLM_F_CREATE | NLM_F_REPLACE,
  what: `add address ${ip}/${length} to ${name}`,
  body: addressBody(index, ip, length),
});

export const deleteAddress = (index: number, name: string, ip: Ipv4, length: number): Message => ({
  type: RTM_DELADDR,
  flags: 0,
  what: `delete address ${ip}/${length} of ${name}`,
  ignore: [EADDRNOTAVAIL, ENODEV],
  body: addressBody(index, ip, length),
});

function neighbourHead(family: number, index: number, state: number, flags: number): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt8(family, 0);
  head.writeInt32LE(index, 4);
  head.writeUInt16LE(state, 8);
  head.writeUInt8(flags, 10);
  return head;
}

export const setNeighbour = (index: number, name: string, ip: Ipv4, mac: Mac): Message => ({
  type: RTM_NEWNEIGH,
  flags: NLM_F_CREATE | NLM_F_REPLACE,
  what: `set neighbour ${ip} on ${name}`,
  body: Buffer.concat([
    neighbourHead(AF_INET, index, NUD_PERMANENT, 0),
    attr(NDA_DST, ipBytes(ip)),
    attr(NDA_LLADDR, macBytes(mac)),
  ]),
});

export const deleteNeighbour = (index: number, name: string, ip: Ipv4): Message => ({
  type: RTM_DELNEIGH,
  flags: 0,
  what: `delete neighbour ${ip} on ${name}`,
  ignore: [ENOENT, ENODEV],
  body: Buffer.concat([neighbourHead(AF_INET, index, 0, 0), attr(NDA_DST, ipBytes(ip))]),
});

/** `vtep` given: entry of the VXLAN device itself, one of several with `append`; else a static one of its bridge. */
export function setFdb(
  index: number,
  name: string,
  mac: Mac,
  vtep: Ipv4 | undefined,
  append: boolean,
): Message {
  return {
    type: RTM_NEWNEIGH,
    flags: NLM_F_CREATE | (append ? NLM_F_APPEND : NLM_F_REPLACE),
    what: `set FDB entry ${mac} on ${name}`,
    ignore: append ? [EEXIST] : [],
    body: fdbBody(index, mac, vtep),
  };
}

export const deleteFdb = (index: number, name: string, mac: Mac, vtep: Ipv4 | undefined): Message => ({
  type: RTM_DELNEIGH,
  flags: 0,
  what: `delete FDB entry ${mac} on ${name}`,
  ignore: [ENOENT, ENODEV],
  body: fdbBody(index, mac, vtep),
});

const fdbBody = (index: number, mac: Mac, vtep: Ipv4 | undefined): Buffer =>
  Buffer.concat([
    vtep
      ? neighbourHead(AF_BRIDGE, index, NUD_PERMANENT, NTF_SELF)
      : neighbourHead(AF_BRIDGE, index, NUD_NOARP, NTF_MASTER),
    attr(NDA_LLADDR, macBytes(mac)),
    ...(vtep ? [attr(NDA_DST, ipBytes(vtep))] : []),
  ]);

function routeBody(index: number, via: Ipv4): Buffer {
  const RTA_OIF = 4;
  const RTA_GATEWAY = 5;
  const [tableMain, protocolStatic, scopeUniverse, typeUnicast] = [254, 4, 0, 1];
  const head = Buffer.from([
    AF_INET,
    0,
    0,
    0,
    tableMain,
    protocolStatic,
    scopeUniverse,
    typeUnicast,
    0,
    0,
    0,
    0,
  ]);
  return Buffer.concat([head, attr(RTA_OIF, u32(index)), attr(RTA_GATEWAY, ipBytes(via))]);
}

export const setDefaultRoute = (index: number, name: string, via: Ipv4): Message => ({
  type: RTM_NEWROUTE,
  flags: NLM_F_CREATE | NLM_F_REPLACE,
  what: `route by ${via} on ${name}`,
  body: routeBody(index, via),
});

export const deleteDefaultRoute = (index: number, name: string, via: Ipv4): Message => ({
  type: RTM_DELROUTE,
  flags: 0,
  what: `delete the route by ${via} on ${name}`,
  ignore: [ESRCH, ENODEV, EINVAL],
  body: routeBody(index, via),
});

// ---- what is read back

export interface ObservedLink {
  readonly index: number;
  readonly name: string;
  readonly mac: Mac;
  readonly mtu: number;
  readonly up: boolean;
  readonly master: number;
  readonly kind: string;
  /** Index of the peer (veth) or lower link, in the peer's namespace. */
  readonly link: number;
  readonly vxlan:
    | { readonly vni: number; readonly local: Ipv4; readonly port: number; readonly proxy: boolean }
    | undefined;
  readonly port: PortFlags | undefined;
}

const flag = (value: Buffer | undefined): boolean => (value?.[0] ?? 0) !== 0;

export function dumpLinks(socket: NetlinkSocket): ObservedLink[] {
  return socket
    .dump(RTM_GETLINK, ifinfo(0, undefined), 'list links')
    .filter(({ type }) => type === RTM_NEWLINK)
    .map(({ body }) => readLink(body));
}

function readLink(body: Buffer): ObservedLink {
  const found = attributes(body, 16);
  const info = attributes(found.get(IFLA_LINKINFO) ?? Buffer.alloc(0));
  const kind = readText(info.get(IFLA_INFO_KIND) ?? Buffer.alloc(0));
  const slave = info.get(IFLA_INFO_SLAVE_DATA);
  return {
    index: body.readInt32LE(4),
    name: readText(found.get(IFLA_IFNAME)!),
    mac: readMac(found.get(IFLA_ADDRESS) ?? Buffer.alloc(0)) as Mac,
    mtu: found.get(IFLA_MTU)?.readUInt32LE() ?? 0,
    up: (body.readUInt32LE(8) & IFF_UP) !== 0,
    master: found.get(IFLA_MASTER)?.readUInt32LE() ?? 0,
    kind,
    link: found.get(IFLA_LINK)?.readUInt32LE() ?? 0,
    vxlan: kind === 'vxlan' ? readVxlan(info.get(IFLA_INFO_DATA)!) : undefined,
    port: slave && readText(info.get(IFLA_INFO_SLAVE_KIND)!) === 'bridge' ? readPort(slave) : undefined,
  };
}

function readVxlan(data: Buffer): ObservedLink['vxlan'] {
  const found = attributes(data);
  return {
    vni: found.get(IFLA_VXLAN_ID)?.readUInt32LE() ?? 0,
    local: readIp(found.get(IFLA_VXLAN_LOCAL) ?? Buffer.alloc(4)) as Ipv4,
    port: found.get(IFLA_VXLAN_PORT)?.readUInt16BE() ?? 0,
    proxy: flag(found.get(IFLA_VXLAN_PROXY)) && !flag(found.get(IFLA_VXLAN_LEARNING)),
  };
}

function readPort(data: Buffer): PortFlags {
  const found = attributes(data);
  return {
    learning: flag(found.get(IFLA_BRPORT_LEARNING)),
    flood: flag(found.get(IFLA_BRPORT_UNICAST_FLOOD)),
    isolated: flag(found.get(IFLA_BRPORT_ISOLATED)),
  };
}

export interface ObservedAddress {
  readonly index: number;
  readonly ip: Ipv4;
  readonly length: number;
}

export function dumpAddresses(socket: NetlinkSocket): ObservedAddress[] {
  const IFA_LOCAL = 2;
  return socket
    .dump(RTM_GETADDR, Buffer.from([AF_INET, 0, 0, 0, 0, 0, 0, 0]), 'list addresses')
    .map(({ body }) => ({
      index: body.readUInt32LE(4),
      length: body[1]!,
      ip: readIp(attributes(body, 8).get(IFA_LOCAL)!) as Ipv4,
    }));
}

export interface ObservedNeighbour {
  readonly index: number;
  readonly ip: Ipv4;
  readonly mac: Mac;
}

/** Permanent neighbours only: the others are the kernel's own. */
export function dumpNeighbours(socket: NetlinkSocket): ObservedNeighbour[] {
  return socket
    .dump(RTM_GETNEIGH, neighbourHead(AF_INET, 0, 0, 0), 'list neighbours')
    .filter(({ body }) => body.readUInt16LE(8) & NUD_PERMANENT)
    .map(({ body }) => {
      const found = attributes(body, 12);
      return {
        index: body.readInt32LE(4),
        ip: readIp(found.get(NDA_DST)!) as Ipv4,
        mac: readMac(found.get(NDA_LLADDR) ?? Buffer.alloc(0)) as Mac,
      };
    });
}

export interface ObservedFdb {
  readonly index: number;
  readonly mac: Mac;
  readonly vtep: Ipv4 | undefined;
}

/** Entries that somebody set: VXLAN entries with a destination, and static ones of bridges. */
export function dumpFdb(socket: NetlinkSocket): ObservedFdb[] {
  const found: ObservedFdb[] = [];
  for (const { body } of socket.dump(RTM_GETNEIGH, neighbourHead(AF_BRIDGE, 0, 0, 0), 'list FDB')) {
    const values = attributes(body, 12);
    const vtep = values.get(NDA_DST);
    const isStatic = (body.readUInt16LE(8) & NUD_NOARP) !== 0;
    if (!vtep && !(values.has(NDA_MASTER) && isStatic)) continue;
    found.push({
      index: body.readInt32LE(4),
      mac: readMac(values.get(NDA_LLADDR)!) as Mac,
      vtep: vtep && (readIp(vtep) as Ipv4),
    });
  }
  return found;
}

export interface ObservedRoute {
  readonly destination: { readonly ip: Ipv4; readonly length: number };
  readonly via: Ipv4 | undefined;
  readonly index: number;
}

/** Routes of the main table. */
export function dumpRoutes(socket: NetlinkSocket): ObservedRoute[] {
  const [RTA_DST, RTA_OIF, RTA_GATEWAY, MAIN, UNICAST] = [1, 4, 5, 254, 1];
  const head = Buffer.alloc(12);
  head.writeUInt8(AF_INET, 0);
  return socket
    .dump(RTM_GETROUTE, head, 'list routes')
    .filter(({ body }) => body[4] === MAIN && body[7] === UNICAST)
    .map(({ body }) => {
      const found = attributes(body, 12);
      const via = found.get(RTA_GATEWAY);
      return {
        destination: { ip: readIp(found.get(RTA_DST) ?? Buffer.alloc(4)) as Ipv4, length: body[1]! },
        via: via && (readIp(via) as Ipv4),
        index: found.get(RTA_OIF)?.readUInt32LE() ?? 0,
      };
    });
}
